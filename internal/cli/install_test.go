package cli

import (
	"bytes"
	"strings"
	"testing"
)

func TestInstallPrints(t *testing.T) {
	digest := "sha256:" + strings.Repeat("ab", 32)
	for _, c := range []struct {
		args []string
		code int
		want []string // of stdout, or with another code than 0 of stderr
	}{
		{[]string{"--image", "127.0.0.1:5000/serin@" + digest, "--set", "replicas=1"}, ExitDone, []string{`"127.0.0.1:5000/serin@` + digest, "replicas: 1", "kind: CustomResourceDefinition", "kind: Namespace\nmetadata:\n  name: serin-system"}},
		{[]string{"--image", "127.0.0.1:5000/serin:1.0", "-n", "ml"}, ExitDone, []string{`"127.0.0.1:5000/serin:1.0"`, "serin-recorder.ml.svc"}},
		{[]string{"--image", "two words"}, ExitUsage, []string{"NAME@sha256:DIGEST"}},
		{[]string{"--set", "replicas=none"}, ExitUsage, []string{"/replicas"}},
		{[]string{"--dry-run"}, ExitUsage, []string{"--apply"}},
		{[]string{"--apply", "--context", "no-such-context"}, ExitError, []string{"kubeconfig"}},
	} {
		t.Setenv("KUBECONFIG", t.TempDir()+"/none")
		var out, errs bytes.Buffer
		code := Run(t.Context(), append([]string{"install"}, c.args...), IO{In: strings.NewReader(""), Out: &out, Err: &errs})
		got := out.String()
		if c.code != ExitDone {
			got = errs.String()
		}
		for _, w := range c.want {
			if code != c.code || !strings.Contains(got, w) {
				t.Errorf("serin install %q: code %d, %q; want code %d and %q", c.args, code, errs.String(), c.code, w)
			}
		}
	}
}
