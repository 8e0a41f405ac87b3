package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

// rolloutsKept is how many ended ScoringRollouts an endpoint keeps.
const rolloutsKept = 10

// file writes rollouts that ended into their ScoringRollouts. What is written
// leaves the record with the next Save; written twice it is the same.
func (r *record) file(ctx context.Context) error {
	r.mu.Lock()
	waiting := slices.Clone(r.have.Ended)
	r.mu.Unlock()
	if len(waiting) == 0 {
		return nil
	}
	e, err := r.object(ctx)
	if err != nil {
		return err
	}
	for i := range waiting {
		if err := r.fileOne(ctx, e, &waiting[i]); err != nil {
			return err
		}
	}
	r.mu.Lock()
	r.have.Ended = r.have.Ended[len(waiting):]
	r.mu.Unlock()
	return r.prune(ctx)
}

func (r *record) fileOne(ctx context.Context, e *v1alpha1.ScoringEndpoint, ended *engine.RolloutRecord) error {
	raw, err := json.Marshal(ended)
	if err != nil {
		return fmt.Errorf("filing rollout %q: %w", ended.ID, err)
	}
	obj, err := r.ensureRollout(ctx, e, &ended.Attempt, ended.Policy)
	if err != nil {
		return err
	}
	setRolloutStatus(&obj.Status, &ended.Attempt)
	over(&obj.Status.Conditions)
	obj.Status.Record = &runtime.RawExtension{Raw: raw}
	obj.Status.Audit = r.auditOf(ended.ID)
	if err := r.api.Status().Update(ctx, obj, client.FieldOwner(FieldManager)); err != nil {
		return fmt.Errorf("filing rollout %q: %w", ended.ID, err)
	}
	return nil
}

// showRollout keeps the ScoringRollout of a running attempt up to date.
func (r *record) showRollout(ctx context.Context, e *v1alpha1.ScoringEndpoint, rec engine.Record, st engine.Status, generation int64) error {
	a, digest := rec.State.Attempt, ""
	if st.Rollout != nil {
		digest = st.Rollout.Evidence.Digest
	}
	obj, err := r.ensureRollout(ctx, e, a, rec.Policy)
	if err != nil {
		return err
	}
	before := obj.Status.DeepCopy()
	setRolloutStatus(&obj.Status, a)
	obj.Status.EvidenceDigest, obj.Status.Audit, obj.Status.ObservedGeneration = digest, r.auditOf(a.ID), generation
	setConditions(&obj.Status.Conditions, st.Conditions, generation, ofRollout...)
	if jsonEqual(before, &obj.Status) {
		return nil
	}
	if err := r.api.Status().Update(ctx, obj, client.FieldOwner(FieldManager)); err != nil {
		return fmt.Errorf("showing rollout %q: %w", a.ID, err)
	}
	return nil
}

func jsonEqual(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}

func (r *record) ensureRollout(ctx context.Context, e *v1alpha1.ScoringEndpoint, a *rollout.Attempt, p judge.Policy) (*v1alpha1.ScoringRollout, error) {
	var obj v1alpha1.ScoringRollout
	err := r.direct.Get(ctx, client.ObjectKey{Namespace: r.key.Namespace, Name: a.ID}, &obj)
	if !apierrors.IsNotFound(err) {
		if err != nil {
			err = fmt.Errorf("reading rollout %q: %w", a.ID, err)
		}
		return &obj, err
	}
	plan, err := json.Marshal(a.Plan)
	if err != nil {
		return nil, fmt.Errorf("recording rollout %q: %w", a.ID, err)
	}
	policy, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("recording rollout %q: %w", a.ID, err)
	}
	obj = v1alpha1.ScoringRollout{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.key.Namespace, Name: a.ID, OwnerReferences: []metav1.OwnerReference{ownerOf(e)},
			Labels: map[string]string{LabelApp: e.Name, LabelEndpoint: e.Name, LabelManagedBy: FieldManager},
		},
		Spec: v1alpha1.ScoringRolloutSpec{Endpoint: e.Name, Number: int32(a.Number), To: cut(a.To.Version, mostVersion), Plan: &runtime.RawExtension{Raw: plan}, Policy: &runtime.RawExtension{Raw: policy}},
	}
	if a.From != nil {
		obj.Spec.From = cut(a.From.Version, mostVersion)
	}
	if err := r.api.Create(ctx, &obj, client.FieldOwner(FieldManager)); err != nil {
		return nil, fmt.Errorf("recording rollout %q: %w", a.ID, err)
	}
	return &obj, nil
}

