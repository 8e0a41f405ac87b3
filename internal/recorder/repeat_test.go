package recorder

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/observe/wire"
	"github.com/serin-dev/serin/internal/proxy"
)

const inShadow = "safe-driver-2.4." + stable // stable's own request in the shadow step

// twiceAsked answers each request otherwise the second time.
type twiceAsked struct {
	mu   sync.Mutex
	seen map[string]int
	do   func(w http.ResponseWriter, r *http.Request, nth int)
}

func (s *twiceAsked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if s.seen == nil {
		s.seen = map[string]int{}
	}
	s.seen[r.Header.Get(wire.RequestIDHeader)]++
	nth := s.seen[r.Header.Get(wire.RequestIDHeader)]
	s.mu.Unlock()
	s.do(w, r, nth)
}

func shadowing(change ...func(*wire.Order)) wire.Order {
	o := wire.Order{Role: wire.Stable, Rollout: "safe-driver-2", Epoch: 4, ShadowBP: 10000, RepeatFirst: 10, Timeout: "20s"}
	for _, f := range change {
		f(&o)
	}
	return o
}

// TestStableIsAskedTwiceInAShadowStep: the first of a rollout are, the controller learns how far both answers differ, and
// clients get the first one.
func TestStableIsAskedTwiceInAShadowStep(t *testing.T) {
	c := newController(t)
	noisy := &twiceAsked{do: func(w http.ResponseWriter, r *http.Request, nth int) {
		switch id := r.Header.Get(wire.RequestIDHeader); {
		case nth == 2 && id == "x0":
			says(500, "{}")(w, r)
		case nth == 2 && id < "x4":
			says(200, `{"result": [0.9]}`)(w, r)
		default:
			says(200, `{"result": [0.5]}`)(w, r)
		}
	}}
	r := run(t, c, stable, newScorer(t, noisy.ServeHTTP).URL)
	c.order(stable, shadowing())
	r.awaitOrder(c)
	for i := range 10 {
		if got := r.ask(inShadow, wire.RequestIDHeader, fmt.Sprint("x", i)); got.status != 200 || got.body != `{"result": [0.5]}` {
			t.Fatalf("answer %+v", got)
		}
		until(t, "the scorer to be asked again", func() bool { return r.gateway.Stats().ShadowSent == uint64(i+1) && r.gateway.InFlight(stable) == 0 })
	}
	r.ask(inShadow, wire.RequestIDHeader, "one too many")
	until(t, "all to be told", func() bool { return c.evidence(4).Arms[judge.Stable].AnsweredUnits == 11 })
	until(t, "the repeats", func() bool { s := c.evidence(4).Shadow; return s.Repeats+s.RepeatsLost >= 10 })
	if s := c.evidence(4).Shadow; s.Repeats != 9 || s.RepeatsDisagreed != 3 || s.RepeatsLost != 1 {
		t.Errorf("%d repeats, %d disagreed, %d lost; want 9, 3, 1", s.Repeats, s.RepeatsDisagreed, s.RepeatsLost)
	}
	c.awaitFrames(stable, 21) // 11 requests, 10 of them asked twice
	if _, last := c.frames(stable); last.Served[4] != 11 {
		t.Errorf("served %v: a repeat is no request", last.Served)
	}
	c.order(stable, shadowing(func(o *wire.Order) { o.Rollout, o.RepeatFirst, o.RepeatBP = "safe-driver-3", 0, 10000 }))
	r.awaitOrder(c)
	r.ask(inShadow, wire.RequestIDHeader, "z")
	until(t, "the share", func() bool { return c.evidence(4).Shadow.Repeats == 10 })
}

// TestOnlyStableIsAskedTwice: and only while requests are copied.
func TestOnlyStableIsAskedTwice(t *testing.T) {
	r := run(t, newController(t), stable, newScorer(t, says(200, "{}")).URL)
	for name, o := range map[string]wire.Order{
		"stable":    shadowing(),
		"candidate": shadowing(func(o *wire.Order) { o.Role = wire.Candidate }),
		"none":      shadowing(func(o *wire.Order) { o.Role = wire.None }),
		"weighted":  shadowing(func(o *wire.Order) { o.ShadowBP = 0 }),
	} {
		if err := r.obey(o); err != nil {
			t.Fatal(err)
		}
		table := r.gateway.Table()
		if got := table.ShadowBP > 0 && table.RepeatFirst > 0; got != (name == "stable") {
			t.Errorf("%s: asks twice: %v", name, got)
		}
	}
	before := *r.gateway.Table()
	if err := r.obey(shadowing(func(o *wire.Order) { o.RepeatBP = 10001 })); err == nil || !strings.Contains(err.Error(), "repeat share 10001") {
		t.Errorf("error %v", err)
	}
	if after := *r.gateway.Table(); after.RepeatBP != before.RepeatBP {
		t.Errorf("the table changed: %+v", after)
	}
}

