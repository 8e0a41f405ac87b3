package mesh

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	data "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/serin-dev/serin/internal/contract"
	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/observe"
	"github.com/serin-dev/serin/internal/observe/wire"
)

var key = Key{"abtesting", "safe-driver"}

func testHub(t *testing.T) (*Hub, *observe.Source, *time.Time) {
	t.Helper()
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	h := NewHub(slog.New(slog.DiscardHandler), func() time.Time { return now })
	c, err := h.Watch(key, observe.Contract{Protocol: contract.Auto})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Configure(judge.Policy{Agreement: &judge.AgreementMargin{Tolerance: .01}}, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Forget(key) })
	c.Begin(judge.EpochInfo{ID: 4, ShadowBP: 10000})
	c.Begin(judge.EpochInfo{ID: 5, Step: 1, WeightBP: 1000})
	h.Arms(key, 4, "safe-driver-r1", "safe-driver-r2", true)
	h.Arms(key, 5, "safe-driver-r1", "safe-driver-r2", false)
	return h, c, &now
}

func entry(route, stamp string, status uint32, change ...func(*data.HTTPAccessLogEntry)) *data.HTTPAccessLogEntry {
	e := &data.HTTPAccessLogEntry{
		CommonProperties: &data.AccessLogCommon{RouteName: route, TimeToLastDownstreamTxByte: durationpb.New(3 * time.Millisecond), ResponseFlags: &data.ResponseFlags{}},
		Request:          &data.HTTPRequestProperties{RequestHeaders: map[string]string{wire.StampHeader: stamp}},
		Response:         &data.HTTPResponseProperties{ResponseHeaders: map[string]string{}},
	}
	if status > 0 {
		e.Response.ResponseCode = wrapperspb.UInt32(status)
	}
	for _, c := range change {
		c(e)
	}
	return e
}

func epochOf(t *testing.T, c *observe.Source, id uint32) *judge.EpochEvidence {
	t.Helper()
	s := c.Snapshot()
	for i := range s.Epochs {
		if s.Epochs[i].Info.ID == id {
			return &s.Epochs[i]
		}
	}
	t.Fatalf("no epoch %d", id)
	return nil
}

func TestAccessLogCountsByStamp(t *testing.T) {
	h, c, _ := testHub(t)
	weighted := "serin/abtesting/safe-driver/weighted"
	for range 9 {
		h.Log(entry(weighted, "safe-driver-2.5.safe-driver-r1", 200))
	}
	h.Log(entry(weighted, "safe-driver-2.5.safe-driver-r2", 503))
	h.Log(entry(weighted, "safe-driver-2.5.safe-driver-r2", 0)) // no answer at all
	h.Log(entry(weighted, "safe-driver-2.5.safe-driver-r2", 200, func(e *data.HTTPAccessLogEntry) { e.Response.ResponseHeaders[wire.FallbackHeader] = "stable" }))
	h.Log(entry(weighted, "safe-driver-2.5.safe-driver-r2", 200, func(e *data.HTTPAccessLogEntry) { e.Response.ResponseHeaders[wire.FallbackHeader] = "unready" }))
	h.Log(entry(weighted, "safe-driver-2.5.safe-driver-r2", 200, func(e *data.HTTPAccessLogEntry) { e.Response.ResponseHeaders[wire.FallbackHeader] = "handed-over" }))
	h.Log(entry(weighted, "safe-driver-2.5.safe-driver-r2", 404))
	h.Log(entry(weighted, "safe-driver-2.5.safe-driver-r1", 0, func(e *data.HTTPAccessLogEntry) {
		e.CommonProperties.ResponseFlags.DownstreamConnectionTermination = true
	}))
	h.Log(entry("serin/abtesting/safe-driver/direct-candidate", "safe-driver-2.direct.safe-driver-r2", 500))
	h.Log(entry("serin/abtesting/safe-driver/sticky-candidate", "safe-driver-2.sticky.safe-driver-r2", 200))
	h.Log(entry("somebody-else", "safe-driver-2.5.safe-driver-r2", 500))      // a forged stamp on a route that is not ours
	h.Log(entry("", "safe-driver-2.5.safe-driver-r2", 404))                   // no route
	h.Log(entry(weighted, "nonsense", 503))                                   // our route without a stamp
	h.Log(entry("serin/abtesting/other/weighted", "other-1.1.other-r1", 200)) // an endpoint that we do not watch
	h.Log(entry(weighted, "safe-driver-2.5.safe-driver-r9", 500))             // a revision that the epoch does not know
	e := epochOf(t, c, 5)
	s, k := e.Arms[judge.Stable], e.Arms[judge.Candidate]
	if s.Requests != 9 || s.Errors != 0 || s.ClientGone != 1 {
		t.Errorf("stable: %d requests, %d errors, %d gone; want 9, 0, 1", s.Requests, s.Errors, s.ClientGone)
	}
	if k.Requests != 4 || k.Errors != 3 || k.FellBack != 1 || k.Refusals != 1 || k.Direct != 2 {
		t.Errorf("candidate: %d requests, %d errors, %d answered by stable, %d refusals, %d direct; want 4, 3, 1, 1, 2", k.Requests, k.Errors, k.FellBack, k.Refusals, k.Direct)
	}
	if got := h.InForce(key, "safe-driver-2"); got != 5 {
		t.Errorf("epoch %d is in force, want 5", got)
	}
	if l := h.Losses(key); l.Stray != 2 || l.Lost != 2 {
		t.Errorf("losses %+v, want 2 stray and 2 lost", l)
	}
}

