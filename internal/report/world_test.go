package report

import (
	"math/rand/v2"
	"time"

	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

var begun = time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)

// world is a rollout of safe-driver from version 1 to 2 whose requests are drawn one
// by one. Its verdict is what the judge said of them when -rejudge was last given: a
// judge that has learned something changes no report.
type world struct {
	name     string
	facts    Facts
	rng      *rand.Rand
	policy   judge.Policy
	calm     judge.Calibration
	evidence judge.Evidence
	// fails are the error rates of both arms, wrong the share of shadow answers that differ.
	fails [2]float64
	wrong float64
	now   time.Time
}

func newWorld(name string) *world {
	stable := rollout.Revision{Name: "safe-driver-r1", Number: 1, Digest: "6f1c0d22ab01", Version: "1"}
	w := &world{name: name, rng: rand.New(rand.NewPCG(1, 2)), now: begun, facts: Facts{
		Endpoint: "safe-driver", Namespace: "abtesting", Address: "mlmodel.example", ID: "safe-driver-2", Number: 2, From: &stable,
		To:        rollout.Revision{Name: "safe-driver-r2", Number: 2, Digest: "77ab90e4cc02", Version: "2"},
		Images:    map[string]string{"safe-driver-r2": "contoso.example/safe-driver@sha256:2222"},
		StartedAt: begun, Digest: "0a1b2c3d4e5f", Flags: "--namespace abtesting",
	}}
	w.policy = judge.Policy{
		FalseRevert: .01, FalsePromote: .05, Errors: judge.RatioMargin{RevertAbove: 1.25, PromoteBelow: 2, OrWithin: .001},
		Latency: judge.LatencyMargin{RevertAbove: 1.1, PromoteBelow: 1.25, At: []float64{.5, .9, .99}}, Invalid: judge.ShareMargin{RevertAbove: .001, PromoteBelow: .01},
		Agreement: &judge.AgreementMargin{Tolerance: .01, RevertBelow: .9, PromoteAbove: .95}, MinCalibration: 1000, HarmBudget: 50,
	}
	for _, s := range []Step{{Name: "shadow", ShadowBP: 10000}, {Name: "1%", WeightBP: 100}, {Name: "10%", WeightBP: 1000}, {Name: "50%", WeightBP: 5000, Approval: true}, {Name: "100%", WeightBP: 10000}} {
		s.State = "Waiting"
		w.facts.Steps = append(w.facts.Steps, s)
	}
	var before judge.Counts
	for range 2000 {
		before.Requests++
		before.AddLatency(w.latency())
	}
	var ok bool
	if w.calm, ok = judge.Calibrate(w.policy, &before); !ok {
		panic("2,000 requests do not calibrate")
	}
	return w
}

func (w *world) latency() time.Duration {
	return time.Duration((4 + 2*w.rng.ExpFloat64()) * float64(time.Millisecond))
}

// step enters the next step and sends n requests in d.
func (w *world) step(n int, d time.Duration) *world {
	i := 0
	for i < len(w.facts.Steps) && w.facts.Steps[i].State != "Waiting" {
		w.facts.Steps[i].State = "Done"
		i++
	}
	s, at := &w.facts.Steps[i], w.now
	s.State, s.EnteredAt = "Current", &at
	w.facts.Events = append(w.facts.Events, Event{At: at, Kind: "Transition", Reason: "StepEntered", Message: "entered step " + s.Name})
	w.facts.Weights = Weights{PlannedBP: s.WeightBP, InForceBP: s.WeightBP, ShadowBP: s.ShadowBP}
	ep := judge.EpochEvidence{Info: judge.EpochInfo{ID: uint32(i + 1), Step: i, WeightBP: s.WeightBP, ShadowBP: s.ShadowBP}}
	for range n {
		w.request(&ep, s)
	}
	if of := s.Counts.StableRequests + s.Counts.CandidateRequests; of > 0 {
		seen := int(10000 * s.Counts.CandidateRequests / of)
		if s.ShadowBP > 0 {
			seen = int(10000 * s.Counts.Pairs / of)
		}
		s.SeenBP = &seen
	}
	w.evidence.Epochs = append(w.evidence.Epochs, ep)
	w.now = w.now.Add(d)
	return w
}

