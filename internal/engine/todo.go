package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/serin-dev/serin/internal/rollout"
)

// enqueue adds actions to what is to be done. Of routes only the latest count; a
// revert's come first: it must wait for nothing but the router.
func (e *Engine) enqueue(actions []rollout.Action, revert bool) {
	for _, a := range actions {
		switch a := a.(type) {
		case rollout.SetRouting:
			e.enqueueRouting(a, revert)
			continue
		case rollout.StopRevision: // no use starting it any more
			e.todo = slices.DeleteFunc(e.todo, func(t rollout.Action) bool {
				s, ok := t.(rollout.StartRevision)
				return ok && s.Revision.Name == a.Revision.Name
			})
		}
		if !slices.ContainsFunc(e.todo, func(t rollout.Action) bool { return same(a, t) }) {
			e.todo = append(e.todo, a)
		}
	}
}

// same reports that two actions are one: a revision is stopped by its name.
func same(a, b rollout.Action) bool {
	x, ok1 := a.(rollout.StopRevision)
	y, ok2 := b.(rollout.StopRevision)
	return a == b || ok1 && ok2 && x.Revision.Name == y.Revision.Name
}

func (e *Engine) enqueueRouting(a rollout.SetRouting, revert bool) {
	old := slices.IndexFunc(e.todo, isRouting)
	switch {
	case old >= 0 && !revert:
		e.todo[old] = a
	case old >= 0:
		e.todo = slices.Insert(slices.Delete(e.todo, old, old+1), 0, rollout.Action(a))
	case revert:
		e.todo = slices.Insert(e.todo, 0, rollout.Action(a))
	default:
		e.todo = append(e.todo, a)
	}
}

func isRouting(a rollout.Action) bool { _, ok := a.(rollout.SetRouting); return ok }

// work carries out what is to be done. What fails stays, and so does what depends
// on it; the rest goes on: a scorer that cannot be started must not hold up routes.
func (e *Engine) work(ctx context.Context) error {
	var left []rollout.Action
	var failures []error
	for _, a := range e.todo {
		if slices.ContainsFunc(left, func(l rollout.Action) bool { return after(a, l) }) {
			left = append(left, a)
			continue
		}
		if err := e.apply(ctx, a); err != nil {
			left, failures = append(left, a), append(failures, err)
			continue
		}
		e.did(a)
	}
	e.todo = left
	return errors.Join(failures...)
}

// did notes that an action was carried out. One that was so in the round before as
// well is only said again until it is seen: it is no reason to look again at once.
func (e *Engine) did(a rollout.Action) {
	e.done = append(e.done, a)
	if !slices.Contains(e.before, a) {
		e.changed = true
	}
}

// after reports that a may only be done when l, decided earlier, is done: no
// revision stops, and none is called stable, before the routes say so.
func after(a, l rollout.Action) bool {
	switch a := a.(type) {
	case rollout.StopRevision, rollout.PromoteRevision:
		return isRouting(l)
	case rollout.StartRevision:
		s, ok := l.(rollout.StopRevision)
		return ok && s.Revision.Name == a.Revision.Name
	}
	return false
}

func (e *Engine) apply(ctx context.Context, a rollout.Action) error {
	e.announce(a)
	return e.carryOut(ctx, a)
}

// announce tells the source of an epoch before any request of it is routed.
func (e *Engine) announce(a rollout.Action) {
	if r, ok := a.(rollout.SetRouting); ok {
		e.cfg.Source.Begin(e.epochInfo(r.Routing))
	}
}

func (e *Engine) carryOut(ctx context.Context, a rollout.Action) error {
	ctx, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	if err := e.cfg.Platform.Apply(ctx, a); err != nil {
		return fmt.Errorf("applying %s: %w", describe(a), err)
	}
	return nil
}

func describe(a rollout.Action) string {
	switch a := a.(type) {
	case rollout.SetRouting:
		return fmt.Sprintf("the routes of epoch %d", a.Routing.Epoch)
	case rollout.StartRevision:
		return fmt.Sprintf("the start of %q", a.Revision.Name)
	case rollout.StopRevision:
		return fmt.Sprintf("the stop of %q", a.Revision.Name)
	case rollout.PromoteRevision:
		return fmt.Sprintf("the promotion of %q", a.Revision.Name)
	}
	return fmt.Sprintf("%T", a)
}
