package engine

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

const (
	// tickEvery bounds how late the loop sees that time has passed.
	tickEvery = 200 * time.Millisecond
	// wakeLeast bounds how often candidate failures wake the loop.
	wakeLeast = 5 * time.Millisecond
	// evidenceEvery is how much evidence a crash may cost, but for one tick, if the
	// configuration does not say.
	evidenceEvery = 500 * time.Millisecond
	// applyTimeout bounds one action of the platform.
	applyTimeout = 30 * time.Second
	watcherRoom  = 256
)

// Config names an engine's parts. All but Clock are needed.
type Config struct {
	Endpoint string
	Platform Platform
	Source   Source
	Recorder Recorder
	Logger   *slog.Logger
	Clock    func() time.Time
	// Lag is how long after a verdict traffic has left the candidate (measured).
	Lag time.Duration
	// EvidenceEvery is how much evidence a crash may cost; default half a second.
	EvidenceEvery time.Duration
}

// Wish is what the document asks for.
type Wish struct {
	Document string
	Run      string // how the platform runs it: opaque here
	Target   rollout.Wish
	Plan     rollout.Plan
	Policy   judge.Policy
}

// Engine runs one endpoint.
type Engine struct {
	cfg    Config
	logger *slog.Logger
	wake   chan struct{}

	mu       sync.Mutex
	rec      Record
	base     judge.Evidence // of earlier processes; never changed after Open
	wish     Wish
	pending  []*pendingAction
	observed rollout.Observed
	judged   *Judgement // of the running attempt, this round's; nil when none runs
	last     Judgement  // the latest that was judged
	decision rollout.Decision
	decided  time.Time
	span     span
	attempt  string // whose span it is
	saved    saved
	owed     Additions // acted upon, and not written yet
	dirty    bool      // the record in memory was acted upon, and is not written yet
	fault    string    // why the engine is degraded, empty if it is not
	faultAt  time.Time
	todo     []rollout.Action // actions that are not carried out yet
	done     []rollout.Action // carried out in this round
	before   []rollout.Action // and in the one before
	seq      uint64
	shown    shown
	watchers map[chan Event]struct{}
	changed  bool

	conditioned map[string]Condition // as last said, by type
}

// Open loads the record, or begins an empty one. A record that cannot be read is
// an error, never a fresh start.
func Open(ctx context.Context, cfg Config) (*Engine, bool, error) {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.EvidenceEvery <= 0 {
		cfg.EvidenceEvery = evidenceEvery
	}
	e := &Engine{cfg: cfg, logger: cfg.Logger, wake: make(chan struct{}, 1), watchers: map[chan Event]struct{}{}, conditioned: map[string]Condition{}}
	rec, found, err := cfg.Recorder.Load(ctx, cfg.Endpoint)
	if err != nil {
		return nil, false, fmt.Errorf("opening endpoint %q: %w", cfg.Endpoint, err)
	}
	fresh := rollout.NewState(cfg.Endpoint)
	if !found {
		rec = Record{Endpoint: cfg.Endpoint, State: fresh, Revisions: map[string]string{}}
	}
	if rec.State.Version != fresh.Version {
		return nil, false, fmt.Errorf("opening endpoint %q: the record's state has version %d, this serin reads version %d; nothing was changed: run the serin that wrote it, or restore an earlier record", cfg.Endpoint, rec.State.Version, fresh.Version)
	}
	e.rec, e.base = rec, rec.Evidence
	return e, found, e.recall(ctx)
}

// recall remembers what the last rollout was judged by, if it has ended.
func (e *Engine) recall(ctx context.Context) error {
	a := e.rec.State.Attempt
	if a == nil || a.Outcome == rollout.Running {
		return nil
	}
	filed, err := e.cfg.Recorder.Rollouts(ctx, e.cfg.Endpoint, 1)
	if err != nil {
		return fmt.Errorf("opening endpoint %q: %w", e.cfg.Endpoint, err)
	}
	if len(filed) == 1 && filed[0].ID == a.ID {
		r := filed[0]
		e.last = Judgement{At: r.EndedAt, Calibrated: r.Calibration != nil, Evidence: r.Evidence, Window: r.Window, Verdict: r.Verdict}
	}
	return nil
}

// Record returns a copy of what is recorded.
func (e *Engine) Record() Record {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rec
}

// SetWish says what the document asks for now; the loop does the rest.
func (e *Engine) SetWish(ctx context.Context, w Wish, by string, message string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := e.rec
	next.Document = w.Document
	next.Revisions = maps.Clone(e.rec.Revisions)
	if next.Revisions == nil {
		next.Revisions = map[string]string{}
	}
	next.Revisions[w.Target.Digest] = w.Run
	entry := Entry{At: e.cfg.Clock(), Kind: EntryApplied, By: by, Reason: "Applied", Message: message}
	if err := e.save(ctx, next, Additions{Entries: []Entry{entry}}); err != nil {
		return err
	}
	e.wish = w
	e.nudge()
	return nil
}

// Restore puts in force what the record says, before anything is decided: a crash
// may have come between the record and the action. What cannot be carried out is
// repeated by the loop.
func (e *Engine) Restore(ctx context.Context, w Wish) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.wish = w
	s := e.rec.State
	policy := e.rec.Policy
	if s.Attempt == nil {
		policy = w.Policy
	}
	if err := e.cfg.Source.Configure(policy, 0); err != nil {
		return fmt.Errorf("restoring %q: %w", e.cfg.Endpoint, err)
	}
	if s.Stable == nil && s.Candidate == nil {
		return nil
	}
	if s.Stable != nil {
		e.cfg.Source.Begin(e.epochInfo(s.Routing))
	}
	e.enqueue(rollout.Restore(s), false)
	if err := e.work(ctx); err != nil {
		e.degrade(err)
	}
	return nil
}

// Run is the loop; it ends with the context.
func (e *Engine) Run(ctx context.Context) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		again := e.Tick(ctx)
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		case <-e.cfg.Source.Notify():
			if !pause(ctx, wakeLeast) {
				return
			}
		case <-tick.C:
		case <-again:
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func (e *Engine) nudge() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Wake asks the loop to look again at once: the platform calls it when
// something it observes has changed.
func (e *Engine) Wake() { e.nudge() }

// Tick goes round the loop once. The channel returned is ready at once when
// another round is due without waiting.
func (e *Engine) Tick(ctx context.Context) <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.changed = false
	e.before, e.done = e.done, nil
	if err := e.round(ctx); err != nil {
		e.degrade(err)
	} else if e.fault != "" {
		e.logger.Info("recovered", "was", e.fault)
		e.fault = ""
	}
	if e.changed {
		ready := make(chan struct{}, 1)
		ready <- struct{}{}
		return ready
	}
	return nil
}

// degrade says why the last weights are held; the audit gets the line with the
// next Save.
func (e *Engine) degrade(err error) {
	if e.fault == err.Error() {
		return
	}
	e.logger.Error("holding the last weights", "error", err)
	e.fault, e.faultAt = err.Error(), e.cfg.Clock()
	entry := Entry{At: e.faultAt, Kind: EntryFault, Reason: "Degraded", Message: err.Error()}
	if len(e.owed.Entries) < owedMost {
		e.owed.Entries = append(e.owed.Entries, entry)
	}
	e.publish(entry)
}
