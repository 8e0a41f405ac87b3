package recorder

import (
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/observe/wire"
)

// noisy answers with a score that depends on who answers and how often it was asked: three in ten answers are away from
// the rest by more than the tolerance. Those of a wrong scorer all are.
func noisy(who string, base float64) http.HandlerFunc {
	s := &twiceAsked{do: func(w http.ResponseWriter, r *http.Request, nth int) {
		h := fnv.New32a()
		_, _ = io.WriteString(h, fmt.Sprint(who, nth, r.Header.Get(wire.RequestIDHeader)))
		score := base
		if n := h.Sum32() * 2654435761 >> 16 % 1000; n < 164 { // 2·0.164·0.836 = 0.27 of pairs differ
			score += .5
		}
		says(200, fmt.Sprintf(`{"result": [%g]}`, score))(w, r)
	}}
	return s.ServeHTTP
}

// TestNoisyScorersAgreeWithinTheirNoise: stable disagrees with itself more often than a candidate may. One that does so
// as often as stable passes all the same; a wrong one fails.
func TestNoisyScorersAgreeWithinTheirNoise(t *testing.T) {
	policy := judge.DefaultPolicy()
	policy.Agreement = &judge.AgreementMargin{Tolerance: .01, RevertBelow: .78, PromoteAbove: .8, RepeatBP: 100}
	for name, do := range map[string]struct {
		base float64
		want judge.Outcome
	}{"as noisy": {.5, judge.Pass}, "wrong": {.7, judge.Fail}} {
		t.Run(name, func(t *testing.T) {
			c := newController(t)
			s, k := run(t, c, stable, newScorer(t, noisy("stable", .5)).URL), run(t, c, kandidat, newScorer(t, noisy("candidate", do.base)).URL)
			c.order(stable, shadowing(func(o *wire.Order) { o.RepeatFirst, o.RepeatBP = 100, 10000 }))
			s.awaitOrder(c)
			k.awaitReady()
			const asked = 800
			for i := range asked {
				id := fmt.Sprint("x", i)
				s.ask(inShadow, wire.RequestIDHeader, id)
				k.ask(aCopy, wire.RequestIDHeader, id)
			}
			until(t, "the pairs", func() bool { return c.evidence(4).Shadow.Compared == asked })
			until(t, "the repeats", func() bool { return c.evidence(4).Shadow.Repeats == s.gateway.Stats().ShadowSent })
			if d := s.gateway.Stats().ShadowDropped; d > 0 {
				t.Errorf("%d repeats had no room", d)
			}
			m := agreementOf(t, policy, c.source.Snapshot())
			if m.Outcome != do.want || !strings.Contains(m.Message, "stable with itself") {
				t.Errorf("%s: %s, want %s", m.Outcome, m.Message, do.want)
			}
			// The same, had nobody asked twice.
			deaf := c.source.Snapshot()
			for i := range deaf.Epochs {
				deaf.Epochs[i].Shadow.Repeats, deaf.Epochs[i].Shadow.RepeatsDisagreed = 0, 0
			}
			naive := policy
			naive.Agreement = &judge.AgreementMargin{Tolerance: .01, RevertBelow: .78, PromoteAbove: .8}
			if m := agreementOf(t, naive, deaf); m.Outcome != judge.Fail {
				t.Errorf("without repeats: %s (%s), want that noise alone makes it fail", m.Outcome, m.Message)
			}
		})
	}
}

func agreementOf(t *testing.T, p judge.Policy, e judge.Evidence) judge.Metric {
	t.Helper()
	for _, m := range judge.Judge(p, nil, e, judge.Window{}).Metrics {
		if m.Name == "agreement" {
			return m
		}
	}
	t.Fatal("agreement is not judged")
	return judge.Metric{}
}