// TestScorerThatHangsWhenAskedTwiceSlowsNoRequest: nor do its hanging requests become more than a few.
func TestScorerThatHangsWhenAskedTwiceSlowsNoRequest(t *testing.T) {
	c := newController(t)
	release := make(chan struct{})
	hangs := &twiceAsked{do: func(w http.ResponseWriter, r *http.Request, nth int) {
		if nth == 2 {
			<-release
		}
		says(200, `{"result": [0.5]}`)(w, r)
	}}
	r := run(t, c, stable, newScorer(t, hangs.ServeHTTP).URL)
	t.Cleanup(sync.OnceFunc(func() { close(release) }))
	c.order(stable, shadowing(func(o *wire.Order) { o.RepeatBP, o.RepeatFirst = 10000, 0 }))
	r.awaitOrder(c)
	const asked = 50
	for i := range asked {
		if got := r.ask(inShadow, wire.RequestIDHeader, fmt.Sprint("x", i)); got.status != 200 {
			t.Fatalf("answer %+v", got)
		}
	}
	until(t, "all to be drawn", func() bool { s := r.gateway.Stats(); return s.ShadowSent+s.ShadowDropped == asked })
	if s := r.gateway.Stats(); s.ShadowSent != mostRepeats {
		t.Errorf("%d are under way, want %d", s.ShadowSent, mostRepeats)
	}
	if text := string(r.metrics()); !strings.Contains(text, fmt.Sprintf("serin_recorder_repeats_total %d\n", mostRepeats)) || !strings.Contains(text, fmt.Sprintf("serin_recorder_repeats_dropped_total %d\n", asked-mostRepeats)) {
		t.Errorf("metrics:\n%s", text)
	}
	until(t, "the clients' own to be told", func() bool { return c.evidence(4).Arms[judge.Stable].AnsweredUnits == asked })
}

// TestRepeatsThatCannotBeToldAreCounted: apart from dropped answers of clients, by epoch.
func TestRepeatsThatCannotBeToldAreCounted(t *testing.T) {
	first := proxy.Exchange{Revision: stable, Status: 200, Epoch: 4, ContentType: "application/json", Body: []byte(`[0.5]`), Stamp: proxy.Stamp{Chosen: proxy.ByWeight, Epoch: 4}}
	second := first
	lost := func(r *reports) string {
		r.mu.Lock()
		defer r.mu.Unlock()
		return fmt.Sprint(r.repeatsLost, r.dropped, r.frames, r.bytes)
	}
	full := newReports(wire.Batch{Revision: stable})
	full.room = 10
	full.Again(&first, &second)
	if got := lost(full); got != "map[4:1] 0 0 0" {
		t.Errorf("no room: %s", got)
	}
	ended := newReports(wire.Batch{Revision: stable})
	ended.close()
	ended.Again(&first, &second)
	if got := lost(ended); got != "map[4:1] 0 0 0" {
		t.Errorf("after the end: %s", got)
	}
	refused := newReports(wire.Batch{Revision: stable})
	refused.Primary(&first)
	refused.Again(&first, &second)
	refused.close()
	refused.work()
	p := refused.next()
	if p == nil || p.frames != 2 || !strings.Contains(string(p.text), `"again":{"status":200,"answer":`) {
		t.Fatalf("batch %+v", p)
	}
	refused.done(p, false)
	if got := lost(refused); got != "map[4:1] 1 0 0" {
		t.Errorf("refused: %s", got)
	}
	if p := refused.next(); p == nil || !strings.Contains(string(p.text), `"repeatsLost":{"4":1}`) {
		t.Errorf("the loss is not told: %+v", p)
	}
	large := newReports(wire.Batch{Revision: stable})
	second.ContentType, second.Body = "", nil
	large.Again(&first, &second)
	large.room = 10 // what it said has no room beside what others said meanwhile
	large.close()
	large.work()
	if got := lost(large); got != "map[4:1] 0 0 0" {
		t.Errorf("too large: %s", got)
	}
}
