package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authentication "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/engine"
)

const (
	// callTimeout bounds one request; watches and waits have bounds of their own.
	callTimeout = 30 * time.Second
	// nextAfter and nextWithin bound how often, and how seldom, a change is looked for.
	nextAfter  = time.Second
	nextWithin = 5 * time.Second
	// oldAfter is when a status is said to be old: a controller writes it every
	// showEvery, and clocks differ.
	oldAfter = time.Minute
)

// Client is what the command line needs of one endpoint in a cluster. It is for
// one goroutine.
type Client struct {
	api       client.WithWatch
	namespace string
	explicit  bool // the namespace was named, not taken from the context
	endpoint  string
	version   string // of the object as last seen
	clock     func() time.Time
	patience  time.Duration // for a controller's answer
	watchFor  time.Duration // then it looks again: a watch may be dead without a word
}

// Connect finds the cluster as kubectl does. Nothing is asked yet.
func Connect(context, namespace, endpoint string) (*Client, error) {
	rc, current, err := clientConfig(context)
	if err != nil {
		return nil, fail(ErrInvalid, "%v", err)
	}
	scheme, err := Scheme()
	if err != nil {
		return nil, err
	}
	rc.UserAgent = ClientManager
	api, err := client.NewWithWatch(rc, client.Options{Scheme: scheme, Mapper: knownKinds()})
	if err != nil {
		return nil, fmt.Errorf("connecting to the cluster: %w", err)
	}
	c := newClient(api, namespace, endpoint)
	if !c.explicit {
		c.namespace = current
	}
	return c, nil
}

func newClient(api client.WithWatch, namespace, endpoint string) *Client {
	return &Client{api: api, namespace: namespace, explicit: namespace != "", endpoint: endpoint, clock: time.Now, patience: 30 * time.Second, watchFor: nextWithin}
}

// knownKinds spares the two requests of discovery, and the right to make them.
func knownKinds() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	for _, kind := range []string{v1alpha1.Kind, "ScoringRollout", "RolloutAction"} {
		m.Add(v1alpha1.GroupVersion.WithKind(kind), meta.RESTScopeNamespace)
	}
	m.Add(appsv1.SchemeGroupVersion.WithKind("Deployment"), meta.RESTScopeNamespace)
	m.Add(corev1.SchemeGroupVersion.WithKind("Service"), meta.RESTScopeNamespace)
	m.Add(virtualServiceKind, meta.RESTScopeNamespace)
	m.Add(authentication.SchemeGroupVersion.WithKind("SelfSubjectReview"), meta.RESTScopeRoot)
	return m
}

// Hint says what to look at when nobody answers.
func (c *Client) Hint() string { return "Is the API server reachable? Try: kubectl get sep" }

// get reads the endpoint; without a name it is the only one of the namespace.
func (c *Client) get(ctx context.Context) (*v1alpha1.ScoringEndpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if c.endpoint == "" {
		var list v1alpha1.ScoringEndpointList
		if err := c.api.List(ctx, &list, client.InNamespace(c.namespace)); err != nil {
			return nil, explained(fmt.Sprintf("looking for endpoints in namespace %q", c.namespace), err)
		}
		if len(list.Items) != 1 {
			return nil, fail(ErrNotFound, "%d endpoints are in namespace %q%s; name one with --endpoint, and another namespace with --namespace", len(list.Items), c.namespace, names(list.Items))
		}
		c.endpoint = list.Items[0].Name
	}
	var e v1alpha1.ScoringEndpoint
	if err := c.api.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: c.endpoint}, &e); err != nil {
		return nil, explained(fmt.Sprintf("reading endpoint %q in namespace %q", c.endpoint, c.namespace), err)
	}
	c.version = e.ResourceVersion
	return &e, nil
}

func names(items []v1alpha1.ScoringEndpoint) string {
	if len(items) == 0 {
		return ""
	}
	var all []string
	for i := range items[:min(len(items), 20)] {
		all = append(all, items[i].Name)
	}
	return " (" + strings.Join(all, ", ") + ")"
}

