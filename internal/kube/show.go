package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/rollout"
)

// showEvery bounds how old the status that people see may be.
const showEvery = 2 * time.Second

// showAtRest is how old it may be when nothing happens: the command line calls it old
// after a minute.
const showAtRest = 20 * time.Second

// show writes what the engine says into the status, at every change, now and then, and
// when somebody waits for it, until the context ends.
func (c *Controller) show(ctx context.Context, x *endpoint) {
	events, cancel := x.engine.Subscribe()
	defer cancel()
	tick := time.NewTicker(showEvery)
	defer tick.Stop()
	for {
		var waits chan<- struct{}
		select {
		case <-ctx.Done():
			return
		case waits = <-x.showNow:
		case <-events:
		case <-tick.C:
		}
		if err := c.showOnce(ctx, x); err != nil && ctx.Err() == nil {
			c.cfg.Logger.Warn("showing the status failed", "endpoint", x.key.String(), "error", err)
		}
		if waits != nil {
			close(waits)
		}
	}
}

// showFirstMost bounds how long an answer waits for the status: who asked must hear in time.
const showFirstMost = 5 * time.Second

// showFirst has the status shown before something is answered: who reads the answer and
// then looks finds what came of it.
func (c *Controller) showFirst(ctx context.Context, x *endpoint) {
	ctx, cancel := context.WithTimeout(ctx, showFirstMost)
	defer cancel()
	shown := make(chan struct{})
	select {
	case x.showNow <- shown:
	case <-x.done:
		return
	case <-ctx.Done():
		return
	}
	select {
	case <-shown:
	case <-x.done:
	case <-ctx.Done():
	}
}

func (c *Controller) showOnce(ctx context.Context, x *endpoint) error {
	st := x.engine.Status()
	st.Namespace = x.key.Namespace
	setImages(&st, x.engine.Record().Revisions)
	var e v1alpha1.ScoringEndpoint
	if err := c.api.Get(ctx, client.ObjectKey{Namespace: x.key.Namespace, Name: x.key.Name}, &e); err != nil {
		return client.IgnoreNotFound(err)
	}
	next := e.DeepCopy()
	fill(&next.Status, st, x.generation.Load())
	if !x.refused.Load() {
		meta.SetStatusCondition(&next.Status.Conditions, metav1.Condition{Type: "Accepted", Status: metav1.ConditionTrue, Reason: "Accepted", Message: "the document is what is wished for", ObservedGeneration: x.generation.Load()})
	}
	next.Status.Selector = stableSelector(x.engine.Record(), e.Name)
	if !jsonEqual(&e.Status, &next.Status) && x.worthShowing(st) {
		// A merge patch of what is shown alone: the record has a writer of its own.
		next.Status.Record = e.Status.Record
		if err := c.api.Status().Patch(ctx, next, client.MergeFrom(&e)); err != nil {
			return fmt.Errorf("showing the status of %q: %w", x.key, err)
		}
		x.shown, x.shownAt = withoutTime(st), st.At
		x.record.saw(next)
	}
	if err := x.record.file(ctx); err != nil {
		return err
	}
	rec := x.engine.Record()
	if a := rec.State.Attempt; a != nil && a.Outcome == "" {
		return x.record.showRollout(ctx, &e, rec, st, x.generation.Load())
	}
	return nil
}

// worthShowing is false while nothing but the time has changed, for a while: an
// endpoint at rest costs the API server next to nothing.
func (x *endpoint) worthShowing(st engine.Status) bool {
	return x.refused.Load() || withoutTime(st) != x.shown || st.At.Sub(x.shownAt) >= showAtRest
}

func withoutTime(st engine.Status) string {
	st.At = time.Time{}
	text, err := json.Marshal(st)
	if err != nil {
		return ""
	}
	return string(text)
}

// setImages says what each revision runs.
func setImages(st *engine.Status, run map[string]string) {
	for _, r := range []*engine.RevisionView{st.Stable, st.Candidate, st.Previous} {
		var s v1alpha1.Scorer
		if r != nil && json.Unmarshal([]byte(run[r.Digest]), &s) == nil {
			r.Image = s.Image
		}
	}
}

func stableSelector(rec engine.Record, name string) string {
	if rec.State.Stable == nil {
		return ""
	}
	return metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: selectorLabels(name, *rec.State.Stable)})
}

// fill turns what the engine says into the fields that kubectl shows.
func fill(s *v1alpha1.ScoringEndpointStatus, st engine.Status, generation int64) {
	s.ObservedGeneration = generation
	s.Stable, s.Candidate, s.Previous = revisionView(st.Stable), revisionView(st.Candidate), revisionView(st.Previous)
	s.Weight, s.WeightInForce, s.Shadow = rollout.Percent(st.Weights.PlannedBP), rollout.Percent(st.Weights.InForceBP), rollout.Percent(st.Weights.ShadowBP)
	s.Rollout, s.Step = "", ""
	if st.Stable != nil {
		s.Replicas = int32(st.Stable.ReadyReplicas)
	}
	if r := st.Rollout; r != nil {
		s.Rollout, s.Step, s.Reason, s.Message = r.ID, cut(r.StepName, mostStep), cut(r.Decision.Reason, mostReason), cut(r.Decision.Message, mostMessage)
	}
	setConditions(&s.Conditions, st.Conditions, generation)
	if raw, err := json.Marshal(st); err == nil {
		s.View = &runtime.RawExtension{Raw: raw}
	}
}

func reasonWord(s string) string {
	if s == "" || len(validation.IsCIdentifier(s)) > 0 {
		return "Unknown"
	}
	return s
}

func revisionView(r *engine.RevisionView) *v1alpha1.RevisionStatus {
	if r == nil {
		return nil
	}
	return &v1alpha1.RevisionStatus{Name: r.Name, Version: cut(r.Version, mostVersion), Image: cut(r.Image, mostImage), Ready: r.Ready, ReadyReplicas: int32(r.ReadyReplicas), Restarts: int32(r.Restarts), Failure: cut(r.Failure, mostMessage)}
}

// refuse says in the status why a spec is refused.
func (c *Controller) refuse(ctx context.Context, e *v1alpha1.ScoringEndpoint, why error) error {
	before := e.DeepCopy()
	meta.SetStatusCondition(&e.Status.Conditions, metav1.Condition{Type: "Accepted", Status: metav1.ConditionFalse, Reason: "InvalidDocument", Message: cut(why.Error(), mostMessage), ObservedGeneration: e.Generation})
	if jsonEqual(&before.Status, &e.Status) {
		return nil
	}
	if err := c.api.Status().Patch(ctx, e, client.MergeFrom(before)); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("refusing the spec of %s/%s: %w", e.Namespace, e.Name, err)
	}
	o := referenceOf(e)
	c.events.Event(&o, corev1.EventTypeWarning, "InvalidDocument", bounded(why.Error(), "what ran before goes on; apply a document without the fault"))
	return nil
}
