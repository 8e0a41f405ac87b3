package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/observe"
	"github.com/serin-dev/serin/internal/observe/mesh"
	"github.com/serin-dev/serin/internal/rollout"
	"github.com/serin-dev/serin/internal/spec"
)

// Hub is the controller's end of the data plane, for all endpoints.
type Hub interface {
	Mesh
	// Watch begins to collect evidence of an endpoint; it replaces what was watched.
	Watch(k Key, c observe.Contract) (*observe.Source, error)
	// Forget ends it.
	Forget(k Key)
	// Counts, and the Losses of Mesh, are what metrics show; those of no endpoint are of all.
	Counts(k Key) mesh.Counts
}

const (
	// evidenceEvery is how much evidence a crash of the controller may cost.
	evidenceEvery = 10 * time.Second
	// reaction is how long after a verdict traffic has left the candidate: the
	// recorders hear at once, the routes follow (mesh.md: 0.13 s, at worst 10).
	reaction = time.Second
)

// endpoint is one ScoringEndpoint at work on the leader.
type endpoint struct {
	key      Key
	engine   *engine.Engine
	platform *platform
	record   *record
	source   *observe.Source
	teller   *teller
	cancel   context.CancelFunc
	done     chan struct{}

	generation atomic.Int64 // of the spec that is the wish
	refused    atomic.Bool  // the present spec is not

	showNow chan chan<- struct{} // show closes what comes here when the status is shown
	shown   string               // the status as it was last shown, but for its time
	shownAt time.Time            // of show alone
}

// resolve reads the spec of an object as a document: one place for both modes.
func resolve(e *v1alpha1.ScoringEndpoint) (spec.Resolved, []byte, error) {
	text, err := textOf(e)
	if err != nil {
		return spec.Resolved{}, nil, err
	}
	_, r, err := read(text)
	return r, text, err
}

// read reads a document for a cluster.
func read(text []byte) (*spec.Document, spec.Resolved, error) {
	doc, r, _, err := spec.Read(text, spec.Cluster)
	return doc, r, err
}

func textOf(e *v1alpha1.ScoringEndpoint) ([]byte, error) {
	text, err := json.Marshal(map[string]any{
		"apiVersion": v1alpha1.APIVersion, "kind": v1alpha1.Kind,
		"metadata": map[string]string{"name": e.Name, "namespace": e.Namespace}, "spec": e.Spec,
	})
	if err != nil {
		return nil, fmt.Errorf("reading the spec of %s/%s: %w", e.Namespace, e.Name, err)
	}
	return text, nil
}

// open starts the engine of an endpoint from its record.
func (c *Controller) open(ctx context.Context, e *v1alpha1.ScoringEndpoint, r spec.Resolved, text []byte) (*endpoint, error) {
	k := Key{Namespace: e.Namespace, Name: e.Name}
	source, err := c.hub.Watch(k, observe.ContractOf(r.Contract.Protocol, r.Contract.JSONPath))
	if err != nil {
		return nil, err
	}
	x := &endpoint{key: k, source: source, platform: newPlatform(k, c.cfg, c.api, c.direct, c.hub), record: newRecord(k, c.api, c.direct), done: make(chan struct{}), showNow: make(chan chan<- struct{})}
	x.platform.set(ownerOf(e), r)
	x.platform.tell = c.eventsOf(e)
	eng, found, err := engine.Open(ctx, engine.Config{
		Endpoint: e.Name, Platform: x.platform, Source: source, Recorder: x.record, Logger: c.cfg.Logger.With("endpoint", k.String()),
		Clock: c.cfg.Clock, Lag: reaction, EvidenceEvery: evidenceEvery,
	})
	if err != nil {
		return nil, err
	}
	x.engine, x.teller = eng, c.listen(e, eng)
	w, err := wish(r, text)
	if err != nil {
		return nil, err
	}
	if found {
		rec := eng.Record()
		if err := x.platform.recall(rec.Revisions, rec.State.Routing); err != nil {
			return nil, err
		}
		if err := eng.Restore(ctx, w); err != nil {
			return nil, err
		}
	}
	run, cancel := context.WithCancel(c.life)
	x.cancel = cancel
	go func() {
		defer close(x.done)
		x.engine.Run(run)
	}()
	x.teller.notifier.Set(receivers(r))
	c.tell(run, x)
	go c.show(run, x)
	return x, nil
}

// close ends the engine; routes stay as they are.
func (x *endpoint) close() {
	x.cancel()
	<-x.done
}

func wish(r spec.Resolved, text []byte) (engine.Wish, error) {
	run, err := json.Marshal(r.Endpoint.Spec.Scorer)
	if err != nil {
		return engine.Wish{}, fmt.Errorf("recording how %q is run: %w", r.Name, err)
	}
	return engine.Wish{Document: string(text), Run: string(run), Target: rollout.Wish{Digest: r.Digest, Version: r.Version}, Plan: r.Plan, Policy: r.Policy}, nil
}

// take makes the present spec the wish, once for each generation.
func (c *Controller) take(ctx context.Context, x *endpoint, e *v1alpha1.ScoringEndpoint, r spec.Resolved, text []byte) error {
	if x.generation.Load() == e.Generation {
		return nil
	}
	w, err := wish(r, text)
	if err != nil {
		return err
	}
	if err := x.platform.change(ctx, ownerOf(e), r); err != nil {
		if t := toMend(""); errors.As(err, &t) {
			x.refused.Store(true)
			err = errors.Join(err, c.refuse(ctx, e, err))
		}
		return err
	}
	x.source.SetContract(observe.ContractOf(r.Contract.Protocol, r.Contract.JSONPath))
	x.teller.notifier.Set(receivers(r))
	if err := x.engine.SetWish(ctx, w, lastWriter(e), fmt.Sprintf("version %s (generation %d)", r.Version, e.Generation)); err != nil {
		return err
	}
	x.engine.Settle(ctx) // who sees this generation observed must find its rollout
	x.generation.Store(e.Generation)
	return nil
}

// lastWriter names the field manager that last wrote the spec: the API server
// gives no other trace of who it was.
func lastWriter(e *v1alpha1.ScoringEndpoint) string {
	return cmp.Or(lastManager(e.ManagedFields), "unknown")
}

// act hands an action to the engine and writes down what became of it.
func (c *Controller) act(ctx context.Context, x *endpoint, a *v1alpha1.RolloutAction) error {
	if rec := x.engine.Record(); a.Spec.RolloutUID != "" && rec.State.Attempt != nil && a.Spec.Rollout == rec.State.Attempt.ID {
		var s v1alpha1.ScoringRollout
		err := c.direct.Get(ctx, client.ObjectKey{Namespace: a.Namespace, Name: a.Spec.Rollout}, &s)
		if err != nil || string(s.UID) != a.Spec.RolloutUID {
			return c.answer(ctx, a, engine.ActionResult{Reason: string(rollout.WrongRollout), Message: fmt.Sprintf("rollout %q is another one now: spec.rolloutUID %s is not its uid", a.Spec.Rollout, a.Spec.RolloutUID)})
		}
	}
	result, err := x.engine.Act(ctx, engine.ActionRequest{
		ID: string(a.UID), Action: a.Spec.Action, Rollout: a.Spec.Rollout, Step: a.Spec.Step, Reason: a.Spec.Reason, By: a.Spec.By, OnBehalfOf: a.Spec.OnBehalfOf, EvidenceDigest: a.Spec.EvidenceDigest,
	})
	if err != nil {
		return err
	}
	c.showFirst(ctx, x)
	return c.answer(ctx, a, result)
}
