package observe

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/serin-dev/serin/internal/contract"
	"github.com/serin-dev/serin/internal/judge"
)

func event(candidate bool, status int, body string) *Event {
	return &Event{Epoch: 1, WeightBP: 1000, Candidate: candidate, Status: status, Failed: status >= 500 || status == 0, Latency: time.Millisecond, Meta: contract.Meta{ContentType: "application/json"}, Body: []byte(body)}
}

func with(e *Event, change func(*Event)) *Event { change(e); return e }

func key(k uint64) func(*Event) { return func(e *Event) { e.Keyed, e.Key = true, k } }

// started returns a Collector with epoch 1 open.
func started(cfg Config) *Collector {
	c := New(cfg)
	c.Begin(judge.EpochInfo{ID: 1, WeightBP: 1000})
	return c
}

// only closes the Collector and returns the evidence of epoch 1.
func only(t *testing.T, c *Collector) judge.EpochEvidence {
	t.Helper()
	c.Close()
	ev, ok := c.Snapshot().Epoch(1)
	if !ok {
		t.Fatal("epoch 1 is missing")
	}
	return ev
}

// stall makes every worker wait, by holding the epoch's lock with an answer in
// hand, until the returned function is called. It needs Workers: 1.
func stall(t *testing.T, c *Collector) (release func()) {
	t.Helper()
	stalling, held := make(chan struct{}), make(chan struct{})
	c.Begin(judge.EpochInfo{ID: 99})
	c.Primary(with(event(false, 200, `[1]`), func(e *Event) { e.Epoch = 99 }))
	until(t, func() bool { return c.bytes.Load() == 0 }) // the answer is counted: the worker is idle
	ep := (*c.epochs.Load())[99]
	go func() {
		ep.mu.Lock()
		close(held)
		<-stalling
		ep.mu.Unlock()
	}()
	<-held
	j := c.jobs.Get().(*job)
	j.ep, j.kind = ep, primary
	j.events[0].set(event(false, 200, `[1]`))
	if !c.send(j, 3) {
		t.Fatal("no room for the answer that stalls")
	}
	until(t, func() bool { return len(c.queue) == 0 }) // the worker has it
	return func() { close(stalling) }
}

func until(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}

func TestPrimaryCounts(t *testing.T) {
	nan, opaque, unparsed := `{"result":[NaN]}`, `{"x":1}`, `{"outputs":[{"shape":[1],"parameters":{"binary_data_size":4}}]}`
	c := started(Config{Cutoffs: []float64{.05, .5}})
	for _, e := range []*Event{
		event(true, 200, `{"result":[0.25,0.75]}`), event(true, 200, `{"result":[0.01,0.02]}`),
		event(true, 200, nan), event(true, 200, `{"error":"x"}`), event(true, 200, `{"result":[`), event(true, 200, ``),
		event(true, 200, opaque), event(true, 200, unparsed), event(true, 200, `"label"`),
		event(true, 503, `{"result":[9]}`), with(event(true, 0, ``), func(e *Event) { e.FellBack = true }), event(true, 422, ``),
		with(event(true, 200, `[1]`), func(e *Event) { e.Direct = true }),
		with(event(true, 0, ``), func(e *Event) { e.ClientGone = true }),
		with(event(true, 200, `[1]`), func(e *Event) { e.Epoch = 7 }),
		event(false, 200, `[1]`),
	} {
		c.Primary(e)
	}
	ev := only(t, c)
	got := ev.Arms[judge.Candidate]
	want := judge.Counts{
		Requests: 12, Errors: 2, Refusals: 1, Direct: 1, ClientGone: 1, FellBack: 1,
		Units: 12, ErrorUnits: 2, RefusalUnits: 1, InvalidUnits: 4, AnsweredUnits: 9,
		Invalid: 4, Opaque: 1, Unparsed: 1,
		Scored: 2, Varied: 1, ScoreSum: judge.FixedOf(.515), ScoreSq: judge.FixedOf(.25 + .015*.015),
		ScoreRange: judge.Range{Min: .015, Max: .5, Seen: true},
		Above:      []judge.Share{{Sum: judge.FixedOf(1), Sq: judge.FixedOf(1)}, {Sum: judge.FixedOf(.5), Sq: judge.FixedOf(.25)}},
	}
	if n := got.Latency.Total(); n != 12 {
		t.Errorf("%d latencies, want 12", n)
	}
	opts := cmp.Options{cmpopts.IgnoreFields(judge.Counts{}, "Latency"), cmp.Comparer(func(a, b judge.Fixed) bool { return math.Abs(a.Float()-b.Float()) < 1e-13 })}
	if d := cmp.Diff(want, got, opts); d != "" {
		t.Errorf("candidate's counts (-want +got):\n%s", d)
	}
	if s := ev.Arms[judge.Stable]; s.Requests != 1 || s.Scored != 1 {
		t.Errorf("stable's counts: %+v", s)
	}
	if d := c.Dropped(); d != (Drops{Epochs: 1}) {
		t.Errorf("drops: %+v", d)
	}
}

