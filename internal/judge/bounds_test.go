package judge

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"
)

// TestPromise5FewSlowRequests: at 1 % of the traffic a handful of slow requests is
// enough to revert, yet a candidate just as slow as production is not, looked at
// after every single request.
func TestPromise5FewSlowRequests(t *testing.T) {
	t.Parallel()
	p := DefaultPolicy()
	const runs = 60
	reverted := 0
	for seed := range uint64(runs) {
		w := newWorld(9000 + seed)
		w.tail = [2]float64{.02, .02}
		c := w.calibration(p, 1000)
		w.epoch(EpochInfo{WeightBP: 100})
		for n := 0; n < 1500; n++ {
			before := w.evidence.Epochs[0].Arms[Candidate].Units
			w.requests(1, n)
			if w.evidence.Epochs[0].Arms[Candidate].Units == before {
				continue // a request of stable's alone never adds to what speaks against the candidate
			}
			if v := Judge(p, c, w.evidence, Window{}); v.Action == Revert {
				reverted++
				break
			}
		}
	}
	if reverted > tooMany(runs, .01) {
		t.Errorf("%d of %d equally slow candidates reverted, want about 1 %% at most", reverted, runs)
	}
	w := newWorld(1)
	c := w.calibration(p, 1000)
	w.epoch(EpochInfo{WeightBP: 100})
	w.requests(500, 0)
	w.latency[Candidate] = 100
	n := 0
	for ; Judge(p, c, w.evidence, Window{}).Action != Revert; n++ {
		w.request(&w.evidence.Epochs[0].Arms[Candidate], Candidate, 0, &Window{})
	}
	if n > 6 {
		t.Errorf("a candidate a hundred times slower took %d requests, want at most 6", n)
	}
}

// TestPromise5LatencyWhereStableFailsQuickly: half of stable's requests end at once
// with an error, and none of a candidate whose answers take as long as stable's.
func TestPromise5LatencyWhereStableFailsQuickly(t *testing.T) {
	t.Parallel()
	p := DefaultPolicy()
	const runs = 40
	reverted := 0
	for seed := range uint64(runs) {
		w := newWorld(9500 + seed)
		w.quick, w.tail = true, [2]float64{.05, .05}
		c := w.calibration(p, 1000)
		w.errorRate = func(arm Arm, _ int) float64 { return []float64{.5, 0}[arm] }
		w.epoch(EpochInfo{WeightBP: 1000})
		for n := 0; n < 20000; n += 200 {
			w.requests(200, n)
			if v := Judge(p, c, w.evidence, w.window()); v.Action == Revert {
				reverted++
				break
			}
		}
	}
	if reverted > tooMany(runs, .01) {
		t.Errorf("%d of %d candidates reverted that only lack stable's errors, want about 1 %% at most", reverted, runs)
	}
}

// TestPromise5BreakerWhereStableFails: both arms fail 5 % of their requests, at equal
// rates and at the margin; ten seconds hold from a handful to hundreds of requests.
func TestPromise5BreakerWhereStableFails(t *testing.T) {
	t.Parallel()
	p := DefaultPolicy()
	const runs = 200
	for _, ratio := range []float64{1, 1.25} {
		fired := 0
		for seed := range uint64(runs) {
			rng := rand.New(rand.NewPCG(seed, uint64(100*ratio)))
			var s sums
			var slices [10]Window
			done := false
			for second := 0; second < 300 && !done; second++ {
				var now, win Window
				for range 1 + int(seed%4)*10 {
					arm := Stable
					if rng.Float64() < .1 {
						arm = Candidate
					}
					now.Requests[arm]++
					if rng.Float64() < []float64{.05, .05 * ratio}[arm] {
						now.Errors[arm]++
						s.events++
					}
				}
				slices[second%10] = now
				for _, x := range slices {
					win.Add(x)
				}
				win.WeightBP = 1000
				action, _, _ := breaker(p, &s, win)
				done = action == Revert
			}
			if done {
				fired++
			}
		}
		if fired > tooMany(runs, .0025) {
			t.Errorf("ratio %g: the breaker fired in %d of %d rollouts, want at most about 0.25 %%", ratio, fired, runs)
		}
		t.Logf("ratio %g: %d of %d", ratio, fired, runs)
	}
}

