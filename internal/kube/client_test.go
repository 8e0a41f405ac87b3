package kube

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authentication "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/rollout"
)

var clientNow = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// shownEndpoint is an endpoint as a controller leaves it.
func shownEndpoint(t *testing.T, change func(*v1alpha1.ScoringEndpoint, *engine.Status)) *v1alpha1.ScoringEndpoint {
	t.Helper()
	st := engine.Status{
		Endpoint: "driver", Namespace: "abtesting", At: clientNow, Weights: engine.Weights{PlannedBP: 1000},
		Rollout:    &engine.RolloutView{ID: "driver-7", To: "2", Evidence: engine.EvidenceView{Digest: "e1"}},
		Conditions: []engine.Condition{{Type: "Ready", Status: "True", Reason: "Serving"}},
	}
	e := &v1alpha1.ScoringEndpoint{ObjectMeta: metav1.ObjectMeta{Namespace: "abtesting", Name: "driver", UID: "u1", Generation: 3}}
	e.Spec.Scorer = v1alpha1.Scorer{Image: "registry.example/m@sha256:" + strings.Repeat("a", 64), Version: "1", Port: 5001}
	e.Spec.Traffic.Hosts = []string{"driver.example"}
	e.Status.ObservedGeneration, e.Status.Rollout = 3, "driver-7"
	if change != nil {
		change(e, &st)
	}
	raw, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	if e.Status.View == nil {
		e.Status.View = &runtime.RawExtension{Raw: raw}
	}
	return e
}

// testClient speaks to a fake API server that knows the user as ann. more may take
// requests in its place.
func testClient(t *testing.T, more interceptor.Funcs, objects ...client.Object) *Client {
	t.Helper()
	scheme, err := Scheme()
	if err != nil {
		t.Fatal(err)
	}
	create := more.Create
	more.Create = func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
		if r, ok := o.(*authentication.SelfSubjectReview); ok {
			r.Status.UserInfo.Username = "ann"
			return nil
		}
		if create != nil {
			return create(ctx, c, o, opts...)
		}
		return c.Create(ctx, o, opts...)
	}
	api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithInterceptorFuncs(more).
		WithStatusSubresource(&v1alpha1.ScoringEndpoint{}, &v1alpha1.ScoringRollout{}, &v1alpha1.RolloutAction{}).Build()
	c := newClient(api, "abtesting", "")
	c.clock, c.patience = func() time.Time { return clientNow }, 20*time.Second
	c.watchFor = 50 * time.Millisecond // the fake forgets changes before the watch
	return c
}

func TestClientStatus(t *testing.T) {
	for what, c := range map[string]struct {
		change func(*v1alpha1.ScoringEndpoint, *engine.Status)
		want   string // the condition that is added: type, status, reason
	}{
		"as it should be": {nil, ""},
		"refused by the controller": {func(e *v1alpha1.ScoringEndpoint, _ *engine.Status) {
			e.Status.Conditions = []metav1.Condition{{Type: "Accepted", Status: metav1.ConditionFalse, Reason: "InvalidDocument", ObservedGeneration: 3}}
		}, "Accepted False InvalidDocument"},
		"refused before": {func(e *v1alpha1.ScoringEndpoint, _ *engine.Status) {
			e.Status.Conditions = []metav1.Condition{{Type: "Accepted", Status: metav1.ConditionFalse, Reason: "InvalidDocument", ObservedGeneration: 2}}
		}, ""},
		"not read yet":     {func(e *v1alpha1.ScoringEndpoint, _ *engine.Status) { e.Generation = 4 }, "Accepted Unknown NotObserved"},
		"written long ago": {func(_ *v1alpha1.ScoringEndpoint, st *engine.Status) { st.At = clientNow.Add(-2 * oldAfter) }, "Current False StatusIsOld"},
	} {
		st, err := testClient(t, interceptor.Funcs{}, shownEndpoint(t, c.change)).Status(t.Context())
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		got := ""
		for _, x := range st.Conditions {
			if x.Type != "Ready" {
				got = x.Type + " " + x.Status + " " + x.Reason
			}
		}
		if got != c.want || st.Endpoint != "driver" || st.Address != "driver.example" {
			t.Errorf("%s: %q and %+v, want %q", what, got, st, c.want)
		}
	}
	untouched := shownEndpoint(t, nil)
	untouched.Status = v1alpha1.ScoringEndpointStatus{}
	if st, err := testClient(t, interceptor.Funcs{}, untouched).Status(t.Context()); err != nil || len(st.Conditions) != 1 || st.Conditions[0].Reason != "NotObserved" {
		t.Errorf("no controller has been there: %+v, %v", st.Conditions, err)
	}
}