// TestWhatTheVersionBeforeAnsweredIsStablesFailure: else nobody would take a promoted version back.
func TestWhatTheVersionBeforeAnsweredIsStablesFailure(t *testing.T) {
	h, c, _ := testHub(t)
	h.Log(entry("serin/abtesting/safe-driver/weighted", "safe-driver-2.5.safe-driver-r1", 200, func(e *data.HTTPAccessLogEntry) { e.Response.ResponseHeaders[wire.FallbackHeader] = "previous" }))
	h.Log(entry("serin/abtesting/safe-driver/weighted", "safe-driver-2.5.safe-driver-r1", 502, func(e *data.HTTPAccessLogEntry) { e.Response.ResponseHeaders[wire.FallbackHeader] = "previous" }))
	if s := epochOf(t, c, 5).Arms[judge.Stable]; s.Requests != 2 || s.Errors != 2 || s.FellBack != 1 {
		t.Errorf("%d requests, %d errors, %d answered by another; want 2, 2 and the one that was answered", s.Requests, s.Errors, s.FellBack)
	}
}

func answered(id string, epoch uint32, shadow bool, scores ...wire.Float) wire.Frame {
	return wire.Frame{ID: id, Epoch: epoch, Shadow: shadow, Status: 200, MS: 1, Answer: wire.Answer{Kind: uint8(contract.Scores), Scores: scores, Rows: len(scores), Width: 1}}
}

// TestAStableThatIsDownLooksSlow: the gateway's own quick no must not make a candidate
// that answers look slow beside it.
func TestAStableThatIsDownLooksSlow(t *testing.T) {
	h, c, _ := testHub(t)
	for _, status := range []uint32{200, 503} {
		h.Log(entry("serin/abtesting/safe-driver/weighted", "safe-driver-2.5.safe-driver-r1", status, func(e *data.HTTPAccessLogEntry) {
			e.CommonProperties.ResponseFlags.NoHealthyUpstream = status == 503
		}))
	}
	s := epochOf(t, c, 5).Arms[judge.Stable]
	if n := s.Latency.AtLeast(judge.BucketOf(time.Minute)); s.Errors != 1 || n != 1 {
		t.Errorf("%d errors, %d beyond a minute; want 1 and 1", s.Errors, n)
	}
}

func TestShadowAnswersAreJoinedByRequestID(t *testing.T) {
	h, c, now := testHub(t)
	stable := &wire.Batch{Namespace: "abtesting", Endpoint: "safe-driver", Revision: "safe-driver-r1", Pod: "a", Boot: "1", Seq: 1, Frames: []wire.Frame{
		answered("x1", 4, false, .1), answered("x2", 4, false, .2), answered("x3", 4, false, .3), answered("x4", 4, false, .4),
	}}
	candidate := &wire.Batch{Namespace: "abtesting", Endpoint: "safe-driver", Revision: "safe-driver-r2", Pod: "b", Boot: "1", Seq: 1, Frames: []wire.Frame{
		answered("x2", 4, true, .2), answered("x1", 4, true, .5), {ID: "x3", Epoch: 4, Shadow: true, Failed: true}, answered("x4", 4, true, wire.Float(math.NaN())), answered("lonely", 4, true, .1),
	}}
	candidate.Frames[3].Answer.NonFinite = 1
	for range 2 { // a batch that comes twice changes nothing
		if !h.Take(candidate) || !h.Take(stable) {
			t.Fatal("the endpoint is not known")
		}
	}
	p := epochOf(t, c, 4).Shadow
	if p.N != 4 || p.Compared != 2 || p.Disagreed != 1 || p.ShadowErrors != 1 || p.OnlyShadowBad != 2 {
		t.Errorf("%d pairs, %d compared, %d disagreed, %d errors, %d bad in the candidate alone; want 4, 2, 1, 1, 2", p.N, p.Compared, p.Disagreed, p.ShadowErrors, p.OnlyShadowBad)
	}
	*now = now.Add(pairWait)
	h.Take(&wire.Batch{Namespace: "abtesting", Endpoint: "safe-driver", Revision: "safe-driver-r2", Pod: "b", Boot: "1", Seq: 2})
	if l := h.Losses(key); l.Unpaired != 1 {
		t.Errorf("%d unpaired, want 1", l.Unpaired)
	}
}

