package spec

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

const good = `apiVersion: serin.dev/v1alpha1
kind: ScoringEndpoint
metadata: {name: safe-driver, namespace: abtesting}
spec:
  scorer: {version: "2", local: {model: m.txt}}
%s`

// bad documents: what is written below spec, the path that is named, and a word of the remedy.
var bad = []struct{ name, spec, path, remedy string }{
	{"unknown field", "  trafic: {}", "trafic", "did you mean `traffic`"},
	{"unknown nested", "  traffic: {lissten: x}", "spec.traffic.lissten", "listen"},
	{"duplicate key", "  traffic: {listen: \"127.0.0.1:1\", listen: \"127.0.0.1:2\"}", "", ""},
	{"list for object", "  traffic: []", "spec.traffic", "must be an object"},
	{"object for list", "  rollout: {steps: {}}", "spec.rollout.steps", "must be a list"},
	{"text for number", "  rollout: {minRequests: many}", "spec.rollout.minRequests", "100"},
	{"weight over 100", "  rollout: {steps: [{weight: 150%}]}", "spec.rollout.steps[0].weight", "10%"},
	{"weight without percent", "  rollout: {steps: [{weight: 10}, {weight: 100%}]}", "spec.rollout.steps[0].weight", "10%"},
	{"weight zero", "  rollout: {steps: [{weight: 0%}, {weight: 100%}]}", "spec.rollout.steps[0].weight", "0.01%"},
	{"weights fall", "  rollout: {steps: [{weight: 50%}, {weight: 10%}, {weight: 100%}]}", "spec.rollout.steps[1].weight", "grow"},
	{"no promotion", "  rollout: {steps: [{weight: 10%}]}", "spec.rollout.steps[0]", "weight: 100%"},
	{"no steps", "  rollout: {steps: []}", "spec.rollout.steps", "1 to 50"},
	{"shadow after weight", "  rollout: {steps: [{weight: 10%}, {shadow: 100%}, {weight: 100%}]}", "spec.rollout.steps[1].shadow", "first"},
	{"shadow and weight", "  rollout: {steps: [{shadow: 1%, weight: 10%}, {weight: 100%}]}", "spec.rollout.steps[0]", "{shadow: 100%}"},
	{"neither", "  rollout: {steps: [{name: x}, {weight: 100%}]}", "spec.rollout.steps[0]", "{weight: 10%}"},
	{"same name", "  rollout: {steps: [{name: a, weight: 10%}, {name: a, weight: 100%}]}", "spec.rollout.steps[1].name", "different"},
	{"approval enum", "  rollout: {steps: [{weight: 100%, approval: Yes}]}", "spec.rollout.steps[0].approval", "Required"},
	{"approval mode", "  rollout: {approval: Always}", "spec.rollout.approval", "EveryStep"},
	{"onTimeout", "  rollout: {onTimeout: Promote}", "spec.rollout.onTimeout", "Revert"},
	{"negative requests", "  rollout: {minRequests: -1}", "spec.rollout.minRequests", "0 or more"},
	{"negative budget", "  rollout: {harmBudget: -1}", "spec.rollout.harmBudget", "0 or more"},
	{"duration", "  rollout: {warmup: soon}", "spec.rollout.warmup", "10m"},
	{"negative duration", "  rollout: {keepOld: -1s}", "spec.rollout.keepOld", "10m"},
	{"zero deadline", "  rollout: {progressDeadline: 0s}", "spec.rollout.progressDeadline", "10s"},
	{"cron", "  rollout: {freeze: [{cron: never, duration: 1h}]}", "spec.rollout.freeze[0]", "FRI"},
	{"time zone", "  rollout: {freeze: [{cron: \"0 17 * * FRI\", duration: 1h, timeZone: Moon}]}", "spec.rollout.freeze[0]", "Europe/Berlin"},
	{"protocol", "  contract: {protocol: SOAP}", "spec.contract.protocol", "AzureML"},
	{"json path alone", "  contract: {jsonPath: $.x}", "spec.contract.jsonPath", "JSONPath"},
	{"path", "  contract: {path: score}", "spec.contract.path", "/score"},
	{"listen", "  traffic: {listen: everywhere}", "spec.traffic.listen", "127.0.0.1:8080"},
	{"listen port", "  traffic: {listen: \"127.0.0.1:99999\"}", "spec.traffic.listen", "127.0.0.1:8080"},
	{"same header values", "  traffic: {header: {stable: a, candidate: a}}", "spec.traffic.header.candidate", "different"},
	{"header name", "  traffic: {header: {name: \"a b\"}}", "spec.traffic.header.name", "x-api-version"},
	{"two sticky", "  traffic: {sticky: {cookie: a, header: b}}", "spec.traffic.sticky", "one of them"},
	{"fallback", "  traffic: {fallback: Maybe}", "spec.traffic.fallback", "Stable, None"},
	{"candidate timeout", "  traffic: {candidateTimeout: 9s}", "spec.traffic.candidateTimeout", "fallback: None"},
	{"body size", "  traffic: {maxBodyBytes: huge}", "spec.traffic.maxBodyBytes", "4Mi"},
	{"false revert", "  judge: {falseRevert: 1}", "spec.judge.falseRevert", "1%"},
	{"ratio", "  judge: {errors: {revertAbove: 1.25}}", "spec.judge.errors.revertAbove", "1.25x"},
	{"ratio order", "  judge: {errors: {revertAbove: 3x}}", "spec.judge", "promoteBelow"},
	{"points", "  judge: {errors: {orWithin: 0.1}}", "spec.judge.errors.orWithin", "0.1pp"},
	{"quantile", "  judge: {latency: {at: [99]}}", "spec.judge.latency.at[0]", "p99"},
	{"cutoff", "  judge: {scores: {cutoffs: [high]}}", "spec.judge.scores.cutoffs[0]", "0.05"},
	{"tolerance", "  judge: {agreement: {tolerance: near}}", "spec.judge.agreement.tolerance", "0.01"},
	{"loss", "  judge: {labels: {loss: Any}}", "spec.judge.labels.loss", "LogLoss"},
	{"notify url", "  notify: [{url: nowhere}]", "spec.notify[0].url", "https://"},
	{"notify format", "  notify: [{url: \"https://example.com\", format: Fax}]", "spec.notify[0].format", "Slack"},
	{"scaling both", "  scaling: {replicas: 2, max: 3}", "spec.scaling", "either"},
	{"scaling none", "  scaling: {replicas: 0}", "spec.scaling.replicas", "at least 1"},
	{"scaling order", "  scaling: {min: 3, max: 2}", "spec.scaling.min", "at most"},
	{"alias", "  traffic: &a {listen: \"127.0.0.1:1\"}\n  rollout: *a", "spec.rollout", "write the value out"},
}

