package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

// TestRecorderTakesWhatThePodPasses: the flags are those of the pod that the
// controller makes, and what is missing is named.
func TestRecorderTakesWhatThePodPasses(t *testing.T) {
	t.Setenv("POD_NAME", "safe-driver-r2-abc")
	t.Setenv("POD_NAMESPACE", "abtesting")
	args := []string{
		"recorder", "--listen", "127.0.0.1:0", "--health", "127.0.0.1:0", "--scorer", "127.0.0.1:1", "--readiness", "/", "--endpoint", "safe-driver", "--revision", "safe-driver-r2",
		"--controller", "http://127.0.0.1:1", "--token-file", "/none", "--lame-duck", "0s",
	}
	ended, end := context.WithCancel(t.Context())
	end()
	var stderr bytes.Buffer
	stdio := IO{In: strings.NewReader(""), Out: &stderr, Err: &stderr}
	if code := Run(ended, args, stdio); code != ExitDone {
		t.Errorf("exit code %d, want %d:\n%s", code, ExitDone, stderr.String())
	}
	for _, c := range []struct{ flag, value, says string }{
		{"--endpoint", "", "--endpoint must be given"},
		{"--readiness", "ready", `--readiness "ready": must be a path`},
		{"--scorer", "here", `--scorer "here": must be host:port`},
		{"--controller", "here", `--controller "here": must be a URL`},
		{"--log", "xml", `--log "xml"`},
	} {
		stderr.Reset()
		if code := Run(ended, append(args, c.flag, c.value), stdio); code != ExitUsage || !strings.Contains(stderr.String(), c.says) {
			t.Errorf("%s %q: exit code %d, want %d; want %q in %s", c.flag, c.value, code, ExitUsage, c.says, stderr.String())
		}
	}
	t.Setenv("POD_NAME", "")
	stderr.Reset()
	if code := Run(ended, args, stdio); code != ExitUsage || !strings.Contains(stderr.String(), "POD_NAME must be given") {
		t.Errorf("without a pod: exit code %d: %s", code, stderr.String())
	}
}
