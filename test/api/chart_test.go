package api_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	"helm.sh/helm/v3/pkg/strvals"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/serin-dev/serin/internal/install"
	"github.com/serin-dev/serin/internal/kube"
	"github.com/serin-dev/serin/test/cluster"
)

const chart = root + "/charts/serin"

var digest = "sha256:" + strings.Repeat("0123456789abcdef", 4)

// variants are the ways to install that are tried, each with what must be in it.
var variants = map[string]struct {
	set  string
	want []string
	not  []string
}{
	"as it is":                     {"", []string{"serin:0.1.0", "ports: [\"9001\"]", "cluster.local/ns/istio-system/sa/istio-ingressgateway", "istio: ingressgateway", "--gateway-selector=istio=ingressgateway", "kind: PodDisruptionBudget"}, []string{"istio.io/rev", "ServiceMonitor"}},
	"by digest":                    {"image.digest=" + digest, []string{"serin@" + digest}, []string{"serin:0.1.0"}},
	"AKS add-on":                   {"mesh.aksAddon=true,mesh.revision=asm-1-30", []string{"istio.io/rev: \"asm-1-30\"", "istio: aks-istio-ingressgateway-external", "--gateway-selector=istio=aks-istio-ingressgateway-external", "namespace: aks-istio-ingress", "ns/aks-istio-ingress/sa/aks-istio-ingressgateway-external"}, []string{"istio-system"}},
	"another gateway":              {"mesh.gateway.namespace=edge,mesh.gateway.serviceAccount=edge,mesh.gateway.selector.app=edge,mesh.telemetry.otherProviders={stdout}", []string{"namespace: edge", "ns/edge/sa/edge", "app: edge", "\"stdout\""}, []string{"ingressgateway"}},
	"one replica":                  {"replicas=1", nil, []string{"kind: PodDisruptionBudget"}},
	"nothing that can be left out": {"mesh.authorization=false,mesh.telemetry.enabled=false,networkPolicy.enabled=false,userRoles.create=false,podDisruptionBudget.enabled=false", []string{"name: serin-actions"}, []string{"istio.io/v1", "NetworkPolicy", "serin-viewer"}},
	"metrics":                      {"metrics.namespaces={monitoring,ops},metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.interval=15s,metrics.serviceMonitor.labels.release=prometheus", []string{"kind: ServiceMonitor", "apiVersion: monitoring.coreos.com/v1", "- monitoring\n", "interval: 15s", "honorLabels: true", "release: prometheus"}, nil},
	"metrics on Azure":             {"metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.apiVersion=azmonitoring.coreos.com/v1", []string{"apiVersion: azmonitoring.coreos.com/v1\nkind: ServiceMonitor"}, []string{"operator: In"}},
	"everything set":               {"image.pullSecrets={a,b},recorderImage=r.example.com/serin:1,priorityClassName=p,nodeSelector.a=b,tolerations[0].operator=Exists,podLabels.team=ml,podAnnotations.a=b,serviceAccount.annotations.c=d,userRoles.aggregateToAdmin=true,affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight=1,affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].key=a,affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].operator=Exists", []string{"aggregate-to-admin", "r.example.com/serin:1", "team: ml"}, nil},
}

func values(t *testing.T, set string) map[string]any {
	t.Helper()
	v, err := strvals.Parse(set)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func render(t *testing.T, set string) (manifests, notes string, err error) {
	t.Helper()
	c, err := loader.Load(chart)
	if err != nil {
		t.Fatal(err)
	}
	i := action.NewInstall(&action.Configuration{Log: func(string, ...any) {}})
	i.DryRun, i.ClientOnly, i.ReleaseName, i.Namespace = true, true, "serin", "serin-system"
	i.KubeVersion = &chartutil.KubeVersion{Version: "v1.35.4", Major: "1", Minor: "35"}
	r, err := i.Run(c, values(t, set))
	if err != nil {
		return "", "", err
	}
	return r.Manifest, r.Info.Notes, nil
}

func TestTheChartPassesLint(t *testing.T) {
	for name, v := range variants {
		l := lint.AllWithKubeVersion(chart, values(t, v.set), "serin-system", &chartutil.KubeVersion{Version: "v1.35.4", Major: "1", Minor: "35"})
		for _, m := range l.Messages {
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %s: %v", name, m.Path, m.Err)
			}
		}
	}
}

func TestTheChartHoldsWhatItsValuesSay(t *testing.T) {
	for name, v := range variants {
		text, notes, err := render(t, v.set)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, w := range v.want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: no %q in what is rendered", name, w)
			}
		}
		for _, w := range v.not {
			if strings.Contains(text, w) {
				t.Errorf("%s: %q in what is rendered", name, w)
			}
		}
		if !strings.Contains(notes, "service: serin-als.serin-system.svc.cluster.local") {
			t.Errorf("%s: the notes do not name the provider's service:\n%s", name, notes)
		}
	}
}