// TestPromise5ClientsThatKeepTheirArm: a few clients always fail, whoever answers, and
// come back at every step. Their arm is drawn once: at the margin, counting them again
// by the step's whole weight would double or treble the wrong reverts.
func TestPromise5ClientsThatKeepTheirArm(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(12, 1))
	const runs, clients = 120, 40
	wrong := 0
	for range runs {
		var drawn [clients]float64
		for i := range drawn {
			drawn[i] = rng.Float64() * fullWeight
		}
		var e Evidence
		highest := math.Inf(-1)
		kept := 0
		for _, bp := range []int{100, 500, 1000, 2500, 5000} {
			e.Epochs = append(e.Epochs, EpochEvidence{Info: EpochInfo{ID: uint32(bp), WeightBP: bp, KeptBP: kept}})
			ep := &e.Epochs[len(e.Epochs)-1]
			for _, i := range rng.Perm(clients) {
				switch {
				case drawn[i] < float64(kept):
					continue
				case drawn[i] < float64(bp):
					ep.Arms[Candidate].ErrorUnits++
				default:
					ep.Arms[Stable].ErrorUnits++
				}
				s := gather(e)
				highest = max(highest, logRatio(s.coinsOf(errorUnits), 1, revertGrid))
			}
			kept = bp
		}
		if highest >= math.Log(100) {
			wrong++
		}
	}
	if wrong > tooMany(runs, .01) {
		t.Errorf("%d of %d at 100 to 1, want about 1 %% at most", wrong, runs)
	}
	t.Logf("%d of %d at 100 to 1", wrong, runs)
}

// TestCountsBeyondReason: counts near 2^64 and shapes that no router makes give a
// verdict that can be written, and speak for nothing that they do not show.
func TestCountsBeyondReason(t *testing.T) {
	huge := uint64(math.MaxUint64)
	p := fullPolicy()
	p.Agreement.RepeatBP = 100
	c := newWorld(1).calibration(p, 1000)
	all := Counts{Requests: huge, Units: huge, Errors: huge, ErrorUnits: huge, LateErrorUnits: huge, InvalidUnits: huge, RefusalUnits: huge, AnsweredUnits: huge, Scored: huge, Varied: huge}
	quiet := Counts{Requests: huge, Units: huge, AnsweredUnits: huge}
	pairs := Pairs{N: huge, BothOK: huge, BothFailed: huge, OnlyShadowBad: huge, OnlyStableBad: huge, Compared: huge, Disagreed: huge, Repeats: huge, RepeatsDisagreed: huge, Scored: huge, StableVaried: huge}
	for name, e := range map[string]Evidence{
		"both full":       mixed(5000, all, all),
		"both quiet":      mixed(5000, quiet, quiet),
		"kept all":        {Epochs: []EpochEvidence{{Info: EpochInfo{WeightBP: 1000, KeptBP: 1000}, Arms: [2]Counts{all, all}}}},
		"kept more":       {Epochs: []EpochEvidence{{Info: EpochInfo{WeightBP: 1000, KeptBP: 9999}, Arms: [2]Counts{all, all}}}},
		"negative shares": {Epochs: []EpochEvidence{{Info: EpochInfo{WeightBP: -5, KeptBP: -9}, Arms: [2]Counts{all, all}}}},
		"pairs":           {Epochs: []EpochEvidence{{Info: EpochInfo{ShadowBP: 1}, Shadow: pairs}}},
	} {
		v := Judge(p, c, e, Window{})
		if _, err := json.Marshal(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if v.Action == Revert {
			t.Errorf("%s: both arms are alike, yet %s: %s", name, v.Reason, v.Message)
		}
	}
	for _, w := range []Window{{WeightBP: huge32, Requests: [2]uint64{huge, huge}, Errors: [2]uint64{huge, huge}}, {WeightBP: -1, SameKey: [2]uint64{huge, huge}}, {ShadowPairs: huge, ShadowBothFailed: huge, ShadowOnlyShadow: huge, ShadowOnlyStable: huge}} {
		if v := Judge(p, c, mixed(1000, quiet, quiet), w); v.Action == Revert {
			t.Errorf("window %+v: %s", w, v.Message)
		}
	}
}

const huge32 = math.MaxInt32
