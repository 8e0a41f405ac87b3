package azure

import (
	"context"
	"sync"
)

// Locks are the exclusive locks of environments, over all runs.
type Locks struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

// acquire waits for the lock, in turn.
func (l *Locks) acquire(ctx context.Context, environment, behavior string) (unlock func(), ok bool) {
	if l == nil {
		return func() {}, true
	}
	if behavior != "sequential" {
		panic("lockBehavior " + behavior + ": only sequential is modelled")
	}
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]chan struct{}{}
	}
	c := l.held[environment]
	if c == nil {
		c = make(chan struct{}, 1)
		l.held[environment] = c
	}
	l.mu.Unlock()
	select {
	case c <- struct{}{}:
		return func() { <-c }, true
	case <-ctx.Done():
		return nil, false
	}
}
