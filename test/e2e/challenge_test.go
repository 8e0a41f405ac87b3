package e2e_test

import (
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/serin-dev/serin/test/cluster"
)

// instead is what stands in a command in the place of what docs/challenge-9.md says, and why.
var instead = []struct{ page, here, why string }{
	{"serin image ", "serin image --insecure ", "the test cluster's registry speaks plain HTTP"},
	{"openhackacr.azurecr.io", "REGISTRY", "the test cluster has a registry of its own"},
	{"-n aks-istio-ingress aks-istio-ingressgateway-external", "-n istio-system istio-ingressgateway", "so Istio itself names what the add-on names otherwise"},
	{"http://ADDRESS", "GATEWAY", "the gateway has a port of the node, no load balancer"},
	{"--rate 100 --duration 1m", "--rate 500 --duration 8s", "nearly as many requests, in less time"},
}

const download = "needs a chart and images from the Internet"

// onAKS are the commands of docs/challenge-9.md, section 2, in the page's order, each with what one sees then, or with why
// it cannot run here.
var onAKS = []struct {
	command string
	first   func(w *task) // what the page tells before it
	sees    func(w *task, out string)
	cannot  string
}{
	{command: `serin image --dummy 'New Model A' --tag openhackacr.azurecr.io/dummy:a`, sees: (*task).packedA},
	{command: `serin image --dummy 'New Model B' --tag openhackacr.azurecr.io/dummy:b`, sees: (*task).packedB},
	{command: `serin image --model models/v1.txt --tag openhackacr.azurecr.io/safe-driver:1`, sees: (*task).packedModel},
	{command: `serin apply -n abtesting -f endpoint-a.yaml`, sees: says("version A is its first")},
	{command: `serin wait -n abtesting --timeout 5m`, sees: says("Promoted: first version A")},
	{command: `serin apply -n abtesting -f endpoint-b.yaml`, sees: says("version B starts a rollout")},
	{command: `serin wait -n abtesting --step 1% --timeout 5m`, sees: says("WaitingForApproval")},
	{command: `serin status -n abtesting`, sees: says("version A → B", "candidate 0% planned, 0% in force", "dummy-r1  version A  stable", "dummy-r2  version B  candidate")},
	{command: `kubectl get scoringendpoints,deployments,pods -n abtesting --show-labels`, sees: (*task).bothLive},
	{command: `kubectl get service -n aks-istio-ingress aks-istio-ingressgateway-external`, sees: says("EXTERNAL-IP", "istio-ingressgateway")},
	{command: `curl -s -H 'x-api-version: blue' -d '{"data":[[1]]}' http://ADDRESS/score`, sees: says(`"New Model B"`)},
	{command: `serin load --url http://ADDRESS/score --rate 100 --duration 1m`, sees: byNew(0)},
	{command: `serin approve -n abtesting --step 1%`, sees: says("step 1% of dummy-2 approved")},
	{command: `serin load --url http://ADDRESS/score --rate 100 --duration 1m`, sees: byNew(0.01)},
	{command: `curl -s -H 'x-api-version: blue' -d @request.json http://ADDRESS/score`, first: (*task).rejected, sees: says(`"New Model B"`)},
	{command: `serin history -n abtesting --audit`, sees: says("Accepted: Abort", "StepEntered: entered step 1%", "Accepted: Approve: step 1%")},
	{command: `serin report -n abtesting`, sees: says("reverted (aborted)", "version A → B", "0 failed")},
	{command: `helm repo add prometheus-community https://prometheus-community.github.io/helm-charts`, cannot: download},
	{command: `helm install prometheus prometheus-community/prometheus --namespace monitoring --create-namespace`, cannot: download},
	{command: `helm repo add kiali https://kiali.org/helm-charts`, cannot: download},
	{command: `helm install kiali kiali/kiali-server --namespace monitoring --set auth.strategy=token --set external_services.prometheus.url=http://prometheus-server.monitoring --set external_services.istio.root_namespace=aks-istio-system`, cannot: download},
	{command: `kubectl create token kiali --namespace monitoring`, cannot: "reaches what could not be installed"},
	{command: `kubectl port-forward --namespace monitoring service/kiali 20001`, cannot: "reaches what could not be installed"},
}

