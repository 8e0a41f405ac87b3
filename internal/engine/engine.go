package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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
	// evidenceEvery is how much evidence a crash may cost.
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
	verdict  judge.Verdict
	decision rollout.Decision
	decided  time.Time
	span     span
	attempt  string // whose span it is
	savedAt  time.Time
	fault    string // why the engine is degraded, empty if it is not
	faultAt  time.Time
	waiting  []rollout.Action // actions that failed and are to be repeated
	seq      uint64
	shown    shown
	watchers map[chan Event]struct{}
	changed  bool
}

type pendingAction struct {
	request rollout.ActionRequest
	result  chan ActionResult
}

// Open loads the record, or begins an empty one. A record that cannot be read is
// an error, never a fresh start.
func Open(ctx context.Context, cfg Config) (*Engine, bool, error) {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	e := &Engine{cfg: cfg, logger: cfg.Logger, wake: make(chan struct{}, 1), watchers: map[chan Event]struct{}{}}
	rec, found, err := cfg.Recorder.Load(ctx, cfg.Endpoint)
	if err != nil {
		return nil, false, fmt.Errorf("opening endpoint %q: %w", cfg.Endpoint, err)
	}
	if !found {
		rec = Record{Endpoint: cfg.Endpoint, State: rollout.NewState(cfg.Endpoint), Revisions: map[string]string{}}
	}
	e.rec, e.base = rec, rec.Evidence
	return e, found, nil
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
	entry := Entry{At: e.cfg.Clock(), Kind: EntryApplied, By: by, Reason: "Applied", Message: message}
	next := e.rec
	next.Document = w.Document
	next.Revisions = maps.Clone(e.rec.Revisions)
	if next.Revisions == nil {
		next.Revisions = map[string]string{}
	}
	next.Revisions[w.Target.Digest] = w.Run
	if err := e.save(ctx, &next, entry); err != nil {
		return err
	}
	e.wish = w
	e.nudge()
	return nil
}

// Restore routes as the record says before anything is decided.
func (e *Engine) Restore(ctx context.Context, w Wish) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.wish = w
	if e.rec.State.Stable == nil && e.rec.State.Candidate == nil {
		return nil
	}
	e.cfg.Source.Begin(e.epochInfo(e.rec.State.Routing))
	for _, a := range rollout.Restore(e.rec.State) {
		if err := e.apply(ctx, a); err != nil {
			return fmt.Errorf("restoring the routes of %q: %w", e.cfg.Endpoint, err)
		}
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

func (e *Engine) degrade(err error) {
	if e.fault != err.Error() {
		e.logger.Error("holding the last weights", "error", err)
		e.fault, e.faultAt = err.Error(), e.cfg.Clock()
		e.publish(Entry{At: e.faultAt, Kind: EntryFault, Reason: "Degraded", Message: err.Error()})
	}
}

// round observes, judges, steps, records and applies.
func (e *Engine) round(ctx context.Context) error {
	now := e.cfg.Clock()
	if err := e.repeatFailed(ctx); err != nil {
		return err
	}
	observed, err := e.cfg.Platform.Observe(ctx)
	if err != nil {
		return fmt.Errorf("observing the platform: %w", err)
	}
	e.observed = observed
	evidence := e.evidence()
	in := e.input(now, evidence)
	next, actions, decision := rollout.Step(e.rec.State, in)
	entries := entriesOf(now, next, in, decision)
	rec := e.rec
	rec.State, rec.Evidence = next, evidence
	if was, is := e.rec.State.Stable, next.Stable; is != nil && (was == nil || was.Name != is.Name) {
		rec.StableSince = next.Routing.Epoch
	}
	if err := e.record(ctx, &rec, entries, decision, len(actions) > 0); err != nil {
		return err
	}
	e.decision, e.decided = decision, now
	e.answer(decision)
	return e.applyAll(ctx, actions)
}

// record saves before anything is done. Where the record cannot be written only
// a revert goes on: safety does not wait for a disk.
func (e *Engine) record(ctx context.Context, rec *Record, entries []Entry, d rollout.Decision, acts bool) error {
	now := e.cfg.Clock()
	due := len(entries) > 0 || acts || !sameState(e.rec.State, rec.State)
	var err error
	switch {
	case due:
		e.file(ctx, rec)
		err = e.save(ctx, rec, entries...)
	case e.rec.State.Attempt != nil && now.Sub(e.savedAt) >= evidenceEvery:
		rec.SavedAt = now
		if err = e.cfg.Recorder.SaveEvidence(ctx, *rec); err == nil {
			e.savedAt = now
		}
	}
	if err != nil && !d.Reverts() {
		return err
	}
	if err != nil {
		e.degrade(err)
	}
	e.rec = *rec
	return nil
}

func (e *Engine) save(ctx context.Context, rec *Record, entries ...Entry) error {
	rec.SavedAt = e.cfg.Clock()
	if err := e.cfg.Recorder.Save(ctx, *rec, entries...); err != nil {
		return err
	}
	e.rec, e.savedAt = *rec, rec.SavedAt
	for _, entry := range entries {
		e.publish(entry)
	}
	return nil
}

// file keeps what a rollout that ended in this step leaves behind, and freezes
// policy and calibration when one begins.
func (e *Engine) file(ctx context.Context, rec *Record) {
	before, after := e.rec.State.Attempt, rec.State.Attempt
	if after != nil && (before == nil || before.ID != after.ID) {
		rec.Policy, rec.Calibration = e.wish.Policy, nil
	}
	if ended := rollout.Ended(e.rec.State, rec.State); ended != nil {
		r := RolloutRecord{ID: ended.ID, EndedAt: e.cfg.Clock(), Attempt: *ended, Policy: e.rec.Policy, Calibration: e.rec.Calibration, Evidence: rec.Evidence, Verdict: e.verdict}
		if err := e.cfg.Recorder.SaveRollout(ctx, e.cfg.Endpoint, r); err != nil {
			e.logger.Error("filing a rollout failed", "rollout", ended.ID, "error", err)
		}
	}
}

func sameState(a, b rollout.State) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}

