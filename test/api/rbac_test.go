package api_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/serin-dev/serin/internal/kube"
	"github.com/serin-dev/serin/internal/observe/wire"
	"github.com/serin-dev/serin/test/cluster"
)

// used are the rights that a client made use of, as verb resource.group, and the requests that were forbidden.
type used struct {
	mu        sync.Mutex
	rights    map[string]bool
	forbidden []string
}

// noting is one client's way to the API server.
type noting struct {
	*used
	next http.RoundTripper
}

func (u noting) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := u.next.RoundTrip(r)
	if err != nil {
		return res, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, right := range rightsOf(r, res.StatusCode) {
		u.rights[right] = true
		if res.StatusCode == http.StatusForbidden {
			u.forbidden = append(u.forbidden, right+" "+r.URL.Path)
		}
	}
	return res, nil
}

// rightsOf reads a request as the API server's authorizer does.
func rightsOf(r *http.Request, status int) []string {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	group := ""
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		group, parts = parts[1], parts[3:]
	default:
		return nil // discovery
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		parts = parts[2:]
	}
	resource := parts[0]
	if len(parts) > 2 {
		resource += "/" + parts[2]
	}
	verb := map[string]string{http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete", http.MethodGet: "get"}[r.Method]
	switch {
	case verb == "get" && r.URL.Query().Get("watch") == "true":
		verb = "watch"
	case verb == "get" && len(parts) == 1:
		verb = "list"
	}
	out := []string{verb + " " + resource + "." + group}
	if verb == "patch" && status == http.StatusCreated {
		out = append(out, "create "+resource+"."+group) // an apply that made the object
	}
	return out
}

// notSeen are rights of the chart that no request shows, and why they are there.
var notSeen = map[string]string{
	"update scoringendpoints/finalizers.serin.dev": "asked of whoever sets a blocking owner reference, where the API server's plug-in OwnerReferencesPermissionEnforcement is on",
	"patch events.": "an event that is repeated",
}

