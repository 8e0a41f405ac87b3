package spec

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

// fieldPaths lists every field of a type, lists with [].
func fieldPaths(t reflect.Type, path string) (out []string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case opaque(t):
	case t.Kind() == reflect.Slice:
		return fieldPaths(t.Elem(), path+"[]")
	case t.Kind() == reflect.Struct:
		for name, ft := range fieldsOf(t) {
			out = append(out, fieldPaths(ft, path+"."+name)...)
		}
		slices.Sort(out)
		return out
	}
	return []string{path}
}

// row is one field as docs/document.md describes it.
type row struct{ kind, standard, allowed, does, mode string }

func documented(t *testing.T) map[string]row {
	t.Helper()
	raw, err := os.ReadFile("../../docs/document.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]row{}
	for line := range strings.Lines(string(raw)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) != 6 || !strings.HasPrefix(cells[0], "`") {
			continue
		}
		path := strings.Trim(cells[0], "`")
		if _, twice := out[path]; twice {
			t.Errorf("%s is described twice", path)
		}
		out[path] = row{cells[1], cells[2], cells[3], cells[4], cells[5]}
	}
	return out
}

func TestEveryFieldIsDocumented(t *testing.T) {
	rows := documented(t)
	fields := append(fieldPaths(reflect.TypeFor[v1alpha1.ScoringEndpointSpec](), "spec"), "apiVersion", "kind", "metadata.name", "metadata.namespace")
	for _, path := range fields {
		r, ok := rows[path]
		if !ok {
			t.Errorf("docs/document.md does not describe %s", path)
		}
		if ok && (r.kind == "" || r.standard == "" || !slices.Contains([]string{"both", "one machine", "Kubernetes", "not yet"}, r.mode)) {
			t.Errorf("docs/document.md: %s: want a type, a default and a mode that is known: %+v", path, r)
		}
	}
	for path := range rows {
		if !slices.Contains(fields, path) {
			t.Errorf("docs/document.md describes %s, which is no field", path)
		}
	}
}

// minimal is the shortest document of one machine.
const minimal = "apiVersion: serin.dev/v1alpha1\nkind: ScoringEndpoint\nmetadata: {name: a}\nspec: {scorer: {local: {model: m.txt}}}\n"