func TestClientNamesTheEndpoint(t *testing.T) {
	other := shownEndpoint(t, nil)
	other.Name, other.UID = "other", "u2"
	_, err := testClient(t, interceptor.Funcs{}, shownEndpoint(t, nil), other).Status(t.Context())
	if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "driver, other") {
		t.Errorf("two endpoints and no name: %v", err)
	}
	c := testClient(t, interceptor.Funcs{}, shownEndpoint(t, nil), other)
	c.endpoint = "other"
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("named: %v", err)
	}
	c.endpoint = "third"
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrNotFound) {
		t.Errorf("one that is not there: %v, want not found", err)
	}
	if _, err := testClient(t, interceptor.Funcs{}).Status(t.Context()); !errors.Is(err, ErrNotFound) {
		t.Errorf("none at all: %v, want not found", err)
	}
}

// TestClientNext sees a change by a watch, and looks again when there is none.
func TestClientNext(t *testing.T) {
	c := testClient(t, interceptor.Funcs{}, shownEndpoint(t, nil))
	if _, err := c.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	changed := shownEndpoint(t, func(_ *v1alpha1.ScoringEndpoint, st *engine.Status) { st.Weights.PlannedBP = 5000 })
	go func() {
		var e v1alpha1.ScoringEndpoint
		if c.api.Get(t.Context(), client.ObjectKeyFromObject(changed), &e) == nil {
			e.Status = changed.Status
			_ = c.api.Status().Update(t.Context(), &e)
		}
	}()
	for st, err := (engine.Status{}), error(nil); st.Weights.PlannedBP != 5000; {
		if st, err = c.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Next(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("when interrupted: %v", err)
	}
}

// answering is a controller that answers every action.
func answering(t *testing.T, status v1alpha1.RolloutActionStatus, seen *v1alpha1.RolloutActionSpec) interceptor.Funcs {
	return interceptor.Funcs{Create: func(ctx context.Context, api client.WithWatch, o client.Object, opts ...client.CreateOption) error {
		if err := api.Create(ctx, o, opts...); err != nil {
			return err
		}
		a := o.DeepCopyObject().(*v1alpha1.RolloutAction)
		*seen = a.Spec
		go func() {
			a.Status = status
			if err := api.Status().Update(t.Context(), a); err != nil {
				t.Errorf("answering: %v", err)
			}
		}()
		return nil
	}}
}

func TestClientActs(t *testing.T) {
	for _, accepted := range []bool{true, false} {
		var seen v1alpha1.RolloutActionSpec
		status := v1alpha1.RolloutActionStatus{Answered: true, Accepted: accepted, Reason: "Word", Message: "text"}
		running := &v1alpha1.ScoringRollout{ObjectMeta: metav1.ObjectMeta{Namespace: "abtesting", Name: "driver-7", UID: "r7"}}
		c := testClient(t, answering(t, status, &seen), shownEndpoint(t, nil), running)
		got, err := c.Act(t.Context(), engine.ActionRequest{Action: "Approve", Step: "50%", OnBehalfOf: "bob", Reason: "fine", EvidenceDigest: "e1"})
		if err != nil || got.Accepted != accepted || got.Reason != "Word" || got.Message != "text" || !strings.HasPrefix(got.ID, "driver-") {
			t.Errorf("answered %+v, %v", got, err)
		}
		want := v1alpha1.RolloutActionSpec{Endpoint: "driver", Rollout: "driver-7", RolloutUID: "r7", Action: "Approve", Step: "50%", By: "ann", OnBehalfOf: "bob", Reason: "fine", EvidenceDigest: "e1"}
		if d := cmp.Diff(want, seen); d != "" {
			t.Errorf("asked (-want +got):\n%s", d)
		}
	}
}

// TestClientAsksOnce: an action whose answer was lost is not asked for a second time.
func TestClientAsksOnce(t *testing.T) {
	var seen v1alpha1.RolloutActionSpec
	c := testClient(t, answering(t, v1alpha1.RolloutActionStatus{Answered: true, Accepted: true}, &seen), shownEndpoint(t, nil))
	for range 2 {
		got, err := c.Act(t.Context(), engine.ActionRequest{ID: "abc", Action: "Pause"})
		if err != nil || got.ID != "driver-abc" || !got.Accepted {
			t.Fatalf("answered %+v, %v", got, err)
		}
	}
	var all v1alpha1.RolloutActionList
	if err := c.api.List(t.Context(), &all); err != nil || len(all.Items) != 1 {
		t.Errorf("%d actions, %v", len(all.Items), err)
	}
	if _, err := c.Act(t.Context(), engine.ActionRequest{ID: "abc", Action: "Abort"}); !errors.Is(err, ErrConflict) {
		t.Errorf("another action of the same name: %v", err)
	}
}

func TestClientActsWithoutAController(t *testing.T) {
	c := testClient(t, interceptor.Funcs{}, shownEndpoint(t, nil))
	c.patience = 10 * time.Millisecond
	if _, err := c.Act(t.Context(), engine.ActionRequest{Action: "Pause"}); !errors.Is(err, ErrUnanswered) || !strings.Contains(err.Error(), "may still be carried out") {
		t.Errorf("nobody answers: %v", err)
	}
}

const clusterDocument = `
apiVersion: serin.dev/v1alpha1
kind: ScoringEndpoint
metadata: {name: driver}
spec:
  scorer: {version: %s, image: "registry.example/m@sha256:%s"}
  traffic: {hosts: [driver.example]}
`

func TestClientApply(t *testing.T) {
	text := func(version, digit string) []byte {
		return []byte(strings.Replace(strings.Replace(clusterDocument, "%s", version, 1), "%s", strings.Repeat(digit, 64), 1))
	}
	c := testClient(t, interceptor.Funcs{})
	c.patience = 10 * time.Millisecond // nobody takes the document: TestClientWaitsForTheController
	r, err := c.Apply(t.Context(), text("1", "a"), false, false)
	if err != nil || !r.NewVersion || !strings.Contains(r.Message, "version 1 is its first") {
		t.Fatalf("the first: %+v, %v", r, err)
	}
	var e v1alpha1.ScoringEndpoint
	if err := c.api.Get(t.Context(), client.ObjectKey{Namespace: "abtesting", Name: "driver"}, &e); err != nil || e.Spec.Scorer.Version != "1" {
		t.Fatalf("what is there: %+v, %v", e.Spec.Scorer, err)
	}
	if d := cmp.Diff(v1alpha1.Rollout{}, e.Spec.Rollout); d != "" {
		t.Errorf("what was not written was sent all the same:\n%s", d)
	}
	r, err = c.Apply(t.Context(), text("2", "b"), false, false)
	var paths []string
	for _, x := range r.Changes {
		paths = append(paths, x.Path)
	}
	if d := cmp.Diff([]string{"spec.scorer.image", "spec.scorer.version"}, paths); err != nil || d != "" || !r.NewVersion || r.Message != "version 2 starts a rollout" || len(r.Notes) != 0 {
		t.Errorf("the second: %+v, %v\n%s", r, err, d)
	}
	if r, err = c.Apply(t.Context(), text("2", "b"), false, false); err != nil || r.NewVersion || len(r.Changes) != 0 {
		t.Errorf("the same again: %+v, %v", r, err)
	}
}

// TestClientWaitsForTheController: who waits for the rollout next must find it.
func TestClientWaitsForTheController(t *testing.T) {
	took := func(s rollout.State) func(*v1alpha1.ScoringEndpointStatus) {
		return func(st *v1alpha1.ScoringEndpointStatus) {
			text, err := json.Marshal(saved{Record: engine.Record{State: s}})
			if err != nil {
				t.Error(err)
			}
			st.ObservedGeneration, st.Record = 4, string(text)
			if s.Attempt != nil {
				st.Rollout = s.Attempt.ID
			}
		}
	}
	for what, x := range map[string]struct {
		controller func(*v1alpha1.ScoringEndpointStatus) // nil: none
		rollout    string
		held       string
		err        error
	}{
		"nobody reads it": {nil, "", "no controller", nil},
		"it is tried":     {took(rollout.State{Attempt: &rollout.Attempt{ID: "driver-8", To: rollout.Revision{Digest: "d"}}}), "driver-8", "", nil},
		"it is there":     {took(rollout.State{Stable: &rollout.Revision{Digest: "d"}}), "", "", nil},
		"it failed":       {took(rollout.State{Stable: &rollout.Revision{Digest: "x"}, Blocked: []string{"d"}}), "", "serin retry", nil},
		"another ends":    {took(rollout.State{Attempt: &rollout.Attempt{ID: "driver-7", To: rollout.Revision{Digest: "x"}}}), "", "no controller", nil},
		"it is refused": {func(s *v1alpha1.ScoringEndpointStatus) {
			s.Conditions = []metav1.Condition{{Type: "Accepted", Status: metav1.ConditionFalse, Reason: "InvalidDocument", Message: "steps", ObservedGeneration: 4}}
		}, "", "", ErrInvalid},
	} {
		c := testClient(t, interceptor.Funcs{}, shownEndpoint(t, func(e *v1alpha1.ScoringEndpoint, _ *engine.Status) { e.Generation = 4 }))
		e, err := c.get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		if strings.HasPrefix(x.held, "no controller") {
			c.patience = 100 * time.Millisecond
		}
		if x.controller == nil {
			done <- nil
		} else {
			seen := e.DeepCopy()
			go func() {
				x.controller(&seen.Status)
				done <- c.api.Status().Update(t.Context(), seen)
			}()
		}
		got, err := c.taken(t.Context(), e, "d", "driver-7")
		if !errors.Is(err, x.err) || got.Rollout != x.rollout || !strings.Contains(got.Held, x.held) || (got.Held == "") != (x.held == "") {
			t.Errorf("%s: %+v, %v; want %q, %q, %v", what, got, err, x.rollout, x.held, x.err)
		}
		if err := <-done; err != nil {
			t.Errorf("%s: the controller: %v", what, err)
		}
	}
}

// TestClientWaitsUntilARolloutIsShown: the record names a rollout before the status does,
// and who looks right after applying must not find the one before.
func TestClientWaitsUntilARolloutIsShown(t *testing.T) {
	text, err := json.Marshal(saved{Record: engine.Record{State: rollout.State{Attempt: &rollout.Attempt{ID: "driver-8", To: rollout.Revision{Digest: "d"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []bool{true, false} {
		c := testClient(t, interceptor.Funcs{}, shownEndpoint(t, func(e *v1alpha1.ScoringEndpoint, _ *engine.Status) {
			e.Generation, e.Status.ObservedGeneration, e.Status.Record = 4, 4, string(text)
		}))
		e, err := c.get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen, done := e.DeepCopy(), make(chan error, 1)
		if c.patience = 100 * time.Millisecond; shown {
			c.patience = time.Minute
			go func() {
				seen.Status.Rollout = "driver-8"
				done <- c.api.Status().Update(t.Context(), seen)
			}()
		} else {
			done <- nil
		}
		got, err := c.taken(t.Context(), e, "d", "driver-7")
		if err != nil || got.Rollout != "driver-8" || got.Held != "" {
			t.Errorf("shown %t: %+v, %v", shown, got, err)
		}
		if e, err = c.get(t.Context()); err != nil || shown && e.Status.Rollout != "driver-8" {
			t.Errorf("the answer came while the status told of %q, %v", e.Status.Rollout, err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestClientRefusesDocuments(t *testing.T) {
	for what, c := range map[string]struct {
		text, says string
	}{
		"not for a cluster": {"apiVersion: serin.dev/v1alpha1\nkind: ScoringEndpoint\nmetadata: {name: driver}\nspec: {scorer: {local: {model: m.txt}}}\n", "spec.scorer.image"},
		"another namespace": {strings.Replace(clusterDocument, "name: driver", "name: driver, namespace: other", 1), "--namespace"},
		"no document":       {"x: 1", "kind"},
	} {
		text := strings.Replace(strings.Replace(c.text, "%s", "1", 1), "%s", strings.Repeat("a", 64), 1)
		if _, err := testClient(t, interceptor.Funcs{}).Apply(t.Context(), []byte(text), true, false); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", what, err, c.says)
		}
	}
}

func TestClientErrors(t *testing.T) {
	kind := schema.GroupKind{Group: "serin.dev", Kind: v1alpha1.Kind}
	resource := schema.GroupResource{Group: "serin.dev", Resource: "scoringendpoints"}
	conflict := apierrors.NewApplyConflict([]metav1.StatusCause{{Type: metav1.CauseTypeFieldManagerConflict, Field: ".spec.scorer.image", Message: `conflict with "kubectl"`}}, "Apply failed")
	for _, c := range []struct {
		err   error
		means error
		says  string
	}{
		{apierrors.NewForbidden(resource, "driver", errors.New("ann may not")), ErrForbidden, "ann may not"},
		{apierrors.NewUnauthorized("no token"), ErrForbidden, "log in again"},
		{apierrors.NewNotFound(resource, "driver"), ErrNotFound, "driver"},
		{apierrors.NewGenericServerResponse(http.StatusNotFound, "get", resource, "", "", 0, false), ErrNotFound, "charts/serin"},
		{apierrors.NewInvalid(kind, "driver", field.ErrorList{field.Invalid(field.NewPath("spec", "port"), 0, "must be above 0"), field.Required(field.NewPath("spec", "scorer"), "")}), ErrInvalid, "\n  spec.port: "},
		{conflict, ErrConflict, "--force-conflicts"},
		{conflict, ErrConflict, ".spec.scorer.image"},
		{apierrors.NewInternalError(errors.New("etcd")), ErrAway, "etcd"},
		{apierrors.NewServiceUnavailable("starting"), ErrAway, "starting"},
		{context.DeadlineExceeded, ErrAway, "did not answer"},
		{context.Canceled, context.Canceled, ""},
	} {
		if got := explained("doing", c.err); !errors.Is(got, c.means) || !strings.Contains(got.Error(), c.says) {
			t.Errorf("%v became %v, want %v and %q", c.err, got, c.means, c.says)
		}
	}
}

func TestClientHistory(t *testing.T) {
	old, late := clientNow.Add(-time.Hour), clientNow.Add(-time.Minute)
	ended := func(n int32, at time.Time) *v1alpha1.ScoringRollout {
		id := map[int32]string{6: "driver-6", 7: "driver-7"}[n]
		raw, err := json.Marshal(engine.RolloutRecord{ID: id, EndedAt: at, Attempt: rollout.Attempt{ID: id, Number: int(n), Outcome: rollout.Promoted}})
		if err != nil {
			t.Fatal(err)
		}
		s := &v1alpha1.ScoringRollout{ObjectMeta: metav1.ObjectMeta{Namespace: "abtesting", Name: id, Labels: map[string]string{LabelEndpoint: "driver"}}, Spec: v1alpha1.ScoringRolloutSpec{Endpoint: "driver", Number: n}}
		s.Status.Record = &runtime.RawExtension{Raw: raw}
		s.Status.Audit = []v1alpha1.AuditLine{{At: metav1.NewTime(at), Kind: "Transition", Message: "entered " + id}, {At: metav1.NewTime(at), Kind: "Action", By: "ann", Message: "promoted " + id}}
		return s
	}
	e := shownEndpoint(t, nil)
	record, err := json.Marshal(saved{Audit: []entry{{Entry: engine.Entry{At: late, Kind: "Transition", Message: "entered driver-7"}}, {Entry: engine.Entry{At: late.Add(time.Second), Kind: "Applied", By: "cli", Message: "version 3"}}},
		// Number 8 was promoted and taken back a moment ago, and is not filed yet; 7 is, and has not left the record.
		Ended: []engine.RolloutRecord{{ID: "driver-7", Attempt: rollout.Attempt{ID: "driver-7", Number: 7}}, {ID: "driver-8", Attempt: rollout.Attempt{ID: "driver-8", Number: 8, Outcome: rollout.Promoted}}, {ID: "driver-8", Attempt: rollout.Attempt{ID: "driver-8", Number: 8, Outcome: rollout.RolledBack}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	e.Status.Record = string(record)
	c := testClient(t, interceptor.Funcs{}, e, ended(6, old), ended(7, late))
	list, err := c.Rollouts(t.Context(), 10)
	if err != nil || len(list) != 3 || list[0].ID != "driver-8" || list[1].ID != "driver-7" || list[2].ID != "driver-6" {
		t.Errorf("rollouts %+v, %v, want driver-8, driver-7 and driver-6", list, err)
	}
	if list, err = c.Rollouts(t.Context(), 1); err != nil || len(list) != 1 || list[0].ID != "driver-8" || list[0].Attempt.Outcome != rollout.RolledBack {
		t.Errorf("the last rollout: %+v, %v, want driver-8 as it ended last", list, err)
	}
	lines, err := c.Audit(t.Context(), 10)
	var got []string
	for _, l := range lines {
		got = append(got, l.Message)
	}
	if d := cmp.Diff([]string{"version 3", "entered driver-7", "promoted driver-6", "entered driver-6"}, got); err != nil || d != "" {
		t.Errorf("audit %v (-want +got):\n%s", err, d)
	}
}

func TestClientDelete(t *testing.T) {
	c := testClient(t, interceptor.Funcs{}, shownEndpoint(t, nil))
	for _, dry := range []bool{true, false} {
		if r, err := c.Delete(t.Context(), dry); err != nil || r.DryRun != dry || !strings.Contains(r.Message, "traffic goes to stable") {
			t.Errorf("dry run %v: %+v, %v", dry, r, err)
		}
	}
	if _, err := c.Delete(t.Context(), false); !errors.Is(err, ErrNotFound) {
		t.Errorf("again: %v, want not found", err)
	}
}
