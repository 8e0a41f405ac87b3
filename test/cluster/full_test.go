package cluster_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/serin-dev/serin/test/cluster"
)

const modelA, modelB = "New Model A", "New Model B"

func TestFull(t *testing.T) {
	ctx := needE2E(t)
	o := cluster.Options{Kind: cluster.Full, Log: t.Output()}
	patient := o
	patient.Wait = 20 * time.Minute
	c, err := cluster.Start(ctx, patient)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs: %s/log", c.Dir)
		}
		if !c.Own {
			removeDummies(t, c)
		}
		_ = c.Stop()
	})
	began := time.Now()
	deployDummies(ctx, t, c, o)
	t.Logf("scorers deployed: %.1f s", time.Since(began).Seconds())

	t.Run("sidecars are injected", func(t *testing.T) { checkInjection(ctx, t, c) })
	t.Run("a header reaches either version", func(t *testing.T) {
		for header, want := range map[string]string{"green": modelA, "blue": modelB} {
			got := score(ctx, t, c, 200, header)
			if got[want] != 200 {
				t.Errorf("x-api-version: %s: answers %v, want 200 of %s", header, got, want)
			}
		}
	})
	t.Run("the split follows the weights", func(t *testing.T) {
		const n, p = 4000, 0.1
		got := score(ctx, t, c, n, "")
		// 4.5 standard deviations: a right split fails this once in 150,000 runs.
		slack := 4.5 * math.Sqrt(n*p*(1-p))
		if math.Abs(float64(got[modelB])-n*p) > slack || got[modelA]+got[modelB] != n {
			t.Errorf("answers %v, want %v ± %.0f of %s and the rest of %s", got, n*p, slack, modelB, modelA)
		}
		t.Logf("%d requests: %v", n, got)
	})
	t.Run("it ends wholly", func(t *testing.T) {
		if !c.Own {
			t.Skip("this cluster is kept for others")
		}
		checkEnd(ctx, t, c, o)
	})
}

func deployDummies(ctx context.Context, t *testing.T, c *cluster.Cluster, o cluster.Options) {
	t.Helper()
	serin, err := cluster.BuildSerin(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	image, err := c.Push(ctx, cluster.Image{Name: "serin:test", Files: map[string]string{"/serin": serin}, Entrypoint: []string{"/serin"}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/dummies.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(ctx, bytes.ReplaceAll(text, []byte("IMAGE"), []byte(image))); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"green", "blue"} {
		within, cancel := context.WithTimeout(ctx, 2*time.Minute)
		err := c.AwaitDeployment(within, "dummies", d)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
	}
	for header, want := range map[string]string{"green": modelA, "blue": modelB} {
		awaitAnswer(ctx, t, c, header, want)
	}
}

// removeDummies leaves a cluster that is not this test's as it was.
func removeDummies(t *testing.T, c *cluster.Cluster) {
	client, err := dynamic.NewForConfig(c.RequestConfig())
	if err != nil {
		t.Error(err)
		return
	}
	namespaces := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	if err := namespaces.Delete(ctx, "dummies", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

// awaitAnswer waits until the gateway has the routes: a moment after they were written, longer when istiod is busy.
func awaitAnswer(ctx context.Context, t *testing.T, c *cluster.Cluster, header, want string) {
	t.Helper()
	last, client := "", &http.Client{Timeout: 10 * time.Second}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if last = ask(ctx, client, c.Gateway, header); last == want {
			return
		}
	}
	t.Fatalf("x-api-version: %s is not answered by %s within a minute; last: %s", header, want, last)
}

// score asks n times, eight at once, and counts the answers.
func score(ctx context.Context, t *testing.T, c *cluster.Cluster, n int, header string) map[string]int {
	t.Helper()
	const at = 8
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: at}}
	defer client.CloseIdleConnections()
	counts := map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range at {
		wg.Go(func() {
			for range n / at {
				answer := ask(ctx, client, c.Gateway, header)
				mu.Lock()
				counts[answer]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return counts
}

// ask answers which model answered, or what else came.
func ask(ctx context.Context, client *http.Client, gateway, header string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, gateway+"/score", strings.NewReader(`{"data": [[1, 2]]}`))
	if err != nil {
		return err.Error()
	}
	req.Host = "dummies.example.com"
	req.Header.Set("Content-Type", "application/json")
	if header != "" {
		req.Header.Set("x-api-version", header)
	}
	res, err := client.Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	for _, m := range []string{modelA, modelB} {
		if res.StatusCode == http.StatusOK && bytes.Contains(body, []byte(m)) {
			return m
		}
	}
	return fmt.Sprintf("%s: %s", res.Status, body)
}

func checkInjection(ctx context.Context, t *testing.T, c *cluster.Cluster) {
	client, err := dynamic.NewForConfig(c.RequestConfig())
	if err != nil {
		t.Fatal(err)
	}
	pods, err := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).Namespace("dummies").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(pods.Items) != 2 {
		t.Errorf("%d pods, want 2", len(pods.Items))
	}
	for _, p := range pods.Items {
		if !hasContainer(p, "istio-proxy") {
			t.Errorf("pod %s has no istio-proxy", p.GetName())
		}
	}
}

func hasContainer(pod unstructured.Unstructured, name string) bool {
	for _, field := range []string{"containers", "initContainers"} { // a native sidecar is among the latter
		all, _, _ := unstructured.NestedSlice(pod.Object, "spec", field) // absent: none
		for _, o := range all {
			if container, ok := o.(map[string]any); ok && container["name"] == name {
				return true
			}
		}
	}
	return false
}

// checkEnd stops the cluster and looks for anything that is left.
func checkEnd(ctx context.Context, t *testing.T, c *cluster.Cluster, o cluster.Options) {
	if _, err := cluster.Start(ctx, o); err == nil || !strings.Contains(err.Error(), "another run has the full cluster") {
		t.Errorf("a second full cluster at once: error %v, want a refusal", err)
	}
	elsewhere := cluster.Options{Kind: cluster.Full, Dir: t.TempDir(), Log: o.Log}
	if _, err := cluster.Start(ctx, elsewhere); err == nil || !strings.Contains(err.Error(), "another run has the full cluster") {
		t.Errorf("a second full cluster in another folder: error %v, want a refusal", err)
	}
	processes, err := c.Processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "containerd", "containerd-shim-runc-v2"} {
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
	checkNothingLeft(t, c.Dir)
}

func checkNothingLeft(t *testing.T, dir string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := net.InterfaceByName("serin0"); err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Error("the network link is still there")
			break
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), dir) {
		t.Errorf("mounts are left:\n%s", mounts)
	}
	if groups, _ := filepath.Glob("/sys/fs/cgroup/*/serin-cluster"); len(groups) > 0 {
		t.Errorf("control groups are left: %v", groups)
	}
}
