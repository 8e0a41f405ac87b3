package recorder

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/serin-dev/serin/internal/contract"
	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/observe/wire"
	realscorer "github.com/serin-dev/serin/internal/scorer"
)

const (
	byWeight = "safe-driver-2.5." + kandidat
	byCookie = "safe-driver-2.sticky." + kandidat
	byHeader = "safe-driver-2.direct." + kandidat
	aCopy    = "safe-driver-2.4." + stable // as a mirrored request has it
)

// pair is a candidate's recorder whose requests may be handed to stable's.
type pair struct {
	c                 *controller
	stable, candidate *recorderUnderTest
	own, other        *scorer // the candidate's, stable's
}

// newPair starts both, with fallback, and waits until orders and readiness are known.
func newPair(t *testing.T, do http.HandlerFunc, change ...func(*wire.Order)) *pair {
	t.Helper()
	p := &pair{c: newController(t), own: newScorer(t, do), other: newScorer(t, says(200, `{"result": [0.1]}`))}
	p.c.order(stable, wire.Order{Role: wire.Stable})
	p.stable = run(t, p.c, stable, p.other.URL)
	p.stable.awaitOrder(p.c)
	p.stable.awaitReady()
	p.candidate = run(t, p.c, kandidat, p.own.URL)
	p.order(change...)
	p.candidate.awaitReady()
	return p
}

func (p *pair) order(change ...func(*wire.Order)) {
	o := wire.Order{Role: wire.Candidate, Epoch: 5, StableURL: p.stable.url, Fallback: true, Timeout: "20s", CandidateTimeout: "10s"}
	for _, f := range change {
		f(&o)
	}
	p.c.order(kandidat, o)
	p.candidate.awaitOrder(p.c)
}

func TestAnswersPassAndAreReported(t *testing.T) {
	c := newController(t)
	addr := make(chan string, 1)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- realscorer.Run(ctx, realscorer.Options{Dummy: "New Model A", Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)}, func(a string) { addr <- a })
	}()
	r := run(t, c, kandidat, <-addr, func(r *Recorder) { r.o.Readiness = "/" })
	r.awaitReady()
	got := r.ask(byWeight, wire.RequestIDHeader, "abc")
	if got.status != 200 || got.revision != kandidat || got.fallback != "" || got.id != "abc" || !strings.Contains(got.body, "New Model A") {
		t.Errorf("answer %+v", got)
	}
	r.ask("")       // nobody routed it
	r.ask(byHeader) // never judged
	r.ask("safe-driver-2.5." + kandidat + ".x")
	r.ask(byWeight)
	frames := c.awaitFrames(kandidat, 2)
	if f := frames[0]; f.ID != "abc" || f.Epoch != 5 || f.Status != 200 || f.Failed || f.Shadow || f.MS <= 0 || f.Answer.Kind != uint8(contract.Labels) {
		t.Errorf("frame %+v", f)
	}
	until(t, "two served in epoch 5", func() bool { _, b := c.frames(kandidat); return b.Served[5] == 2 && len(b.Served) == 1 })
	until(t, "the evidence", func() bool { return c.evidence(5).Arms[judge.Candidate].AnsweredUnits == 2 })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestScorerSeesTheStampAndItsOwnHost(t *testing.T) {
	p := newPair(t, says(200, `{"result": [0.5]}`))
	p.candidate.ask(byWeight, wire.RequestIDHeader, "abc", "x-serin-handed-by", "somebody", "x-serin-fallback", "stable")
	req := p.own.last.Load()
	if got := req.Header.Get(wire.StampHeader); got != byWeight {
		t.Errorf("the scorer got the stamp %q", got)
	}
	for _, name := range []string{"x-serin-handed-by", "x-serin-fallback"} {
		if got := req.Header.Get(name); got != "" {
			t.Errorf("the scorer got %s: %s", name, got)
		}
	}
	if req.Host != strings.TrimPrefix(p.candidate.url, "http://") {
		t.Errorf("the scorer got the host %q", req.Host)
	}
}