// serin install, which has no Helm in it, renders what Helm renders.
func TestInstallRendersWhatHelmRenders(t *testing.T) {
	for name, v := range variants {
		helms, _, err := render(t, v.set)
		if err != nil {
			t.Fatal(err)
		}
		var set []string
		for _, s := range strings.Split(v.set, ",") {
			switch path, value, _ := strings.Cut(s, "="); {
			case s == "":
			case value == "{a":
				set = append(set, path+"=[a, b]") // Helm's way to write a list
			case s == "b}":
			case value == "{stdout}":
				set = append(set, path+"=[stdout]")
			case value == "{monitoring":
				set = append(set, path+"=[monitoring, ops]")
			case s == "ops}":
			case path == "tolerations[0].operator":
				set = append(set, "tolerations=[{operator: "+value+"}]")
			case strings.HasPrefix(path, "affinity."):
				if !slices.ContainsFunc(set, func(s string) bool { return strings.HasPrefix(s, "affinity=") }) {
					set = append(set, "affinity={nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: a, operator: Exists}]}}]}}")
				}
			default:
				set = append(set, s)
			}
		}
		m, err := install.Render(install.Options{Namespace: "serin-system", Set: set})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		ours := objectsByName(objectsOf(t, strings.ReplaceAll(string(m.Rest), `managed-by: "serin"`, `managed-by: "Helm"`)))
		if diff := cmp.Diff(objectsByName(objectsOf(t, helms)), ours); diff != "" {
			t.Errorf("%s: Helm (-), serin install (+):\n%s", name, diff)
		}
	}
}

func objectsByName(list []*unstructured.Unstructured) map[string]any {
	out := map[string]any{}
	for _, o := range list {
		out[o.GetKind()+" "+o.GetNamespace()+"/"+o.GetName()] = o.Object
	}
	return out
}

