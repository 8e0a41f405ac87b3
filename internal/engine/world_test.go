package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/engine/enginetest"
	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

var errDisk = errors.New("no space left on device")

// world is an engine with everything around it in memory, and a clock that only
// moves when a test lets it.
type world struct {
	*engine.Engine
	t        *testing.T
	clock    clock
	wish     engine.Wish
	platform *enginetest.Platform
	source   *enginetest.Source
	recorder *enginetest.Recorder
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, platform: enginetest.NewPlatform(), recorder: enginetest.NewRecorder()}
	w.clock.now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w.open()
	return w
}

// clock moves only when a test lets it.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// open plays a process that starts: it knows nothing but the record.
func (w *world) open() {
	w.t.Helper()
	w.source = enginetest.NewSource()
	e, _, err := engine.Open(w.t.Context(), w.config())
	if err != nil {
		w.t.Fatal(err)
	}
	w.Engine = e
	if err := e.Restore(w.t.Context(), w.wish); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) config() engine.Config {
	return engine.Config{Endpoint: "ep", Platform: w.platform, Source: w.source, Recorder: w.recorder, Logger: slog.New(slog.DiscardHandler), Clock: w.clock.time, Lag: 250 * time.Millisecond}
}

// policy decides after some hundred requests.
func policy() judge.Policy {
	p := judge.DefaultPolicy()
	p.MinCalibration = 200
	p.Errors.OrWithin = 0.05
	p.Latency = judge.LatencyMargin{RevertAbove: 4, PromoteBelow: 8, At: []float64{0.5, 0.9}}
	return p
}

func plan() rollout.Plan {
	return rollout.Plan{
		Steps:       []rollout.PlanStep{{Name: "10%", WeightBP: 1000}, {Name: "50%", WeightBP: 5000, Approval: true}, {Name: "100%", WeightBP: 10000}},
		MinRequests: 50, HarmBudget: 50, MaxDuration: 100 * time.Hour, ApprovalTimeout: 100 * time.Hour, ProgressDeadline: time.Hour, KeepOld: time.Hour,
	}
}

// apply asks for a version.
func (w *world) apply(version string) {
	w.t.Helper()
	w.wish = engine.Wish{Document: "version: " + version, Run: "run " + version, Target: rollout.Wish{Digest: version, Version: version}, Plan: plan(), Policy: policy()}
	if err := w.SetWish(w.t.Context(), w.wish, "anna", "applied "+version); err != nil {
		w.t.Fatal(err)
	}
}

// round serves requests, lets time pass and goes round the loop once.
func (w *world) round(requests int, failing float64) {
	w.source.Serve(w.platform.Routing(), requests, failing)
	w.clock.move(200 * time.Millisecond)
	w.Tick(w.t.Context())
}

// until goes round until something is so.
func (w *world) until(what string, requests int, failing float64, ok func() bool) {
	w.t.Helper()
	for range 2000 {
		if ok() {
			return
		}
		w.round(requests, failing)
	}
	w.t.Fatalf("went round 2000 times for %s; status %+v\nrollout %+v", what, w.Status(), w.Status().Rollout)
}

// inProduction serves a first version long enough for a calibration.
func (w *world) inProduction(version string) {
	w.t.Helper()
	w.apply(version)
	w.until(version+" in production", 0, 0, func() bool { s := w.Status(); return s.Stable != nil && s.Weights.Epoch > 0 })
	for range 5 {
		w.round(200, 0)
	}
}

// onTrial brings a version to its first weight.
func (w *world) onTrial(version string) {
	w.t.Helper()
	w.apply(version)
	w.until(version+" at 10%", 100, 0, func() bool { return w.platform.Routing().WeightBP == 1000 })
}

// atGate brings a version to the approval of 50 %.
func (w *world) atGate(version string) {
	w.t.Helper()
	w.onTrial(version)
	w.until("the gate", 200, 0, func() bool { return w.Status().Rollout.Decision.Reason == string(rollout.WaitingForApproval) })
}

// promoted brings a version into production.
func (w *world) promoted(version string) {
	w.t.Helper()
	w.atGate(version)
	if r := w.act("Approve", "50%"); !r.Accepted {
		w.t.Fatalf("approving: %+v", r)
	}
	w.until(version+" promoted", 200, 0, func() bool { return w.Status().Rollout.Outcome == "Promoted" })
}

// ask asks for an action and returns where the answer will be.
func (w *world) ask(a engine.ActionRequest) <-chan engine.ActionResult {
	answer := make(chan engine.ActionResult, 1)
	asked, cancel := context.WithCancel(w.t.Context())
	w.t.Cleanup(cancel)
	e := w.Engine
	go func() {
		if r, err := e.Act(asked, a); err == nil {
			answer <- r
		}
	}()
	return answer
}

// act asks for an action and goes round, without time passing, until it is answered.
func (w *world) act(action, step string) engine.ActionResult {
	w.t.Helper()
	answer := w.ask(engine.ActionRequest{Action: action, Step: step, By: "anna"})
	return w.answered(answer)
}

func (w *world) answered(answer <-chan engine.ActionResult) engine.ActionResult {
	w.t.Helper()
	for range 1_000_000 {
		select {
		case r := <-answer:
			return r
		default:
			w.Tick(w.t.Context())
			runtime.Gosched()
		}
	}
	w.t.Fatal("the action was never answered")
	return engine.ActionResult{}
}

func (w *world) condition(kind string) engine.Condition {
	w.t.Helper()
	for _, c := range w.Status().Conditions {
		if c.Type == kind {
			return c
		}
	}
	w.t.Fatalf("no condition %s", kind)
	return engine.Condition{}
}

func (w *world) degraded(want bool) {
	w.t.Helper()
	if c := w.condition("Degraded"); (c.Status == "True") != want {
		w.t.Fatalf("condition %+v, want Degraded %v", c, want)
	}
}

func (w *world) rollouts() []engine.RolloutRecord {
	w.t.Helper()
	all, err := w.recorder.Rollouts(w.t.Context(), "ep", 100)
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// refuse makes the platform refuse some actions.
func refuse(which func(rollout.Action) bool) func(rollout.Action) error {
	return func(a rollout.Action) error {
		if which(a) {
			return fmt.Errorf("%T is refused", a)
		}
		return nil
	}
}

func isRouting(a rollout.Action) bool { _, ok := a.(rollout.SetRouting); return ok }