// Status is what the controller last said of the endpoint.
func (c *Client) Status(ctx context.Context) (engine.Status, error) {
	e, err := c.get(ctx)
	if err != nil {
		return engine.Status{}, err
	}
	return statusOf(e, c.clock())
}

// Next returns the status when it has changed, or after a while.
func (c *Client) Next(ctx context.Context) (engine.Status, error) {
	if err := pause(ctx, nextAfter); err != nil {
		return engine.Status{}, err
	}
	changed, err := c.changed(ctx, &v1alpha1.ScoringEndpointList{}, c.endpoint, c.version)
	if e, ok := changed.(*v1alpha1.ScoringEndpoint); ok && err == nil {
		c.version = e.ResourceVersion
		return statusOf(e, c.clock())
	}
	if ctx.Err() != nil {
		return engine.Status{}, ctx.Err()
	}
	return c.Status(ctx) // nothing changed, or the watch broke: both say little
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

var errWatchEnded = errors.New("the watch ended")

// changed waits for the next change of one object after a version of it. An
// error is no more than a reason to look at the object again.
func (c *Client) changed(ctx context.Context, list client.ObjectList, name, version string) (client.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, c.watchFor)
	defer cancel()
	w, err := c.api.Watch(ctx, list, client.InNamespace(c.namespace), client.MatchingFields{"metadata.name": name}, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: version}})
	if err != nil {
		return nil, err
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case event, open := <-w.ResultChan():
			if !open || event.Type == watch.Error {
				return nil, errWatchEnded
			}
			o, ok := event.Object.(client.Object)
			if ok && o.GetName() == name && o.GetResourceVersion() != version && event.Type != watch.Deleted {
				return o, nil
			}
		}
	}
}

// lookAgain is the pause before a watch that broke is begun again.
const lookAgain = 500 * time.Millisecond

// later returns an object as it is after its next change, or after a while: as it was
// when nobody can say.
func later[S any, T interface {
	*S
	client.Object
}](ctx context.Context, c *Client, list client.ObjectList, o T) T {
	if next, err := c.changed(ctx, list, o.GetName(), o.GetResourceVersion()); err == nil {
		if seen, ok := next.(T); ok {
			return seen
		}
	}
	if pause(ctx, lookAgain) != nil {
		return o
	}
	seen := T(new(S)) // an empty one: what is read goes over what is there
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if c.api.Get(ctx, client.ObjectKeyFromObject(o), seen) != nil {
		return o
	}
	return seen
}

// statusOf reads what the controller shows, and says so where that is not the
// whole truth: a document that it refuses or has not read, or a status that is old.
func statusOf(e *v1alpha1.ScoringEndpoint, now time.Time) (engine.Status, error) {
	st := engine.Status{Endpoint: e.Name, Namespace: e.Namespace, At: now, Conditions: []engine.Condition{}}
	if e.Status.View == nil {
		st.Conditions = append(st.Conditions, engine.Condition{Type: "Ready", Status: "Unknown", Reason: "NotObserved", Message: "no controller has looked at this endpoint yet", Since: e.CreationTimestamp.Time})
		return st, nil
	}
	if err := json.Unmarshal(e.Status.View.Raw, &st); err != nil {
		return st, fmt.Errorf("reading status.view of %s/%s: %w; is this serin older than the controller?", e.Namespace, e.Name, err)
	}
	if st.Address == "" {
		st.Address = strings.Join(e.Spec.Traffic.Hosts, ", ")
	}
	accepted := meta.FindStatusCondition(e.Status.Conditions, "Accepted")
	switch {
	case accepted != nil && accepted.Status == metav1.ConditionFalse && accepted.ObservedGeneration == e.Generation:
		st.Conditions = append(st.Conditions, engine.Condition{Type: accepted.Type, Status: string(accepted.Status), Reason: accepted.Reason, Message: accepted.Message, Since: accepted.LastTransitionTime.Time})
	case e.Status.ObservedGeneration < e.Generation:
		st.Conditions = append(st.Conditions, engine.Condition{Type: "Accepted", Status: "Unknown", Reason: "NotObserved", Message: fmt.Sprintf("the controller has not taken generation %d yet", e.Generation), Since: st.At})
	}
	if age := now.Sub(st.At); age > oldAfter {
		st.Conditions = append(st.Conditions, engine.Condition{Type: "Current", Status: "False", Reason: "StatusIsOld", Message: fmt.Sprintf("the controller wrote this %s ago; is it running?", age.Round(time.Second)), Since: st.At})
	}
	return st, nil
}