func TestScorerCannotSpeakForSerin(t *testing.T) {
	p := newPair(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("x-serin-revision", "forged")
		w.Header().Set("x-serin-fallback", "unready")
	})
	if got := p.candidate.ask(byWeight); got.revision != kandidat || got.fallback != "" {
		t.Errorf("answer %+v: the scorer's own words went through", got)
	}
}

func hangUp(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		conn.Close()
	}
}

func hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

func TestStableAnswersForACandidateThatFails(t *testing.T) {
	for name, do := range map[string]struct {
		handler http.HandlerFunc
		status  int
	}{"500": {says(500, `{"result": [0.9]}`), 500}, "hung up": {hangUp, 0}, "slow": {hang, 0}} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, do.handler, func(o *wire.Order) { o.CandidateTimeout = "200ms" })
			for i, stamp := range []string{byWeight, byCookie} {
				got := p.candidate.ask(stamp, wire.RequestIDHeader, "abc")
				if got.status != 200 || got.body != `{"result": [0.1]}` || got.revision != stable || got.fallback != "stable" || got.id != "abc" {
					t.Errorf("answer %+v", got)
				}
				req := p.other.last.Load()
				if req.Header.Get(wire.StampHeader) != stamp || p.own.asked.Load() != int64(i+1) {
					t.Errorf("stable got the stamp %q; the candidate was asked %d times", req.Header.Get(wire.StampHeader), p.own.asked.Load())
				}
			}
			f := p.c.awaitFrames(kandidat, 1)[0] // a cookie's request belongs to no epoch
			if !f.Failed || !f.FellBack || f.Status != do.status || f.ID != "abc" {
				t.Errorf("frame %+v", f)
			}
			if name == "slow" && f.MS < 200 {
				t.Errorf("the scorer took %v ms: less than its time-out", f.MS)
			}
			if _, b := p.c.frames(kandidat); b.Served[5] != 1 {
				t.Errorf("served %v", b.Served)
			}
			if frames, _ := p.c.frames(stable); len(frames) != 0 {
				t.Errorf("stable's recorder reported what was handed to it: %+v", frames)
			}
		})
	}
}

func TestCrashedScorerFallsBackAsAFailure(t *testing.T) {
	p := newPair(t, says(200, `{}`))
	p.own.Close()
	until(t, "the crash to be seen", func() bool { return p.candidate.get("/readyz") == http.StatusServiceUnavailable })
	for range 20 { // each is tried and counted: none is spared
		if got := p.candidate.ask(byWeight); got.status != 200 || got.fallback != "stable" {
			t.Fatalf("answer %+v", got)
		}
	}
	for _, f := range p.c.awaitFrames(kandidat, 20) {
		if !f.Failed || !f.FellBack {
			t.Errorf("frame %+v", f)
		}
	}
}

func TestWhoMustNotFallBack(t *testing.T) {
	p := newPair(t, says(500, `{"error": "broken"}`))
	for name, do := range map[string]struct {
		stamp  string
		header []string
		order  func(*wire.Order)
	}{
		"by header":              {stamp: byHeader},
		"a copy":                 {stamp: aCopy},
		"without a stamp":        {},
		"malformed stamp":        {stamp: "nonsense"},
		"handed over already":    {stamp: byWeight, header: []string{"x-serin-handed-by", "pod"}},
		"no fallback ordered":    {stamp: byWeight, order: func(o *wire.Order) { o.Fallback = false }},
		"nobody to ask":          {stamp: byWeight, order: func(o *wire.Order) { o.StableURL = "" }},
		"stable itself":          {stamp: byWeight, order: func(o *wire.Order) { o.Role = wire.Stable }},
		"stable, told otherwise": {stamp: byWeight, order: func(o *wire.Order) { o.Role, o.HandOver = wire.Stable, true }},
		"promoted, by header":    {stamp: byHeader, order: p.promoted},
		"promoted, handed over":  {stamp: byWeight, header: []string{"x-serin-handed-by", "pod"}, order: p.promoted},
		"promoted, no fallback":  {stamp: byWeight, order: func(o *wire.Order) { p.promoted(o); o.Fallback = false }},
		"kept, told otherwise":   {stamp: byWeight, order: func(o *wire.Order) { p.promoted(o); o.Role = wire.None }},
	} {
		if do.order == nil {
			do.order = func(*wire.Order) {}
		}
		p.order(do.order)
		if got := p.candidate.ask(do.stamp, do.header...); got.status != 500 || got.fallback != "" || got.revision != kandidat {
			t.Errorf("%s: answer %+v, want the scorer's own", name, got)
		}
	}
	if n := p.other.asked.Load(); n != 0 {
		t.Errorf("stable was asked %d times", n)
	}
}