func TestScoreOfWideRows(t *testing.T) {
	tests := []struct {
		body        string
		mean, share float64
	}{
		{`[[0.9,0.1],[0.3,0.7]]`, .4, .5}, // two classes: the positive one
		{`[[0.9],[0.3]]`, .6, .5},
		{`[[1,0],[0.5]]`, .5, 1. / 3}, // ragged: number by number
		{`[1e308,1e308,1e308]`, 1e308, 1},
	}
	e, _ := contract.New(contract.Auto, "")
	var a contract.Answer
	for _, tt := range tests {
		e.Extract(&a, contract.Meta{}, []byte(tt.body))
		if m, s := mean(&a), share(&a, .5); math.Abs(m/tt.mean-1) > 1e-15 || s != tt.share {
			t.Errorf("%s: mean %v and share %v, want %v and %v", tt.body, m, s, tt.mean, tt.share)
		}
	}
}

func TestStickyKeysCountOnce(t *testing.T) {
	c := started(Config{MaxKeys: 2})
	for range 3 {
		c.Primary(with(event(true, 200, `[0.5]`), key(1)))
		c.Primary(with(event(true, 500, ``), key(1)))
		c.Primary(with(event(true, 404, ``), key(1)))
		c.Primary(with(event(true, 200, `[null]`), key(2)))
		c.Primary(with(event(true, 200, `[0.5]`), key(3))) // beyond MaxKeys
	}
	got := only(t, c).Arms[judge.Candidate]
	want := judge.Counts{
		Requests: 15, Errors: 3, Refusals: 3, Invalid: 3,
		Units: 2, ErrorUnits: 1, RefusalUnits: 1, InvalidUnits: 1, AnsweredUnits: 2, LateErrorUnits: 1,
		Scored: 1, ScoreSum: judge.FixedOf(.5), ScoreSq: judge.FixedOf(.25), ScoreRange: judge.Range{Min: .5, Max: .5, Seen: true},
	}
	want.Latency.Observe(time.Millisecond)
	want.Latency.Observe(time.Millisecond)
	if d := cmp.Diff(want, got, cmp.AllowUnexported(judge.Fixed{})); d != "" {
		t.Errorf("counts (-want +got):\n%s", d)
	}
	if d := c.Dropped(); d != (Drops{Keys: 3}) {
		t.Errorf("drops: %+v", d)
	}
}

func TestOldEpochsForgetKeys(t *testing.T) {
	c := started(Config{})
	c.Primary(with(event(true, 500, ``), key(1)))
	for id := uint32(2); id < 2+maxKeyedEpochs; id++ {
		c.Begin(judge.EpochInfo{ID: id})
	}
	c.Primary(with(event(true, 500, ``), key(1)))
	got := only(t, c).Arms[judge.Candidate]
	if got.Requests != 2 || got.Units != 1 || got.ErrorUnits != 1 || c.Dropped().Keys != 1 {
		t.Errorf("counts %+v, drops %+v", got, c.Dropped())
	}
}

func TestBegin(t *testing.T) {
	c := started(Config{})
	defer c.Close()
	c.Primary(event(false, 500, ``))
	c.Begin(judge.EpochInfo{ID: 1, WeightBP: 1000, Tampered: true})
	if ev, _ := c.Snapshot().Epoch(1); !ev.Info.Tampered || ev.Arms[judge.Stable].Errors != 1 {
		t.Errorf("begun again: %+v", ev)
	}
	for id := uint32(maxEpochs + 5); id > 1; id-- {
		c.Begin(judge.EpochInfo{ID: id})
	}
	// The first begun are forgotten: epochs 1 and 1029 to 1026.
	all := c.Snapshot().Epochs
	if len(all) != maxEpochs || all[0].Info.ID != 2 || all[maxEpochs-1].Info.ID != maxEpochs+1 {
		t.Errorf("%d epochs, %d to %d", len(all), all[0].Info.ID, all[len(all)-1].Info.ID)
	}
	for i := 1; i < len(all); i++ {
		if all[i-1].Info.ID >= all[i].Info.ID {
			t.Fatalf("epoch %d stands before %d", all[i-1].Info.ID, all[i].Info.ID)
		}
	}
}