func twice(f wire.Frame, again wire.Frame) wire.Frame {
	f.Again = &wire.Again{Status: again.Status, Failed: again.Failed, Answer: again.Answer}
	return f
}

// TestStablesSecondAnswersAreItsNoise: they count as repeats of their epoch, whatever the candidate answered, and as
// nothing else; what a recorder could not tell of is lost.
func TestStablesSecondAnswersAreItsNoise(t *testing.T) {
	h, c, _ := testHub(t)
	batch := func(revision, boot string, seq uint64, lost map[uint32]uint64, frames ...wire.Frame) {
		t.Helper()
		b := &wire.Batch{Namespace: "abtesting", Endpoint: "safe-driver", Revision: revision, Pod: "a", Boot: boot, Seq: seq, RepeatsLost: lost, Frames: frames}
		for range 2 { // a batch that comes twice changes nothing
			if !h.Take(b) {
				t.Fatal("the endpoint is not known")
			}
		}
	}
	same, other, failed := answered("x1", 4, false, .1), answered("x1", 4, false, .2), wire.Frame{ID: "x1", Epoch: 4, Failed: true}
	batch("safe-driver-r1", "1", 1, map[uint32]uint64{4: 2}, same, twice(same, same), twice(same, other), twice(same, failed))
	batch("safe-driver-r2", "1", 1, map[uint32]uint64{4: 9}, twice(same, other)) // not stable: says nothing of its noise
	weighted := answered("x2", 5, false, .1)
	batch("safe-driver-r1", "1", 2, map[uint32]uint64{4: 3, 5: 0}, twice(weighted, other)) // in no shadow step
	batch("safe-driver-r1", "2", 7, map[uint32]uint64{4: 50})                              // lost before this hub was there
	batch("safe-driver-r1", "2", 8, map[uint32]uint64{4: 51})
	p := epochOf(t, c, 4)
	if s := p.Shadow; s.Repeats != 2 || s.RepeatsDisagreed != 1 || s.RepeatsLost != 1+3+1 || s.N != 0 {
		t.Errorf("%d repeats, %d disagreed, %d lost, %d pairs; want 2, 1, 5 and none", s.Repeats, s.RepeatsDisagreed, s.RepeatsLost, s.N)
	}
	if n := p.Arms[judge.Stable].Scored; n != 1 {
		t.Errorf("%d answers are scored, want the client's only", n)
	}
	if s := epochOf(t, c, 5); s.Shadow.Repeats+s.Shadow.RepeatsLost != 0 || s.Arms[judge.Stable].Scored != 0 {
		t.Errorf("outside of a shadow step: %+v", s.Shadow)
	}
}

// TestAnswersThatWaitHaveBoundedMemory: large ones too, when their other halves do not come; what goes early is counted
// like what waited too long, and pairs are still made.
func TestAnswersThatWaitHaveBoundedMemory(t *testing.T) {
	h, c, _ := testHub(t)
	take := func(revision, boot string, seq uint64, f wire.Frame) {
		h.Take(&wire.Batch{Namespace: "abtesting", Endpoint: "safe-driver", Revision: revision, Pod: "a", Boot: boot, Seq: seq, Frames: []wire.Frame{f}})
	}
	const n, each = 400, 32_000 // scores of 256 KB: 100 MB in all
	for i := range n {
		take("safe-driver-r2", "k", uint64(i+1), answered(fmt.Sprint("x", i), 4, true, make([]wire.Float, each)...))
	}
	e := h.endpoint(key)
	held := 0
	for _, w := range e.waiting {
		held += 8 * cap(w.frame.Answer.Scores)
	}
	if held > mostWaitingBytes || held < mostWaitingBytes/2 {
		t.Errorf("%d bytes of scores wait, want at most %d", held, mostWaitingBytes)
	}
	if got := h.Losses(key).Unpaired; got != uint64(n-len(e.waiting)) {
		t.Errorf("%d unpaired, want the %d that are gone", got, n-len(e.waiting))
	}
	for i := range n / 4 { // the last are still there
		take("safe-driver-r1", "s", uint64(i+1), answered(fmt.Sprint("x", n-1-i), 4, false, make([]wire.Float, each)...))
	}
	if p := epochOf(t, c, 4).Shadow; p.N != n/4 || e.waitingBytes < 0 || e.waitingBytes > mostWaitingBytes {
		t.Errorf("%d pairs, %d bytes wait; want %d pairs", p.N, e.waitingBytes, n/4)
	}
}