func TestBadDocumentsAreRefusedWithPathAndRemedy(t *testing.T) {
	for _, c := range bad {
		_, _, err := Load(fmt.Appendf(nil, good, c.spec))
		var all *Errors
		if !errors.As(err, &all) {
			t.Errorf("%s: error %v, want a list of problems", c.name, err)
			continue
		}
		found := false
		for _, p := range all.Problems {
			found = found || strings.HasSuffix(p.Path, c.path) && strings.Contains(p.Remedy, c.remedy)
		}
		if !found {
			t.Errorf("%s: %v; want path %q and remedy %q", c.name, err, c.path, c.remedy)
		}
	}
}

func TestBadHeads(t *testing.T) {
	for name, doc := range map[string]string{
		"empty": "", "two documents": fmt.Sprintf(good, "") + "\n---\na: b\n", "not yaml": "a: [", "text": "hello",
		"no name": "apiVersion: serin.dev/v1alpha1\nkind: ScoringEndpoint\nspec: {scorer: {local: {model: m}}}",
		"version": "apiVersion: v1\nkind: ScoringEndpoint\nmetadata: {name: a}\nspec: {scorer: {local: {model: m}}}",
		"kind":    "apiVersion: serin.dev/v1alpha1\nkind: Pod\nmetadata: {name: a}\nspec: {scorer: {local: {model: m}}}",
		"scorer":  "apiVersion: serin.dev/v1alpha1\nkind: ScoringEndpoint\nmetadata: {name: a}\nspec: {}",
		"both":    "apiVersion: serin.dev/v1alpha1\nkind: ScoringEndpoint\nmetadata: {name: a}\nspec: {scorer: {local: {model: m, command: [x]}}}",
		"env":     "apiVersion: serin.dev/v1alpha1\nkind: ScoringEndpoint\nmetadata: {name: a}\nspec: {scorer: {local: {model: m}, env: [{name: PORT}]}}",
	} {
		if _, _, err := Load([]byte(doc)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestOnlyTheScorerMakesANewVersion(t *testing.T) {
	load := func(text string) (*Document, Resolved) {
		t.Helper()
		d, _, err := Load([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		r, _, err := d.For(Local)
		if err != nil {
			t.Fatal(err)
		}
		return d, r
	}
	base, r := load(fmt.Sprintf(good, ""))
	same, r2 := load(fmt.Sprintf(good, "  rollout: {minRequests: 7}\n  traffic: {fallback: None}\n  scaling: {replicas: 3}"))
	if r.Digest != r2.Digest {
		t.Error("a change outside spec.scorer makes a new version")
	}
	for _, c := range Diff(base, same) {
		if c.NewVersion {
			t.Errorf("%s is said to make a new version", c.Path)
		}
	}
	other, r3 := load(strings.Replace(fmt.Sprintf(good, ""), "m.txt", "n.txt", 1))
	if d := Diff(base, other); len(d) != 1 || !d[0].NewVersion || r3.Digest == r.Digest {
		t.Errorf("another model: changes %+v, want one that makes a new version", d)
	}
	if r.WithModelDigest("aa").Digest == r.WithModelDigest("bb").Digest {
		t.Error("another content of the model file makes no new version")
	}
}

func TestFieldsOfTheOtherModeAreReported(t *testing.T) {
	d, _, err := Load(fmt.Appendf(nil, good, "  scaling: {replicas: 2}\n  traffic: {gateway: g, hosts: [a]}\n  notify: [{url: \"https://example.com\"}]"))
	if err != nil {
		t.Fatal(err)
	}
	_, report, err := d.For(Local)
	if err != nil || len(report.Lines()) != 3 {
		t.Errorf("notes %q, error %v; want 3 notes", report.Lines(), err)
	}
	if _, _, err := d.For(Cluster); err == nil || !strings.Contains(err.Error(), "spec.scorer.image") {
		t.Errorf("error %v, want one that names spec.scorer.image", err)
	}
}

func TestReceiversOfNotifications(t *testing.T) {
	load := func(url string) *Document {
		d, _, err := Load(fmt.Appendf(nil, good, "  notify: [{url: \""+url+"\"}]"))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	a, b := load("https://example.com/hook/secret1"), load("https://example.com/hook/secret2")
	r, _, err := a.For(Local)
	if err != nil || len(r.Notify) != 1 || r.Notify[0].URL != "https://example.com/hook/secret1" || r.Notify[0].Format != "CloudEvents" {
		t.Errorf("receivers %+v (%v), want the one written, with format CloudEvents", r.Notify, err)
	}
	changes := Diff(a, b)
	if len(changes) != 1 || changes[0].NewVersion {
		t.Errorf("changes %+v, want the address alone, and no new version", changes)
	}
	if text := fmt.Sprint(changes); strings.Contains(text, "secret") || !strings.Contains(text, "example.com") {
		t.Errorf("changes %s: want the host, and nothing that may be a secret", text)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(good, "")))
	for _, c := range bad {
		f.Add(fmt.Appendf(nil, good, c.spec))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		d, _, err := Load(doc)
		if err == nil {
			_, _, _ = d.For(Local)
			_, _, _ = d.For(Cluster)
		}
	})
}