// TestTheTaskInACluster executes section 2 of docs/challenge-9.md as it stands and in order. Between 2.4 and 2.5 it does what
// the page says of the pipeline, whose stages TestPipelines carries out: a gate is rejected, and the stage Revert runs.
func TestTheTaskInACluster(t *testing.T) { // alone: the page's endpoint has every host
	needPacking(t)
	commands, fragment := sectionTwo(t)
	var want []string
	for _, c := range onAKS {
		want = append(want, c.command)
	}
	if d := cmp.Diff(want, commands); d != "" {
		t.Fatalf("docs/challenge-9.md, section 2, has other commands than this test knows (-test +page):\n%s", d)
	}
	for _, s := range instead {
		t.Logf("in the place of %q: %q; %s", s.page, s.here, s.why)
		if !strings.Contains(strings.Join(commands, "\n"), s.page) {
			t.Errorf("nothing on the page has %q", s.page)
		}
	}
	w := newTask(t, fragment)
	for _, c := range onAKS {
		if c.cannot != "" {
			t.Logf("NOT run: %s: %s", c.command, c.cannot)
			continue
		}
		if c.first != nil {
			c.first(w)
		}
		c.sees(w, w.run(c.command))
	}
}

// sectionTwo reads the commands of section 2, each on one line, and the part of a document that stands there.
func sectionTwo(t *testing.T) (commands []string, fragment string) {
	t.Helper()
	text, err := os.ReadFile(root + "/docs/challenge-9.md")
	if err != nil {
		t.Fatal(err)
	}
	_, page, _ := strings.Cut(string(text), "\n## 2. ")
	page, _, found := strings.Cut(page, "\n## ")
	if !found {
		t.Fatal("docs/challenge-9.md has no section 2 with another one after it")
	}
	for _, block := range regexp.MustCompile(`(?m)(?:^    .*\n)+`).FindAllString(page, -1) {
		block = strings.TrimSpace(strings.ReplaceAll(block, "\n    ", "\n"))
		if strings.HasPrefix(block, "spec:") {
			fragment += block
			continue
		}
		block = regexp.MustCompile(`\s*\\\n\s*`).ReplaceAllString(block, " ")
		commands = append(commands, strings.Split(block, "\n")...)
	}
	return commands, fragment
}

// task is somebody who follows the page.
type task struct {
	*world
	folder   string
	fragment string
}