func ownerOf(e *v1alpha1.ScoringEndpoint) metav1.OwnerReference {
	return *metav1.NewControllerRef(e, v1alpha1.GroupVersion.WithKind(v1alpha1.Kind))
}

func setRolloutStatus(s *v1alpha1.ScoringRolloutStatus, a *rollout.Attempt) {
	s.Outcome, s.Reason, s.Message = string(a.Outcome), cut(string(a.Reason), mostReason), cut(a.Message, mostMessage)
	if a.Step >= 0 && a.Step < len(a.Plan.Steps) {
		s.Step, s.Weight = cut(a.Plan.Steps[a.Step].Name, mostStep), rollout.Percent(a.Plan.Steps[a.Step].WeightBP)
	}
	if a.Outcome != rollout.Running {
		s.EndedAt = &metav1.Time{Time: a.EndedAt}
	}
	s.Approvals = nil
	for _, x := range a.Approvals {
		s.Approvals = append(s.Approvals, v1alpha1.Approval{Step: cut(x.Step, mostStep), By: cut(x.By, mostName), OnBehalfOf: cut(x.OnBehalfOf, mostName), At: metav1.NewTime(x.At), EvidenceDigest: cut(x.EvidenceDigest, mostDigest)})
	}
	s.Approvals = s.Approvals[max(0, len(s.Approvals)-mostLines):]
}

func (r *record) auditOf(id string) (out []v1alpha1.AuditLine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.have.Audit {
		if e.Rollout == id {
			out = append(out, v1alpha1.AuditLine{At: metav1.NewTime(e.At), Kind: e.Kind, By: cut(e.By, mostName), OnBehalfOf: cut(e.OnBehalf, mostName), Reason: cut(e.Reason, mostReason), Message: cut(e.Message, mostMessage)})
		}
	}
	return out
}

// prune removes the oldest ended rollouts beyond rolloutsKept.
func (r *record) prune(ctx context.Context) error {
	list, err := r.rollouts(ctx)
	if err != nil {
		return err
	}
	for _, old := range list[min(rolloutsKept, len(list)):] {
		if err := r.api.Delete(ctx, &old); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("removing old rollout %q: %w", old.Name, err)
		}
	}
	return nil
}

// rollouts lists the ended ones, latest first.
func (r *record) rollouts(ctx context.Context) ([]v1alpha1.ScoringRollout, error) {
	var list v1alpha1.ScoringRolloutList
	if err := r.direct.List(ctx, &list, client.InNamespace(r.key.Namespace), client.MatchingLabels{LabelEndpoint: r.key.Name}); err != nil {
		return nil, fmt.Errorf("listing rollouts of %q: %w", r.key, err)
	}
	ended := slices.DeleteFunc(list.Items, func(s v1alpha1.ScoringRollout) bool { return s.Status.Record == nil })
	slices.SortFunc(ended, func(a, b v1alpha1.ScoringRollout) int { return cmp.Compare(b.Spec.Number, a.Spec.Number) })
	return ended, nil
}

// Rollouts returns the records of ended rollouts, latest first: those filed, and those
// that the record holds until they are.
func (r *record) Rollouts(ctx context.Context, _ string, limit int) ([]engine.RolloutRecord, error) {
	out := []engine.RolloutRecord{}
	has := func(id string) bool {
		return slices.ContainsFunc(out, func(w engine.RolloutRecord) bool { return w.ID == id })
	}
	r.mu.Lock()
	for _, w := range slices.Backward(r.have.Ended) {
		if !has(w.ID) { // one that was promoted and taken back ended twice
			out = append(out, w)
		}
	}
	r.mu.Unlock()
	list, err := r.rollouts(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range list[:min(limit, len(list))] {
		if has(s.Name) {
			continue
		}
		var rec engine.RolloutRecord
		if err := json.Unmarshal(s.Status.Record.Raw, &rec); err != nil {
			return nil, fmt.Errorf("reading rollout %q: %w", s.Name, err)
		}
		out = append(out, rec)
	}
	slices.SortStableFunc(out, func(a, b engine.RolloutRecord) int { return cmp.Compare(b.Attempt.Number, a.Attempt.Number) })
	return out[:min(limit, len(out))], nil
}
