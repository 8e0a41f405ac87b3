package spec

import (
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