func TestSnapshotIsACopy(t *testing.T) {
	c := started(Config{Cutoffs: []float64{0}})
	c.Primary(event(false, 200, `[1]`))
	c.Pair(event(false, 200, `[1]`), event(true, 200, `[1]`))
	ev := only(t, c)
	ev.Arms[judge.Stable].Above[0] = judge.Share{}
	ev.Shadow.Above[0].OnlyStable = 9
	again, _ := c.Snapshot().Epoch(1)
	if again.Arms[judge.Stable].Above[0].Sum.IsZero() || again.Shadow.Above[0].OnlyStable != 0 {
		t.Error("writing to a snapshot changed the Collector")
	}
}

func TestPairs(t *testing.T) {
	ok := `{"result":[0.2,0.6]}`
	tests := []struct {
		name              string
		stable, candidate *Event
		want              judge.Pairs
	}{
		{"agree", event(false, 200, ok), event(true, 200, `{"result":[0.205,0.6]}`), judge.Pairs{BothOK: 1, Compared: 1, Scored: 1}},
		{"agree across protocols", event(false, 200, ok), event(true, 200, `{"predictions":[0.2,0.6]}`), judge.Pairs{BothOK: 1, Compared: 1, Scored: 1}},
		{"disagree and flip", event(false, 200, ok), event(true, 200, `[0.6,0.2]`), judge.Pairs{BothOK: 1, Compared: 1, Disagreed: 1, Scored: 1, Above: []judge.Pair{{OnlyStable: 1, OnlyCandidate: 1}}}},
		{"another shape", event(false, 200, ok), event(true, 200, `[[0.2,0.6]]`), judge.Pairs{BothOK: 1, Compared: 1, Disagreed: 1, Scored: 1}},
		{"labels agree", event(false, 200, `["a","b"]`), event(true, 200, `["a","b"]`), judge.Pairs{BothOK: 1, Compared: 1}},
		{"labels disagree", event(false, 200, `["a","b"]`), event(true, 200, `["a","c"]`), judge.Pairs{BothOK: 1, Compared: 1, Disagreed: 1}},
		{"labels for scores", event(false, 200, `[0.5]`), event(true, 200, `["a"]`), judge.Pairs{BothOK: 1, Compared: 1, Disagreed: 1}},
		{"classes differ", event(false, 200, `[[0.5],["a"]]`), event(true, 200, `[[0.5],["b"]]`), judge.Pairs{BothOK: 1, Compared: 1, Disagreed: 1, Scored: 1}},
		{"classes on one side", event(false, 200, `[[0.5,0.6],["a","b"]]`), event(true, 200, `[0.5,0.6]`), judge.Pairs{BothOK: 1, Compared: 1, Scored: 1}},
		{"candidate NaN", event(false, 200, ok), event(true, 200, `[NaN,1]`), judge.Pairs{OnlyShadowBad: 1, ShadowInvalid: 1}},
		{"stable NaN", event(false, 200, `[NaN]`), event(true, 200, ok), judge.Pairs{OnlyStableBad: 1}},
		{"both NaN", event(false, 200, `[NaN]`), event(true, 200, `[NaN]`), judge.Pairs{BothFailed: 1, ShadowInvalid: 1}},
		{"candidate down", event(false, 200, ok), event(true, 0, ``), judge.Pairs{OnlyShadowBad: 1, ShadowErrors: 1}},
		{"stable down", event(false, 500, ``), event(true, 200, ok), judge.Pairs{OnlyStableBad: 1}},
		{"both down", event(false, 500, ``), event(true, 500, ``), judge.Pairs{BothFailed: 1, ShadowErrors: 1}},
		{"stable invalid, candidate down", event(false, 200, `[`), event(true, 500, ``), judge.Pairs{BothFailed: 1, ShadowErrors: 1}},
		{"both refuse", event(false, 400, ``), event(true, 422, ``), judge.Pairs{BothOK: 1, ShadowRefusals: 1}},
		{"candidate refuses", event(false, 200, ok), event(true, 400, ``), judge.Pairs{OnlyShadowBad: 1, ShadowRefusals: 1}},
		{"candidate's form is another", event(false, 200, ok), event(true, 200, `{"x":1}`), judge.Pairs{OnlyShadowBad: 1, ShadowInvalid: 1}},
		{"stable's form is another", event(false, 200, `{"x":1}`), event(true, 200, ok), judge.Pairs{OnlyStableBad: 1}},
		{"opaque", event(false, 200, `{"x":1}`), event(true, 200, `{"x":2}`), judge.Pairs{BothOK: 1, NotComparable: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := started(Config{Cutoffs: []float64{.5}, Tolerance: .01})
			c.Pair(tt.stable, tt.candidate)
			tt.want.N = 1
			got := only(t, c).Shadow
			if got.Latency[0].Total() != 1 || got.Latency[1].Total() != 1 {
				t.Error("latency is missing")
			}
			if tt.want.Scored > 0 && tt.want.Above == nil {
				tt.want.Above = []judge.Pair{{}}
			}
			ignore := cmpopts.IgnoreFields(judge.Pairs{}, "Latency", "StableSum", "CandidateSum", "StableSq", "CandidateSq", "Cross", "StableRange", "CandidateRange")
			if d := cmp.Diff(tt.want, got, ignore); d != "" {
				t.Errorf("pairs (-want +got):\n%s", d)
			}
		})
	}
}

