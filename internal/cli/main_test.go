package cli

import (
	"bytes"
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary stand in for serin: scorers are started by it.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "leash" || os.Args[1] == "scorer" || os.Args[1] == "serve") {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		os.Exit(Run(ctx, os.Args[1:], IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
	}
	// The race detector lets every process sleep for a second when it ends.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE")); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), mostOfAVerb)
	defer cancel()
	var out, errs bytes.Buffer
	code = Run(ctx, args, IO{In: strings.NewReader(""), Out: &out, Err: &errs})
	if ctx.Err() != nil {
		t.Errorf("serin %s was not done within %s", strings.Join(args, " "), mostOfAVerb)
	}
	return code, out.String(), errs.String()
}

// mostOfAVerb is long: the demo is a verb too.
const mostOfAVerb = 4 * time.Minute

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"version"}, ExitDone, ""},
		{[]string{"nonsense"}, ExitUsage, "unknown command"},
		{[]string{"status", "--nonsense"}, ExitUsage, "unknown flag"},
		{[]string{"status", "--state", t.TempDir()}, ExitNotFound, "serin serve"},
		{[]string{"status", "-o", "xml"}, ExitUsage, "text, json or markdown"},
		{[]string{"validate"}, ExitUsage, "-f FILE"},
		{[]string{"validate", "-f", "does-not-exist.yaml"}, ExitUsage, "does-not-exist.yaml"},
		{[]string{"load", "--rate", "-1"}, ExitUsage, "--rate"},
		{[]string{"scorer"}, ExitUsage, ""},
		{[]string{"status", "--server", "http://127.0.0.1:1"}, ExitUsage, "--token-file"},
	} {
		code, _, errs := run(t, c.args...)
		if code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("serin %s: exit code %d, want %d; stderr %q, want %q in it", strings.Join(c.args, " "), code, c.code, errs, c.says)
		}
	}
}

func TestExampleDocumentsAreValid(t *testing.T) {
	for _, f := range []string{"endpoint.yaml", "endpoint-v2.yaml"} {
		if code, _, errs := run(t, "validate", "-f", "../../examples/safe-driver/"+f); code != ExitDone {
			t.Errorf("validate %s: exit code %d: %s", f, code, errs)
		}
	}
}

func TestInitWritesAValidDocument(t *testing.T) {
	_, doc, _ := run(t, "init", "--name", "safe-driver")
	var out, errs bytes.Buffer
	if code := Run(t.Context(), []string{"validate", "-f", "-"}, IO{In: strings.NewReader(doc), Out: &out, Err: &errs}); code != ExitDone {
		t.Errorf("validate of what init wrote: exit code %d: %s", code, errs.String())
	}
}
