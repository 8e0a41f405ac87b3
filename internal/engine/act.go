package engine

import (
	"context"
	"fmt"

	"github.com/serin-dev/serin/internal/rollout"
)

type pendingAction struct {
	request rollout.ActionRequest
	result  chan ActionResult
}

// Act hands an action to the loop and waits for what becomes of it. It is answered
// when it is recorded.
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

// answer tells those who asked. A revert that could not be recorded is answered
// all the same, and says so.
func (e *Engine) answer(d rollout.Decision, unrecorded error) {
	note := ""
	if unrecorded != nil {
		note = fmt.Sprintf(" (done, but not recorded yet: %v)", unrecorded)
	}
	kept := e.pending[:0]
	for _, p := range e.pending {
		answered := false
		for _, r := range d.ActionResults {
			if r.ID == p.request.ID {
				p.result <- ActionResult{ID: r.ID, Accepted: r.Accepted, Reason: string(r.Reason), Message: r.Message + note}
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

// publish is called with the lock held, so nobody else sends.
func (e *Engine) publish(entry Entry) {
	e.seq++
	for ch := range e.watchers {
		for sent := false; !sent; {
			select {
			case ch <- Event{Seq: e.seq, Entry: entry}:
				sent = true
			default:
				select {
				case <-ch: // the oldest line
				default:
				}
			}
		}
	}
}