// serin install brings a cluster that has only Istio to where the controller can run, and may be run again.
func TestInstallApplies(t *testing.T) {
	c := start(t)
	istioKinds(t, c)
	namespaces(t, c, "istio-system")
	m, err := install.Render(install.Options{Namespace: "installed", Set: []string{"image.digest=" + digest}})
	if err != nil {
		t.Fatal(err)
	}
	text := slices.Concat(m.Kinds, []byte("---\napiVersion: v1\nkind: Namespace\nmetadata: {name: installed}\n"), m.Rest)
	for range 2 {
		done, err := kube.ApplyManifests(t.Context(), c.RequestConfig(), text, false)
		if err != nil {
			t.Fatal(err)
		}
		if len(done) < 20 {
			t.Errorf("%d objects applied, want at least 20: %v", len(done), done)
		}
	}
	d := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	got, err := client(t, c.RequestConfig()).Resource(d).Namespace("installed").Get(t.Context(), "serin-controller", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(fmt.Sprint(got.Object["spec"]), "@"+digest) {
		t.Error("the controller does not run the image that was asked for")
	}
	bad := strings.Replace(string(m.Rest), "replicas: 2", "replicas: -2", 1)
	if done, err := kube.ApplyManifests(t.Context(), c.RequestConfig(), []byte(bad), true); err == nil || !strings.Contains(err.Error(), "replicas") {
		t.Errorf("a dry run of what is not valid: %v (after %v), want an error that names replicas", err, done)
	}
}

func TestTheChartRefusesBadValues(t *testing.T) {
	for set, want := range map[string]string{
		"image.digest=latest":           "digest",
		"image.repository=a@b":          "repository",
		"replicas=0":                    "replicas",
		"replicas=two":                  "replicas",
		"mesh.gatway.namespace=x":       "gatway",
		"networkPolicy.enabled=perhaps": "enabled",
		"image.pullPolicy=Sometimes":    "pullPolicy",
		"mesh.aksAddon=true":            "mesh.revision is empty",
		"mesh.telemetry.provider=":      "provider",

		"metrics.namespaces={a_b}":                  "namespaces",
		"metrics.serviceMonitor.interval=often":     "interval",
		"metrics.serviceMonitor.apiVersion=apps/v1": "apiVersion",
	} {
		if _, _, err := render(t, set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--set %s: error %v, want one that names %q", set, err, want)
		}
	}
}

// Every value has a row in the README and a place in the schema, and the README's rows are values.
func TestEveryValueIsDocumented(t *testing.T) {
	c, err := loader.Load(chart)
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(chart + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	var s map[string]any
	if err := json.Unmarshal(c.Schema, &s); err != nil {
		t.Fatal(err)
	}
	inValues, inSchema := leaves(c.Values, ""), schemaLeaves(s, "")
	inSchema = slices.DeleteFunc(inSchema, func(p string) bool { return p == "global" })
	var inReadme []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*`) \\|").FindAllStringSubmatch(section(string(readme), "## Values"), -1) {
		for _, cell := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			inReadme = append(inReadme, cell[1])
		}
	}
	for name, list := range map[string][]string{"values.schema.json": inSchema, "README.md": inReadme} {
		slices.Sort(list)
		if !slices.Equal(inValues, list) {
			t.Errorf("values.yaml has\n%v\n%s has\n%v", inValues, name, list)
		}
	}
}

func section(text, head string) string {
	_, text, _ = strings.Cut(text, head)
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// objects are values that are given as a whole.
var objects = []string{"resources", "affinity", "nodeSelector", "podLabels", "podAnnotations", "serviceAccount.annotations", "mesh.gateway.selector", "metrics.serviceMonitor.labels", "global"}

func leaves(v map[string]any, path string) (out []string) {
	for k, x := range v {
		p := strings.TrimPrefix(path+"."+k, ".")
		if m, ok := x.(map[string]any); ok && !slices.Contains(objects, p) {
			out = append(out, leaves(m, p)...)
		} else {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

func schemaLeaves(s map[string]any, path string) (out []string) {
	properties, ok := s["properties"].(map[string]any)
	if !ok {
		return []string{path}
	}
	for k, x := range properties {
		out = append(out, schemaLeaves(x.(map[string]any), strings.TrimPrefix(path+"."+k, "."))...)
	}
	return out
}

// objectsOf parses rendered manifests.
func objectsOf(t *testing.T, text string) (out []*unstructured.Unstructured) {
	t.Helper()
	for _, doc := range regexp.MustCompile(`(?m)^---\s*$`).Split(text, -1) {
		o := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict([]byte(doc), &o.Object); err != nil {
			t.Fatalf("%v:\n%s", err, doc)
		}
		if len(o.Object) > 0 {
			out = append(out, o)
		}
	}
	return out
}

// istioKinds installs Istio's definitions, from its module.
func istioKinds(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "istio.io/api")
	list.Dir = root // the version that internal/kube speaks
	dir, err := list.Output()
	if err != nil {
		t.Fatalf("looking for istio.io/api: %v", err)
	}
	if err := applyFiles(t.Context(), c, strings.TrimSpace(string(dir))+"/kubernetes/customresourcedefinitions.gen.yaml"); err != nil {
		t.Fatal(err)
	}
}

func namespaces(t *testing.T, c *cluster.Cluster, names ...string) {
	t.Helper()
	for _, n := range names {
		if err := c.Apply(t.Context(), fmt.Appendf(nil, "apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", n)); err != nil {
			t.Fatal(err)
		}
	}
}

// The API server takes every manifest of every variant, with strict field validation.
func TestTheAPIServerTakesTheChart(t *testing.T) {
	c := start(t)
	istioKinds(t, c)
	namespaces(t, c, "serin-system", "istio-system", "aks-istio-ingress", "edge")
	serviceMonitors(t, c)
	// A kind that is not served yet would fail each variant.
	if err := c.Apply(t.Context(), []byte("apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: probe}\nspec: {}\n")); err != nil {
		t.Fatal(err)
	}
	for name, v := range variants {
		text, _, err := render(t, v.set)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objectsOf(t, text) {
			if err := dryRun(t, c, o); err != nil {
				t.Errorf("%s: %s %q: %v", name, o.GetKind(), o.GetName(), err)
			}
		}
	}
}

// serviceMonitors installs as much of the kind of Prometheus' operator as the chart fills in.
func serviceMonitors(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	for _, group := range []string{"monitoring.coreos.com", "azmonitoring.coreos.com"} {
		kind := strings.ReplaceAll(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: servicemonitors.GROUP}
spec:
  group: GROUP
  names: {kind: ServiceMonitor, listKind: ServiceMonitorList, plural: servicemonitors, singular: servicemonitor}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            required: [endpoints, selector]
            properties:
              endpoints:
                type: array
                items: {type: object, properties: {port: {type: string}, path: {type: string}, interval: {type: string}, honorLabels: {type: boolean}}}
              namespaceSelector: {type: object, properties: {matchNames: {type: array, items: {type: string}}}}
              selector: {type: object, properties: {matchLabels: {type: object, additionalProperties: {type: string}}}}
`, "GROUP", group)
		if err := c.Apply(t.Context(), []byte(kind)); err != nil {
			t.Fatal(err)
		}
		probe := fmt.Sprintf("apiVersion: %s/v1\nkind: ServiceMonitor\nmetadata: {name: probe}\nspec: {endpoints: [], selector: {}}\n", group)
		if err := c.Apply(t.Context(), []byte(probe)); err != nil {
			t.Fatal(err)
		}
	}
}

func dryRun(t *testing.T, c *cluster.Cluster, o *unstructured.Unstructured) error {
	t.Helper()
	gvk := o.GroupVersionKind()
	plural := strings.ToLower(gvk.Kind) + "s"
	if s, ok := strings.CutSuffix(plural, "ys"); ok && !strings.HasSuffix(s, "a") {
		plural = s + "ies"
	}
	if gvk.Kind == "Telemetry" {
		plural = "telemetries"
	}
	r := client(t, c.RequestConfig()).Resource(schema.GroupVersionResource{Group: gvk.Group, Version: gvk.Version, Resource: plural})
	options := metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: "helm", FieldValidation: metav1.FieldValidationStrict, Force: new(true)}
	raw, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if o.GetNamespace() != "" {
		_, err = r.Namespace(o.GetNamespace()).Patch(t.Context(), o.GetName(), "application/apply-patch+yaml", raw, options)
	} else {
		_, err = r.Patch(t.Context(), o.GetName(), "application/apply-patch+yaml", raw, options)
	}
	return err
}
