package cluster_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/serin-dev/serin/test/cluster"
)

// Building the API server from nothing takes minutes, so this asks too.
func needE2E(t *testing.T) context.Context {
	t.Helper()
	if os.Getenv("SERIN_E2E") != "1" {
		t.Skip("builds and starts a real Kubernetes: set SERIN_E2E=1, or run `make e2e`")
	}
	ctx, cancel := t.Context(), func() {}
	if end, bounded := t.Deadline(); bounded { // a minute before Go ends the tests: time to say what hangs
		ctx, cancel = context.WithDeadline(ctx, end.Add(-time.Minute))
	}
	t.Cleanup(cancel)
	return ctx
}

func TestAPIOnly(t *testing.T) {
	ctx := needE2E(t)
	c, err := cluster.Start(ctx, cluster.Options{Kind: cluster.APIOnly, Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stop() }) // in case the test ends early; a second Stop does no harm

	client, err := dynamic.NewForConfig(c.RequestConfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(ctx, []byte("apiVersion: v1\nkind: Namespace\nmetadata: {name: abtesting, labels: {istio-injection: enabled}}\n")); err != nil {
		t.Fatal(err)
	}
	namespaces := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
	got, err := namespaces.Get(ctx, "abtesting", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetLabels()["istio-injection"] != "enabled" {
		t.Errorf("labels = %v, want istio-injection=enabled", got.GetLabels())
	}

	processes, err := c.Processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etcd", "kube-apiserver"} {
		if processes[name] == 0 {
			t.Errorf("no process %q in %v", name, processes)
		}
	}
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	for name, id := range processes {
		awaitGone(t, name, id)
	}
	if _, err := os.Stat(c.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", c.Dir, err)
	}
}