// newTask gives somebody a folder with what the page takes for granted: the programs, a model, a request.
func newTask(t *testing.T, fragment string) *task {
	t.Helper()
	w := &task{newWorld(t, "dummy"), t.TempDir(), fragment}
	serin, err := cluster.BuildSerin(t.Context(), cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable() // TestMain makes it kubectl
	if err != nil {
		t.Fatal(err)
	}
	model, err := filepath.Abs(root + "/examples/safe-driver/models")
	if err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"bin/serin": serin, "bin/kubectl": self, "models": model} {
		path := filepath.Join(w.folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
	}
	w.write("request.json", `{"data":[[1]]}`)
	return w
}

func (w *task) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.folder, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// here is a text of the page with what stands in it here.
func (w *task) here(text string) string {
	var pairs []string
	for _, s := range instead {
		pairs = append(pairs, s.page, s.here)
	}
	text = strings.NewReplacer(pairs...).Replace(text)
	return strings.NewReplacer("REGISTRY", mesh.Registry, "GATEWAY", mesh.Gateway).Replace(text)
}

// run runs a command of the page as a shell does.
func (w *task) run(command string) string {
	w.t.Helper()
	out, err := w.shell(command).CombinedOutput()
	w.t.Logf("$ %s\n%s", w.here(command), out)
	if err != nil {
		w.t.Fatalf("%s: %v", command, err)
	}
	return string(out)
}

func (w *task) shell(command string) *exec.Cmd {
	w.t.Helper()
	c := bounded(w.t, 6*time.Minute, "bash", "-c", w.here(command)) // serin wait has five
	c.Dir, c.Env = w.folder, append(os.Environ(), "PATH="+filepath.Join(w.folder, "bin")+":"+os.Getenv("PATH"))
	return c
}

// says wants words in what a command printed.
func says(words ...string) func(*task, string) {
	return func(w *task, out string) {
		w.t.Helper()
		for _, s := range words {
			if !strings.Contains(out, s) {
				w.t.Errorf("it does not say %q:\n%s", s, out)
			}
		}
	}
}

// packed is the reference by digest that serin image printed.
func (w *task) packed(out, repository string) string {
	w.t.Helper()
	reference := strings.TrimSpace(out)
	if !regexp.MustCompile(`^` + regexp.QuoteMeta(mesh.Registry+"/"+repository) + `@sha256:[0-9a-f]{64}$`).MatchString(reference) {
		w.t.Fatalf("serin image said %q, want a reference of %s by digest", out, repository)
	}
	return reference
}

func (w *task) packedModel(out string) { w.packed(out, "safe-driver") }
func (w *task) packedA(out string)     { w.document("endpoint-a.yaml", w.packed(out, "dummy")) }
func (w *task) packedB(out string)     { w.document("endpoint-b.yaml", w.packed(out, "dummy")) }

// document writes "the same document, with the image in the place of the program, and without listen": the example's, with
// the page's lines.
func (w *task) document(name, image string) {
	w.t.Helper()
	text, err := os.ReadFile(root + "/examples/challenge-9/" + name)
	if err != nil {
		w.t.Fatal(err)
	}
	var example, page map[string]any
	if err := yaml.Unmarshal(text, &example); err != nil {
		w.t.Fatal(err)
	}
	lines := strings.Replace(w.here(w.fragment), mesh.Registry+"/dummy@sha256:…", image, 1)
	if err := yaml.Unmarshal([]byte(lines), &page); err != nil || !strings.Contains(lines, image) {
		w.t.Fatalf("the page's part of a document: %v:\n%s", err, lines)
	}
	spec, scorer := example["spec"].(map[string]any), example["spec"].(map[string]any)["scorer"].(map[string]any)
	version := scorer["version"]
	delete(scorer, "local")
	delete(spec["traffic"].(map[string]any), "listen")
	for part, fields := range page["spec"].(map[string]any) {
		maps.Copy(spec[part].(map[string]any), fields.(map[string]any))
	}
	scorer["version"] = version // the page shows the first document's
	if text, err = yaml.Marshal(example); err != nil {
		w.t.Fatal(err)
	}
	w.write(name, string(text))
}

// bothLive: two Deployments at once, and pods of each with the labels that the mesh console reads.
func (w *task) bothLive(out string) {
	w.t.Helper()
	for _, r := range []string{"r1", "r2"} {
		for _, line := range []string{`(?m)^deployment.apps/dummy-` + r + ` +1/1 `, `(?m)^pod/dummy-` + r + `-\S+ +3/3 +Running .*\bapp=dummy,.*\bversion=` + r + `\b`} {
			if !regexp.MustCompile(line).MatchString(out) {
				w.t.Errorf("no line is like %s:\n%s", line, out)
			}
		}
	}
	says("scoringendpoint.serin.dev/dummy")(w, out)
}

var tallied = regexp.MustCompile(`(?m)^  (dummy-r\d) +(\d+) `)

// byNew wants a tally of serin load with a share p by the new version, within five standard deviations.
func byNew(p float64) func(*task, string) {
	return func(w *task, out string) {
		w.t.Helper()
		all, n := w.tally(out)
		if slack := 5 * math.Sqrt(all*p*(1-p)); all < 500 || math.Abs(n-all*p) > slack {
			w.t.Errorf("%v of %v requests by the new version, want %.1f ± %.1f", n, all, all*p, slack)
		}
		says(" 0 failed (")(w, out)
	}
}

func (w *task) tally(out string) (all, byNew float64) {
	w.t.Helper()
	n := map[string]float64{}
	for _, m := range tallied.FindAllStringSubmatch(out, -1) {
		k, err := strconv.Atoi(m[2])
		if err != nil {
			w.t.Fatal(err)
		}
		n[m[1]] = float64(k)
	}
	return n["dummy-r1"] + n["dummy-r2"], n["dummy-r2"]
}

// rejected is what the page says of a gate that is rejected: the stage Revert runs, and all requests go to the old version.
func (w *task) rejected() {
	w.t.Helper()
	script, err := filepath.Abs(root + "/pipelines/scripts/revert.sh")
	if err != nil {
		w.t.Fatal(err)
	}
	c := w.shell(script)
	c.Env = append(c.Env, "SERIN_NAMESPACE="+namespace, "SERIN_ENDPOINT=dummy", "SERIN_VERSION=B", "SERIN_SETTLE=3")
	out, err := c.CombinedOutput()
	w.t.Logf("a gate is rejected, and the stage Revert runs:\n%s", out)
	if err != nil {
		w.t.Fatal(err)
	}
	byNew(0)(w, w.run("serin load --url http://ADDRESS/score --rate 300 --duration 4s"))
}
