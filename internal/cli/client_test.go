package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/serin-dev/serin/internal/kube"
)

// TestWhomAVerbSpeaksTo: here, or a cluster; the error of neither says both ways.
func TestWhomAVerbSpeaksTo(t *testing.T) {
	t.Setenv("KUBECONFIG", t.TempDir()+"/none")
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	for _, c := range []struct {
		args   []string
		plugin bool
		code   int
		says   string
	}{
		{[]string{"status", "--state", t.TempDir()}, false, ExitNotFound, "--namespace NAMESPACE"},
		{[]string{"status", "-n", "x"}, false, ExitUsage, "kubeconfig"},
		{[]string{"status", "--context", "x"}, false, ExitUsage, "kubeconfig"},
		{[]string{"status"}, true, ExitUsage, "kubeconfig"},
		{[]string{"status", "--state", t.TempDir()}, true, ExitNotFound, "serin serve"},
		{[]string{"status", "--state", t.TempDir(), "-n", "x"}, false, ExitUsage, "give one of them"},
	} {
		var out, errs strings.Builder
		code := Run(t.Context(), c.args, IO{In: strings.NewReader(""), Out: &out, Err: &errs, Plugin: c.plugin})
		if code != c.code || !strings.Contains(errs.String(), c.says) {
			t.Errorf("serin %v, plug-in %v: exit code %d, want %d; %q, want %q", c.args, c.plugin, code, c.code, errs.String(), c.says)
		}
	}
	for program, want := range map[string]bool{"/usr/bin/kubectl-serin": true, "kubectl-serin.exe": true, "serin": false, "kubectl": false} {
		if IsPlugin(program) != want {
			t.Errorf("%s: plug-in %v, want %v", program, !want, want)
		}
	}
}

func TestExitCodesOfACluster(t *testing.T) {
	for err, code := range map[error]int{kube.ErrNotFound: ExitNotFound, kube.ErrForbidden: ExitForbidden, kube.ErrConflict: ExitForbidden, kube.ErrInvalid: ExitUsage, kube.ErrUnanswered: ExitTimeout, kube.ErrAway: ExitError, errors.New("x"): ExitError} {
		got := clusterError(fmt.Errorf("doing: %w", err))
		if codeOf(got) != code || isAway(got) != errors.Is(err, kube.ErrAway) {
			t.Errorf("%v: exit code %d, want %d; away %v", err, codeOf(got), code, isAway(got))
		}
	}
	if clusterError(nil) != nil {
		t.Error("no error became one")
	}
}

// TestAServeThatHangs: one that takes requests and never answers is given up, and `wait` knows that it is away.
func TestAServeThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dial := func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, there) }()
			return here, nil
		}
		c := &client{http: &http.Client{Transport: &http.Transport{DialContext: dial}}, base: "http://serin", where: "the socket", endpoint: "driver"}
		_, err := c.Status(t.Context())
		if codeOf(err) != ExitError || !isAway(err) || !strings.Contains(err.Error(), "within 1m0s") {
			t.Errorf("exit code %d, %v", codeOf(err), err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Status(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: %v", err)
		}
	})
}
