// Package enginetest holds what every place to run in must do: the suite that each
// engine.Platform passes, and fakes of what the engine is joined to.
package enginetest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/rollout"
)

const (
	patience  = time.Minute // for whatever a platform does in its own time
	askedOnce = 40          // requests that stand for "all of them"
	look      = 5 * time.Millisecond
)

// Place is a platform under test and the world around it. A nil func is a
// capability that the place has not got; what needs it is skipped and says so.
type Place struct {
	Platform engine.Platform
	// Revision returns the n-th revision that starts and answers; Broken one whose
	// scorer never becomes ready.
	Revision func(n int) rollout.Revision
	Broken   func() rollout.Revision
	// Ask sends one scoring request, with the header value that reaches an arm
	// directly ("" for none), and returns the revision that answered, or "".
	Ask                           func(t *testing.T, header string) string
	HeaderStable, HeaderCandidate string
	// Restart returns the same place as a new process of ours finds it after a
	// crash; the Platform before is not used any more.
	Restart func(t *testing.T) Place
	// Overwrite changes the weights in force behind the platform's back.
	Overwrite func(t *testing.T)
	// Crash ends the scorer of a revision.
	Crash func(t *testing.T, revision string)
}

// Run runs the suite. Each test gets a place of its own.
func Run(t *testing.T, open func(t *testing.T) Place) {
	for _, c := range []struct {
		name string
		run  func(p *place)
	}{
		{"StartTwiceIsStartOnce", (*place).startTwice},
		{"StopTwiceAndUnknown", (*place).stopTwice},
		{"BrokenRevisionIsNeverReadyAndSaysWhy", (*place).brokenRevision},
		{"RoutesAreInForceWithTheirEpoch", (*place).routesInForce},
		{"WeightZeroIsNobodyFullIsEverybody", (*place).weights},
		{"BothArmsGetTheirShare", (*place).share},
		{"ShadowAnswersNobody", (*place).shadow},
		{"HeaderReachesAnArmDirectly", (*place).header},
		{"HandOverEmptiesTheCandidate", (*place).handOver},
		{"PromoteThenStopTheOld", (*place).promote},
		{"Promise7RevertNeedsNothingButTheRouter", (*place).revertAfterCrash},
		{"ShareOfNobodyIsNotInForce", (*place).shareOfNobody},
		{"RestartComesBackToTheRecord", (*place).restart},
		{"OverwrittenWeightsAreSeenAndPutBack", (*place).overwritten},
		{"CrashedScorerComesBack", (*place).crash},
		{"ObserveWhileApplying", (*place).concurrent},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(&place{Place: open(t), t: t}) })
	}
}

// place is a Place with the test that uses it.
type place struct {
	Place
	t *testing.T
}

// needs skips the test where the place lacks a capability.
func (p *place) needs(has bool, what string) {
	p.t.Helper()
	if !has {
		p.t.Skipf("this place cannot %s", what)
	}
}

// apply applies each action twice: all must be idempotent.
func (p *place) apply(actions ...rollout.Action) {
	p.t.Helper()
	for _, a := range actions {
		for _, which := range []string{"first", "second"} {
			if err := p.Platform.Apply(p.t.Context(), a); err != nil {
				p.t.Fatalf("applying %T %+v for the %s time: %v", a, a, which, err)
			}
		}
	}
}

func (p *place) observe() rollout.Observed {
	p.t.Helper()
	o, err := p.Platform.Observe(p.t.Context())
	if err != nil {
		p.t.Fatalf("observing: %v", err)
	}
	return o
}

// until waits for what a platform does in its own time.
func (p *place) until(what string, ok func(rollout.Observed) bool) rollout.Observed {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		o := p.observe()
		if ok(o) {
			return o
		}
		select {
		case <-ctx.Done():
			p.t.Fatalf("waited %s for %s; observed %+v", patience, what, o)
		case <-tick.C:
		}
	}
}

// start starts revisions and waits until they are ready.
func (p *place) start(revisions ...rollout.Revision) {
	p.t.Helper()
	for _, r := range revisions {
		p.apply(rollout.StartRevision{Revision: r})
	}
	for _, r := range revisions {
		p.until(r.Name+" ready", func(o rollout.Observed) bool { return o.Revisions[r.Name].Ready })
	}
}

// route puts routes in force and waits until they are observed.
func (p *place) route(r rollout.Routing) {
	p.t.Helper()
	p.apply(rollout.SetRouting{Routing: r})
	p.until("the routes in force", func(o rollout.Observed) bool { return o.InForce.Epoch == r.Epoch && !o.InForce.Overwritten })
}

// all asks often and fails unless every answer is this revision's.
func (p *place) all(revision, header, when string) {
	p.t.Helper()
	for range askedOnce {
		if got := p.Ask(p.t, header); got != revision {
			p.t.Fatalf("%s: %q answered a request with header %q, want %q", when, got, header, revision)
		}
	}
}