func (e *Engine) applyAll(ctx context.Context, actions []rollout.Action) error {
	for i, a := range actions {
		if err := e.apply(ctx, a); err != nil {
			e.waiting = actions[i:]
			return err
		}
		e.changed = true
	}
	return nil
}

func (e *Engine) apply(ctx context.Context, a rollout.Action) error {
	ctx, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	if r, ok := a.(rollout.SetRouting); ok {
		e.cfg.Source.Begin(e.epochInfo(r.Routing))
	}
	if err := e.cfg.Platform.Apply(ctx, a); err != nil {
		return fmt.Errorf("applying %T: %w", a, err)
	}
	return nil
}

func (e *Engine) repeatFailed(ctx context.Context) error {
	waiting := e.waiting
	e.waiting = nil
	return e.applyAll(ctx, waiting)
}

// digest names evidence: an approval says which it saw.
func digest(ev judge.Evidence) string {
	text, err := json.Marshal(ev)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6])
}

// Act hands an action to the loop and waits for what becomes of it.
func (e *Engine) Act(ctx context.Context, a ActionRequest) (ActionResult, error) {
	p := &pendingAction{result: make(chan ActionResult, 1)}
	e.mu.Lock()
	if a.ID == "" {
		e.seq++
		a.ID = fmt.Sprintf("%d-%d", e.cfg.Clock().UnixNano(), e.seq)
	}
	p.request = rollout.ActionRequest{ID: a.ID, Kind: rollout.ActionKind(a.Action), Rollout: a.Rollout, Step: a.Step, By: a.By, OnBehalfOf: a.OnBehalfOf, Reason: a.Reason, At: e.cfg.Clock(), EvidenceDigest: a.EvidenceDigest}
	e.pending = append(e.pending, p)
	e.mu.Unlock()
	e.nudge()
	select {
	case r := <-p.result:
		return r, nil
	case <-ctx.Done():
		return ActionResult{}, fmt.Errorf("waiting for action %s: %w", a.Action, ctx.Err())
	}
}

func (e *Engine) answer(d rollout.Decision) {
	kept := e.pending[:0]
	for _, p := range e.pending {
		answered := false
		for _, r := range d.ActionResults {
			if r.ID == p.request.ID {
				p.result <- ActionResult{ID: r.ID, Accepted: r.Accepted, Reason: string(r.Reason), Message: r.Message}
				answered = true
				break
			}
		}
		if !answered {
			kept = append(kept, p)
		}
	}
	e.pending = kept
}

// Subscribe returns a stream of audit entries; a reader that is too slow loses
// the oldest lines, never blocks the loop.
func (e *Engine) Subscribe() (<-chan Event, func()) {
	ch := make(chan Event, watcherRoom)
	e.mu.Lock()
	e.watchers[ch] = struct{}{}
	e.mu.Unlock()
	return ch, func() {
		e.mu.Lock()
		delete(e.watchers, ch)
		e.mu.Unlock()
	}
}

func (e *Engine) publish(entry Entry) {
	e.seq++
	for ch := range e.watchers {
		select {
		case ch <- Event{Seq: e.seq, Entry: entry}:
		default:
		}
	}
}
