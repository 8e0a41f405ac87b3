package api_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/kube"
	"github.com/serin-dev/serin/test/cluster"
)

// read gets a page of a controller's health port.
func (a addresses) read(ctx context.Context, path string) (int, string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.health+path, nil)
	if err != nil {
		return 0, err.Error()
	}
	res, err := web.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(body)
}

// showMetrics holds what the leader of a running rollout shows against what there is, and against the documents.
func (a addresses) showMetrics(d drive) {
	d.t.Helper()
	code, text := a.read(d.t.Context(), "/metrics")
	if code != http.StatusOK {
		d.t.Fatalf("GET /metrics: %d %s", code, text)
	}
	for _, want := range []string{
		"serin_leader 1", "serin_build_info{", `serin_candidate_weight_planned_ratio{endpoint="driver",namespace="driven"} 0.5`,
		`serin_revision_ready{arm="candidate",endpoint="driver",namespace="driven",`, `serin_rollout_info{endpoint="driver",`, `serin_rollout_step{endpoint="driver",namespace="driven"} 1`,
		`serin_condition{endpoint="driver",namespace="driven",`, "controller_runtime_reconcile_total{", "workqueue_depth{", "rest_client_requests_total{", "leader_election_master_status{", "go_goroutines ",
	} {
		if !strings.Contains(text, want) {
			d.t.Errorf("the leader's metrics lack %s", want)
		}
	}
	if !regexp.MustCompile(`(?m)^serin_endpoints [1-9]`).MatchString(text) { // other tests may have left some of theirs
		d.t.Error("the leader says that it drives no endpoint")
	}
	onlyLocal := regexp.MustCompile("serin_gateway_|serin_shadow_dropped_total")
	if found := onlyLocal.FindString(text); found != "" {
		d.t.Errorf("%s is shown: Serin's own gateway is not in a cluster", found)
	}
	known := documented(d.t)
	for _, m := range regexp.MustCompile("(?m)^# TYPE (serin_[a-z_]+) ").FindAllStringSubmatch(text, -1) {
		if !slices.Contains(known, m[1]) {
			d.t.Errorf("%s is not in docs/api.md or docs/cluster-operations.md", m[1])
		}
	}
	for path, want := range map[string]string{"/readyz": "ok: leading\n", "/healthz": "ok\n"} {
		if code, text := a.read(d.t.Context(), path); code != http.StatusOK || text != want {
			d.t.Errorf("GET %s of the leader: %d %q, want 200 %q", path, code, text, want)
		}
	}
}

// documented are the metrics that the pages name.
func documented(t *testing.T) (out []string) {
	t.Helper()
	for _, page := range []string{"/docs/api.md", "/docs/cluster-operations.md"} {
		text, err := os.ReadFile(root + page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("(?m)^\\| `(serin_[a-z_]+)`").FindAllStringSubmatch(string(text), -1) {
			out = append(out, m[1])
		}
	}
	return out
}

// A standby is alive and ready, says that it stands by, and shows nobody's endpoints.
func TestAStandbyIsReadyAndShowsNoEndpoint(t *testing.T) {
	c := guarded(t)
	namespaces(t, c, "standby")
	holdLease(t, c, "standby")
	at := addresses{freeAddress(t), freeAddress(t)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- kube.Run(ctx, c.RESTConfig(), kube.Options{
			RecorderImage: "registry.example.com/serin@sha256:aaaa", ControllerURL: "http://" + at.recorders, AccessLogs: "127.0.0.1:0", Recorders: at.recorders, Health: at.health,
			PodNamespace: "standby", Logger: slog.New(slog.DiscardHandler),
		})
	}()
	d := drive{t: t, c: c}
	var last any
	d.await("the standby answers", func(ctx context.Context) bool {
		code, text := at.read(ctx, "/readyz")
		last = text
		return code == http.StatusOK && text == "ok: standing by\n"
	}, &last)
	_, text := at.read(t.Context(), "/metrics")
	if !strings.Contains(text, "serin_leader 0\n") || !strings.Contains(text, "serin_endpoints 0\n") || strings.Contains(text, `endpoint="`) {
		t.Errorf("a standby shows:\n%s", text)
	}
	cancel()
	ended(t, "the standby", done)
}

// holdLease lets somebody else lead.
func holdLease(t *testing.T, c *cluster.Cluster, namespace string) {
	t.Helper()
	now := time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")
	lease := fmt.Sprintf("apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: serin-controller, namespace: %s}\nspec: {holderIdentity: another, leaseDurationSeconds: 3600, acquireTime: %q, renewTime: %q}\n", namespace, now, now)
	if err := c.Apply(t.Context(), []byte(lease)); err != nil {
		t.Fatal(err)
	}
}