func (p *place) startTwice() {
	a := p.Revision(1)
	p.start(a)
	o := p.observe()
	want := rollout.RevisionStatus{Started: true, Ready: true, ReadyReplicas: max(o.Revisions[a.Name].ReadyReplicas, 1), WantReplicas: o.Revisions[a.Name].WantReplicas}
	if len(o.Revisions) != 1 || o.Revisions[a.Name] != want {
		p.t.Errorf("observed %+v, want %s alone, as %+v", o.Revisions, a.Name, want)
	}
}

func (p *place) stopTwice() {
	a := p.Revision(1)
	p.apply(rollout.StopRevision{Revision: p.Revision(9)})
	p.start(a)
	p.apply(rollout.StopRevision{Revision: a})
	p.until(a.Name+" gone", func(o rollout.Observed) bool { return len(o.Revisions) == 0 })
	p.apply(rollout.StopRevision{Revision: a})
}

func (p *place) brokenRevision() {
	p.needs(p.Broken != nil, "start a version that is broken")
	b := p.Broken()
	p.apply(rollout.StartRevision{Revision: b})
	o := p.until("a failure of "+b.Name, func(o rollout.Observed) bool { return o.Revisions[b.Name].CrashLooping })
	if r := o.Revisions[b.Name]; r.Ready || r.ReadyReplicas != 0 || r.Failure == "" {
		p.t.Errorf("observed %+v, want a revision that is not ready and says why", r)
	}
	p.apply(rollout.StopRevision{Revision: b})
	p.until(b.Name+" gone", func(o rollout.Observed) bool { return len(o.Revisions) == 0 })
}

func (p *place) routesInForce() {
	a, b := p.Revision(1), p.Revision(2)
	p.start(a, b)
	p.route(rollout.Routing{Epoch: 1, Stable: a.Name})
	p.route(rollout.Routing{Epoch: 2, Rollout: "ep-1", Stable: a.Name, Candidate: b.Name, WeightBP: 1000})
	p.route(rollout.Routing{Epoch: 3, Rollout: "ep-1", Stable: a.Name, Candidate: b.Name, WeightBP: 5000})
	p.route(rollout.Routing{Epoch: 4, Rollout: "ep-1", Stable: a.Name})
}

func (p *place) weights() {
	p.needs(p.Ask != nil, "send requests")
	a, b := p.Revision(1), p.Revision(2)
	p.start(a, b)
	p.route(rollout.Routing{Epoch: 1, Rollout: "ep-1", Stable: a.Name, Candidate: b.Name})
	p.all(a.Name, "", "weight 0")
	p.route(rollout.Routing{Epoch: 2, Rollout: "ep-1", Stable: a.Name, Candidate: b.Name, WeightBP: 10000})
	p.all(b.Name, "", "full weight")
	p.route(rollout.Routing{Epoch: 3, Rollout: "ep-1", Stable: a.Name, Candidate: b.Name})
	p.all(a.Name, "", "weight 0 again")
}

// share: of 200 requests at 50 %, fewer than 50 of one arm is a chance of 1e-13.
func (p *place) share() {
	p.needs(p.Ask != nil, "send requests")
	a, b := p.Revision(1), p.Revision(2)
	p.start(a, b)
	p.route(rollout.Routing{Epoch: 1, Rollout: "ep-1", Stable: a.Name, Candidate: b.Name, WeightBP: 5000})
	got := map[string]int{}
	for range 200 {
		got[p.Ask(p.t, "")]++
	}
	if got[a.Name] < 50 || got[b.Name] < 50 || got[a.Name]+got[b.Name] != 200 {
		p.t.Errorf("of 200 requests at 50 %%: %v", got)
	}
}

func (p *place) shadow() {
	p.needs(p.Ask != nil, "send requests")
	a, b := p.Revision(1), p.Revision(2)
	p.start(a, b)
	p.route(rollout.Routing{Epoch: 1, Rollout: "ep-1", Stable: a.Name, Candidate: b.Name, ShadowBP: 10000})
	p.all(a.Name, "", "all shadowed")
}

func (p *place) header() {
	p.needs(p.Ask != nil && p.HeaderCandidate != "", "reach an arm by header")
	a, b := p.Revision(1), p.Revision(2)
	p.start(a, b)
	p.route(rollout.Routing{Epoch: 1, Rollout: "ep-1", Stable: a.Name, Candidate: b.Name})
	p.all(b.Name, p.HeaderCandidate, "weight 0")
	p.route(rollout.Routing{Epoch: 2, Rollout: "ep-1", Stable: a.Name, Candidate: b.Name, WeightBP: 10000})
	p.all(a.Name, p.HeaderStable, "full weight")
	p.route(rollout.Routing{Epoch: 3, Stable: a.Name})
	p.all(a.Name, p.HeaderCandidate, "no candidate")
}

func (p *place) handOver() {
	p.needs(p.Ask != nil, "send requests")
	a, b := p.Revision(1), p.Revision(2)
	p.start(a, b)
	p.route(rollout.Routing{Epoch: 1, Rollout: "ep-1", Stable: a.Name, Candidate: b.Name, WeightBP: 10000})
	p.route(rollout.Routing{Epoch: 2, Rollout: "ep-1", Stable: a.Name, Candidate: b.Name, WeightBP: 10000, HandOver: true})
	p.all(a.Name, "", "handed over")
	if p.HeaderCandidate != "" {
		p.all(b.Name, p.HeaderCandidate, "handed over, for debugging")
	}
}

