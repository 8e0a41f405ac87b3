// Package kiali_test asks what the mesh console would show: Kiali's own queries, evaluated by Prometheus' own engine, over
// istio_requests_total as Istio writes it for pods with the labels that Serin gives them.
package kiali_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/promql/promqltest"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/serin-dev/serin/internal/kube"
	"github.com/serin-dev/serin/internal/rollout"
)

// groupBy and the queries are those of Kiali's graph (graph/telemetry/istio): incoming requests that reached no
// workload, incoming ones, and those from within the namespace.
const groupBy = "source_cluster,source_workload_namespace,source_workload,source_canonical_service,source_canonical_revision,destination_cluster,destination_service_namespace,destination_service,destination_service_name,destination_workload_namespace,destination_workload,destination_canonical_service,destination_canonical_revision,request_protocol,response_code,grpc_response_status,response_flags"

var queries = []string{
	`sum(rate(istio_requests_total{reporter="source",source_workload_namespace!="abtesting",destination_workload_namespace="unknown",destination_workload="unknown",destination_service=~"^.+\\.abtesting\\..+$"} [60s])) by (` + groupBy + `) > 0`,
	`sum(rate(istio_requests_total{reporter="destination",destination_workload_namespace="abtesting"} [60s])) by (` + groupBy + `) > 0`,
	`sum(rate(istio_requests_total{reporter="source",source_workload_namespace="abtesting"} [60s])) by (` + groupBy + `) > 0`,
}

// canonical is Istio's rule for the two labels by which Kiali makes its nodes (Istio: canonical services; the order is
// that of pkg/model/proxy).
func canonical(labels map[string]string, workload string) (service, revision string) {
	first := func(otherwise string, names ...string) string {
		for _, n := range names {
			if labels[n] != "" {
				return labels[n]
			}
		}
		return otherwise
	}
	return first(workload, "service.istio.io/canonical-name", "app.kubernetes.io/name", "app"),
		first("latest", "service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
}

// series are five minutes of one revision's requests, scraped every 15 s from the sidecar of its pods: what the
// ingress gateway sent it.
func series(labels map[string]string, workload string, perScrape int) string {
	service, revision := canonical(labels, workload)
	return fmt.Sprintf(`istio_requests_total{reporter="destination",source_cluster="Kubernetes",source_workload_namespace="istio-system",source_workload="istio-ingressgateway",`+
		`source_canonical_service="istio-ingressgateway",source_canonical_revision="latest",destination_cluster="Kubernetes",destination_service_namespace="abtesting",`+
		`destination_service="%[1]s.abtesting.svc.cluster.local",destination_service_name="%[1]s",destination_workload_namespace="abtesting",destination_workload="%[1]s",`+
		`destination_canonical_service="%[2]s",destination_canonical_revision="%[3]s",request_protocol="http",response_code="200",response_flags="-"} 0+%[4]dx20`,
		workload, service, revision, perScrape) + "\n"
}

func revision(number int) (string, map[string]string) {
	r := rollout.Revision{Name: fmt.Sprintf("safe-driver-r%d", number), Number: number, Digest: "sha256:0", Version: "a name that is no label/1"}
	d := kube.MakeDeployment(kube.RevisionInput{Key: kube.Key{Namespace: "abtesting", Name: "safe-driver"}, Owner: metav1.OwnerReference{}, Revision: r})
	return d.Name, d.Spec.Template.Labels
}

// node is what Kiali draws in its versioned app graph.
type node struct{ App, Version string }

func nodesOf(t *testing.T, recorded string) map[node]float64 {
	t.Helper()
	store := promqltest.LoadedStorage(t, "load 15s\n"+recorded)
	defer store.Close()
	engine := promqltest.NewTestEngine(t, false, 0, 10_000)
	out := map[node]float64{}
	for _, q := range queries {
		query, err := engine.NewInstantQuery(context.Background(), store, nil, q, time.Unix(0, 0).Add(4*time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		vector, err := query.Exec(context.Background()).Vector()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range vector {
			out[node{s.Metric.Get("destination_canonical_service"), s.Metric.Get("destination_canonical_revision")}] += math.Round(s.F)
		}
		query.Close()
	}
	return out
}

// TestTheMeshConsoleShowsBothVersions: in a canary at 10 % there is one app with two version nodes, whose rates are the
// split.
func TestTheMeshConsoleShowsBothVersions(t *testing.T) {
	var recorded strings.Builder
	for number, perScrape := range map[int]int{1: 1350, 2: 150} { // 100 requests a second
		workload, labels := revision(number)
		recorded.WriteString("  " + series(labels, workload, perScrape))
	}
	want := map[node]float64{{"safe-driver", "r1"}: 90, {"safe-driver", "r2"}: 10}
	if d := cmp.Diff(want, nodesOf(t, recorded.String())); d != "" {
		t.Error(d)
	}
}

// TestWithoutVersionLabelsBothWouldBeOne is why the label has to be there (and that the test above can fail): with the
// label of the older charts, model_version, both revisions are one node, "latest".
func TestWithoutVersionLabelsBothWouldBeOne(t *testing.T) {
	old := map[string]string{"app": "model", "model_version": "blue"}
	got := nodesOf(t, "  "+series(old, "model-blue", 150)+"  "+series(map[string]string{"app": "model", "model_version": "green"}, "model-green", 1350))
	var names []string
	for n := range got {
		names = append(names, n.App+"/"+n.Version)
	}
	if want := []string{"model/latest"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}