// promoted makes the candidate stable, with the version that was stable behind it.
func (p *pair) promoted(o *wire.Order) {
	o.Role, o.StableURL, o.PreviousURL = wire.Stable, "", p.stable.url
}

func TestVersionBeforeAnswersWhatThePromotedOneFails(t *testing.T) {
	p := newPair(t, says(500, `{"result": [0.9]}`))
	p.order(p.promoted)
	p.c.order(stable, wire.Order{Role: wire.None, StableURL: p.candidate.url, HandOver: true, Fallback: true})
	p.stable.awaitOrder(p.c)
	got := p.candidate.ask(byWeight, wire.RequestIDHeader, "abc")
	if got.status != 200 || got.body != `{"result": [0.1]}` || got.revision != stable || got.fallback != "previous" || got.id != "abc" {
		t.Errorf("answer %+v, want that of the version before, marked", got)
	}
	if f := p.c.awaitFrames(kandidat, 1)[0]; !f.Failed || !f.FellBack || f.Status != 500 {
		t.Errorf("frame %+v, want a failure of the promoted one", f)
	}
	if frames, _ := p.c.frames(stable); len(frames) != 0 {
		t.Errorf("the recorder of the version before reported what was handed to it: %+v", frames)
	}
}

func TestHandOverHoldsFromTheNextRequestOn(t *testing.T) {
	p := newPair(t, says(200, `{"result": [0.5]}`))
	if got := p.candidate.ask(byWeight); got.revision != kandidat {
		t.Fatalf("answer %+v", got)
	}
	p.order(func(o *wire.Order) { o.HandOver = true })
	for _, stamp := range []string{byWeight, byCookie, ""} {
		if got := p.candidate.ask(stamp); got.revision != stable || got.fallback != "handed-over" || got.status != 200 {
			t.Errorf("stamp %q: answer %+v, want stable's", stamp, got)
		}
	}
	if req := p.other.last.Load(); req.Host != strings.TrimPrefix(p.stable.url, "http://") {
		t.Errorf("stable got the host %q: a mesh would not find its Service by that", req.Host)
	}
	for _, stamp := range []string{byHeader, aCopy} {
		if got := p.candidate.ask(stamp); got.revision != kandidat || got.fallback != "" {
			t.Errorf("stamp %q: answer %+v, want the candidate's own", stamp, got)
		}
	}
	until(t, "the count to have both", func() bool { _, b := p.c.frames(kandidat); return b.Served[5] == 1 }) // the gateway counts none that was handed over
	p.c.awaitFrames(kandidat, 2)                                                                              // the first, and the copy
}

func TestCopiesAreReportedAsShadows(t *testing.T) {
	p := newPair(t, says(200, `{"result": [0.5]}`))
	p.stable.ask("safe-driver-2.4."+stable, wire.RequestIDHeader, "x1")
	p.candidate.ask(aCopy, wire.RequestIDHeader, "x1")
	f := p.c.awaitFrames(kandidat, 1)[0]
	if !f.Shadow || f.ID != "x1" || f.Epoch != 4 || f.FellBack {
		t.Errorf("frame %+v", f)
	}
	if f := p.c.awaitFrames(stable, 1)[0]; f.Shadow {
		t.Errorf("stable's frame %+v", f)
	}
	until(t, "the pair", func() bool { return p.c.evidence(4).Shadow.N == 1 })
	if e := p.c.evidence(4).Shadow; e.Compared != 1 || e.Disagreed != 1 {
		t.Errorf("%d compared, %d disagreed, want 1 and 1", e.Compared, e.Disagreed)
	}
	if _, b := p.c.frames(kandidat); len(b.Served) != 0 {
		t.Errorf("a copy was counted as served: %v", b.Served)
	}
}

