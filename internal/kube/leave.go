package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	networking "istio.io/api/networking/v1alpha3"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/observe"
	"github.com/serin-dev/serin/internal/rollout"
	"github.com/serin-dev/serin/internal/spec"
)

const (
	leaveAgain = 500 * time.Millisecond
	// quiet is how long no request must have come by the routes that were removed:
	// longer than the gateway keeps its log.
	quiet = 3 * time.Second
	// quietAtMost bounds it.
	quietAtMost = 20 * time.Second
	// goneAfter is how long an endpoint's scorers stay at least after somebody else's
	// routes took its place: few requests may come, and a busy mesh takes up to 10 s.
	goneAfter = 12 * time.Second
)

// leaving is an endpoint that was deleted: its engine has stopped, its revisions run
// until no route leads to them.
type leaving struct {
	platform *platform
	was      rollout.Routing // when it was deleted
	to       rollout.Routing // all to stable; no Stable: there is nothing to bring anywhere
	asked    time.Time       // since when the routes say so
	removed  time.Time       // since when there are none
	theirs   bool            // they stood in somebody else's VirtualService
}

// finish brings the traffic to stable and waits until it is seen there, then takes
// the routes away, then lets the endpoint go with all that it owns. What fails is
// tried again; it returns when to look again, 0: never.
func (c *Controller) finish(ctx context.Context, e *v1alpha1.ScoringEndpoint) (time.Duration, error) {
	k := Key{Namespace: e.Namespace, Name: e.Name}
	if !controllerutil.ContainsFinalizer(e, finalizer) {
		c.forget(k)
		return 0, nil
	}
	l, err := c.leave(e)
	if err != nil {
		return 0, err
	}
	if l.to.Stable != "" {
		if again, err := l.bringHome(ctx, e); again > 0 || err != nil {
			return again, err
		}
	}
	if again, err := c.takeOut(ctx, k, l); again > 0 || err != nil {
		return again, err
	}
	controllerutil.RemoveFinalizer(e, finalizer)
	if err := c.api.Update(ctx, e); client.IgnoreNotFound(err) != nil {
		return 0, fmt.Errorf("removing the finalizer of %q: %w", k, err)
	}
	c.forget(k)
	return 0, nil
}

// takeOut takes the endpoint's routes out of all that is somebody else's, whatever its
// record says, and lets go of what it adopted: that runs on.
func (c *Controller) takeOut(ctx context.Context, k Key, l *leaving) (time.Duration, error) {
	theirs, err := giveBack(ctx, c.api, c.direct, k, "")
	now := c.cfg.Clock()
	if theirs {
		l.theirs, l.removed = true, now
	}
	if err != nil {
		return 0, err
	}
	if left := goneAfter - now.Sub(l.removed); l.theirs && left > 0 {
		return left, nil
	}
	return 0, releaseAll(ctx, c.api, k)
}

// forget ends what is kept of an endpoint.
func (c *Controller) forget(k Key) {
	c.mu.Lock()
	_, left := c.leaving[k]
	delete(c.leaving, k)
	c.mu.Unlock()
	if left {
		c.hub.Forget(k)
	}
	c.drop(k)
}

