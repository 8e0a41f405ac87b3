package cluster

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/serin-dev/serin/test/cluster/internal/node"
)

//go:embed manifests
var manifests embed.FS

const (
	gatewayPort    = 31380 // as in manifests/gateway.yaml
	istioNamespace = "istio-system"
	istioTag       = "e2e"
)

// release is one of Istio's charts and the file with our values for it.
type release struct{ name, chart, values string }

// The gateway's pod is made by istiod's injection, so it comes second.
var releases = []release{{"istiod", "istio-control/istio-discovery", "istiod.yaml"}, {"istio-ingressgateway", "gateway", "gateway.yaml"}}

// installIstio applies Istio's own charts, from the module that its programs were built from.
func (c *Cluster) installIstio(ctx context.Context, source string) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := c.applyDefinitions(ctx, source); err != nil {
		return err
	}
	for _, r := range releases {
		if err := c.applyRelease(ctx, source, r); err != nil {
			return err
		}
		if err := c.AwaitDeployment(ctx, istioNamespace, r.name); err != nil {
			return err
		}
		c.log.since(began, "%s available", r.name)
	}
	return nil
}

func (c *Cluster) applyDefinitions(ctx context.Context, source string) error {
	definitions, err := os.ReadFile(filepath.Join(source, "manifests", "charts", "base", "files", "crd-all.gen.yaml"))
	if err != nil {
		return err
	}
	namespace := fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n---\n", istioNamespace)
	return c.Apply(ctx, append([]byte(namespace), definitions...))
}

func (c *Cluster) applyRelease(ctx context.Context, source string, r release) error {
	text, err := manifests.ReadFile(path.Join("manifests", r.values))
	if err != nil {
		return err
	}
	values, err := chartutil.ReadValues(text)
	if err != nil {
		return fmt.Errorf("reading %s: %w", r.values, err)
	}
	if r.name == "istiod" {
		values = chartutil.CoalesceTables(values, map[string]any{"global": map[string]any{"hub": c.Registry + "/istio", "tag": istioTag}})
	}
	documents, err := render(filepath.Join(source, "manifests", "charts", filepath.FromSlash(r.chart)), r.name, values)
	if err != nil {
		return err
	}
	return c.Apply(ctx, documents)
}

// istioSource is the folder of the module that programs/istio pins.
func istioSource(ctx context.Context, programs string) (string, error) {
	dir := filepath.Join(programs, "istio")
	if _, err := goTool(ctx, dir, "mod", "download", "istio.io/istio"); err != nil {
		return "", err
	}
	return goTool(ctx, dir, "list", "-m", "-mod=readonly", "-f", "{{.Dir}}", "istio.io/istio")
}

// render is `helm template` of a chart in a folder.
func render(dir, release string, values map[string]any) ([]byte, error) {
	chart, err := loader.LoadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("loading the chart of %s: %w", release, err)
	}
	all, err := chartutil.ToRenderValues(chart, values, chartutil.ReleaseOptions{Name: release, Namespace: istioNamespace, IsInstall: true}, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, fmt.Errorf("values of the chart of %s: %w", release, err)
	}
	files, err := engine.Render(chart, all)
	if err != nil {
		return nil, fmt.Errorf("rendering the chart of %s: %w", release, err)
	}
	names := make([]string, 0, len(files))
	for n := range files {
		if strings.HasSuffix(n, ".yaml") {
			names = append(names, n)
		}
	}
	slices.SortFunc(names, func(a, b string) int { // a Deployment's pods need the rest to be there
		return cmp.Or(cmp.Compare(strings.Count(a, "/deployment."), strings.Count(b, "/deployment.")), cmp.Compare(a, b))
	})
	var out strings.Builder
	for _, n := range names {
		fmt.Fprintf(&out, "---\n%s\n", files[n])
	}
	return []byte(out.String()), nil
}

// pushImages packs what the node itself and Istio need.
func (c *Cluster) pushImages(ctx context.Context, folders map[string]string) error {
	began := time.Now()
	if err := c.awaitRegistry(ctx); err != nil {
		return err
	}
	source, err := istioSource(ctx, folders["programs"])
	if err != nil {
		return err
	}
	folders["istio-source"] = source
	agent, err := proxyFiles(folders["envoy"], folders["istio"], source)
	if err != nil {
		return err
	}
	for _, i := range []Image{
		{Name: "pause:1", Files: map[string]string{"/pause": filepath.Join(folders["harness"], "pause")}, Entrypoint: []string{"/pause"}},
		{
			Name: "istio/pilot:" + istioTag, Files: map[string]string{"/usr/local/bin/pilot-discovery": filepath.Join(folders["istio"], "pilot-discovery")},
			Entrypoint: []string{"/usr/local/bin/pilot-discovery"}, User: "1337",
		},
		{Name: "istio/proxyv2:" + istioTag, Files: agent, Entrypoint: []string{"/usr/local/bin/pilot-agent"}, User: "0"},
	} {
		if _, err := c.Push(ctx, i); err != nil {
			return err
		}
	}
	c.log.since(began, "images pushed")
	return nil
}

func (c *Cluster) awaitRegistry(ctx context.Context) error {
	client := &http.Client{Timeout: time.Second}
	for deadline := time.Now().Add(time.Minute); ; {
		res, err := client.Get("http://" + c.Registry + "/v2/")
		if err == nil {
			res.Body.Close()
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the image registry does not answer: %w", err)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// awaitNode waits until the kubelet says that it takes pods.
func (c *Cluster) awaitNode(ctx context.Context) error {
	client, err := dynamic.NewForConfig(c.RequestConfig())
	if err != nil {
		return err
	}
	nodes := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "nodes"})
	last := errors.New("not registered")
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); {
		n, err := nodes.Get(ctx, node.Name, metav1.GetOptions{})
		if err != nil {
			last = err
		} else if last = notReady(n); last == nil {
			return nil
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("the node does not become Ready; logs: %s/log: %w", c.Dir, last)
}

func notReady(n *unstructured.Unstructured) error {
	conditions, _, err := unstructured.NestedSlice(n.Object, "status", "conditions")
	if err != nil {
		return err
	}
	for _, o := range conditions {
		if condition, ok := o.(map[string]any); ok && condition["type"] == "Ready" {
			if condition["status"] == "True" {
				return nil
			}
			return fmt.Errorf("%v: %v", condition["reason"], condition["message"])
		}
	}
	return errors.New("no condition Ready")
}
