package azure

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// mostOfARun bounds a run that nobody bounds: any of its steps may hang.
const mostOfARun = 6 * time.Minute

// activity is what a stage or a job is at.
type activity struct {
	what  string
	since time.Time
}

// does notes what a stage (STAGE) or a job (STAGE/JOB) is at; empty: it is done.
func (r *Run) does(who, what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if what == "" {
		delete(r.doing, who)
		return
	}
	r.doing[who] = activity{what, time.Now()}
}

// bound ends the run with ctx, and when it takes too long: then it notes first what was under way.
func (r *Run) bound(ctx context.Context) {
	r.over, r.stop = context.WithCancel(ctx)
	limit := cmp.Or(r.Limit, mostOfARun)
	r.late = time.AfterFunc(limit, func() {
		r.mu.Lock()
		var doing []string
		for _, who := range slices.Sorted(maps.Keys(r.doing)) {
			a := r.doing[who]
			doing = append(doing, fmt.Sprintf("%s %s, for %s", who, a.what, time.Since(a.since).Round(time.Second)))
		}
		if len(doing) > 0 {
			r.hung = fmt.Errorf("it was not done within %s, and ended; under way: %s", limit, strings.Join(doing, "; "))
		}
		r.mu.Unlock()
		r.stop()
	})
}

// Wait waits until the run has ended, and everybody who was asked at a gate has gone. The error says what was under way
// in a run that took too long.
func (r *Run) Wait() error {
	r.all.Wait()
	r.late.Stop()
	r.stop()
	r.gates.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hung
}
