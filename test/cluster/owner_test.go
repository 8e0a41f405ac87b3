package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/serin-dev/serin/test/cluster"
)

const envReport = "SERIN_CLUSTER_TEST_REPORT" // set in a test process that is to start a cluster and be killed

// A test process that is killed cannot stop anything: the cluster must notice by itself.
func TestAPIOnlyEndsWithItsOwner(t *testing.T) {
	killOwner(t, cluster.Options{Kind: cluster.APIOnly})
}

func TestFullEndsWithItsOwner(t *testing.T) {
	if c, err := cluster.Running(cluster.Options{}); err == nil {
		t.Skipf("a cluster that is kept for others runs: %s", c.Dir)
	}
	killOwner(t, cluster.Options{Kind: cluster.Full})
	if err := cluster.Down(cluster.Options{}); err != nil {
		t.Error(err)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	if own := os.Getenv("SERIN_CLUSTER_DIR"); own != "" {
		dir = own
	}
	checkNothingLeft(t, dir)
}

func killOwner(t *testing.T, o cluster.Options) {
	ctx := needE2E(t)
	if report := os.Getenv(envReport); report != "" {
		ownAndReport(ctx, t, o, report)
	}
	report := filepath.Join(t.TempDir(), "processes")
	owner := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	owner.Env = append(os.Environ(), envReport+"="+report)
	if out, err := owner.CombinedOutput(); err == nil || owner.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the owner was to kill itself: %v\n%s", err, out)
	}
	for name, id := range readReport(t, report) {
		awaitGone(t, name, id)
	}
}

// ownAndReport starts a cluster, says which processes it consists of, and is killed.
func ownAndReport(ctx context.Context, t *testing.T, o cluster.Options, report string) {
	c, err := cluster.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	processes, err := c.Processes()
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(processes)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(report, b, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	<-ctx.Done()
	t.Fatal("it survived SIGKILL")
}

func readReport(t *testing.T, path string) (processes map[string]int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &processes); err != nil {
		t.Fatal(err)
	}
	if len(processes) == 0 {
		t.Fatal("the owner reported no processes")
	}
	return processes
}

func awaitGone(t *testing.T, name string, id int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err := syscall.Kill(id, 0); errors.Is(err, syscall.ESRCH) {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%s (process %d) still runs", name, id)
			return
		}
	}
}
