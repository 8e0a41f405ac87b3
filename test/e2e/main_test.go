// Package e2e_test carries rollouts through a real cluster: Kubernetes, Istio and Envoy, Serin installed by its chart,
// and clients that come in through the ingress gateway. Every test asserts what clients saw. Those that change something
// that all share (the controller's processes, the control plane's leisure) run alone, the others in parallel.
package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/internal/kube"
	"github.com/serin-dev/serin/test/cluster"
)

const root = "../.."

// mesh is the cluster of this run, with Serin in it.
var mesh struct {
	*cluster.Cluster
	api    client.Client
	serin  string            // Serin's own image, by digest
	scorer map[string]string // scoring images by model
}

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "kubectl" { // see newTask
		os.Exit(kubectl())
	}
	if os.Getenv("SERIN_E2E") != "1" {
		fmt.Println("skipped: test/e2e needs a real cluster (root, half an hour for the first build): run `make e2e`")
		return
	}
	os.Exit(runAll(m))
}

func runAll(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 70*time.Minute) // 20 for others to end, the first build, the start
	defer cancel()
	began := time.Now()
	c, err := cluster.Start(ctx, cluster.Options{Kind: cluster.Full, Log: os.Stdout, Wait: 20 * time.Minute})
	if err != nil {
		fmt.Println("starting the cluster:", err)
		return 1
	}
	defer func() {
		if err := c.Stop(); err != nil {
			fmt.Println(err)
		}
	}()
	mesh.Cluster = c
	if err := os.Setenv("KUBECONFIG", c.KubeConfig); err != nil { // serin, called as people call it
		fmt.Println(err)
		return 1
	}
	fmt.Printf("== cluster: %.0f s\n", time.Since(began).Seconds())
	began = time.Now()
	within, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	if err := install(within); err != nil {
		fmt.Println("installing Serin:", err)
		return 1
	}
	fmt.Printf("== Serin installed: %.0f s\n", time.Since(began).Seconds())
	return m.Run()
}

// install packs the images, renders the chart and applies it.
func install(ctx context.Context) error {
	ctrl.SetLogger(logr.Discard()) // what the client library would say is in the errors too
	if err := images(ctx); err != nil {
		return err
	}
	scheme, err := kube.Scheme()
	if err != nil {
		return err
	}
	if mesh.api, err = client.New(mesh.RequestConfig(), client.Options{Scheme: scheme}); err != nil {
		return err
	}
	manifests, err := chart()
	if err != nil {
		return err
	}
	crds, err := definitions()
	if err != nil {
		return err
	}
	for _, text := range [][]byte{crds, []byte(namespaces), manifests, []byte(people)} {
		if err := applyUntil(ctx, text); err != nil {
			return err
		}
	}
	within, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	return mesh.AwaitDeployment(within, "serin-system", "serin-controller")
}

const namespaces = `apiVersion: v1
kind: Namespace
metadata: {name: serin-system, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Namespace
metadata: {name: abtesting, labels: {istio-injection: enabled}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: mlmodel-gateway, namespace: abtesting}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*"]
`

// applyUntil applies, and again while kinds that were just defined are not served yet.
func applyUntil(ctx context.Context, text []byte) (err error) {
	for range 60 {
		if err = mesh.Apply(ctx, text); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(500 * time.Millisecond):
		}
	}
	return err
}

func images(ctx context.Context) error {
	binary, err := cluster.BuildSerin(ctx, cluster.Options{})
	if err != nil {
		return err
	}
	if mesh.serin, err = mesh.Push(ctx, cluster.Image{Name: "serin:e2e", Files: map[string]string{"/serin": binary}, Entrypoint: []string{"/serin"}, User: "65532"}); err != nil {
		return err
	}
	mesh.scorer = map[string]string{}
	for _, model := range []string{"v1", "v2", "swapped"} {
		files := map[string]string{"/serin": binary, "/model.txt": root + "/examples/safe-driver/models/" + model + ".txt"}
		entry := []string{"/serin", "scorer", "--model", "/model.txt", "--listen", "0.0.0.0:5001"}
		if mesh.scorer[model], err = mesh.Push(ctx, cluster.Image{Name: "safe-driver:" + model, Files: files, Entrypoint: entry, User: "65532"}); err != nil {
			return err
		}
	}
	files := map[string]string{"/serin": binary, "/model.txt": root + "/examples/safe-driver/models/v2.txt"}
	for name, more := range map[string][]string{"broken": {"--fail-all"}, "some-rows": {"--fail-on-missing", "ps_reg_03"}, "slow": {"--delay", "50ms"}} {
		entry := append([]string{"/serin", "scorer", "--model", "/model.txt", "--listen", "0.0.0.0:5001"}, more...)
		if mesh.scorer[name], err = mesh.Push(ctx, cluster.Image{Name: "safe-driver:" + name, Files: files, Entrypoint: entry, User: "65532"}); err != nil {
			return err
		}
	}
	for name, of := range map[string][]string{"noisy": {"v1"}, "noisy-too": {"v1", "--timeout", "59s"}, "noisy-swapped": {"swapped"}} { // a flag more makes another version
		files["/model.txt"] = root + "/examples/safe-driver/models/" + of[0] + ".txt"
		entry := append([]string{"/serin", "scorer", "--model", "/model.txt", "--listen", "0.0.0.0:5001", "--noise", "0.0042"}, of[1:]...)
		if mesh.scorer[name], err = mesh.Push(ctx, cluster.Image{Name: "safe-driver:" + name, Files: files, Entrypoint: entry, User: "65532"}); err != nil {
			return err
		}
	}
	if err := actorImage(ctx); err != nil {
		return err
	}
	mesh.scorer["crashing"], err = mesh.Push(ctx, cluster.Image{Name: "safe-driver:crashing", Files: map[string]string{"/serin": binary}, Entrypoint: []string{"/serin", "scorer", "--model", "/missing.txt"}, User: "65532"})
	return err
}

func chart() ([]byte, error) {
	c, err := loader.Load(root + "/charts/serin")
	if err != nil {
		return nil, err
	}
	repository, digest, _ := strings.Cut(mesh.serin, "@")
	i := action.NewInstall(&action.Configuration{Log: func(string, ...any) {}})
	i.DryRun, i.ClientOnly, i.ReleaseName, i.Namespace = true, true, "serin", "serin-system"
	i.KubeVersion = &chartutil.KubeVersion{Version: "v1.35.4", Major: "1", Minor: "35"}
	r, err := i.Run(c, map[string]any{"image": map[string]any{"repository": repository, "digest": digest}})
	if err != nil {
		return nil, err
	}
	return []byte(r.Manifest), nil
}

func definitions() ([]byte, error) {
	var all bytes.Buffer
	for _, name := range []string{"rolloutactions", "scoringendpoints", "scoringrollouts"} {
		text, err := os.ReadFile(root + "/charts/serin/crds/serin.dev_" + name + ".yaml")
		if err != nil {
			return nil, err
		}
		all.WriteString("---\n")
		all.Write(text)
	}
	return all.Bytes(), nil
}