// The controller runs with the chart's rights and no others, through a first version, a rollout with weight, an abort and a
// delete: nothing that it asks is forbidden, and nothing that it may do goes unused.
func TestTheControllersRightsAreThoseItUses(t *testing.T) {
	c := guarded(t)
	istioKinds(t, c)
	namespaces(t, c, "serin-system", "driven")
	rights := controllerRights(t, c)
	core := kubernetes.NewForConfigOrDie(c.RequestConfig())
	// One that another test's controller left would not have to be made.
	if err := core.CoordinationV1().Leases("serin-system").Delete(t.Context(), "serin-controller", metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	u := &used{rights: map[string]bool{}}
	at, hook := runController(t, c, u), newHook(t)

	d := drive{t, c, client(t, c.RequestConfig()), core, hook.url}
	d.history(12)
	go d.kubelet(t.Context())
	d.apply("1")
	d.until("the first version is stable", func(s map[string]any) bool {
		return text(s, "stable", "version") == "1" && text(s, "stable", "ready") == "true"
	})
	d.takeGateway()
	d.apply("2")
	d.until("the second has weight", func(s map[string]any) bool {
		return text(s, "candidate", "version") == "2" && text(s, "weight") == "50%"
	})
	d.used(u, "watch horizontalpodautoscalers.autoscaling")
	at.showMetrics(d)
	d.events("StepEntered", "Normal", "entered step 50%: 50% of requests to version 2", "Next: the next step opens")
	hook.told(d, "StepEntered")
	d.abort()
	d.until("it is aborted", func(s map[string]any) bool { return text(s, "candidate", "version") == "" })
	d.events("Accepted", "Normal", "Abort: ", "(by "+approver+")")
	d.events("Aborted", "Warning", "Next: production serves all")
	hook.told(d, "Aborted")
	d.used(u, "delete deployments.apps")
	d.used(u, "delete scoringrollouts.serin.dev")
	d.onlyTheGateway()
	d.otherRoutes()
	d.adopts()
	d.used(u, "get deployments.apps", "get virtualservices.networking.istio.io", "delete virtualservices.networking.istio.io", "delete gateways.networking.istio.io")
	sayHello(t, at.recorders)
	d.delete()

	u.mu.Lock()
	defer u.mu.Unlock()
	for _, f := range slices.Compact(slices.Sorted(slices.Values(u.forbidden))) {
		t.Errorf("the chart forbids what the controller does: %s", f)
	}
	for _, r := range slices.Sorted(maps.Keys(rights)) {
		// A cache lists where the API server cannot stream what there is.
		streamed, list := strings.CutPrefix(r, "list ")
		if !u.rights[r] && notSeen[r] == "" && !(list && u.rights["watch "+streamed]) {
			t.Errorf("the chart allows what the controller does not do: %s", r)
		}
	}
	for r := range notSeen {
		if !rights[r] {
			t.Errorf("%s is not in the chart: take it off the list", r)
		}
	}
}

// controllerRights applies the chart's roles of the controller and lists what they allow.
func controllerRights(t *testing.T, c *cluster.Cluster) map[string]bool {
	t.Helper()
	manifests, _, err := render(t, "")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, o := range objectsOf(t, manifests) {
		if o.GetName() != "serin-controller" || o.GroupVersionKind().Group != rbacv1.GroupName && o.GetKind() != "ServiceAccount" {
			continue
		}
		if err := c.ApplyObjects(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		var role rbacv1.ClusterRole
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &role); err != nil {
			t.Fatal(err)
		}
		for _, rule := range role.Rules {
			for _, g := range rule.APIGroups {
				for _, r := range rule.Resources {
					for _, v := range rule.Verbs {
						out[v+" "+r+"."+g] = true
					}
				}
			}
		}
	}
	if len(out) < 30 {
		t.Fatalf("%d rights in the chart: the test does not see them", len(out))
	}
	return out
}

// addresses are where a controller listens.
type addresses struct{ recorders, health string }

// runController runs it as its service account and returns where it listens.
func runController(t *testing.T, c *cluster.Cluster, u *used) addresses {
	t.Helper()
	for _, name := range []string{"serin-controller-0", "serin-controller-1"} {
		pod := fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: serin-system, labels: {serin.dev/leader: %q}}\nspec: {serviceAccountName: serin-controller, containers: [{name: a, image: a}]}\n", name, fmt.Sprint(name == "serin-controller-1"))
		if err := c.Apply(t.Context(), []byte(pod)); err != nil {
			t.Fatal(err)
		}
	}
	rc := c.RESTConfig()
	rc.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:serin-system:serin-controller", Groups: []string{"system:serviceaccounts", "system:serviceaccounts:serin-system", "system:authenticated"}}
	rc.Wrap(func(next http.RoundTripper) http.RoundTripper { return noting{u, next} })
	at := addresses{freeAddress(t), freeAddress(t)}
	ctx, cancel := context.WithCancel(context.Background())
	done, log := make(chan error, 1), &tail{}
	go func() {
		done <- kube.Run(ctx, rc, kube.Options{
			RecorderImage: "registry.example.com/serin@sha256:aaaa", ControllerURL: "http://" + at.recorders, AccessLogs: "127.0.0.1:0", Recorders: at.recorders, Health: at.health,
			PodName: "serin-controller-0", PodNamespace: "serin-system", Logger: slog.New(slog.NewTextHandler(log, nil)),
			ForbiddenReceivers: func(netip.Addr) bool { return false }, // the test's receiver is on this machine
		})
	}()
	t.Cleanup(func() {
		cancel()
		ended(t, "the controller", done)
		if strings.Contains(log.String(), "secret-path") {
			t.Error("the log holds the path of a receiver, which may be a secret")
		}
		if t.Failed() {
			fmt.Fprintf(t.Output(), "the controller's log:\n%s\n", log)
		}
	})
	return at
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// tail keeps a log that may still be written to when the test is over.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (l *tail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	return len(b), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text[max(0, len(l.text)-8000):])
}

// sayHello is a recorder whose token nobody knows: the controller asks the API server.
func sayHello(t *testing.T, recorders string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+recorders+wire.FramesPath, bytes.NewBufferString("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer nobody")
	res, err := web.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a recorder without a valid token: status %d (%s), want 401", res.StatusCode, body)
	}
}

// drive is what people and the rest of a cluster do to an endpoint.
type drive struct {
	t    *testing.T
	c    *cluster.Cluster
	any  dynamic.Interface
	core kubernetes.Interface
	hook string
}

func (d drive) endpoint() dynamic.ResourceInterface {
	return d.any.Resource(endpoints).Namespace("driven")
}

func (d drive) apply(version string) { d.applyIn(version, "") }

