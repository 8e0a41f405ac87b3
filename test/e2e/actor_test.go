package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/internal/kube"
	"github.com/serin-dev/serin/test/cluster"
)

// actorImage packs the scorer that plays what a test asks of it (actor/main.go).
func actorImage(ctx context.Context) error {
	folder, err := os.MkdirTemp("", "serin-actor-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	binary := filepath.Join(folder, "actor")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "./actor")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the actor: %w: %s", err, text)
	}
	files := map[string]string{"/actor": binary, "/model.txt": root + "/examples/safe-driver/models/v2.txt"}
	mesh.scorer["actor"], err = mesh.Push(ctx, cluster.Image{Name: "safe-driver:actor", Files: files, Entrypoint: []string{"/actor"}, User: "65532"})
	return err
}

// acting is a plan for a version that plays a part from its start.
func acting(version, mode string) plan {
	return plan{Version: version, Image: mesh.scorer["actor"], Env: fmt.Sprintf("{name: MODE, value: %q}, {name: VERSION, value: %q}", mode, version)}
}

// pods of a revision that are not on their way out.
func (w *world) pods(revision string) (out []corev1.Pod) {
	w.t.Helper()
	var list corev1.PodList
	if err := mesh.api.List(w.t.Context(), &list, client.InNamespace(w.namespace), client.MatchingLabels{kube.LabelRevision: revision}); err != nil {
		w.t.Fatal(err)
	}
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			out = append(out, p)
		}
	}
	return out
}

// tells every actor of a revision which part it plays from now on.
func (w *world) tells(revision, mode string) {
	w.t.Helper()
	pods := w.pods(revision)
	if len(pods) == 0 {
		w.t.Fatalf("%s has no pod to tell %q", revision, mode)
	}
	for _, p := range pods {
		req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPut, "http://"+p.Status.PodIP+":5001/actor?mode="+mode, http.NoBody)
		if err != nil {
			w.t.Fatal(err)
		}
		resp, err := (&http.Client{Timeout: 5 * time.Second}).Do(req)
		if err != nil {
			w.t.Fatalf("telling %s: %v", p.Name, err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			w.t.Fatalf("telling %s: %s", p.Name, resp.Status)
		}
	}
}

// heard is what an actor got from another address.
type heard struct {
	Status int
	Body   string
	Error  string
}

// fetch lets an actor's pod ask another address.
func fetch(t *testing.T, pod *corev1.Pod, method, address, body string, token bool) (h heard) {
	t.Helper()
	q := url.Values{"method": {method}, "url": {address}, "body": {body}}
	if token {
		q.Set("token", "yes")
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+pod.Status.PodIP+":5001/actor/fetch?"+q.Encode(), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		t.Fatalf("asking %s to fetch %s: %v", pod.Name, address, err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&h); err != nil {
		t.Fatalf("what %s heard of %s: %v", pod.Name, address, err)
	}
	return h
}