func (p *place) promote() {
	a, b := p.Revision(1), p.Revision(2)
	p.start(a, b)
	p.route(rollout.Routing{Epoch: 1, Rollout: "ep-1", Stable: a.Name, Candidate: b.Name, WeightBP: 5000})
	p.route(rollout.Routing{Epoch: 2, Rollout: "ep-1", Stable: b.Name})
	p.apply(rollout.PromoteRevision{Revision: b}, rollout.StopRevision{Revision: a})
	o := p.until(a.Name+" gone", func(o rollout.Observed) bool { _, there := o.Revisions[a.Name]; return !there })
	if !o.Revisions[b.Name].Ready || o.InForce.Epoch != 2 {
		p.t.Errorf("observed %+v, want %s ready under epoch 2", o, b.Name)
	}
	if p.Ask != nil {
		p.all(b.Name, "", "promoted")
	}
}

// revertAfterCrash reverts while the candidate is down and nothing can be started.
func (p *place) revertAfterCrash() {
	p.needs(p.Crash != nil && p.Ask != nil, "crash a scorer")
	a, b := p.Revision(1), p.Revision(2)
	p.start(a, b)
	p.route(rollout.Routing{Epoch: 1, Rollout: "ep-1", Stable: a.Name, Candidate: b.Name, WeightBP: 10000})
	p.Crash(p.t, b.Name)
	p.route(rollout.Routing{Epoch: 2, Rollout: "ep-1", Stable: a.Name, Candidate: b.Name, HandOver: true})
	p.all(a.Name, "", "reverted")
}

// shareOfNobody: a weight for a revision that does not run is an error or is not
// observed in force; either way stable answers.
func (p *place) shareOfNobody() {
	a, b := p.Revision(1), p.Revision(2)
	p.start(a)
	p.route(rollout.Routing{Epoch: 1, Stable: a.Name})
	err := p.Platform.Apply(p.t.Context(), rollout.SetRouting{Routing: rollout.Routing{Epoch: 2, Rollout: "ep-1", Stable: a.Name, Candidate: b.Name, WeightBP: 5000}})
	if o := p.observe(); err == nil && o.InForce.Epoch == 2 {
		p.t.Errorf("half of the requests go to %s, which does not run: observed %+v", b.Name, o)
	}
	if p.Ask != nil {
		p.all(a.Name, "", "a share of nobody")
	}
	p.route(rollout.Routing{Epoch: 3, Stable: a.Name})
}

func (p *place) restart() {
	p.needs(p.Restart != nil, "be restarted")
	a, b := p.Revision(1), p.Revision(2)
	p.start(a, b)
	r := rollout.Routing{Epoch: 7, Rollout: "ep-1", Stable: a.Name, Candidate: b.Name, WeightBP: 10000}
	p.route(r)
	p.Place = p.Restart(p.t)
	p.start(a, b)
	p.route(r)
	if p.Ask != nil {
		p.all(b.Name, "", "after the restart")
	}
}

func (p *place) overwritten() {
	p.needs(p.Overwrite != nil, "be overwritten")
	a, b := p.Revision(1), p.Revision(2)
	p.start(a, b)
	p.route(rollout.Routing{Epoch: 1, Rollout: "ep-1", Stable: a.Name, Candidate: b.Name, WeightBP: 1000})
	p.Overwrite(p.t)
	p.until("the overwriting to be seen", func(o rollout.Observed) bool { return o.InForce.Overwritten })
	p.route(rollout.Routing{Epoch: 2, Rollout: "ep-1", Stable: a.Name, Candidate: b.Name, WeightBP: 1000})
}

func (p *place) crash() {
	p.needs(p.Crash != nil, "crash a scorer")
	a := p.Revision(1)
	p.start(a)
	p.route(rollout.Routing{Epoch: 1, Stable: a.Name})
	p.Crash(p.t, a.Name)
	o := p.until(a.Name+" back", func(o rollout.Observed) bool { return o.Revisions[a.Name].Ready && o.Revisions[a.Name].Restarts > 0 })
	if o.InForce.Epoch != 1 {
		p.t.Errorf("observed %+v, want epoch 1 in force: a new address is no new epoch", o)
	}
	if p.Ask != nil {
		p.all(a.Name, "", "started again")
	}
}

func (p *place) concurrent() {
	a, b := p.Revision(1), p.Revision(2)
	p.start(a, b)
	var wait sync.WaitGroup
	wait.Go(func() {
		for range 50 {
			if _, err := p.Platform.Observe(p.t.Context()); err != nil {
				p.t.Errorf("observing: %v", err)
			}
		}
	})
	for i := range 20 {
		p.apply(rollout.SetRouting{Routing: rollout.Routing{Epoch: uint32(i + 1), Rollout: "ep-1", Stable: a.Name, Candidate: b.Name, WeightBP: 500 * i}})
	}
	wait.Wait()
	p.until("the last routes", func(o rollout.Observed) bool { return o.InForce.Epoch == 20 })
}
