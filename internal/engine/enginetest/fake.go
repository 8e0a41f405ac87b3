package enginetest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/serin-dev/serin/internal/rollout"
)

// Platform is a place in memory: what it is asked for is so at once.
type Platform struct {
	// Refuse, Blind: errors of Apply and Observe while they are set.
	Refuse func(rollout.Action) error
	Blind  error
	// Losses and Stale are observed as they are here.
	Losses []rollout.Loss
	Stale  time.Duration

	mu          sync.Mutex
	revisions   map[string]rollout.RevisionStatus
	routing     rollout.Routing
	overwritten bool
	applied     []rollout.Action
}

// NewPlatform returns a place where nothing runs yet.
func NewPlatform() *Platform {
	return &Platform{revisions: map[string]rollout.RevisionStatus{}}
}

// Observe says what is.
func (p *Platform) Observe(context.Context) (rollout.Observed, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Blind != nil {
		return rollout.Observed{}, p.Blind
	}
	return rollout.Observed{Revisions: maps.Clone(p.revisions), InForce: rollout.InForce{Epoch: p.inForce(), Overwritten: p.overwritten, Stale: p.Stale}, Losses: p.Losses}, nil
}

// inForce is no epoch while requests go by older routes.
func (p *Platform) inForce() uint32 {
	if p.Stale > 0 {
		return p.routing.Epoch - 1
	}
	return p.routing.Epoch
}

// Apply carries out one action.
func (p *Platform) Apply(_ context.Context, a rollout.Action) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Refuse != nil {
		if err := p.Refuse(a); err != nil {
			return err
		}
	}
	switch a := a.(type) {
	case rollout.SetRouting:
		if _, runs := p.revisions[a.Routing.Candidate]; !runs && (a.Routing.WeightBP > 0 || a.Routing.ShadowBP > 0) {
			return fmt.Errorf("a share for %q, which does not run", a.Routing.Candidate)
		}
		p.routing, p.overwritten = a.Routing, false
	case rollout.StartRevision:
		if _, runs := p.revisions[a.Revision.Name]; !runs {
			p.revisions[a.Revision.Name] = startOf(a.Revision)
		}
	case rollout.StopRevision:
		delete(p.revisions, a.Revision.Name)
	}
	p.applied = append(p.applied, a)
	return nil
}

// brokenDigest is of a version whose scorer never becomes ready.
const brokenDigest = "broken"

func startOf(r rollout.Revision) rollout.RevisionStatus {
	if r.Digest == brokenDigest {
		return rollout.RevisionStatus{Started: true, WantReplicas: 1, Restarts: 3, CrashLooping: true, Failure: "exited with code 1"}
	}
	return rollout.RevisionStatus{Started: true, Ready: true, ReadyReplicas: 1, WantReplicas: 1}
}

// Set changes what is seen of a revision.
func (p *Platform) Set(revision string, s rollout.RevisionStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.revisions[revision] = s
}

// Overwrite plays somebody who changes the weights behind our back.
func (p *Platform) Overwrite() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.overwritten = true
}

// Routing returns the routes in force.
func (p *Platform) Routing() rollout.Routing {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.routing
}

// Applied returns what was carried out since the last call.
func (p *Platform) Applied() []rollout.Action {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.applied
	p.applied = nil
	return all
}

// Ask routes one request.
func (p *Platform) Ask(header string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.routing
	switch {
	case header == "blue" && r.Candidate != "":
		return r.Candidate
	case header == "green" || r.HandOver || rand.IntN(10000) >= r.WeightBP: //nolint:gosec // a coin
		return r.Stable
	}
	return r.Candidate
}
