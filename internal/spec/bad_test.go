package spec

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// badDocument is one entry of testdata/bad.yaml.
type badDocument struct {
	Name, Spec, Scorer, Document, Path, Remedy string
}

func (b badDocument) text() string {
	switch {
	case b.Spec != "":
		return fmt.Sprintf(good, "  "+strings.ReplaceAll(b.Spec, "\n", "\n  "))
	case b.Scorer != "":
		return "apiVersion: serin.dev/v1alpha1\nkind: ScoringEndpoint\nmetadata: {name: safe-driver}\nspec:\n  scorer: " + b.Scorer + "\n"
	}
	return b.Document
}

func badDocuments(t testing.TB) []badDocument {
	t.Helper()
	raw, err := os.ReadFile("testdata/bad.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var all []badDocument
	if err := yaml.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	if len(all) < 60 {
		t.Fatalf("%d bad documents, want at least 60", len(all))
	}
	return all
}

func TestBadDocumentsAreRefusedWithPathAndRemedy(t *testing.T) {
	for _, b := range badDocuments(t) {
		t.Run(b.Name, func(t *testing.T) {
			_, _, err := Load([]byte(b.text()))
			var all *Errors
			if !errors.As(err, &all) {
				t.Fatalf("error %v, want a list of problems", err)
			}
			found := false
			for _, p := range all.Problems {
				found = found || (p.Path == b.Path || b.Path == "") && strings.Contains(p.Remedy, b.Remedy)
				if p.Problem == "" || p.Remedy == "" {
					t.Errorf("%+v: want a problem and a remedy", p)
				}
			}
			if !found {
				t.Errorf("%v; want path %q and remedy %q", err, b.Path, b.Remedy)
			}
			if b.Spec != "" && all.Problems[0].Line == 0 && len(all.Problems) == 1 && strings.Contains(b.Spec, b.Path[strings.LastIndexAny(b.Path, ".")+1:]+":") {
				t.Errorf("%v: want the line", err)
			}
		})
	}
}

func TestAllProblemsAreSaidAtOnce(t *testing.T) {
	_, _, err := Load(fmt.Appendf(nil, good, "  rollout: {warmup: soon, keepOld: later}\n  contract: {path: score}"))
	for _, path := range []string{"spec.rollout.warmup", "spec.rollout.keepOld", "spec.contract.path"} {
		if err == nil || !strings.Contains(err.Error(), "line 6: "+path) && !strings.Contains(err.Error(), "line 7: "+path) {
			t.Errorf("%v: want %s with its line", err, path)
		}
	}
}

// TestWhatAModeRefusesIsSaidWithTheRest: one mends a document once, whatever is wrong
// with it: how it is written, its values, or what the mode does not take. What follows
// only from something that could not be read is not said.
func TestWhatAModeRefusesIsSaidWithTheRest(t *testing.T) {
	const own = "  notify: [{url: \"http://127.0.0.1:15000/quitquitquit\"}]"
	for _, c := range []struct {
		name, text string
		mode       Mode
		want       []string
	}{
		{"a value", "  rollout: {warmup: soon}\n" + own, Cluster, []string{"spec.rollout.warmup", "spec.scorer.image", "spec.notify[0].url"}},
		{"an unknown field", "  rolout: {warmup: soon}\n" + own, Cluster, []string{"spec.rolout", "spec.notify[0].url"}},
		{"a kind of value", "  rollout: {minRequests: many, keepOld: later}\n" + own, Cluster, []string{"spec.rollout.minRequests", "spec.rollout.keepOld", "spec.scorer.image", "spec.notify[0].url"}},
		{"a field beside", "  notify: [{url: \"http://localhost\", fromat: Slack}]", Cluster, []string{"spec.notify[0].fromat", "spec.scorer.image", "spec.notify[0].url"}},
		{"a name that is wrong", "  scaling: {min: 2, mx: 5}\n  contract: {path: score}", Local, []string{"spec.scaling.mx", "spec.contract.path"}},
		{"on one machine", "  rollout: {warmup: soon}\n  traffic: {header: blue}", Local, []string{"spec.traffic.header", "spec.rollout.warmup"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, _, err := Read(fmt.Appendf(nil, good, c.text), c.mode)
			var all *Errors
			if !errors.As(err, &all) {
				t.Fatalf("error %v, want a list of problems", err)
			}
			var got []string
			for _, p := range all.Problems {
				got = append(got, p.Path)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s\n%v", diff, err)
			}
		})
	}
	if _, _, _, err := Read([]byte("spec: {scorre: {}}"), Cluster); err == nil || strings.Contains(err.Error(), "spec.scorer") {
		t.Errorf("%v: want that nothing is said of what the wrong name hides", err)
	}
}

func TestAModeRefusesWhatItCannotDo(t *testing.T) {
	for _, c := range []struct {
		mode         Mode
		text         string
		path, remedy string
	}{
		{Local, "{image: a}", "spec.scorer.local", "model: FILE"},
		{Cluster, "{local: {model: m.txt}}", "spec.scorer.image", "@sha256"},
		{Cluster, "{image: a}\n  traffic: {sticky: {header: x}}", "spec.traffic.sticky.header", "sticky.cookie"},
		{Cluster, "{image: a}\n  notify: [{url: http://localhost:15000/quitquitquit}]", "spec.notify[0].url", "others reach"},
		{Cluster, "{image: a}\n  notify: [{url: https://example.com}, {url: http://127.8.0.1}]", "spec.notify[1].url", "others reach"},
		{Cluster, "{image: a}\n  notify: [{url: 'http://[::1]:80/'}]", "spec.notify[0].url", "others reach"},
		{Cluster, "{image: a}\n  notify: [{url: 'http://169.254.169.254/metadata'}]", "spec.notify[0].url", "others reach"},
		{Cluster, "{image: a}\n  notify: [{url: 'http://0.0.0.0'}]", "spec.notify[0].url", "others reach"},
	} {
		d, _, err := Load([]byte(badDocument{Scorer: c.text}.text()))
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = d.For(c.mode)
		var all *Errors
		if !errors.As(err, &all) || all.Problems[0].Path != c.path || !strings.Contains(all.Problems[0].Remedy, c.remedy) {
			t.Errorf("%s in %s: %v; want path %q and remedy %q", c.text, c.mode, err, c.path, c.remedy)
		}
	}
}

func TestHostileDocuments(t *testing.T) {
	for name, text := range map[string]string{
		"too long":        fmt.Sprintf(good, "# "+strings.Repeat("x", maxDocument)),
		"too many values": fmt.Sprintf(good, "  notify: ["+strings.Repeat("{url: a}, ", maxNodes/2)+"]"),
		"aliases within":  "apiVersion: serin.dev/v1alpha1\nkind: ScoringEndpoint\nmetadata: {name: a}\nspec: {scorer: {image: a, template: {affinity: {a: &a {b: c}, d: *a}}}}",
	} {
		_, _, err := Load([]byte(text))
		var all *Errors
		if !errors.As(err, &all) || len(all.Problems) > 3 {
			t.Errorf("%s: %d problems, want one to three", name, len(strings.Split(fmt.Sprint(err), "\n")))
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(good, "")))
	for _, b := range badDocuments(f) {
		f.Add([]byte(b.text()))
	}
	full, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	f.Fuzz(func(t *testing.T, doc []byte) {
		d, _, err := Load(doc)
		var all *Errors
		if err != nil && (!errors.As(err, &all) || len(all.Problems) == 0) {
			t.Fatalf("refused without a problem: %v", err)
		}
		for _, m := range []Mode{Local, Cluster} {
			if _, _, _, more := Read(doc, m); err != nil && (more == nil || strings.Count(more.Error(), "\n") < strings.Count(err.Error(), "\n")) {
				t.Fatalf("Read says %v, Load says %v", more, err)
			}
		}
		if err != nil {
			return
		}
		for _, m := range []Mode{Local, Cluster} {
			if r, _, err := d.For(m); err == nil && (r.Digest == "" || len(r.Plan.Steps) == 0 || r.Policy.Validate() != nil) {
				t.Fatalf("accepted without digest, plan or policy: %+v", r)
			}
		}
	})
}