func load(t *testing.T, text string) *Document {
	t.Helper()
	d, _, err := Load([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func full(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestDefaultsAreDocumented(t *testing.T) {
	rows, got := documented(t), map[string]string{}
	flatten(got, "spec", load(t, minimal).Endpoint().Spec)
	delete(got, "spec.scorer.local.model")
	for path, v := range got {
		path = strings.NewReplacer("[0]", "[]", "[1]", "[]", "[2]", "[]", "[3]", "[]", "[4]", "[]").Replace(path)
		if strings.HasPrefix(path, "spec.rollout.steps[].") {
			continue // the default plan stands below the table
		}
		if !strings.Contains(rows[path].standard, "`"+v+"`") {
			t.Errorf("%s is %s by default, docs/document.md says %q", path, v, rows[path].standard)
		}
	}
}

// TestDefaults holds the values that product's document promises.
func TestDefaults(t *testing.T) {
	r, _, err := load(t, minimal).For(Local)
	if err != nil {
		t.Fatal(err)
	}
	plan := rollout.Plan{
		Steps:       []rollout.PlanStep{{Name: "shadow", ShadowBP: 10000, MinDuration: 10 * time.Minute}, {Name: "1%", WeightBP: 100}, {Name: "10%", WeightBP: 1000}, {Name: "50%", WeightBP: 5000}, {Name: "100%", WeightBP: 10000}},
		MinRequests: 100, HarmBudget: 50, Warmup: time.Minute, MaxDuration: 24 * time.Hour, OnTimeout: rollout.TimeoutHold, ApprovalTimeout: 24 * time.Hour,
		ProgressDeadline: 10 * time.Minute, KeepFailed: time.Hour, KeepOld: time.Hour,
	}
	if diff := cmp.Diff(plan, r.Plan); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(judge.DefaultPolicy(), r.Policy); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
	traffic := Traffic{Listen: "127.0.0.1:8080", Header: v1alpha1.Header{Name: "x-api-version", Stable: "green", Candidate: "blue"}, Fallback: true, CandidateTimeout: 2 * time.Second, Timeout: 5 * time.Second, MaxBodyBytes: 4 << 20}
	if diff := cmp.Diff(traffic, r.Traffic); diff != "" {
		t.Errorf("traffic (-want +got):\n%s", diff)
	}
	if r.Readiness != (Readiness{"/", 2 * time.Minute}) || r.Contract != (Contract{"/score", "Auto", ""}) || r.Version != r.Digest[:8] || r.Name != "a" {
		t.Errorf("readiness %+v, contract %+v, version %q", r.Readiness, r.Contract, r.Version)
	}
}

func TestEveryFieldIsRead(t *testing.T) {
	d := load(t, full(t))
	got := map[string]string{}
	flatten(got, "spec", d.Endpoint().Spec)
	written := slices.Collect(maps.Keys(got))
	for _, path := range fieldPaths(reflect.TypeFor[v1alpha1.ScoringEndpointSpec](), "spec") {
		exclusive := []string{"spec.scorer.local.command[]", "spec.traffic.sticky.header", "spec.traffic.virtualService", "spec.scaling.replicas"} // beside what the document has, refused
		if !slices.Contains(exclusive, path) && !slices.ContainsFunc(written, func(w string) bool { return strings.HasPrefix(indexless(w), path) }) && path != "spec.scorer.template.affinity" {
			t.Errorf("%s is not in testdata/full.yaml", path)
		}
	}
	r, _, err := d.For(Local)
	if err != nil {
		t.Fatal(err)
	}
	want := rollout.Plan{
		Steps:       []rollout.PlanStep{{Name: "watch", ShadowBP: 5000, MinDuration: time.Minute}, {Name: "2.5%", WeightBP: 250}, {Name: "50%", WeightBP: 5000, Approval: true}, {Name: "100%", WeightBP: 10000}},
		MinRequests: 200, HarmBudget: 60, Warmup: 30 * time.Second, MaxDuration: 12 * time.Hour, OnTimeout: rollout.TimeoutRevert, ApprovalTimeout: 2 * time.Hour,
		ProgressDeadline: 5 * time.Minute, KeepFailed: 30 * time.Minute, KeepOld: 2 * time.Hour, Freeze: []rollout.Window{{Cron: "0 17 * * FRI", Duration: 63 * time.Hour, TimeZone: "Europe/Berlin"}},
	}
	if diff := cmp.Diff(want, r.Plan); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	policy := judge.Policy{
		FalseRevert: .02, FalsePromote: .04, Errors: judge.RatioMargin{RevertAbove: 1.5, PromoteBelow: 3, OrWithin: .002}, Latency: judge.LatencyMargin{RevertAbove: 1.2, PromoteBelow: 1.5, At: []float64{.95, .999}},
		Invalid: judge.ShareMargin{RevertAbove: .002, PromoteBelow: .02}, Mean: &judge.ShareMargin{RevertAbove: .05, PromoteBelow: .15}, Cutoffs: []judge.Cutoff{{Value: .05, RevertAbove: 1.25, PromoteBelow: 1.5}},
		Agreement: &judge.AgreementMargin{Tolerance: .01, RevertBelow: .8, PromoteAbove: .9, RepeatBP: 100}, Sticky: true, MinCalibration: 1000, HarmBudget: 60,
	}
	if diff := cmp.Diff(policy, r.Policy); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
	traffic := Traffic{Listen: "127.0.0.1:8081", Header: v1alpha1.Header{Name: "x-arm", Stable: "old", Candidate: "new"}, Sticky: v1alpha1.Sticky{Cookie: "serin"}, Fallback: true, CandidateTimeout: time.Second, Timeout: 3 * time.Second, MaxBodyBytes: 1 << 20}
	if diff := cmp.Diff(traffic, r.Traffic); diff != "" {
		t.Errorf("traffic (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Scorer{Model: "models/driver-v2.txt", Env: []string{"MODEL_NAME=driver"}}, r.Scorer); diff != "" || r.Version != "2" || r.Readiness != (Readiness{"/ready", time.Minute}) {
		t.Errorf("scorer (-want +got):\n%s; version %q, readiness %+v", diff, r.Version, r.Readiness)
	}
}

func indexless(path string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(path, "[") {
		if _, rest, indexed := strings.Cut(part, "]"); indexed {
			b.WriteString("[]" + rest)
			continue
		}
		b.WriteString(part)
	}
	return b.String()
}

// TestFieldsThatAModeDoesNotUseAreReported: the mode column of docs/document.md
// and the notes say the same.
func TestFieldsThatAModeDoesNotUseAreReported(t *testing.T) {
	d, early, err := Load([]byte(full(t)))
	if err != nil {
		t.Fatal(err)
	}
	notes := map[Mode][]string{}
	for _, m := range []Mode{Local, Cluster} {
		_, report, err := d.For(m)
		if err != nil {
			t.Fatal(err)
		}
		notes[m] = slices.Concat(early.Lines(), report.Lines())
	}
	said := func(m Mode, path string) bool {
		return slices.ContainsFunc(notes[m], func(n string) bool {
			about, _, _ := strings.Cut(n, " ")
			return strings.HasPrefix(path, about+".") || path == about || path == about+"[]"
		})
	}
	for path, r := range documented(t) {
		if path == "spec.traffic.sticky.header" || path == "spec.traffic.virtualService" || path == "spec.scaling.replicas" || !strings.HasPrefix(path, "spec.") {
			continue
		}
		for m, unused := range map[Mode]bool{Local: r.mode == "Kubernetes" || r.mode == "not yet", Cluster: r.mode == "one machine" || r.mode == "not yet"} {
			if said(m, path) != unused {
				t.Errorf("%s, mode %q: reported as not used by %s: %t, want %t (%q)", path, r.mode, m, !unused, unused, notes[m])
			}
		}
	}
}

func TestWhatHasNoEffectIsReported(t *testing.T) {
	for text, want := range map[string]string{
		"  traffic: {fallback: None, candidateTimeout: 1s}":                                "spec.traffic.candidateTimeout has no effect",
		"  rollout: {approvalTimeout: 1h}":                                                 "spec.rollout.approvalTimeout has no effect",
		"  rollout: {approval: EveryStep, steps: [{weight: 100%, approval: None}]}":        "spec.rollout.steps[0].approval: None has no effect",
		"  rollout: {steps: [{weight: 100%}]}\n  judge: {agreement: {tolerance: \"0.1\"}}": "spec.judge.agreement is not judged",
		"  rollout: {steps: [{weight: 10%}, {weight: 100%, minDuration: 1m}]}":             "spec.rollout.steps[1].minDuration has no effect",
		"  rollout: {steps: [{shadow: 10%}, {weight: 100%}]}":                              "only serin promote ends such a plan",
		"status: {step: x}":                "status is written by Serin",
		"  judge: {labels: {}}":            "labels are not used yet",
		"  scaling: {replicas: 1, max: 3}": "spec.scaling.replicas: 1 has no effect",
	} {
		_, report, err := Load(fmt.Appendf(nil, good, text))
		if err != nil || !slices.ContainsFunc(report.Lines(), func(l string) bool { return strings.Contains(l, want) }) {
			t.Errorf("%s: notes %q, error %v; want %q", text, report.Lines(), err, want)
		}
	}
	_, report, err := Load([]byte(full(t)))
	if err != nil || !strings.Contains(strings.Join(report.Lines(), "\n"), "metadata.labels is not read") {
		t.Errorf("notes %q, error %v; want one of metadata.labels", report.Lines(), err)
	}
	r, tagged, err := load(t, badDocument{Scorer: "{image: a:latest}"}.text()).For(Cluster)
	if err != nil || len(tagged.Lines()) != 1 || !strings.Contains(tagged.Lines()[0], "tag") || r.Endpoint.Spec.Scorer.Port != 5001 {
		t.Errorf("notes %q, error %v, port %d; want one of the tag, and 5001", tagged.Lines(), err, r.Endpoint.Spec.Scorer.Port)
	}
}

// newVersion is the list of the fields whose change starts a rollout, with two
// values each, and in which mode it does: a mode's version has only what it uses.
var newVersion = []struct {
	path, one, other string
	local, cluster   bool
}{
	{"spec.scorer.version", `version: "1"`, `version: "2"`, true, true},
	{"spec.scorer.image", `image: a`, `image: b`, false, true},
	{"spec.scorer.local.model", `local: {model: a}`, `local: {model: b}`, true, false},
	{"spec.scorer.local.command[]", `local: {command: [a]}`, `local: {command: [a, b]}`, true, false},
	{"spec.scorer.env[].name", `env: [{name: A}]`, `env: [{name: B}]`, true, true},
	{"spec.scorer.env[].value", `env: [{name: A, value: a}]`, `env: [{name: A, value: b}]`, true, true},
	{"spec.scorer.port", `port: 1`, `port: 2`, false, true},
	{"spec.scorer.readiness.path", `readiness: {path: /a}`, `readiness: {path: /b}`, true, true},
	{"spec.scorer.readiness.timeout", `readiness: {timeout: 1m}`, `readiness: {timeout: 3m}`, true, true},
	{"spec.scorer.template.resources", `template: {resources: {limits: {cpu: "1"}}}`, `template: {resources: {limits: {cpu: "2"}}}`, false, true},
	{"spec.scorer.template.env[]", `template: {env: [{name: A}]}`, `template: {env: [{name: B}]}`, false, true},
	{"spec.scorer.template.envFrom[]", `template: {envFrom: [{prefix: a}]}`, `template: {envFrom: [{prefix: b}]}`, false, true},
	{"spec.scorer.template.imagePullSecrets[]", `template: {imagePullSecrets: [{name: a}]}`, `template: {imagePullSecrets: [{name: b}]}`, false, true},
	{"spec.scorer.template.serviceAccountName", `template: {serviceAccountName: a}`, `template: {serviceAccountName: b}`, false, true},
	{"spec.scorer.template.volumes[]", `template: {volumes: [{name: a}]}`, `template: {volumes: [{name: b}]}`, false, true},
	{"spec.scorer.template.volumeMounts[]", `template: {volumeMounts: [{name: a, mountPath: /a}]}`, `template: {volumeMounts: [{name: a, mountPath: /b}]}`, false, true},
	{"spec.scorer.template.readinessProbe", `template: {readinessProbe: {periodSeconds: 1}}`, `template: {readinessProbe: {periodSeconds: 2}}`, false, true},
	{"spec.scorer.template.livenessProbe", `template: {livenessProbe: {periodSeconds: 1}}`, `template: {livenessProbe: {periodSeconds: 2}}`, false, true},
	{"spec.scorer.template.nodeSelector", `template: {nodeSelector: {a: b}}`, `template: {nodeSelector: {a: c}}`, false, true},
	{"spec.scorer.template.tolerations[]", `template: {tolerations: [{key: a}]}`, `template: {tolerations: [{key: b}]}`, false, true},
	{"spec.scorer.template.affinity", `template: {affinity: {}}`, `template: {affinity: {nodeAffinity: {}}}`, false, true},
}

func TestFieldsThatMeanANewVersion(t *testing.T) {
	var listed []string
	for _, c := range newVersion {
		listed = append(listed, c.path)
		one, other := load(t, scorerWith(c.one)), load(t, scorerWith(c.other))
		for m, want := range map[Mode]bool{Local: c.local, Cluster: c.cluster} {
			a, _, err1 := one.For(m)
			b, _, err2 := other.For(m)
			if err1 != nil || err2 != nil || (a.Digest != b.Digest) != want {
				t.Errorf("%s in mode %s: new version %t, want %t (%v, %v)", c.path, m, a.Digest != b.Digest, want, err1, err2)
			}
		}
		if changes := Diff(one, other); len(changes) == 0 || !changes[0].NewVersion {
			t.Errorf("%s: changes %+v, want one that is said to make a new version", c.path, changes)
		}
	}
	all := fieldPaths(reflect.TypeFor[v1alpha1.Scorer](), "spec.scorer")
	slices.Sort(listed)
	if diff := cmp.Diff(all, listed); diff != "" {
		t.Errorf("fields of spec.scorer that the list does not know (-fields +list):\n%s", diff)
	}
}

// scorerWith is a document for both modes whose scorer has one more field.
func scorerWith(field string) string {
	rest := ""
	for _, f := range []string{"image: x", "local: {model: x}"} {
		if name, _, _ := strings.Cut(f, ":"); !strings.HasPrefix(field, name+":") {
			rest += ", " + f
		}
	}
	return badDocument{Scorer: "{" + field + rest + "}"}.text()
}

func TestNoOtherFieldMeansANewVersion(t *testing.T) {
	changed := full(t)
	scorerOnly, _, _ := strings.Cut(changed, "  scaling:")
	plain := load(t, scorerOnly)
	for _, m := range []Mode{Local, Cluster} {
		a, _, err1 := plain.For(m)
		b, _, err2 := load(t, changed).For(m)
		if err1 != nil || err2 != nil || a.Digest != b.Digest {
			t.Errorf("%s: fields outside spec.scorer make a new version (%v, %v)", m, err1, err2)
		}
	}
	for _, c := range Diff(plain, load(t, changed)) {
		if c.NewVersion {
			t.Errorf("%s is said to make a new version", c.Path)
		}
	}
}

// TestDigestsStay: a later Serin, and a default that is written out, start no
// rollout. Digests that change here do start one everywhere: do not just update them.
func TestDigestsStay(t *testing.T) {
	for _, c := range []struct {
		scorer string
		mode   Mode
		want   string
	}{
		{`{local: {model: m.txt}}`, Local, "f842e087847a8db7"},
		{`{local: {model: m.txt}, readiness: {path: /, timeout: 2m}, port: 5001}`, Local, "f842e087847a8db7"},
		{`{image: a, env: [{name: A, value: b}]}`, Cluster, "d701bf76005508a5"},
		{`{image: a, env: [{name: A, value: b}], readiness: {timeout: 2m}, port: 5001}`, Cluster, "d701bf76005508a5"},
	} {
		r, _, err := load(t, badDocument{Scorer: c.scorer}.text()).For(c.mode)
		if err != nil || r.Digest[:16] != c.want {
			t.Errorf("%s in mode %s: digest %.16s (%v), want %s", c.scorer, c.mode, r.Digest, err, c.want)
		}
	}
}

func TestDiffSaysNothingWithoutTwoDocuments(t *testing.T) {
	if d := Diff(nil, load(t, minimal)); d != nil {
		t.Errorf("changes %+v, want none", d)
	}
	a, b := load(t, minimal), load(t, strings.Replace(minimal, "{model: m.txt}}", "{model: m.txt}}, traffic: {timeout: 4s}", 1))
	got, err := json.Marshal(Diff(a, b))
	if want := `[{"Path":"spec.traffic.timeout","Old":"5s","New":"4s","NewVersion":false}]`; err != nil || string(got) != want {
		t.Errorf("changes %s (%v), want %s", got, err, want)
	}
	if !strings.HasPrefix(b.Name(), "a") {
		t.Errorf("name %q", b.Name())
	}
}
