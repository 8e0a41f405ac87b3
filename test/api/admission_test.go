package api_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/serin-dev/serin/test/cluster"
)

// binding gives a user one of the chart's roles in the namespace of the test.
func binding(user, role string) string {
	return fmt.Sprintf(`apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: "%[1]s-%[2]s", namespace: abtesting}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %[2]s}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: %[1]s}]
---
`, user, role)
}

// onlyOne may approve one rollout, by a role that names it.
const onlyOne = `apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: only-one, namespace: abtesting}
rules:
- {apiGroups: [serin.dev], resources: [rolloutactions], verbs: [create]}
- {apiGroups: [serin.dev], resources: [scoringrollouts], verbs: [approve], resourceNames: [driver-7]}
- {apiGroups: [serin.dev], resources: [scoringendpoints], verbs: [get, update]}
- {apiGroups: [serin.dev], resources: [scoringendpoints], verbs: [configure], resourceNames: [mine]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: only-one, namespace: abtesting}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: only-one}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: oli}]
`

// People of the test, by what they are bound to.
const (
	viewer, operator, approver, configurer, stranger, oli = "vera", "otto", "anna", "carl", "sam", "oli"
)

var guard = sync.OnceValue(func() error {
	c, err := server()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	all := binding(viewer, "serin-viewer") + binding(operator, "serin-operator") + binding(approver, "serin-approver") +
		binding(configurer, "serin-configurer") + binding(configurer, "serin-operator") + onlyOne
	if err := c.Apply(ctx, []byte(all)); err != nil {
		return err
	}
	// A policy is in force some time after it was taken.
	d, err := dynamic.NewForConfig(c.RequestConfig())
	if err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		_, err := d.Resource(actions).Namespace("abtesting").Create(ctx, actionOf("Pause", "driver-7", "somebody else"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if !apierrors.IsForbidden(err) {
			return false, nil
		}
		_, err = impersonate(c, operator).Resource(endpoints).Namespace("abtesting").Create(ctx, endpointOf("probe", nil), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "configure"), nil
	})
})

// guarded is the API server with the chart's roles and admission policies in force.
func guarded(t *testing.T) *cluster.Cluster {
	t.Helper()
	c := start(t)
	text, _, err := render(t, "")
	if err != nil {
		t.Fatal(err)
	}
	var mine []*unstructured.Unstructured
	for _, o := range objectsOf(t, text) {
		if strings.HasPrefix(o.GetKind(), "ValidatingAdmissionPolicy") || o.GetKind() == "ClusterRole" {
			mine = append(mine, o)
		}
	}
	if len(mine) != 9 {
		t.Fatalf("%d policies, bindings and roles in the chart, want 9", len(mine))
	}
	if err := c.ApplyObjects(t.Context(), mine...); err != nil {
		t.Fatal(err)
	}
	if err := guard(); err != nil {
		t.Fatal(err)
	}
	return c
}

func impersonate(c *cluster.Cluster, user string) dynamic.Interface {
	cfg := c.RequestConfig()
	cfg.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:authenticated"}}
	return dynamic.NewForConfigOrDie(cfg)
}

func actionOf(action, rollout, by string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "serin.dev/v1alpha1", "kind": "RolloutAction", "metadata": map[string]any{"generateName": "a-", "namespace": "abtesting"},
		"spec": map[string]any{"endpoint": "driver", "rollout": rollout, "action": action, "by": by},
	}}
}

// verbs is which verb each action takes.
var verbs = map[string]string{
	"Approve": "approve", "Reject": "approve", "Promote": "approve", "Abort": "abort", "Rollback": "abort",
	"Pause": "operate", "Resume": "operate", "Retry": "operate",
}

func TestWhoMayDoWhat(t *testing.T) {
	c := guarded(t)
	may := map[string][]string{operator: {"operate"}, approver: {"approve", "abort"}, configurer: {"operate"}, viewer: nil, stranger: nil}
	for user, allowed := range may {
		for action, verb := range verbs {
			for _, rollout := range []string{"driver-7", ""} {
				err := ask(t, c, user, actionOf(action, rollout, user))
				want := slices.Contains(allowed, verb)
				if want && err != nil || !want && !apierrors.IsForbidden(err) {
					t.Errorf("%s asks to %s %q: %v; want allowed %v", user, action, rollout, err, want)
				}
				if !want && len(allowed) > 0 && (!strings.Contains(err.Error(), "may not "+action) || !strings.Contains(err.Error(), "verb "+verb)) {
					t.Errorf("%s asks to %s: %v; want who may not do what, and the verb that it takes", user, action, err)
				}
			}
		}
	}
}

func ask(t *testing.T, c *cluster.Cluster, user string, a *unstructured.Unstructured) error {
	t.Helper()
	_, err := impersonate(c, user).Resource(actions).Namespace("abtesting").Create(t.Context(), a, metav1.CreateOptions{})
	return err
}

func TestARoleMayNameRollouts(t *testing.T) {
	c := guarded(t)
	for rollout, want := range map[string]bool{"driver-7": true, "driver-8": false, "": false} {
		if err := ask(t, c, oli, actionOf("Approve", rollout, oli)); (err == nil) != want {
			t.Errorf("approving %q: %v; want allowed %v", rollout, err, want)
		}
	}
	if err := ask(t, c, oli, actionOf("Abort", "driver-7", oli)); !apierrors.IsForbidden(err) {
		t.Errorf("aborting the rollout that may only be approved: %v; want it refused", err)
	}
	other := actionOf("Approve", "driver-7", oli)
	other.Object["spec"].(map[string]any)["endpoint"] = "another"
	if err := ask(t, c, oli, other); !apierrors.IsInvalid(err) {
		t.Errorf("approving another endpoint under a rollout's name that is allowed: %v; want it refused as not valid", err)
	}
}