func TestScoresOfRoutedRequestsComeFromTheRecorders(t *testing.T) {
	h, c, _ := testHub(t)
	h.Take(&wire.Batch{Namespace: "abtesting", Endpoint: "safe-driver", Revision: "safe-driver-r2", Pod: "b", Boot: "1", Seq: 1, Dropped: 3, Frames: []wire.Frame{
		answered("a", 5, false, .1), answered("b", 5, false, .3), {ID: "c", Epoch: 5, Status: 500, Failed: true},
	}})
	k := epochOf(t, c, 5).Arms[judge.Candidate]
	if k.Scored != 2 || k.AnsweredUnits != 2 || k.Dropped != 3 || k.Requests != 0 {
		t.Errorf("%d scored, %d answered, %d dropped, %d requests; want 2, 2, 3 and none: the access log counts those", k.Scored, k.AnsweredUnits, k.Dropped, k.Requests)
	}
}

func TestStamps(t *testing.T) {
	for s, want := range map[string]stamp{
		"a-2.5.a-r1":      {rollout: "a-2", epoch: 5, revision: "a-r1"},
		"a-2.direct.a-r1": {rollout: "a-2", direct: true, revision: "a-r1"},
		"a-2.sticky.a-r1": {rollout: "a-2", sticky: true, revision: "a-r1"},
	} {
		if got, ok := parseStamp(s); !ok || got != want {
			t.Errorf("%q: %+v, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "a", "a.b", "a.-1.r", "a.x.r", ".1.r", "a.1.", "a.4294967296.r", "a.1.r.x"} {
		if got, ok := parseStamp(s); ok {
			t.Errorf("%q is taken for a stamp: %+v", s, got)
		}
	}
}

func serve(t *testing.T, h *Hub) string {
	t.Helper()
	s := httptest.NewServer(h.Handler(func(_ context.Context, token string) (Peer, error) {
		if namespace, pod, ok := strings.Cut(token, "/"); ok {
			return Peer{namespace, pod}, nil
		}
		return Peer{}, errors.New("unknown token")
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestRecordersMustProveWhoTheyAre(t *testing.T) {
	h, _, _ := testHub(t)
	url := serve(t, h)
	batch, err := json.Marshal(wire.Batch{Namespace: "abtesting", Endpoint: "safe-driver", Revision: "safe-driver-r2", Pod: "b", Boot: "1", Seq: 1})
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]int{"": 401, "nonsense": 401, "other/b": 403, "abtesting/c": 403, "abtesting/b": 204} {
		req, _ := http.NewRequest(http.MethodPost, url+wire.FramesPath, bytes.NewReader(batch))
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("token %q: %d, want %d", token, resp.StatusCode, want)
		}
	}
}

func TestOrdersArriveAtOnce(t *testing.T) {
	h, _, _ := testHub(t)
	url := serve(t, h)
	h.Order(key, "safe-driver-r2", wire.Order{Role: wire.Candidate, Epoch: 5})
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("%s%s?namespace=abtesting&endpoint=safe-driver&revision=safe-driver-r2&pod=b", url, wire.OrdersPath), nil)
	req.Header.Set("Authorization", "Bearer abtesting/b")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	next := func() (o wire.Order) {
		for lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if err := json.Unmarshal([]byte(text), &o); err != nil {
					t.Fatal(err)
				}
				return o
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
		return o
	}
	if o := next(); o.Seq != 1 || o.Role != wire.Candidate {
		t.Fatalf("first order %+v", o)
	}
	h.Order(key, "safe-driver-r2", wire.Order{Role: wire.Candidate, Epoch: 6, HandOver: true})
	if o := next(); o.Seq != 2 || !o.HandOver {
		t.Errorf("second order %+v, want the hand-over", o)
	}
	// What was said already is not said again.
	h.Order(key, "safe-driver-r2", wire.Order{Role: wire.Candidate, Epoch: 6, HandOver: true})
	// An endpoint that was opened again begins to count anew: its orders count all the same.
	h.Order(key, "safe-driver-r2", wire.Order{Seq: 1, Role: wire.Stable, Epoch: 7})
	if o := next(); o.Seq != 3 || o.Role != wire.Stable {
		t.Errorf("third order %+v, want that it is stable now", o)
	}
}

func TestRouteNames(t *testing.T) {
	if k, ok := routeKey(RouteName(key, "weighted")); !ok || k != key {
		t.Errorf("reading our own name: %v %v", k, ok)
	}
	for _, s := range []string{"", "default", "serin/a", "serin/a/b", "serin//b/c", "x/a/b/c"} {
		if _, ok := routeKey(s); ok {
			t.Errorf("%q is taken for one of our routes", s)
		}
	}
}