func TestScorerThatWasNeverReadyIsNobodysFailure(t *testing.T) {
	c := newController(t)
	other := newScorer(t, says(200, `{"result": [0.1]}`))
	own := newScorer(t, says(200, `{"result": [0.5]}`))
	own.ready.Store(false)
	s, k := run(t, c, stable, other.URL), run(t, c, kandidat, own.URL)
	c.order(kandidat, wire.Order{StableURL: s.url, Fallback: true})
	k.awaitOrder(c)
	if got := k.ask(byWeight); got.fallback != "unready" || got.revision != stable || got.status != 200 {
		t.Errorf("answer %+v", got)
	}
	if k.get("/readyz") != http.StatusServiceUnavailable || k.get("/healthz") != http.StatusOK {
		t.Error("ready beside a scorer that is not")
	}
	own.ready.Store(true)
	k.awaitReady()
	if got := k.ask(byWeight); got.fallback != "" || got.revision != kandidat {
		t.Errorf("ready: answer %+v", got)
	}
	own.ready.Store(false)
	until(t, "the change to be seen", func() bool { return k.get("/readyz") == http.StatusServiceUnavailable })
	if got := k.ask(byWeight); got.fallback != "" || got.revision != kandidat {
		t.Errorf("ready before: answer %+v, want it tried", got)
	}
	c.awaitFrames(kandidat, 2)
	if _, b := c.frames(kandidat); b.Served[5] != 2 {
		t.Errorf("served %v: what was unready does not count", b.Served)
	}
}

func TestThereIsNoLoop(t *testing.T) {
	c := newController(t)
	s1, s2 := newScorer(t, says(500, `{"error": "one"}`)), newScorer(t, says(500, `{"error": "two"}`))
	r1, r2 := run(t, c, stable, s1.URL), run(t, c, kandidat, s2.URL)
	c.order(stable, wire.Order{StableURL: r2.url, Fallback: true, HandOver: true})
	r1.awaitOrder(c)
	c.order(kandidat, wire.Order{StableURL: r1.url, Fallback: true, HandOver: true})
	r2.awaitOrder(c)
	if got := r2.ask(byWeight); got.status != 500 || got.body != `{"error": "one"}` || got.fallback != "handed-over" {
		t.Errorf("answer %+v, want the first one's failure", got)
	}
	if a, b := s1.asked.Load(), s2.asked.Load(); a != 1 || b != 0 {
		t.Errorf("asked %d and %d times, want 1 and 0", a, b)
	}
}

// TestThereIsNoLoopAfterAPromotion: the promoted version and the kept one each name the other, and both fail.
func TestThereIsNoLoopAfterAPromotion(t *testing.T) {
	c := newController(t)
	old, fresh := newScorer(t, says(500, `{"error": "kept"}`)), newScorer(t, says(500, `{"error": "promoted"}`))
	kept, promoted := run(t, c, stable, old.URL), run(t, c, kandidat, fresh.URL)
	kept.awaitReady() // else it hands over what it was never fit to answer
	c.order(stable, wire.Order{Role: wire.None, StableURL: promoted.url, Fallback: true, HandOver: true})
	kept.awaitOrder(c)
	c.order(kandidat, wire.Order{Role: wire.Stable, PreviousURL: kept.url, Fallback: true})
	promoted.awaitOrder(c)
	if got := promoted.ask(byWeight); got.status != 500 || got.body != `{"error": "promoted"}` || got.fallback != "" {
		t.Errorf("answer %+v, want the promoted one's own failure", got)
	}
	if a, b := fresh.asked.Load(), old.asked.Load(); a != 1 || b != 1 {
		t.Errorf("the promoted one was asked %d times, the kept one %d, want once each", a, b)
	}
	if got := kept.ask("safe-driver-2.4." + stable); got.status != 500 || got.body != `{"error": "promoted"}` || got.fallback != "handed-over" {
		t.Errorf("answer %+v to a request that was routed before, want the promoted one's failure", got)
	}
	if a, b := fresh.asked.Load(), old.asked.Load(); a != 2 || b != 1 {
		t.Errorf("the promoted one was asked %d times, the kept one %d, want 2 and 1", a, b)
	}
}

