package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestScorersFlagsAreRefusedByName: a value that the scorer does not take is an error of
// usage, which names the flag and what is allowed; so it is for a scorer that is packed.
func TestScorersFlagsAreRefusedByName(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.txt")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const model = "../../examples/safe-driver/models/v1.txt"
	for _, c := range []struct {
		args, want string
	}{
		{"--model " + model + " --noise -3", "--noise -3: must be 0 or a positive number"},
		{"--model " + model + " --noise NaN", "--noise NaN: must be 0 or a positive number"},
		{"--dummy A --noise 1", "--noise 1: needs a model"},
		{"--dummy A --fail-on-missing x", "--fail-on-missing \"x\": needs a model"},
		{"--model " + model + " --fail-on-missing x", "--fail-on-missing \"x\": must be a column of model"},
		{"--dummy A --max-body-bytes -1", "--max-body-bytes -1: must be from 1 to"},
		{"--dummy A --max-body-bytes 0", "--max-body-bytes 0: must be at least 1"},
		{"--dummy A --timeout -1s", "--timeout -1s: must not be negative"},
		{"--dummy A --timeout 0s", "--timeout 0s: must be more than 0s"},
		{"--dummy A --drain-timeout -1s", "--drain-timeout -1s: must not be negative"},
		{"--dummy A --drain-timeout 0s", "--drain-timeout 0s: must be more than 0s"},
		{"--dummy A --linger -1s", "--linger -1s: must not be negative"},
		{"--dummy A --delay -1s", "--delay -1s: must not be negative"},
		{"--dummy A --listen nowhere", `--listen "nowhere": must look like`},
		{"--dummy A --listen 127.0.0.1:99999", `--listen "127.0.0.1:99999": must look like`},
		{"--model " + empty, "is empty; must be a LightGBM model"},
		{"--model missing.txt", "--model: open missing.txt"},
		{"--dummy ", "--model and --dummy are empty"},
	} {
		t.Run(c.args, func(t *testing.T) {
			args := strings.Split(c.args, " ")
			refusedAsUsage(t, c.want, append([]string{"scorer"}, args...)...)
			if args[0] != "--dummy" || len(args) < 3 || args[2] == "--listen" {
				return
			}
			packed := imageOptions{dummy: "A", scorer: args[2:]}
			if _, err := packed.tryScorer(); codeOf(err) != ExitUsage || !strings.Contains(err.Error(), c.want) {
				t.Errorf("packed: exit code %d, says %q; want %d and %q", codeOf(err), err, ExitUsage, c.want)
			}
		})
	}
}

func refusedAsUsage(t *testing.T, want string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // a scorer that begins to serve ends at once
	var out, errs bytes.Buffer
	if code := Run(ctx, args, IO{In: strings.NewReader(""), Out: &out, Err: &errs}); code != ExitUsage || !strings.Contains(errs.String(), want) {
		t.Errorf("serin %s: exit code %d, says %q; want %d and %q", strings.Join(args, " "), code, errs.String(), ExitUsage, want)
	}
}
