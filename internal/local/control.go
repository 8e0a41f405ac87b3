package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/observe"
	"github.com/serin-dev/serin/internal/spec"
)

// appliedNothing is said of a document that changes nothing.
const appliedNothing = "the document asks for what is there already"

// Name returns the endpoint's name.
func (e *Endpoint) Name() string { return e.name }

// Status returns what is shown of the endpoint.
func (e *Endpoint) Status() engine.Status {
	return e.here(e.engine.Status())
}

// Glance is Status for programs that look all the time: it shows nobody anything.
func (e *Endpoint) Glance() engine.Status {
	return e.here(e.engine.Glance())
}

func (e *Endpoint) here(st engine.Status) engine.Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	st.Namespace, st.Address = e.resolved.Namespace, e.address
	return st
}

// Apply makes a document the wish, or in a dry run says what it would change.
func (e *Endpoint) Apply(ctx context.Context, text []byte, by string, dryRun bool) (engine.ApplyResult, error) {
	doc, r, notes, err := resolve(text, e.base)
	if err != nil {
		return engine.ApplyResult{}, err
	}
	if r.Name != e.name {
		return engine.ApplyResult{}, Refusal{422, "InvalidDocument", fmt.Sprintf("metadata.name: %q: this endpoint is %q; serve another one with a state folder of its own", r.Name, e.name), nil}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	result := e.compare(doc, r, notes)
	if result.DryRun = dryRun; dryRun {
		return result, nil
	}
	w, err := e.wish(r, text)
	if err != nil {
		return result, err
	}
	last := engine.LastRollout(e.engine.Record().State)
	if err := e.engine.SetWish(ctx, w, by, result.Message); err != nil {
		return result, err
	}
	if err := e.platform.setTraffic(trafficOf(r)); err != nil {
		return result, err
	}
	e.notifier.Set(receivers(r))
	e.source.SetContract(observe.ContractOf(r.Contract.Protocol, r.Contract.JSONPath))
	e.text, e.document, e.resolved = text, doc, r
	e.engine.Try(ctx, r.Digest, last).Explain(&result, r.Version) // who waits for the rollout next must find it
	return result, nil
}

// compare says what a document would change.
func (e *Endpoint) compare(doc *spec.Document, r spec.Resolved, notes []string) engine.ApplyResult {
	result := engine.ApplyResult{Endpoint: e.name, Notes: notes, Changes: []engine.Change{}, Version: r.Version, Steps: engine.StepsOf(r.Plan)}
	for _, c := range spec.Diff(e.document, doc) {
		result.Changes = append(result.Changes, engine.Change{Path: c.Path, Old: c.Old, New: c.New, NewVersion: c.NewVersion})
	}
	result.NewVersion = r.Digest != e.resolved.Digest
	switch {
	case result.NewVersion:
		result.Message = fmt.Sprintf("version %s starts a rollout", r.Version)
	case len(result.Changes) > 0:
		result.Message = fmt.Sprintf("%d fields change; no new version. Plan and judge hold from the next rollout on", len(result.Changes))
	default:
		result.Message = appliedNothing
	}
	return result
}

// Act hands an action to the engine.
func (e *Endpoint) Act(ctx context.Context, a engine.ActionRequest) (engine.ActionResult, error) {
	return e.engine.Act(ctx, a)
}

// Delete stops serving; the record stays.
func (e *Endpoint) Delete(_ context.Context, by string, dryRun bool) (engine.ApplyResult, error) {
	result := engine.ApplyResult{Endpoint: e.name, DryRun: dryRun, Message: fmt.Sprintf("endpoint %s drains and stops; its record stays", e.name)}
	if !dryRun {
		e.logger.Info("stopping: deleted", "by", by)
		e.stopOnce.Do(func() { close(e.stopped) })
	}
	return result, nil
}

// Rollouts returns ended rollouts, latest first.
func (e *Endpoint) Rollouts(ctx context.Context, limit int) ([]engine.RolloutRecord, error) {
	return e.store.Rollouts(ctx, e.name, limit)
}

// Audit returns audit entries, latest first.
func (e *Endpoint) Audit(ctx context.Context, limit int) ([]engine.Entry, error) {
	return e.store.Audit(ctx, e.name, limit)
}

// Subscribe streams audit entries.
func (e *Endpoint) Subscribe() (<-chan engine.Event, func()) { return e.engine.Subscribe() }

// lockFolder makes sure that one process only serves a state folder. The kernel
// lets go of the lock when the process ends, however it ends.
func lockFolder(state string) (*os.File, error) {
	path := filepath.Join(state, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the state folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, Refusal{409, "InUse", fmt.Sprintf("another `serin serve` uses the state folder %q; stop it, or name another with --state", state), nil}
	}
	return f, nil
}