// leave stops the engine, once. A controller that was started since has none and
// reads the record.
func (c *Controller) leave(e *v1alpha1.ScoringEndpoint) (*leaving, error) {
	k := Key{Namespace: e.Namespace, Name: e.Name}
	c.mu.Lock()
	l, x := c.leaving[k], c.endpoints[k]
	c.mu.Unlock()
	if l != nil {
		return l, nil
	}
	if x != nil {
		x.close()
		state := x.engine.Record().State
		l = &leaving{platform: x.platform, was: state.Routing, to: home(state), theirs: x.platform.inTheirs()}
	} else {
		var err error
		if l, err = c.recallLeaving(e); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	delete(c.endpoints, k)
	c.leaving[k] = l
	c.mu.Unlock()
	return l, nil
}

// home routes everything to stable.
func home(s rollout.State) rollout.Routing {
	to := s.Routing
	if s.Stable == nil {
		return rollout.Routing{}
	}
	to.Epoch, to.Stable, to.WeightBP, to.ShadowBP, to.HandOver = to.Epoch+1, s.Stable.Name, 0, 0, to.Candidate != ""
	return to
}

// recallLeaving reads what was routed from the record. One that cannot be read is no
// reason to keep the endpoint: to delete it is the way to start anew.
func (c *Controller) recallLeaving(e *v1alpha1.ScoringEndpoint) (*leaving, error) {
	k := Key{Namespace: e.Namespace, Name: e.Name}
	s, r, ok := c.lastServed(e)
	if !ok || s.Record.State.Stable == nil {
		return &leaving{}, nil
	}
	if _, err := c.hub.Watch(k, observe.ContractOf(r.Contract.Protocol, r.Contract.JSONPath)); err != nil {
		return nil, err
	}
	p := newPlatform(k, c.cfg, c.api, c.direct, c.hub)
	p.set(ownerOf(e), r)
	return &leaving{platform: p, was: s.Record.State.Routing, to: home(s.Record.State), theirs: p.inTheirs()}, p.recall(s.Record.Revisions, s.Record.State.Routing)
}

// lastServed returns the record and the document that is in force.
func (c *Controller) lastServed(e *v1alpha1.ScoringEndpoint) (s saved, r spec.Resolved, ok bool) {
	if e.Status.Record == "" {
		return s, r, false
	}
	err := json.Unmarshal([]byte(e.Status.Record), &s)
	if err == nil {
		if r, _, err = resolve(e); err != nil { // refused: what runs is of the document before
			_, r, err = read([]byte(s.Record.Document))
		}
	}
	if err != nil {
		c.cfg.Logger.Error("the record cannot be read: the endpoint goes with its routes as they are", "endpoint", e.Namespace+"/"+e.Name, "error", err)
	}
	return s, r, err == nil
}

// bringHome routes everything to stable, then takes the routes away; it returns when
// to look again, 0: it is done.
func (l *leaving) bringHome(ctx context.Context, e *v1alpha1.ScoringEndpoint) (time.Duration, error) {
	p := l.platform
	if l.removed.IsZero() {
		there, err := p.ownRoutes(ctx, e)
		if err != nil {
			return 0, err
		}
		if there {
			if again, err := l.toStable(ctx); again > 0 || err != nil {
				return again, err
			}
		}
		// A request that has no route is told so, one whose scorer is gone would fail.
		theirs, err := giveBack(ctx, p.api, p.direct, p.key, "")
		if l.theirs = l.theirs || theirs; err != nil {
			return 0, err
		}
		l.removed = p.cfg.Clock()
	}
	now := p.cfg.Clock()
	gone := now.Sub(l.removed)
	if gone < quiet || now.Sub(p.mesh.Losses(p.key).Logged) < quiet && gone < quietAtMost {
		return leaveAgain, nil
	}
	return 0, nil
}

// toStable waits until all traffic is on stable. Routes that a person would have to
// mend first cannot be brought there, and are no reason to keep the endpoint.
func (l *leaving) toStable(ctx context.Context) (time.Duration, error) {
	p := l.platform
	if err := p.Apply(ctx, rollout.SetRouting{Routing: l.to}); err != nil {
		if t := toMend(""); !errors.As(err, &t) {
			return 0, err
		}
		p.cfg.Logger.Warn("the endpoint goes without bringing its traffic to stable first", "endpoint", p.key.String(), "error", err)
		return 0, nil
	}
	now := p.cfg.Clock()
	if l.asked.IsZero() {
		l.asked = now
	}
	if !l.wasHome() && p.mesh.InForce(p.key, l.to.Rollout) < l.to.Epoch && now.Sub(l.asked) < unseenWait {
		return leaveAgain, nil
	}
	return 0, nil
}

// wasHome reports whether all traffic was seen to be on stable before anyone deleted
// anything: then there is nothing to wait for, with or without traffic now.
func (l *leaving) wasHome() bool {
	return l.was.WeightBP == 0 && l.was.ShadowBP == 0 && l.platform.mesh.InForce(l.platform.key, l.was.Rollout) >= l.was.Epoch
}

// ownRoutes reports whether the endpoint's routes are there: a VirtualService of its
// own, or its routes in the one that its document names.
func (p *platform) ownRoutes(ctx context.Context, e *v1alpha1.ScoringEndpoint) (bool, error) {
	var vs istio.VirtualService
	err := p.api.Get(ctx, client.ObjectKey{Namespace: p.key.Namespace, Name: p.routesName()}, &vs)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the routes of %q: %w", p.key, err)
	}
	if vs.DeletionTimestamp != nil {
		return false, nil
	}
	if p.inTheirs() {
		return slices.ContainsFunc(vs.Spec.Http, func(h *networking.HTTPRoute) bool { return ofSerin(h, p.key) }), nil
	}
	return metav1.IsControlledBy(&vs, e), nil
}
