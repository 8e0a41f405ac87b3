package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/serin-dev/serin/internal/proxy"
	"github.com/serin-dev/serin/internal/rollout"
	"github.com/serin-dev/serin/internal/spec"
)

// drainEvery is how often a revision's requests in flight are counted.
const (
	drainEvery = 20 * time.Millisecond
	drainMost  = 30 * time.Second
)

// Traffic is what the document says of requests.
type Traffic struct {
	Header                    proxy.HeaderRoute
	Sticky                    proxy.Sticky
	Fallback                  bool
	CandidateTimeout, Timeout time.Duration
	MaxBodyBytes              int64
	RepeatBP                  int
}

// platform runs revisions as child processes behind the gateway.
type platform struct {
	self    string
	gateway *proxy.Gateway
	logger  *slog.Logger
	changed func()

	mu       sync.Mutex
	traffic  Traffic
	commands map[string]Command // by digest of what means a new version
	running  map[string]*process
	routing  rollout.Routing
	table    *proxy.Table // what we put in force last
	draining sync.WaitGroup
}

func newPlatform(self string, g *proxy.Gateway, logger *slog.Logger, changed func()) *platform {
	return &platform{self: self, gateway: g, logger: logger, changed: changed, commands: map[string]Command{}, running: map[string]*process{}}
}

// prepare says how the revisions with this digest are run.
func (p *platform) prepare(digest string, c Command) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.commands[digest] = c
}

// setTraffic changes how requests are handled, without a change of weights.
func (p *platform) setTraffic(t Traffic) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.traffic = t
	if p.routing.Stable == "" {
		return nil
	}
	return p.swap()
}

// Observe says which revisions run and are ready, and which epoch is in force.
func (p *platform) Observe(context.Context) (rollout.Observed, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := rollout.Observed{Revisions: map[string]rollout.RevisionStatus{}}
	for name, proc := range p.running {
		st := proc.Status()
		r := rollout.RevisionStatus{Started: true, Ready: st.Ready, WantReplicas: 1, Restarts: st.Restarts, CrashLooping: st.CrashLooping, Failure: st.Failure}
		if st.Ready {
			r.ReadyReplicas = 1
		}
		o.Revisions[name] = r
	}
	if t := p.gateway.Table(); t != nil {
		o.InForce = rollout.InForce{Epoch: t.Epoch, Overwritten: t != p.table}
	}
	return o, nil
}

// Apply carries out one action; all may be repeated.
func (p *platform) Apply(_ context.Context, a rollout.Action) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch a := a.(type) {
	case rollout.SetRouting:
		p.routing = a.Routing
		return p.swap()
	case rollout.StartRevision:
		return p.start(a.Revision)
	case rollout.StopRevision:
		p.stop(a.Revision.Name)
		return nil
	case rollout.PromoteRevision:
		return nil // routes say it all on one machine
	}
	return fmt.Errorf("applying %T: unknown action", a)
}

func (p *platform) start(r rollout.Revision) error {
	if p.running[r.Name] != nil {
		return nil
	}
	c, ok := p.commands[r.Digest]
	if !ok {
		return fmt.Errorf("starting revision %q: the record does not say how it is run", r.Name)
	}
	c.Revision = r.Name
	p.running[r.Name] = startProcess(p.self, c, p.logger, func() { p.refresh(); p.changed() })
	return nil
}

// refresh gives the gateway the present addresses: a scorer that was started
// again listens on another port.
func (p *platform) refresh() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.routing.Stable == "" {
		return
	}
	if err := p.swap(); err != nil {
		p.logger.Error("giving the gateway new addresses failed", "error", err)
	}
}

// stop ends a revision once no request is under way to it.
func (p *platform) stop(name string) {
	proc := p.running[name]
	if proc == nil {
		return
	}
	delete(p.running, name)
	p.draining.Go(func() {
		p.drain(name)
		proc.Stop()
		p.logger.Info("scorer stopped", "revision", name)
	})
}

func (p *platform) drain(name string) {
	deadline := time.Now().Add(drainMost)
	for p.gateway.InFlight(name) > 0 && time.Now().Before(deadline) {
		time.Sleep(drainEvery)
	}
}

// swap builds the routing table and puts it in force.
func (p *platform) swap() error {
	r, t := p.routing, p.traffic
	table := &proxy.Table{
		Rollout: r.Rollout, Epoch: r.Epoch, WeightBP: r.WeightBP, ShadowBP: r.ShadowBP, RepeatBP: t.RepeatBP, HandOver: r.HandOver,
		Stable: p.target(r.Stable), Candidate: p.target(r.Candidate), Previous: p.previous(),
		Header: t.Header, Sticky: t.Sticky, Fallback: t.Fallback,
		CandidateTimeout: t.CandidateTimeout, Timeout: t.Timeout, MaxBodyBytes: t.MaxBodyBytes,
	}
	if t.RepeatBP > 0 && !r.Warmup {
		table.RepeatFirst = spec.RepeatFirst
	}
	if table.Candidate == nil && (table.WeightBP > 0 || table.ShadowBP > 0) {
		// These are not the routes that were asked for, so they are not called so:
		// epoch 0 is nobody's, and what is counted under it is no evidence.
		table.WeightBP, table.ShadowBP, table.Epoch = 0, 0, 0
	}
	if err := p.gateway.Swap(table); err != nil {
		return fmt.Errorf("swapping the routing table: %w", err)
	}
	p.table = table
	return nil
}

func (p *platform) target(name string) *proxy.Target {
	proc := p.running[name]
	if proc == nil {
		return nil
	}
	if addr := proc.Status().Addr; addr != "" {
		return &proxy.Target{Revision: name, Addr: addr}
	}
	return nil
}

// previous is the version before stable while it is kept and ready: who cannot answer is not asked what stable fails.
func (p *platform) previous() *proxy.Target {
	if proc := p.running[p.routing.Previous]; proc == nil || !proc.Status().Ready {
		return nil
	}
	return p.target(p.routing.Previous)
}

// errNotReady is what waitReady returns when its context ends.
var errNotReady = errors.New("not ready")

// waitReady waits until a revision is ready.
func (p *platform) waitReady(ctx context.Context, name string) error {
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	for {
		p.mu.Lock()
		proc := p.running[name]
		p.mu.Unlock()
		if proc != nil && proc.Status().Ready {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %q: %w", name, errNotReady)
		case <-tick.C:
		}
	}
}

// close ends every scorer and waits for those that drain.
func (p *platform) close() {
	p.mu.Lock()
	all := p.running
	p.running = map[string]*process{}
	p.mu.Unlock()
	var group sync.WaitGroup
	for _, proc := range all {
		group.Go(proc.Stop)
	}
	group.Wait()
	p.draining.Wait()
}
