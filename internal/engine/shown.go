package engine

import (
	"context"
	"fmt"

	"github.com/serin-dev/serin/internal/rollout"
)

// mostShown bounds the digests remembered of one step: at one look a second more
// than a day.
const mostShown = 100_000

// shown remembers which evidence people were shown of the present step, so that
// an approval can only name what somebody could have seen.
type shown struct {
	of      string
	digests map[string]struct{}
	order   []string
}

func (s *shown) add(of, digest string) {
	if s.of != of || s.digests == nil {
		*s = shown{of: of, digests: map[string]struct{}{}}
	}
	if _, known := s.digests[digest]; known {
		return
	}
	if len(s.order) >= mostShown {
		delete(s.digests, s.order[0])
		s.order = s.order[1:]
	}
	s.digests[digest] = struct{}{}
	s.order = append(s.order, digest)
}

func (s *shown) has(of, digest string) bool {
	_, known := s.digests[digest]
	return known && s.of == of
}

// stepOf names the present step of the running attempt.
func stepOf(a *rollout.Attempt) string { return fmt.Sprintf("%s/%d", a.ID, a.Step) }

// Settle goes round the loop now: what was asked for is under way when it returns.
func (e *Engine) Settle(ctx context.Context) {
	if again := e.Tick(context.WithoutCancel(ctx)); again != nil {
		e.nudge()
	}
}
