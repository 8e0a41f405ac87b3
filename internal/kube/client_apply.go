package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/spec"
)

// ClientManager owns what the command line writes.
const ClientManager = "serin-cli"

// Apply makes a document the endpoint's, by server-side apply: it owns what is
// written in it, and nothing else. In a dry run the API server says what it would
// do. With force it takes over fields that somebody else owns.
func (c *Client) Apply(ctx context.Context, text []byte, dryRun, force bool) (engine.ApplyResult, error) {
	var none engine.ApplyResult
	doc, notes, err := c.document(text)
	if err != nil {
		return none, err
	}
	before, err := c.get(ctx)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return none, err
	}
	after, err := c.write(ctx, doc, dryRun, force)
	if err != nil {
		return none, err
	}
	result, digest, err := compare(before, after)
	if err != nil {
		return none, err
	}
	result.DryRun, result.Notes = dryRun, notes
	if !dryRun {
		trial, err := c.taken(ctx, after, digest, lastRollout(before))
		if err != nil {
			return none, err
		}
		trial.Explain(&result, after.Spec.Scorer.Version)
	}
	return result, nil
}

// lastRollout names the rollout that was the latest in the record.
func lastRollout(e *v1alpha1.ScoringEndpoint) string {
	if e == nil {
		return ""
	}
	return e.Status.Rollout
}

// document reads a document for a cluster, and settles its name and namespace.
func (c *Client) document(text []byte) (*spec.Document, []string, error) {
	doc, r, report, err := spec.Read(text, spec.Cluster)
	if err != nil {
		return nil, nil, fail(ErrInvalid, "%v", err)
	}
	switch {
	case r.Namespace == "":
	case !c.explicit:
		c.namespace = r.Namespace
	case c.namespace != r.Namespace:
		return nil, nil, fail(ErrInvalid, "metadata.namespace: %q: --namespace says %q; let both name the same, or leave one out", r.Namespace, c.namespace)
	}
	if c.endpoint != "" && c.endpoint != r.Name {
		return nil, nil, fail(ErrInvalid, "metadata.name: %q: --endpoint says %q; let both name the same, or leave --endpoint out", r.Name, c.endpoint)
	}
	c.endpoint = r.Name
	return doc, append([]string{}, report.Lines()...), nil
}

func (c *Client) write(ctx context.Context, doc *spec.Document, dryRun, force bool) (*v1alpha1.ScoringEndpoint, error) {
	var o unstructured.Unstructured
	if err := json.Unmarshal(doc.Written(), &o); err != nil {
		return nil, fmt.Errorf("writing the document: %w", err)
	}
	o.SetNamespace(c.namespace)
	unstructured.RemoveNestedField(o.Object, "status")
	options := []client.ApplyOption{client.FieldOwner(ClientManager)}
	if dryRun {
		options = append(options, client.DryRunAll)
	}
	if force {
		options = append(options, client.ForceOwnership)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := c.api.Apply(ctx, client.ApplyConfigurationFromUnstructured(&o), options...); err != nil {
		return nil, explained(fmt.Sprintf("applying endpoint %q in namespace %q", c.endpoint, c.namespace), err)
	}
	var e v1alpha1.ScoringEndpoint
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &e); err != nil {
		return nil, fmt.Errorf("reading what was applied: %w", err)
	}
	return &e, nil
}

// compare says what was changed, as local mode does, and the digest of the version
// that is wanted.
func compare(before, after *v1alpha1.ScoringEndpoint) (engine.ApplyResult, string, error) {
	result := engine.ApplyResult{Endpoint: after.Name, Changes: []engine.Change{}}
	now, to, err := documentOf(after)
	if err != nil {
		return result, "", fail(ErrInvalid, "with what others wrote the endpoint is no valid document: %v", err)
	}
	result.Version, result.Steps = to.Version, engine.StepsOf(to.Plan)
	if before == nil {
		result.NewVersion = true
		result.Message = fmt.Sprintf("endpoint %s is new in namespace %s; version %s is its first", after.Name, after.Namespace, to.Version)
		return result, to.Digest, nil
	}
	was, from, refused := documentOf(before)
	switch {
	case refused != nil: // whatever is valid now is a change
		result.NewVersion, result.Message = true, fmt.Sprintf("version %s takes the place of a document that was refused", to.Version)
	default:
		result.NewVersion = from.Digest != to.Digest
		sayChanges(&result, spec.Diff(was, now), to.Version)
	}
	return result, to.Digest, nil
}

// sayChanges says what a valid document changes of a valid one.
func sayChanges(result *engine.ApplyResult, changes []spec.Change, version string) {
	for _, x := range changes {
		result.Changes = append(result.Changes, engine.Change{Path: x.Path, Old: x.Old, New: x.New, NewVersion: x.NewVersion})
	}
	switch {
	case result.NewVersion:
		result.Message = fmt.Sprintf("version %s starts a rollout", version)
	case len(result.Changes) > 0:
		result.Message = fmt.Sprintf("%d fields change; no new version. Plan and judge hold from the next rollout on", len(result.Changes))
	default:
		result.Message = "the document asks for what is there already"
	}
}

// documentOf reads an object as a document.
func documentOf(e *v1alpha1.ScoringEndpoint) (*spec.Document, spec.Resolved, error) {
	text, err := textOf(e)
	if err != nil {
		return nil, spec.Resolved{}, err
	}
	return read(text)
}

// taken waits until the controller has taken the document, it is known what becomes of
// its version, and the status shows that: who looks at its rollout next finds it. Record
// and status have writers of their own, and the record is the earlier one.
func (c *Client) taken(ctx context.Context, e *v1alpha1.ScoringEndpoint, digest, last string) (engine.Trial, error) {
	within, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	wanted, none, known := e.Generation, engine.Trial{}, engine.Trial{}
	for within.Err() == nil {
		refused := meta.FindStatusCondition(e.Status.Conditions, "Accepted")
		if refused != nil && refused.Status == metav1.ConditionFalse && refused.ObservedGeneration >= wanted {
			return none, fail(ErrInvalid, "the cluster took the document, but the controller refuses it, and what ran goes on: %s", refused.Message)
		}
		if e.Status.ObservedGeneration >= wanted {
			var err error
			if known, err = trialIn(e, digest, last); err != nil || known.Settled && shows(e, known) {
				return known, err
			}
		}
		e = later(within, c, &v1alpha1.ScoringEndpointList{}, e)
	}
	if ctx.Err() != nil {
		return none, ctx.Err()
	}
	if known.Settled {
		return known, nil
	}
	return engine.Trial{Held: fmt.Sprintf("the cluster took the document, but no controller has begun with it within %s; is it running? Try: serin status", c.patience)}, nil
}

// shows reports that the status tells of the rollout that a trial names, if any.
func shows(e *v1alpha1.ScoringEndpoint, t engine.Trial) bool {
	return t.Rollout == "" || t.Rollout == e.Status.Rollout
}

// trialIn reads from the record what becomes of a version.
func trialIn(e *v1alpha1.ScoringEndpoint, digest, last string) (engine.Trial, error) {
	var have saved
	if e.Status.Record == "" {
		return engine.Trial{}, nil
	}
	if err := json.Unmarshal([]byte(e.Status.Record), &have); err != nil {
		return engine.Trial{}, fmt.Errorf("reading status.record of %s/%s: %w; is this serin older than the controller?", e.Namespace, e.Name, err)
	}
	return engine.TrialOf(have.Record.State, digest, last), nil
}