// adopts is a document that takes over a Deployment which is not there.
func (d drive) adopts() {
	d.t.Helper()
	const text = `apiVersion: serin.dev/v1alpha1
kind: ScoringEndpoint
metadata: {name: adopter, namespace: driven}
spec: {scorer: {image: "registry.example.com/driver@sha256:1"}, adopt: {deployment: nobodys}}
`
	if err := d.c.Apply(d.t.Context(), []byte(text)); err != nil {
		d.t.Fatal(err)
	}
}

// takeGateway takes away the Gateway that the controller made, and waits for another.
func (d drive) takeGateway() {
	d.t.Helper()
	gateways := d.any.Resource(schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "gateways"}).Namespace("driven")
	was, err := gateways.Get(d.t.Context(), "driver", metav1.GetOptions{})
	if err != nil {
		d.t.Fatal(err)
	}
	if err := gateways.Delete(d.t.Context(), "driver", metav1.DeleteOptions{}); err != nil {
		d.t.Fatal(err)
	}
	d.await("the Gateway is put back", func(ctx context.Context) bool {
		is, err := gateways.Get(ctx, "driver", metav1.GetOptions{})
		return err == nil && is.GetUID() != was.GetUID()
	}, nil)
}

// onlyTheGateway: of a whole rollout nothing that Serin itself writes is taken for somebody
// else's doing; what was is told.
func (d drive) onlyTheGateway() {
	d.t.Helper()
	list, err := d.core.CoreV1().Events("driven").List(d.t.Context(), metav1.ListOptions{FieldSelector: "reason=PutBack"})
	if err != nil {
		d.t.Fatal(err)
	}
	if len(list.Items) != 1 || !strings.HasPrefix(list.Items[0].Message, `Gateway "driver" was deleted`) {
		d.t.Errorf("events of what was put back: %+v, want one, of the Gateway", list.Items)
	}
}

// otherRoutes moves the routes into a VirtualService of somebody else's.
func (d drive) otherRoutes() {
	d.t.Helper()
	const theirs = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: theirs, namespace: driven}
spec:
  hosts: [scoring.example.com]
  http: [{name: other, match: [{uri: {prefix: /other}}], route: [{destination: {host: other}}]}]
`
	if err := d.c.Apply(d.t.Context(), []byte(theirs)); err != nil {
		d.t.Fatal(err)
	}
	d.applyIn("1", "theirs")
}

func (d drive) applyIn(version, virtualService string) {
	d.t.Helper()
	text := fmt.Sprintf(`apiVersion: serin.dev/v1alpha1
kind: ScoringEndpoint
metadata: {name: driver, namespace: driven}
spec:
  scorer: {version: "%[1]s", image: "registry.example.com/driver@sha256:%[1]s"}
  scaling: {min: 1, max: 3}
  traffic: {timeout: 1s, candidateTimeout: 500ms, virtualService: "%[2]s"}
  rollout: {steps: [{weight: 50%%}, {weight: 100%%}], warmup: 0s, keepFailed: 0s, keepOld: 0s}
  notify: [{url: %[3]q}]