func (w *world) request(ep *judge.EpochEvidence, s *Step) {
	arm := judge.Stable
	if w.rng.IntN(10000) < s.WeightBP {
		arm = judge.Candidate
	}
	c, failed := &ep.Arms[arm], w.rng.Float64() < w.fails[arm]
	c.Requests, c.Units = c.Requests+1, c.Units+1
	c.AddLatency(w.latency())
	requests, errors, all := &s.Counts.StableRequests, &s.Counts.StableErrors, &w.facts.Counts
	if arm == judge.Candidate {
		requests, errors = &s.Counts.CandidateRequests, &s.Counts.CandidateErrors
		all.CandidateRequests++
	} else {
		all.StableRequests++
	}
	*requests++
	switch {
	case failed && arm == judge.Candidate: // stable answered all but one in ten
		c.Errors, c.ErrorUnits, *errors, all.CandidateErrors = c.Errors+1, c.ErrorUnits+1, *errors+1, all.CandidateErrors+1
		if all.CandidateErrors%10 != 0 {
			c.FellBack, s.Counts.FellBack, all.FellBack = c.FellBack+1, s.Counts.FellBack+1, all.FellBack+1
		}
	case failed:
		c.Errors, c.ErrorUnits, *errors, all.StableErrors = c.Errors+1, c.ErrorUnits+1, *errors+1, all.StableErrors+1
	default:
		c.AnsweredUnits++
		c.AddScore(w.rng.Float64())
	}
	if w.rng.IntN(10000) >= s.ShadowBP {
		return
	}
	p := &ep.Shadow
	p.N, p.BothOK, p.Compared = p.N+1, p.BothOK+1, p.Compared+1
	s.Counts.Pairs, all.Pairs, all.Compared = s.Counts.Pairs+1, all.Pairs+1, all.Compared+1
	score := w.rng.Float64()
	p.AddScores(score, score+w.wrong)
	if w.rng.Float64() < w.wrong {
		p.Disagreed, s.Counts.Disagreed, all.Disagreed = p.Disagreed+1, s.Counts.Disagreed+1, all.Disagreed+1
	}
}

// verdicts are by the name of the rollout.
var verdicts = map[string]judge.Verdict{}

// judged says the verdict on all that was seen.
func (w *world) judged() *world {
	if *rejudge {
		verdicts[w.name] = judge.Judge(w.policy, &w.calm, w.evidence, judge.Window{})
	}
	w.facts.Verdict = verdicts[w.name]
	w.facts.At = w.now
	return w
}

// decided says the decision while the rollout runs.
func (w *world) decided(action judge.Action, reason rollout.Reason, message string) *world {
	w.judged()
	w.facts.Decision = Decision{Action: string(action), Reason: string(reason), Message: message, At: w.now}
	return w
}

// ended says how it ended; an empty reason is the judge's.
func (w *world) ended(o rollout.Outcome, reason rollout.Reason, message string) *world {
	w.judged()
	if reason == "" {
		reason, message = w.facts.Verdict.Reason, w.facts.Verdict.Message
	}
	action := judge.Revert
	if o == rollout.Promoted {
		action = judge.Advance
		for i := range w.facts.Steps {
			w.facts.Steps[i].State = "Done"
		}
		at := w.now
		w.facts.Steps[len(w.facts.Steps)-1].EnteredAt = &at
	} else {
		for i := range w.facts.Steps {
			if w.facts.Steps[i].State == "Current" {
				w.facts.Steps[i].State = "Waiting"
			}
		}
	}
	w.decided(action, reason, message)
	at := w.now
	w.facts.Outcome, w.facts.EndedAt = o, &at
	w.facts.At = at.Add(time.Minute)
	w.facts.Events = append(w.facts.Events, Event{At: at, Kind: "Transition", Reason: string(reason), Message: message})
	return w
}

func (w *world) approved(step, by, on string) *world {
	a := rollout.Approval{Step: step, By: by, OnBehalfOf: on, At: w.now, EvidenceDigest: "0a1b2c3d4e5f"}
	w.facts.Approvals = append(w.facts.Approvals, a)
	yes := true
	w.facts.Events = append(w.facts.Events, Event{At: w.now, Kind: "Action", By: by, OnBehalfOf: on, Reason: "Accepted", Message: "Approve: step " + step + " approved by " + by, EvidenceDigest: a.EvidenceDigest, Accepted: &yes})
	return w
}
