package judge

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// alike compares unexported state too: Fixed sums must be equal bit for bit.
var alike = cmp.AllowUnexported(Fixed{})

func randomEvidence(seed uint64) Evidence {
	w := newWorld(seed)
	w.errorRate = func(Arm, int) float64 { return .05 }
	w.invalid = [2]float64{.01, .02}
	w.score = func(arm Arm, b float64) float64 { return b*(1+.1*float64(arm)) - .01 }
	for step, bp := range []int{0, 100, 2500, 2500, 5000} {
		w.epoch(EpochInfo{Step: step, WeightBP: bp, ShadowBP: fullWeight / (step + 1), Calibrating: step == 0})
		w.requests(200, 0)
		ep := &w.evidence.Epochs[step]
		ep.Arms[Candidate].FellBack++
		ep.Shadow.Above = []Pair{{OnlyStable: 1}, {OnlyCandidate: 2}}
		ep.Shadow.Latency[Candidate].Observe(time.Second)
	}
	return w.evidence
}

// renumber gives every second epoch another ID, so that merges interleave.
func renumber(e Evidence, by uint32) Evidence {
	e = e.Merge(Evidence{})
	for i := range e.Epochs {
		e.Epochs[i].Info.ID += by * uint32(i%2) * 10
	}
	slices.SortFunc(e.Epochs, func(a, b EpochEvidence) int { return int(a.Info.ID) - int(b.Info.ID) })
	return e
}

func TestMergeIsCommutativeAndAssociative(t *testing.T) {
	a, b, c := randomEvidence(1), renumber(randomEvidence(2), 1), renumber(randomEvidence(3), 2)
	before := a.Merge(Evidence{})
	if diff := cmp.Diff(a.Merge(b), b.Merge(a), alike); diff != "" {
		t.Errorf("a+b and b+a differ:\n%s", diff)
	}
	if diff := cmp.Diff(a.Merge(b).Merge(c), a.Merge(b.Merge(c)), alike); diff != "" {
		t.Errorf("(a+b)+c and a+(b+c) differ:\n%s", diff)
	}
	if diff := cmp.Diff(before, a, alike); diff != "" {
		t.Errorf("merging changed an argument:\n%s", diff)
	}
	m := a.Merge(b)
	m.Epochs[0].Arms[0].Above[0].Sum = FixedOf(99)
	m.Epochs[0].Shadow.Above[0].OnlyStable = 99
	if diff := cmp.Diff(before, a, alike); diff != "" {
		t.Errorf("a merge shares memory with its argument:\n%s", diff)
	}
}

func TestEvidenceRoundTrip(t *testing.T) {
	e := randomEvidence(4)
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var back Evidence
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e, back, alike); diff != "" {
		t.Errorf("round trip:\n%s", diff)
	}
	again, err := json.Marshal(back)
	if err != nil || !bytes.Equal(data, again) {
		t.Errorf("the second writing differs (%v)", err)
	}
	t.Logf("%d bytes", len(data))
}

func TestEpoch(t *testing.T) {
	e := renumber(randomEvidence(5), 3)
	for _, want := range e.Epochs {
		got, ok := e.Epoch(want.Info.ID)
		if !ok || got.Info.ID != want.Info.ID {
			t.Errorf("epoch %d: got %d, %v", want.Info.ID, got.Info.ID, ok)
		}
	}
	if _, ok := e.Epoch(4_000_000_000); ok {
		t.Error("found an epoch that is not there")
	}
	c := e.Epochs[0].Clone()
	c.Arms[0].Above[0].Sum = FixedOf(7)
	if e.Epochs[0].Arms[0].Above[0].Sum == c.Arms[0].Above[0].Sum {
		t.Error("the clone shares memory")
	}
}

// TestPromise12VerdictIsAFunctionOfCounts: merged in any order, delivered again,
// written and read, the verdict is the same bit for bit.
func TestPromise12VerdictIsAFunctionOfCounts(t *testing.T) {
	p := fullPolicy()
	rng := rand.New(rand.NewPCG(9, 9))
	c := newWorld(9).calibration(p, 1200)
	parts := []Evidence{randomEvidence(10), randomEvidence(11), renumber(randomEvidence(12), 1), randomEvidence(13)}
	want := ""
	for round := range 10 {
		rng.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		var e Evidence
		for _, part := range parts {
			data, err := json.Marshal(part)
			if err != nil {
				t.Fatal(err)
			}
			var redelivered Evidence // a snapshot replaces the one before
			for range 2 {
				if err := json.Unmarshal(data, &redelivered); err != nil {
					t.Fatal(err)
				}
			}
			e = e.Merge(redelivered)
		}
		got, err := json.Marshal(Judge(p, c, e, Window{WeightBP: 2500, Requests: [2]uint64{90, 10}, Errors: [2]uint64{1, 2}}))
		if err != nil {
			t.Fatal(err)
		}
		if round > 0 && string(got) != want {
			t.Fatalf("round %d:\n%s\nwant\n%s", round, got, want)
		}
		want = string(got)
	}
}