// Promise 8: approvals carry an authenticated identity.
func TestNobodyActsInAnothersName(t *testing.T) {
	c := guarded(t)
	for _, by := range []string{operator, "", "Anna", "system:admin"} {
		err := ask(t, c, approver, actionOf("Approve", "driver-7", by))
		if !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) {
			t.Errorf("%s asks as %q: %v; want it refused", approver, by, err)
		}
		if by != "" && !strings.Contains(fmt.Sprint(err), "must be who you are: "+approver) {
			t.Errorf("%s asks as %q: %v; want the name to write", approver, by, err)
		}
	}
	// Not even an administrator: the record says who it was.
	_, err := client(t, c.RequestConfig()).Resource(actions).Namespace("abtesting").Create(t.Context(), actionOf("Approve", "driver-7", approver), metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("an administrator asks as %s: %v; want it refused", approver, err)
	}
}

func TestAnActionNeverChanges(t *testing.T) {
	c := guarded(t)
	admin := client(t, c.RequestConfig()).Resource(actions).Namespace("abtesting")
	a, err := impersonate(c, approver).Resource(actions).Namespace("abtesting").Create(t.Context(), actionOf("Abort", "driver-7", approver), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for field, value := range map[string]string{"action": "Approve", "by": "system:admin", "rollout": "driver-8"} {
		patch := fmt.Appendf(nil, `{"spec":{%q:%q}}`, field, value)
		if _, err := admin.Patch(t.Context(), a.GetName(), types.MergePatchType, patch, metav1.PatchOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "never changes") {
			t.Errorf("changing spec.%s: %v; want it refused", field, err)
		}
	}
	if _, err := admin.Patch(t.Context(), a.GetName(), types.MergePatchType, []byte(`{"status":{"answered":true,"accepted":true}}`), metav1.PatchOptions{}, "status"); err != nil {
		t.Errorf("answering: %v", err)
	}
	b := actionOf("Promote", "driver-7", approver)
	b.Object["status"] = map[string]any{"answered": true, "accepted": true}
	got, err := impersonate(c, approver).Resource(actions).Namespace("abtesting").Create(t.Context(), b, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := got.Object["status"]; ok {
		t.Error("an action comes with an answer of its own")
	}
}

func endpointOf(name string, change map[string]any) *unstructured.Unstructured {
	spec := map[string]any{"scorer": map[string]any{"image": image}}
	maps.Copy(spec, change)
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "serin.dev/v1alpha1", "kind": "ScoringEndpoint", "metadata": map[string]any{"name": name, "namespace": "abtesting"}, "spec": spec,
	}}
}

// Promise 8: who pushes a version cannot drop its gate.
func TestWhoPushesAVersionCannotDropItsGate(t *testing.T) {
	c := guarded(t)
	gate := map[string]any{"rollout": map[string]any{"approval": "EveryStep"}}
	at := func(user string) dynamic.ResourceInterface {
		return impersonate(c, user).Resource(endpoints).Namespace("abtesting")
	}
	for name, change := range map[string]map[string]any{"by-default": nil, "with-a-gate": gate} {
		if _, err := at(operator).Create(t.Context(), endpointOf(name, change), metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("%s creates %s: %v; want it refused: it could be after a delete", operator, name, err)
		}
	}
	if _, err := at(configurer).Create(t.Context(), endpointOf("gated", gate), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for patch, guardedField := range map[string]bool{
		`{"spec":{"scorer":{"version":"VERSION","image":"r/a@sha256:bb"}}}`:           false,
		`{"spec":{"traffic":{"timeout":"6s"},"scaling":{"replicas":3}}}`:              false,
		`{"metadata":{"labels":{"team":"VERSION"}}}`:                                  false,
		`{"spec":{"rollout":{"approval":"AsMarked"}}}`:                                true,
		`{"spec":{"rollout":null}}`:                                                   true,
		`{"spec":{"rollout":{"steps":[{"weight":"100%"}]}}}`:                          true,
		`{"spec":{"rollout":{"minRequests":0},"scorer":{"version":"VERSION"}}}`:       true,
		`{"spec":{"judge":{"falsePromote":"50%"}}}`:                                   true,
		`{"spec":{"judge":{"errors":{"promoteBelow":"1000x","revertAbove":"999x"}}}}`: true,
		`{"spec":{"judge":{"agreement":{"tolerance":"1000"}}}}`:                       true,
		`{"spec":{"rollout":{"freeze":[{"cron":"@daily","duration":"1h"}]}}}`:         true,
	} {
		for _, user := range []string{operator, configurer} {
			text := strings.ReplaceAll(patch, "VERSION", user)
			_, err := at(user).Patch(t.Context(), "gated", types.MergePatchType, []byte(text), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
			if want := !guardedField || user == configurer; want && err != nil || !want && !apierrors.IsForbidden(err) {
				t.Errorf("%s writes %s: %v; want allowed %v", user, text, err, want)
			}
		}
	}
	for _, user := range []string{viewer, approver, stranger} {
		if _, err := at(user).Patch(t.Context(), "gated", types.MergePatchType, []byte(`{"spec":{"rollout":{"approval":"AsMarked"}}}`), metav1.PatchOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("%s drops the gate: %v; want it refused", user, err)
		}
	}
}
