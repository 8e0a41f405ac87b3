// Package api_test holds what only a real API server can say of Serin's kinds, admission policies and chart.
package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	k8sclient "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/internal/kube"
	"github.com/serin-dev/serin/test/cluster"
)

const root = "../.."

var (
	endpoints = schema.GroupVersionResource{Group: "serin.dev", Version: "v1alpha1", Resource: "scoringendpoints"}
	actions   = schema.GroupVersionResource{Group: "serin.dev", Version: "v1alpha1", Resource: "rolloutactions"}
	rollouts  = schema.GroupVersionResource{Group: "serin.dev", Version: "v1alpha1", Resource: "scoringrollouts"}
)

// server is the one API server of this test run, with the kinds installed.
var server = sync.OnceValues(func() (*cluster.Cluster, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour) // the first build takes long
	defer cancel()
	c, err := cluster.Start(ctx, cluster.Options{Kind: cluster.APIOnly})
	if err != nil {
		return nil, err
	}
	stop = c.Stop
	if err := applyFiles(ctx, c, root+"/charts/serin/crds/*.yaml"); err != nil {
		return nil, err
	}
	err = c.Apply(ctx, []byte("apiVersion: v1\nkind: Namespace\nmetadata: {name: abtesting}\n"))
	return c, errors.Join(err, served(ctx, c))
})

// served waits until the kinds can be used: a definition is taken some time before.
func served(ctx context.Context, c *cluster.Cluster) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	d, err := dynamic.NewForConfig(c.RequestConfig())
	if err != nil {
		return err
	}
	for _, r := range []schema.GroupVersionResource{endpoints, actions, rollouts} {
		err := wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			_, err := d.Resource(r).List(ctx, metav1.ListOptions{})
			return err == nil, nil
		})
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", r.Resource, err)
		}
	}
	return nil
}

var stop = func() error { return nil }

func TestMain(m *testing.M) {
	code := m.Run()
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func start(t *testing.T) *cluster.Cluster {
	t.Helper()
	if os.Getenv("SERIN_E2E") != "1" {
		t.Skip("builds and starts a real API server: set SERIN_E2E=1, or run `make e2e`")
	}
	c, err := server()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// web is for pages of what the tests start.
var web = &http.Client{Timeout: 10 * time.Second}

// ended waits for a controller that was told to end.
func ended(t *testing.T, what string, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("%s ended: %v", what, err)
		}
	case <-time.After(time.Minute):
		t.Errorf("%s did not end within a minute of being told to", what)
	}
}

func applyFiles(ctx context.Context, c *cluster.Cluster, pattern string) error {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		return errors.Join(err, fmt.Errorf("no file is %s", pattern))
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if err := c.Apply(ctx, text); err != nil {
			return fmt.Errorf("applying %s: %w", filepath.Base(f), err)
		}
	}
	return nil
}

func client(t *testing.T, cfg *rest.Config) dynamic.Interface {
	t.Helper()
	c, err := dynamic.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// typed is a client that knows Serin's kinds.
func typed(t *testing.T, cfg *rest.Config) k8sclient.Client {
	t.Helper()
	scheme, err := kube.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	c, err := k8sclient.New(cfg, k8sclient.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// post sends a document as it is written, as kubectl would with strict validation.
func post(t *testing.T, cfg *rest.Config, namespace, text string, dryRun bool) (*unstructured.Unstructured, error) {
	t.Helper()
	hc, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	url := fmt.Sprintf("%s/apis/serin.dev/v1alpha1/namespaces/%s/scoringendpoints?fieldValidation=Strict", cfg.Host, namespace)
	if dryRun {
		url += "&dryRun=All"
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewBufferString(text))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/yaml")
	req.Header.Set("Accept", "application/json")
	res, err := hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(res.Body); err != nil {
		t.Fatal(err)
	}
	return answer(t, res.StatusCode, body.Bytes())
}

func answer(t *testing.T, code int, body []byte) (*unstructured.Unstructured, error) {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON(body); err != nil {
		t.Fatalf("status %d: %v: %s", code, err, body)
	}
	if code/100 == 2 {
		return o, nil
	}
	return nil, apierrors.FromObject(o)
}
