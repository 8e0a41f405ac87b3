package cluster_test

import (
	"encoding/json"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/serin-dev/serin/test/cluster"
)

// ownAndReport starts a cluster, says which processes it consists of, and is killed.
func ownAndReport(t *testing.T, report string) {
	c, err := cluster.Start(t.Context(), cluster.Options{Kind: cluster.APIOnly})
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
	select {}
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
