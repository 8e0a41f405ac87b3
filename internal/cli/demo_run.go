package cli

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	safedriver "github.com/serin-dev/serin/examples/safe-driver"
	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

// demoFolder writes the embedded models where scorers can read them.
func demoFolder() (string, error) {
	folder, err := os.MkdirTemp("", "serin-demo-")
	if err != nil {
		return "", fmt.Errorf("making a folder for the demo: %w", err)
	}
	if err := os.Mkdir(filepath.Join(folder, "models"), 0o700); err != nil {
		return "", fmt.Errorf("making a folder for the demo: %w", err)
	}
	for _, name := range safedriver.ModelNames() {
		text, err := safedriver.Model(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, "models", name+".txt"), text, 0o600)
		}
		if err != nil {
			return "", fmt.Errorf("writing the demo's models: %w", err)
		}
	}
	return folder, nil
}

// demo is a running endpoint with traffic.
type demo struct {
	stdio   IO
	folder  string
	service *service
	address string

	mu     sync.Mutex
	sum    *tally
	result *trialResult

	cancelServe, cancelTraffic context.CancelFunc
	served, sent               chan struct{}
	serveErr                   error
}

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.stdio.Err, format+"\n", args...)
}

func (d *demo) start(ctx context.Context) error {
	first := trial{name: "v1", scorer: "{model: models/v1.txt}", fallback: "Stable", shadow: true}
	d.service = &service{document: first.document(), base: d.folder, state: filepath.Join(d.folder, "state"), logger: slog.New(slog.DiscardHandler)}
	serve, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.cancelServe, d.served = cancel, make(chan struct{})
	ready := make(chan string, 1)
	go func() {
		defer close(d.served)
		d.serveErr = d.service.run(serve, func(address string) { ready <- address })
	}()
	select {
	case d.address = <-ready:
	case <-d.served:
		return fmt.Errorf("serving the demo: %w", d.serveErr)
	case <-ctx.Done():
		return ctx.Err()
	}
	d.say("production: safe-driver v1, LightGBM, at %s", d.address)
	wait, done := context.WithTimeout(ctx, 20*time.Second)
	defer done()
	if _, err := d.until(wait, func(s engine.Status) bool { return s.Stable != nil && s.Stable.Ready }); err != nil {
		return err
	}
	d.startTraffic()
	_, err := d.until(wait, func(engine.Status) bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.sum.OK >= demoFirst
	})
	return err
}

func (d *demo) startTraffic() {
	ctx, cancel := context.WithCancel(context.Background())
	d.cancelTraffic, d.sent = cancel, make(chan struct{})
	g := safedriver.NewGenerator(7)
	t := traffic{url: d.address, header: http.Header{"Content-Type": {"application/json"}}, rate: demoRate, concurrency: 16, timeout: 10 * time.Second,
		next: func() []byte { return g.RequestBody(nil, 2) }, seen: d.seen}
	began := time.Now()
	go func() {
		defer close(d.sent)
		t.run(ctx)
		d.mu.Lock()
		d.sum.finish(time.Since(began))
		d.mu.Unlock()
	}()
	d.say("traffic: %d requests a second, 2 rows each; production answers %d of them first, so that its latencies and scores are known", demoRate, demoFirst)
}

func (d *demo) seen(s shot) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sum.add(s)
	if d.result == nil {
		return
	}
	if s.failed() {
		d.result.Failed++
	}
	if s.fellBack {
		d.result.FellBack++
	}
	if (s.failed() || s.fellBack) && d.result.first.IsZero() {
		d.result.first = s.at
	}
}

func (d *demo) stopTraffic() {
	if d.cancelTraffic != nil {
		d.cancelTraffic()
		<-d.sent
	}
}

func (d *demo) close() {
	d.stopTraffic()
	if d.cancelServe != nil {
		d.cancelServe()
		<-d.served
	}
}

