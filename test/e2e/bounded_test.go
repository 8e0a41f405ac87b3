package e2e_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// bounded is a program that has this long; then it is ended, and the test fails.
func bounded(t *testing.T, most time.Duration, name string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), most)
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, name, args...)
	c.WaitDelay = 5 * time.Second
	c.Cancel = func() error {
		t.Errorf("%s %s is not done within %s, and is ended", name, strings.Join(args, " "), most)
		return c.Process.Kill()
	}
	return c
}