func TestPairsLeftOut(t *testing.T) {
	c := started(Config{})
	gone := func(e *Event) { e.ClientGone = true }
	c.Pair(with(event(false, 0, ``), gone), event(true, 200, `[1]`))
	c.Pair(with(event(false, 200, `[1]`), func(e *Event) { e.Epoch = 5 }), event(true, 200, `[1]`))
	if p := only(t, c).Shadow; p.N != 0 || c.Dropped() != (Drops{Epochs: 1}) {
		t.Errorf("pairs %+v, drops %+v", p, c.Dropped())
	}
}

func TestNotify(t *testing.T) {
	silent := []*Event{event(false, 500, ``), event(true, 200, `[1]`), event(true, 404, ``), with(event(true, 500, ``), func(e *Event) { e.Direct = true })}
	c := started(Config{})
	for _, e := range silent {
		c.Primary(e)
	}
	c.Close()
	select {
	case <-c.Notify():
		t.Error("woken without a candidate failure")
	default:
	}
	loud := map[string]func(*Collector){
		"error":          func(c *Collector) { c.Primary(event(true, 500, ``)) },
		"invalid":        func(c *Collector) { c.Primary(event(true, 200, `[NaN]`)) },
		"shadow error":   func(c *Collector) { c.Pair(event(false, 200, `[1]`), event(true, 500, ``)) },
		"shadow invalid": func(c *Collector) { c.Pair(event(false, 200, `[1]`), event(true, 200, `[`)) },
	}
	for name, do := range loud {
		c := started(Config{})
		do(c)
		do(c) // coalesced
		c.Close()
		select {
		case <-c.Notify():
		default:
			t.Errorf("%s: not woken", name)
		}
		select {
		case <-c.Notify():
			t.Errorf("%s: woken twice", name)
		default:
		}
	}
}