func TestFixed(t *testing.T) {
	unit := new(big.Float).SetMantExp(big.NewFloat(1), fixedFraction)
	rng := rand.New(rand.NewPCG(3, 3))
	values := []float64{0, 1, -1, .5, -.5, -1e-15, 1e-15, MaxScore, -MaxScore, MaxScore * MaxScore, -MaxScore * MaxScore, 1<<62 - 1024, -(1<<62 - 1024), -math.Pi, 1e-300, -1e-300}
	for range 300 {
		values = append(values, rng.NormFloat64()*math.Exp(rng.Float64()*30-10))
	}
	sum, slow := Fixed{}, new(big.Int)
	for _, x := range values {
		f := FixedOf(x)
		exact := new(big.Float).Mul(new(big.Float).SetPrec(200).SetFloat64(x), unit)
		diff, _ := new(big.Float).Sub(new(big.Float).SetPrec(200).SetInt(f.raw()), exact).Float64()
		if math.Abs(diff) > .5 {
			t.Errorf("FixedOf(%g) is off by %g units, want at most half a unit", x, diff)
		}
		if got := f.Float(); math.Abs(got-x) > 2e-15+1e-15*math.Abs(x) {
			t.Errorf("FixedOf(%g).Float() = %g", x, got)
		}
		if got := f.Plus(f.negated()); !got.IsZero() {
			t.Errorf("%g minus itself is %v", x, got.Float())
		}
		sum = sum.Plus(f)
		slow.Add(slow, f.raw())
		data, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		var back Fixed
		if err := json.Unmarshal(data, &back); err != nil || back != f {
			t.Errorf("round trip of %g: %s gives %v (%v)", x, data, back, err)
		}
	}
	if sum.raw().Cmp(slow) != 0 {
		t.Errorf("sum %s, want %s", sum.raw(), slow)
	}
	for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1 << 62, -(1 << 62)} {
		if !FixedOf(x).IsZero() {
			t.Errorf("FixedOf(%g) is not 0", x)
		}
	}
	for _, bad := range []string{`1`, `"x"`, `""`, `"1.5"`, `"340282366920938463463374607431768211456"`, `{`} {
		var f Fixed
		if err := json.Unmarshal([]byte(bad), &f); err == nil {
			t.Errorf("%s accepted as %v", bad, f)
		}
	}
}

func TestScoresThatAreNone(t *testing.T) {
	var c Counts
	var p Pairs
	for _, y := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		c.AddScore(y)
		p.AddScores(y, 1)
		p.AddScores(1, y)
	}
	if c.Scored != 0 || p.Scored != 0 || !c.ScoreRange.IsZero() {
		t.Errorf("counted as scores: %+v %+v", c, p)
	}
	c.AddScore(1e30)
	c.AddScore(-1e30)
	if c.Clipped != 2 || c.ScoreRange.Max != MaxScore || c.ScoreRange.Min != -MaxScore || !c.ScoreSum.IsZero() {
		t.Errorf("clipping: %+v", c)
	}
	r := Range{}.Union(Range{}).With(2).Union(Range{}).Union(Range{Min: -1, Max: 1, Seen: true})
	if (r != Range{Min: -1, Max: 2, Seen: true}) {
		t.Errorf("range %+v", r)
	}
}

func TestHistogram(t *testing.T) {
	if BucketOf(-time.Second) != 0 || BucketOf(0) != 0 || BucketOf(1000*time.Hour) != HistogramBuckets-1 {
		t.Error("out of range latencies must go to the first or last bucket")
	}
	for i := range HistogramBuckets {
		if got := BucketOf(EdgeOf(i) + 2); got != i {
			t.Fatalf("just above edge %d lies bucket %d", i, got)
		}
	}
	rng := rand.New(rand.NewPCG(8, 8))
	var h Histogram
	if _, ok := h.Quantile(.5); ok || !h.IsZero() || h.Total() != 0 {
		t.Error("the empty histogram has no quantile")
	}
	var all []int
	for range 1001 {
		d := time.Duration(1e6 * math.Exp(rng.NormFloat64()))
		h.Observe(d)
		all = append(all, BucketOf(d))
	}
	slices.Sort(all)
	for _, q := range []float64{-1, 0, .001, .5, .9, .99, 1, 2} {
		got, ok := h.Quantile(q)
		rank := int(math.Ceil(min(max(q, 0), 1)*1001)) - 1
		if !ok || got != all[max(rank, 0)] {
			t.Errorf("quantile %g: bucket %d, want %d", q, got, all[max(rank, 0)])
		}
	}
	if _, ok := h.Quantile(math.NaN()); ok {
		t.Error("the NaN quantile exists")
	}
	if h.AtLeast(-5) != 1001 || h.AtLeast(9999) != 0 || h.AtLeast(all[500]) < 501 {
		t.Error("AtLeast miscounts")
	}
	for _, bad := range []string{`[1]`, `[224,1]`, `{}`, `[-1,2]`, `[1,1.5]`} {
		if err := json.Unmarshal([]byte(bad), &Histogram{}); err == nil {
			t.Errorf("%s accepted", bad)
		}
	}
}

func FuzzEvidenceJSON(f *testing.F) {
	data, err := json.Marshal(randomEvidence(6))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"epochs":[{"info":{"id":1,"step":0,"weightBP":1000,"shadowBP":0},"arms":[{"units":5},{"units":18446744073709551615,"errorUnits":18446744073709551615,"scored":200,"scoreRange":{"min":1,"max":1,"seen":true}}]}]}`))
	p := fullPolicy()
	c := newWorld(1).calibration(p, 1000)
	f.Fuzz(func(t *testing.T, data []byte) {
		var e Evidence
		if json.Unmarshal(data, &e) != nil || len(e.Epochs) > 50 {
			return
		}
		// Whatever the counts are: a verdict that can be written, and no panic.
		if _, err := json.Marshal(Judge(p, c, e, Window{})); err != nil {
			t.Fatal(err)
		}
	})
}