func TestLargeAnswersPassWhole(t *testing.T) {
	large := `{"result": [` + strings.Repeat("0.125,", 10<<20/6) + `0.125]}`
	p := newPair(t, says(200, large))
	if got := p.candidate.ask(byWeight); got.body != large || got.revision != kandidat {
		t.Errorf("%d bytes came of %d", len(got.body), len(large))
	}
	if f := p.c.awaitFrames(kandidat, 1)[0]; f.Failed || f.Answer.Kind != uint8(contract.Unparsed) {
		t.Errorf("frame %+v", f)
	}
	if got := p.stable.ask("safe-driver-2.5." + stable); got.status != 200 {
		t.Errorf("answer %+v", got)
	}
}

func TestClientThatLeavesIsHeldAgainstNobody(t *testing.T) {
	asked := make(chan struct{}, 1)
	p := newPair(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("x-slow") == "" {
			says(200, `{"result": [0.5]}`)(w, r)
			return
		}
		asked <- struct{}{}
		hang(w, r)
	})
	ctx, leave := context.WithCancel(t.Context())
	go func() { <-asked; leave() }()
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, p.candidate.url+"/score", strings.NewReader("{}"))
	req.Header.Set(wire.StampHeader, byWeight)
	req.Header.Set("x-slow", "1")
	if resp, err := http.DefaultClient.Do(req); err == nil {
		resp.Body.Close()
		t.Fatal("it was answered")
	}
	until(t, "the request to be given up", func() bool { return p.candidate.gateway.InFlight(kandidat) == 0 })
	p.candidate.ask(byWeight, wire.RequestIDHeader, "next")
	if f := p.c.awaitFrames(kandidat, 1)[0]; f.ID != "next" || f.Failed {
		t.Errorf("frame %+v", f)
	}
	if _, b := p.c.frames(kandidat); b.Served[5] != 2 { // the gateway's log has both
		t.Errorf("served %v", b.Served)
	}
	if n := p.other.asked.Load(); n != 0 {
		t.Error("stable was asked for nobody")
	}
}

func TestOrdersThatCannotBeReadChangeNothing(t *testing.T) {
	r := run(t, newController(t), kandidat, newScorer(t, says(200, "{}")).URL)
	good := wire.Order{Seq: 7, Role: wire.Candidate, StableURL: "http://safe-driver-r1.abtesting.svc.cluster.local:80", Timeout: "3s", Fallback: true}
	if err := r.obey(good); err != nil {
		t.Fatal(err)
	}
	want := *r.gateway.Table()
	for name, bad := range map[string]wire.Order{
		`role "": must be`:                       {},
		`stable: "ftp://x": must be`:             {Role: wire.Candidate, StableURL: "ftp://x"},
		`previous: "ftp://x": must be`:           {Role: wire.Stable, PreviousURL: "ftp://x"},
		`timeout: "soon": must be`:               {Role: wire.Candidate, Timeout: "soon"},
		`candidateTimeout: "1": must be`:         {Role: wire.Candidate, CandidateTimeout: "1"},
		`protocol "SOAP" is unknown`:             {Role: wire.Candidate, Protocol: "SOAP"},
		`time-outs and sizes must not be`:        {Role: wire.Candidate, Timeout: "-1s"},
		`JSON path "$.x" is given with protocol`: {Role: wire.Candidate, JSONPath: "$.x"},
	} {
		if err := r.obey(bad); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("order %+v: error %v, want one with %q", bad, err, name)
		}
	}
	if diff := cmp.Diff(want, *r.gateway.Table()); diff != "" {
		t.Errorf("the table changed (-want +got):\n%s", diff)
	}
	if s := want.Stable; s.Addr != "safe-driver-r1.abtesting.svc.cluster.local:80" || s.Host != "safe-driver-r1.abtesting.svc.cluster.local" || s.Revision != stable {
		t.Errorf("stable %+v", s)
	}
	if want.Timeout != 3*time.Second || !want.Fallback || want.HandOver {
		t.Errorf("table %+v", want)
	}
}