// TestPromise10RecordingNeverBlocks: with the worker stuck, recording goes on,
// holds no more than its bounds, and counts every body that it had no room for.
func TestPromise10RecordingNeverBlocks(t *testing.T) {
	body := bytes.Repeat([]byte(" "), 100)
	copy(body, "[1]")
	for name, cfg := range map[string]Config{"by number": {QueueSize: 10, Workers: 1}, "by bytes": {QueueBytes: 1003, Workers: 1}} {
		t.Run(name, func(t *testing.T) {
			c := started(cfg)
			release := stall(t, c)
			for range 1000 {
				e := event(true, 200, "")
				e.Body = body
				c.Primary(e)
				if got := c.bytes.Load(); got > 1103 {
					t.Fatalf("%d bytes are queued", got)
				}
			}
			c.Pair(event(false, 200, `[1]`), with(event(true, 500, ``), func(e *Event) { e.Body = body }))
			c.Pair(event(false, 500, ``), with(event(true, 200, ``), func(e *Event) { e.Body = body }))
			c.Again(event(false, 200, `[1]`), with(event(false, 200, ``), func(e *Event) { e.Body = body }))
			release()
			ev := only(t, c)
			n, p := ev.Arms[judge.Candidate], ev.Shadow
			if n.Requests != 1000 || n.Units != 1000 || n.Dropped != 990 || n.Scored != 10 || n.AnsweredUnits != 10 {
				t.Errorf("requests %d, units %d, dropped %d, scored %d, answered %d; want 1000, 1000, 990, 10, 10", n.Requests, n.Units, n.Dropped, n.Scored, n.AnsweredUnits)
			}
			if p.N != 2 || p.Dropped != 2 || p.NotComparable != 2 || p.OnlyShadowBad != 1 || p.OnlyStableBad != 1 || p.ShadowErrors != 1 {
				t.Errorf("pairs: %+v", p)
			}
			if p.RepeatsLost != 1 || p.Repeats != 0 {
				t.Errorf("repeats: %+v", p)
			}
			if d := c.Dropped(); d != (Drops{Bodies: 990, Pairs: 2, Again: 1}) {
				t.Errorf("drops: %+v", d)
			}
			if b := c.bytes.Load(); b != 0 {
				t.Errorf("%d bytes are still accounted for", b)
			}
		})
	}
}

func TestClosedCollectorStillCounts(t *testing.T) {
	c := started(Config{})
	c.Close()
	c.Primary(event(true, 200, `[1]`))
	n := only(t, c).Arms[judge.Candidate]
	if n.Requests != 1 || n.Dropped != 1 || n.Scored != 0 {
		t.Errorf("counts: %+v", n)
	}
}

// TestPromise11NeverInventsAScore: no answer without a number in it adds to the
// score sums, and what carries none is counted under its own name.
func TestPromise11NeverInventsAScore(t *testing.T) {
	tests := map[string]func(judge.Counts) uint64{
		``: invalids, `{"result":[]}`: invalids, `{"result":null}`: invalids, `{"result":[NaN,0.5]}`: invalids, `[Infinity]`: invalids, `[0.5`: invalids, `<p>1</p>`: invalids, `{"error":"7 of 9"}`: invalids,
		`{"status":200,"took_ms":12}`:                                      func(n judge.Counts) uint64 { return n.Opaque },
		`{"outputs":[{"shape":[3],"parameters":{"binary_data_size":12}}]}`: func(n judge.Counts) uint64 { return n.Unparsed },
		`"model 3"`: func(n judge.Counts) uint64 { return n.AnsweredUnits },
	}
	for body, count := range tests {
		c := started(Config{Cutoffs: []float64{-1}})
		c.Primary(event(true, 200, body))
		n := only(t, c).Arms[judge.Candidate]
		if n.Scored != 0 || !n.ScoreSum.IsZero() || n.ScoreRange.Seen || len(n.Above) != 0 {
			t.Errorf("%q: a score was counted: %+v", body, n.ScoreRange)
		}
		if count(n) != 1 {
			t.Errorf("%q: not counted under its name", body)
		}
	}
	c := started(Config{})
	c.Primary(with(event(true, 200, `[0.5]`), func(e *Event) { e.Meta.Truncated = true }))
	if n := only(t, c).Arms[judge.Candidate]; n.Scored != 0 || n.Unparsed != 1 {
		t.Errorf("a truncated answer was scored: %+v", n)
	}
}

func invalids(n judge.Counts) uint64 { return n.Invalid }