func (d *demo) until(ctx context.Context, ok func(engine.Status) bool) (engine.Status, error) {
	tick := time.NewTicker(demoPoll)
	defer tick.Stop()
	for {
		st := d.service.endpoint.Status()
		if ok(st) {
			return st, nil
		}
		select {
		case <-ctx.Done():
			return st, fmt.Errorf("it took too long: %w", ctx.Err())
		case <-d.served:
			return st, fmt.Errorf("the endpoint ended: %w", d.serveErr)
		case <-tick.C:
		}
	}
}

// try rolls one version out and waits for its end.
func (d *demo) try(ctx context.Context, t trial) (*trialResult, error) {
	before := 0
	if r := d.service.endpoint.Status().Rollout; r != nil {
		before = r.Number
	}
	r := &trialResult{Version: t.name, About: t.about, Want: t.want, began: time.Now()}
	d.mu.Lock()
	d.result = r
	d.mu.Unlock()
	d.say("\n▶ version %s: %s", t.name, t.about)
	if _, err := d.service.endpoint.Apply(ctx, t.document(), "demo", false); err != nil {
		return nil, err
	}
	last := ""
	st, err := d.until(ctx, func(s engine.Status) bool {
		if s.Rollout == nil || s.Rollout.Number <= before {
			return false
		}
		if line := s.Rollout.StepName; line != last && s.Rollout.Outcome == "" {
			d.say("  %4.1f s  step %s (candidate %s)", time.Since(r.began).Seconds(), line, rollout.Percent(s.Weights.PlannedBP))
			last = line
		}
		return s.Rollout.Outcome != ""
	})
	if err != nil {
		return nil, fmt.Errorf("%w (last: %s)", err, progressOrNothing(st))
	}
	return d.finish(r, st.Rollout), nil
}

// finish notes how a rollout ended and says it. What it returns is a copy: answers may
// still come in.
func (d *demo) finish(r *trialResult, v *engine.RolloutView) *trialResult {
	d.mu.Lock()
	defer d.mu.Unlock()
	r.Outcome, r.Step, r.Reason, r.Message, r.Seconds, r.Exposed = v.Outcome, v.StepName, v.Decision.Reason, v.Decision.Message, time.Since(r.began).Seconds(), v.Evidence.CandidateRequests
	if !r.first.IsZero() && v.EndedAt != nil && r.Outcome == "Reverted" {
		r.HarmToRevert = v.EndedAt.Sub(r.first).Seconds()
	}
	p := paintFor(d.stdio.Err)
	d.say("  %4.1f s  %s %s at step %s — %s: %s", r.Seconds, p.outcome(r.Outcome), r.Outcome, r.Step, r.Reason, r.Message)
	for _, m := range v.Verdict.Metrics {
		if !speaks(m, v) {
			continue
		}
		r.Metrics = append(r.Metrics, demoMetric{m.Name, string(m.Outcome), m.Value, m.EvidenceRevert, m.Message})
		against := ""
		if m.EvidenceRevert >= math.Ln2 {
			against = fmt.Sprintf(" — %.3g to 1 against it", math.Exp(math.Min(m.EvidenceRevert, 600)))
		}
		d.say("          %s %-10s %s%s", p.outcome(string(m.Outcome)), m.Name, m.Message, against)
	}
	d.say("          %d requests reached it by weight; %d were answered by stable in its place; clients saw %d failures", r.Exposed, r.FellBack, r.Failed)
	noted := *r
	return &noted
}

// speaks reports whether a metric is part of why: what passed of a promoted
// version; of a reverted one what weighs against it, and in a shadow step the
// scores, which only a shadow shows before any client is touched.
func speaks(m judge.Metric, v *engine.RolloutView) bool {
	if v.Outcome == string(rollout.Promoted) {
		return m.Outcome == judge.Pass
	}
	shadowed := v.Evidence.Pairs > 0 && (m.Name == "mean" || m.Name == "agreement")
	return m.Outcome == judge.Fail || m.EvidenceRevert >= math.Ln2 || shadowed
}

func progressOrNothing(st engine.Status) string {
	if st.Rollout == nil {
		return "no rollout"
	}
	return progress(st) + ": " + st.Rollout.Decision.Message
}
