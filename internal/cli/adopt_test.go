package cli

import (
	"strings"
	"testing"
)

// TestAdoptSaysWhatDoesNotGoTogether before it asks a cluster for anything.
func TestAdoptSaysWhatDoesNotGoTogether(t *testing.T) {
	t.Setenv("KUBECONFIG", t.TempDir()+"/none")
	for args, says := range map[string]string{
		"":                                           "deployment/NAME",
		"service/model":                              "deployment/NAME",
		"--restart deployment/model":                 "--endpoint",
		"--restart --apply":                          "stands alone",
		"--restart -f x.yaml":                        "stands alone",
		"deployment/model --dry-run":                 "--apply",
		"deployment/model -f x.yaml":                 "--apply",
		"deployment/model --state x":                 "leave --state out",
		"deployment/model -o xml":                    `-o "xml"`,
		"deployment/model --server http://x --apply": "leave --server out",
	} {
		code, out, errs := run(t, append([]string{"adopt"}, strings.Fields(args)...)...)
		if code != ExitUsage || !strings.Contains(errs, says) || out != "" {
			t.Errorf("serin adopt %s: exit code %d, want %d; stdout %q, stderr %q, want %q in it", args, code, ExitUsage, out, errs, says)
		}
	}
}