// TestConcurrentSumIsExact: many producers, epochs that open meanwhile, and
// snapshots in between; what comes out equals one producer's serial counts.
func TestConcurrentSumIsExact(t *testing.T) {
	const producers, each = 8, 500
	cfg := Config{Cutoffs: []float64{.5}, Tolerance: .01, Workers: 2, QueueSize: 2 * producers * each, MaxKeys: 1 << 20}
	record := func(c *Collector, p int) {
		r := rand.New(rand.NewPCG(1, uint64(p)))
		for i := range each {
			s := event(false, 200, fmt.Sprintf(`{"result":[%g,%g]}`, r.Float64(), r.Float64()))
			k := event(true, []int{200, 200, 500, 422}[r.IntN(4)], fmt.Sprintf(`[%g,%g]`, r.Float64(), r.Float64()))
			s.Epoch = 1 + uint32(r.IntN(2))
			k.Epoch, k.Latency = s.Epoch, time.Duration(r.IntN(1e8))
			if k.Keyed = r.IntN(2) == 0; k.Keyed {
				k.Key = uint64(p*each + i)
			}
			c.Primary(s)
			c.Primary(k)
			c.Pair(s, k)
			copy(s.Body, "overwritten") // the Collector must have its own copy
			copy(k.Body, "overwritten")
		}
	}
	open := func() *Collector {
		c := started(cfg)
		c.Begin(judge.EpochInfo{ID: 2, WeightBP: 5000})
		return c
	}
	serial, shared := open(), open()
	var wg sync.WaitGroup
	for p := range producers {
		record(serial, p)
		wg.Go(func() { record(shared, p) })
	}
	wg.Go(func() {
		for id := uint32(3); id <= maxKeyedEpochs; id++ {
			shared.Begin(judge.EpochInfo{ID: id})
			shared.Snapshot()
		}
	})
	wg.Wait()
	serial.Close()
	shared.Close()
	if d := serial.Dropped(); d != (Drops{}) {
		t.Fatalf("serial drops: %+v", d)
	}
	if d := shared.Dropped(); d != (Drops{}) {
		t.Fatalf("drops: %+v", d)
	}
	a, b := serial.Snapshot(), shared.Snapshot()
	if d := cmp.Diff(a.Epochs[:2], b.Epochs[:2], cmp.AllowUnexported(judge.Fixed{})); d != "" {
		t.Errorf("serial and concurrent evidence differ:\n%s", d)
	}
	if n := a.Epochs[0].Shadow.N + a.Epochs[1].Shadow.N; n != producers*each {
		t.Errorf("%d pairs, want %d", n, producers*each)
	}
}

func TestReaderDefectIsCounted(t *testing.T) {
	c := started(Config{Workers: 1})
	c.cfg.Extractor = nil // any defect will do
	c.Primary(event(true, 200, `[1]`))
	if n := only(t, c).Arms[judge.Candidate]; n.Unparsed != 1 || n.Scored != 0 || c.Dropped() != (Drops{Panics: 1}) {
		t.Errorf("counts %+v, drops %+v", n, c.Dropped())
	}
}

func TestLargeBuffersAreNotKept(t *testing.T) {
	c := started(Config{})
	defer c.Close()
	j := &job{}
	j.events[0].Body, j.events[1].Body = make([]byte, maxKeptBuffer+1), make([]byte, 10)
	c.release(j)
	if cap(j.events[0].Body) != 0 || cap(j.events[1].Body) != 10 || len(j.events[1].Body) != 0 {
		t.Errorf("kept %d and %d bytes", cap(j.events[0].Body), cap(j.events[1].Body))
	}
}

func BenchmarkPrimary(b *testing.B) {
	for name, change := range map[string]func(*Event){"coin": func(*Event) {}, "keyed": key(1), "error": func(e *Event) { e.Status, e.Failed = 500, true }} {
		b.Run(name, func(b *testing.B) {
			c := started(Config{Cutoffs: []float64{.05}})
			defer c.Close()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				e := with(event(true, 200, `{"result": [0.03489151951000012, 0.02710000000001323]}`), change)
				for pb.Next() {
					c.Primary(e)
				}
			})
			b.ReportMetric(float64(c.Dropped().Bodies)/float64(b.N), "dropped/op")
		})
	}
}

// BenchmarkKept is the whole cost of an event, with the worker's part: nothing is dropped.
func BenchmarkKept(b *testing.B) {
	c := started(Config{Cutoffs: []float64{.05}})
	e := event(true, 200, `{"result": [0.03489151951000012, 0.02710000000001323]}`)
	b.ReportAllocs()
	for b.Loop() {
		for len(c.queue) == cap(c.queue) {
			runtime.Gosched()
		}
		c.Primary(e)
	}
	c.Close()
	if d := c.Dropped(); d != (Drops{}) {
		b.Fatalf("drops: %+v", d)
	}
}

func BenchmarkPair(b *testing.B) {
	c := started(Config{Cutoffs: []float64{.05}, Tolerance: .01})
	defer c.Close()
	s, k := event(false, 200, `{"result": [0.03489151951000012]}`), event(true, 200, `{"result": [0.03489151951000013]}`)
	b.ReportAllocs()
	for b.Loop() {
		c.Pair(s, k)
	}
	b.ReportMetric(float64(c.Dropped().Pairs)/float64(b.N), "dropped/op")
}