`, version, virtualService, d.hook+"/secret-path")
	if err := d.c.Apply(d.t.Context(), []byte(text)); err != nil {
		d.t.Fatal(err)
	}
}

// history makes ended rollouts of the endpoint, more than are kept.
func (d drive) history(n int) {
	d.t.Helper()
	for i := range n {
		r := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "serin.dev/v1alpha1", "kind": "ScoringRollout",
			"metadata": map[string]any{"name": fmt.Sprintf("old-%d", i), "namespace": "driven", "labels": map[string]any{"serin.dev/endpoint": "driver"}},
			"spec":     map[string]any{"endpoint": "driver", "number": int64(-i), "to": "0"},
		}}
		made, err := d.any.Resource(rollouts).Namespace("driven").Create(d.t.Context(), r, metav1.CreateOptions{})
		if err != nil {
			d.t.Fatal(err)
		}
		made.Object["status"] = map[string]any{"outcome": "Promoted", "record": map[string]any{}}
		if _, err := d.any.Resource(rollouts).Namespace("driven").UpdateStatus(d.t.Context(), made, metav1.UpdateOptions{}); err != nil {
			d.t.Fatal(err)
		}
	}
}

// kubelet makes a ready pod for every Deployment.
func (d drive) kubelet(ctx context.Context) {
	pods, ready := d.core.CoreV1().Pods("driven"), corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue}
	err := wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		list, err := d.core.AppsV1().Deployments("driven").List(ctx, metav1.ListOptions{})
		if err != nil {
			list = &appsv1.DeploymentList{} // the next time
		}
		for _, x := range list.Items {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: x.Name, Labels: x.Spec.Template.Labels}, Spec: x.Spec.Template.Spec}
			pod.Spec.ServiceAccountName = "default"
			made, err := pods.Create(ctx, pod, metav1.CreateOptions{})
			if err != nil {
				continue
			}
			made.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{ready}}
			if _, err := pods.UpdateStatus(ctx, made, metav1.UpdateOptions{}); err != nil {
				return false, err
			}
			one := fmt.Appendf(nil, `{"status":{"replicas":1,"readyReplicas":1,"availableReplicas":1,"updatedReplicas":1,"observedGeneration":%d}}`, x.Generation)
			if _, err := d.core.AppsV1().Deployments("driven").Patch(ctx, x.Name, types.MergePatchType, one, metav1.PatchOptions{}, "status"); err != nil {
				return false, err
			}
		}
		return false, nil
	})
	if err != nil && ctx.Err() == nil {
		d.t.Errorf("making pods ready: %v", err)
	}
}

func (d drive) until(what string, is func(status map[string]any) bool) {
	d.t.Helper()
	var last any
	d.await(what, func(ctx context.Context) bool {
		o, err := d.endpoint().Get(ctx, "driver", metav1.GetOptions{})
		if err != nil {
			last = err
			return false
		}
		status, _ := o.Object["status"].(map[string]any)
		if status == nil {
			status = map[string]any{}
		}
		delete(status, "record")
		delete(status, "view")
		last = status
		return is(status)
	}, &last)
}

// used waits until the controller made use of rights.
func (d drive) used(u *used, rights ...string) {
	d.t.Helper()
	for _, r := range rights {
		d.await("the controller does "+r, func(context.Context) bool {
			u.mu.Lock()
			defer u.mu.Unlock()
			return u.rights[r]
		}, nil)
	}
}

func (d drive) await(what string, is func(ctx context.Context) bool, last *any) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 90*time.Second)
	defer cancel()
	err := wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) { return is(ctx), nil })
	if err != nil {
		if last == nil {
			last = new(any)
		}
		d.t.Fatalf("waiting until %s: %v; last seen: %v", what, err, *last)
	}
}

func text(v map[string]any, path ...string) string {
	x, ok, err := unstructured.NestedFieldNoCopy(v, path...)
	if !ok || err != nil {
		return ""
	}
	return fmt.Sprint(x)
}

func (d drive) abort() {
	d.t.Helper()
	o, err := d.endpoint().Get(d.t.Context(), "driver", metav1.GetOptions{})
	if err != nil {
		d.t.Fatal(err)
	}
	a := actionOf("Abort", text(o.Object, "status", "rollout"), approver)
	a.SetNamespace("driven")
	if err := d.c.Apply(d.t.Context(), []byte(strings.NewReplacer("abtesting", "driven", "name: \""+approver, "name: \"driven-"+approver).Replace(binding(approver, "serin-approver")))); err != nil {
		d.t.Fatal(err)
	}
	var made *unstructured.Unstructured
	var last any
	d.await("the approver may ask", func(ctx context.Context) bool { // the API server learns of a binding a moment later
		made, err = impersonate(d.c, approver).Resource(actions).Namespace("driven").Create(ctx, a, metav1.CreateOptions{})
		last = err
		return err == nil
	}, &last)
	d.await("the abort is answered", func(ctx context.Context) bool {
		got, err := d.any.Resource(actions).Namespace("driven").Get(ctx, made.GetName(), metav1.GetOptions{})
		return err == nil && text(got.Object, "status", "accepted") == "true"
	}, nil)
	// What an action did is shown before it is answered: who looks then must not see what was.
	if o, err = d.endpoint().Get(d.t.Context(), "driver", metav1.GetOptions{}); err != nil || text(o.Object, "status", "reason") != "Aborted" {
		d.t.Errorf("right after the answer the status says %q (%v), want Aborted", text(o.Object, "status", "reason"), err)
	}
}

func (d drive) delete() {
	d.t.Helper()
	if err := d.endpoint().Delete(d.t.Context(), "driver", metav1.DeleteOptions{}); err != nil {
		d.t.Fatal(err)
	}
	d.await("the endpoint is gone", func(ctx context.Context) bool {
		_, err := d.endpoint().Get(ctx, "driver", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}, nil)
}