// Rollouts returns the records of ended rollouts, latest first.
func (c *Client) Rollouts(ctx context.Context, limit int) ([]engine.RolloutRecord, error) {
	e, err := c.get(ctx)
	if err != nil {
		return nil, err
	}
	r := newRecord(Key{Namespace: e.Namespace, Name: e.Name}, c.api, c.api)
	// What ended a moment ago is in the record alone. One that cannot be read, which the status says, hides no more than that.
	_ = json.Unmarshal([]byte(e.Status.Record), &r.have)
	list, err := r.Rollouts(ctx, "", limit)
	return list, explained("reading rollouts", err)
}

// Audit returns the audit, latest first: the controller's last lines, and before
// them what the ScoringRollouts keep.
func (c *Client) Audit(ctx context.Context, limit int) ([]engine.Entry, error) {
	e, err := c.get(ctx)
	if err != nil {
		return nil, err
	}
	r := newRecord(Key{Namespace: e.Namespace, Name: e.Name}, c.api, c.api)
	if _, _, err := r.Load(ctx, ""); err != nil {
		return nil, explained("reading the audit", err)
	}
	out, _ := r.Audit(ctx, "", auditKept)
	var list v1alpha1.ScoringRolloutList
	if err := c.api.List(ctx, &list, client.InNamespace(c.namespace), client.MatchingLabels{LabelEndpoint: e.Name}); err != nil {
		return nil, explained("reading the audit", err)
	}
	out = append(out, olderLines(list.Items, out)...)
	return out[:min(limit, len(out))], nil
}

// olderLines are those of the rollouts that are older than all of the record's.
func olderLines(rollouts []v1alpha1.ScoringRollout, have []engine.Entry) (out []engine.Entry) {
	for _, s := range rollouts {
		for _, l := range s.Status.Audit {
			// Lines of rollouts are cut to the second.
			if len(have) == 0 || l.At.Time.Before(have[len(have)-1].At.Truncate(time.Second)) {
				out = append(out, engine.Entry{At: l.At.Time, Kind: l.Kind, Rollout: s.Name, By: l.By, OnBehalf: l.OnBehalfOf, Reason: l.Reason, Message: l.Message})
			}
		}
	}
	slices.Reverse(out)
	slices.SortStableFunc(out, func(a, b engine.Entry) int { return b.At.Compare(a.At) })
	return out
}

// Delete removes the endpoint; its finalizer brings the traffic to stable first.
func (c *Client) Delete(ctx context.Context, dryRun bool) (engine.ApplyResult, error) {
	e, err := c.get(ctx)
	if err != nil {
		return engine.ApplyResult{}, err
	}
	result := engine.ApplyResult{Endpoint: e.Name, DryRun: dryRun, Changes: []engine.Change{}, Notes: []string{}, Message: fmt.Sprintf("endpoint %s of namespace %s is deleted: traffic goes to stable, then its routes, its scorers and its record go", e.Name, e.Namespace)}
	var options []client.DeleteOption
	if dryRun {
		options = append(options, client.DryRunAll)
	}
	// The object that was seen, not a later one of the same name.
	options = append(options, client.Preconditions{UID: &e.UID})
	err = c.api.Delete(ctx, e, options...)
	if apierrors.IsConflict(err) {
		return result, fail(ErrNotFound, "endpoint %q was deleted and made anew meanwhile; nothing was done", e.Name)
	}
	return result, explained(fmt.Sprintf("deleting endpoint %q", e.Name), err)
}
