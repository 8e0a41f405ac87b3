package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestApplySaysAllThatIsWrongAtOnce: before anybody is asked, and of the place that the
// document goes to.
func TestApplySaysAllThatIsWrongAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "endpoint.yaml")
	text := "apiVersion: serin.dev/v1alpha1\nkind: ScoringEndpoint\nmetadata: {name: a}\nspec:\n  scorer: {version: \"1\"}\n  rollout: {warmup: soon, minRequest: 3}\n  notify: [{url: \"http://127.0.0.1:15000/x\"}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args       []string
		want, free string
	}{
		{[]string{"--namespace", "x"}, "spec.scorer.image spec.notify[0].url", "spec.scorer.local"},
		{[]string{"--state", t.TempDir()}, "spec.scorer.local", "spec.notify[0].url"},
	} {
		var out, errs bytes.Buffer
		code := Run(t.Context(), append([]string{"apply", "-f", file}, c.args...), IO{In: strings.NewReader(""), Out: &out, Err: &errs})
		for _, path := range strings.Fields("spec.rollout.warmup spec.rollout.minRequest " + c.want) {
			if code != ExitUsage || !strings.Contains(errs.String(), path+": ") {
				t.Errorf("%q: exit code %d, says %q; want %s in it", c.args, code, errs.String(), path)
			}
		}
		if strings.Contains(errs.String(), c.free+": ") {
			t.Errorf("%q says something of %s, which the other mode refuses: %q", c.args, c.free, errs.String())
		}
	}
}
