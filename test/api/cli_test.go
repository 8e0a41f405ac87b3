package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/serin-dev/serin/internal/cli"
	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/rollout"
	"github.com/serin-dev/serin/internal/spec"
	"github.com/serin-dev/serin/test/cluster"
)

// kubeconfig lets the command line be somebody: one context for each person, the
// namespace in it.
func kubeconfig(t *testing.T, c *cluster.Cluster, people ...string) string {
	t.Helper()
	admin, err := clientcmd.LoadFromFile(c.KubeConfig)
	if err != nil {
		t.Fatal(err)
	}
	of := admin.Contexts[admin.CurrentContext]
	for _, who := range people {
		user := admin.AuthInfos[of.AuthInfo].DeepCopy()
		user.Impersonate, user.ImpersonateGroups = who, []string{"system:authenticated"}
		admin.AuthInfos[who] = user
		admin.Contexts[who] = &api.Context{Cluster: of.Cluster, AuthInfo: who, Namespace: "abtesting"}
	}
	admin.CurrentContext = people[0]
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*admin, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// controller stands in for Serin's: it shows what it was given and answers actions.
type controller struct {
	t    *testing.T
	d    dynamic.Interface
	name string
}

func (c controller) run(ctx context.Context) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		c.show(ctx)
		c.answer(ctx)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// show says that the present generation is taken; version 2 waits for an approval.
func (c controller) show(ctx context.Context) {
	e, err := c.d.Resource(endpoints).Namespace("abtesting").Get(ctx, c.name, metav1.GetOptions{})
	if err != nil {
		return // not there yet, or not any more
	}
	if seen, _, _ := unstructured.NestedInt64(e.Object, "status", "observedGeneration"); seen == e.GetGeneration() {
		return
	}
	version, _, _ := unstructured.NestedString(e.Object, "spec", "scorer", "version")
	image, _, _ := unstructured.NestedString(e.Object, "spec", "scorer", "image")
	st := engine.Status{
		Endpoint: c.name, Namespace: "abtesting", At: time.Now(),
		Stable:     &engine.RevisionView{Name: c.name + "-r1", Version: "1", Image: image, Ready: true, ReadyReplicas: 2, WantReplicas: 3},
		Conditions: []engine.Condition{{Type: "Ready", Status: "True", Reason: "Serving"}},
	}
	digest := c.digest(e)
	state := rollout.State{Stable: &rollout.Revision{Digest: digest}, Attempt: &rollout.Attempt{ID: c.name + "-0", To: rollout.Revision{Digest: digest}, Outcome: rollout.Promoted}}
	status := map[string]any{"observedGeneration": e.GetGeneration()}
	if version == "2" {
		st.Rollout = &engine.RolloutView{
			ID: c.name + "-1", Number: 1, From: "1", To: "2", StartedAt: st.At, Steps: []engine.StepView{{Name: "50%", WeightBP: 5000, Approval: true, State: "Waiting"}},
			Decision: engine.DecisionView{Action: "Hold", Reason: "WaitingForApproval", Message: "step 50% needs an approval"}, Evidence: engine.EvidenceView{Digest: "e1"},
		}
		status["rollout"] = st.Rollout.ID
		state = rollout.State{Attempt: &rollout.Attempt{ID: st.Rollout.ID, To: rollout.Revision{Digest: digest}}}
	}
	record, _ := json.Marshal(map[string]any{"record": engine.Record{State: state}})
	status["record"] = string(record)
	text, _ := json.Marshal(st)
	var view map[string]any
	_ = json.Unmarshal(text, &view)
	status["view"] = view
	e.Object["status"] = status
	_, _ = c.d.Resource(endpoints).Namespace("abtesting").UpdateStatus(ctx, e, metav1.UpdateOptions{}) // a conflict is tried again
}

// digest is what makes the version that the document asks for.
func (c controller) digest(e *unstructured.Unstructured) string {
	text, _ := json.Marshal(map[string]any{"apiVersion": e.GetAPIVersion(), "kind": e.GetKind(), "metadata": map[string]string{"name": e.GetName(), "namespace": e.GetNamespace()}, "spec": e.Object["spec"]})
	doc, _, err := spec.Load(text)
	if err != nil {
		c.t.Error(err)
		return ""
	}
	r, _, err := doc.For(spec.Cluster)
	if err != nil {
		c.t.Error(err)
	}
	return r.Digest
}

// answer accepts what approvers ask, as admission let it through, and refuses pauses.
func (c controller) answer(ctx context.Context) {
	list, err := c.d.Resource(actions).Namespace("abtesting").List(ctx, metav1.ListOptions{})
	if err != nil {
		return
	}
	for i := range list.Items {
		a := &list.Items[i]
		spec, _, _ := unstructured.NestedStringMap(a.Object, "spec")
		if done, _, _ := unstructured.NestedBool(a.Object, "status", "answered"); done || spec["endpoint"] != c.name {
			continue
		}
		a.Object["status"] = map[string]any{
			"answered": true, "accepted": spec["action"] != "Pause", "reason": "Word",
			"message": fmt.Sprintf("%s of %s by %s on %s", spec["action"], spec["rollout"], spec["by"], spec["evidenceDigest"]),
		}
		_, _ = c.d.Resource(actions).Namespace("abtesting").UpdateStatus(ctx, a, metav1.UpdateOptions{})
	}
}

// TestCommandLineInACluster: the verbs against a real API server, with the chart's
// roles and admission policies: what they say, and their exit codes.
func TestCommandLineInACluster(t *testing.T) {
	c := guarded(t)
	d, err := dynamic.NewForConfig(c.RequestConfig())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() { defer close(stopped); controller{t, d, "clitest"}.run(ctx) }()
	t.Cleanup(func() { cancel(); <-stopped })
	t.Setenv("KUBECONFIG", kubeconfig(t, c, configurer, viewer, operator, approver, stranger))
	folder := t.TempDir()
	document := func(version, more string) string {
		path := filepath.Join(folder, "v"+version+".yaml")
		text := fmt.Sprintf("apiVersion: serin.dev/v1alpha1\nkind: ScoringEndpoint\nmetadata: {name: clitest}\nspec:\n  scorer: {version: %q, image: %q}\n%s", version, image, more)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	v1, v2, v3 := document("1", ""), document("2", ""), document("3", "  judge: {falseRevert: 2%}\n")
	for _, x := range []struct {
		who, args string
		code      int
		says      string
	}{
		{viewer, "status --endpoint clitest", cli.ExitNotFound, "clitest"},
		{operator, "apply -f " + v1, cli.ExitForbidden, "configure"},
		{configurer, "apply --dry-run -f " + v1, cli.ExitDone, "version 1 is its first"},
		{viewer, "status --endpoint clitest", cli.ExitNotFound, "clitest"}, // it was a dry run
		{configurer, "apply -f " + v1, cli.ExitDone, "version 1 is its first"},
		{viewer, "status --endpoint clitest", cli.ExitDone, "pods 2/3"},
		{viewer, "status --endpoint clitest", cli.ExitDone, image},
		{stranger, "status --endpoint clitest", cli.ExitForbidden, "cannot get"},
		{viewer, "wait --endpoint clitest", cli.ExitNotFound, "no rollout has run"},
		{viewer, "apply -f " + v2, cli.ExitForbidden, "cannot patch"},
		{operator, "apply --dry-run -f " + v2, cli.ExitDone, "spec.scorer.version: 1 → 2"},
		{operator, "apply -f " + v2, cli.ExitDone, "version 2 starts a rollout"},
		{operator, "apply -o name -f " + v2, cli.ExitDone, "clitest-1\n"},
		{operator, "apply -f " + v3, cli.ExitForbidden, "judge"},
		{viewer, "wait --endpoint clitest --step 50%", cli.ExitDone, ""},
		{viewer, "report --endpoint clitest --gate", cli.ExitDone, "Waits for approval of step 50%"},
		{viewer, "report --endpoint clitest", cli.ExitDone, "serin approve --context " + viewer},
		{viewer, "report --endpoint clitest --rollout clitest-9", cli.ExitNotFound, "serin history"},
		{operator, "approve --endpoint clitest --step 50%", cli.ExitForbidden, "approve"},
		{approver, "approve --endpoint clitest --step 50% --dry-run", cli.ExitDone, "would ask"},
		{approver, "approve --endpoint clitest --step 50%", cli.ExitDone, "Approve of clitest-1 by anna on e1"},
		{operator, "pause --endpoint clitest", cli.ExitForbidden, "refused (Word): Pause of clitest-1 by otto"},
		{operator, "retry --endpoint clitest -o json", cli.ExitDone, `"accepted": true`},
		{approver, "abort --endpoint clitest --if-running --rollout nobody-7", cli.ExitUsage, "spec.rollout"},
		{approver, "abort --endpoint nowhere --if-running --rollout nowhere-1", cli.ExitDone, "nothing to do"},
		{viewer, "history --endpoint clitest", cli.ExitDone, "no rollout has ended yet"},
		{viewer, "history --endpoint clitest --limit 0", cli.ExitUsage, "--limit"},
		{viewer, "delete --endpoint clitest", cli.ExitForbidden, "cannot delete"},
		{operator, "delete --endpoint clitest --dry-run", cli.ExitDone, "traffic goes to stable"},
		{operator, "delete --endpoint clitest", cli.ExitDone, "traffic goes to stable"},
		{operator, "delete --endpoint clitest", cli.ExitNotFound, "clitest"},
	} {
		var out, errs bytes.Buffer
		args := append(strings.Fields(x.args), "--context", x.who)
		within, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		code := cli.Run(within, args, cli.IO{In: strings.NewReader(""), Out: &out, Err: &errs})
		cancel()
		if text := out.String() + errs.String(); code != x.code || !strings.Contains(text, x.says) {
			t.Errorf("serin %s as %s: exit code %d, want %d; want %q in:\n%s", x.args, x.who, code, x.code, x.says, text)
		}
	}
}
