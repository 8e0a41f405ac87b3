package cluster

import (
	"os"
	"strings"
	"testing"

	"github.com/serin-dev/serin/test/cluster/internal/node"
)

// A cluster that somebody keeps is used only while it is of use.
func TestUselessKeptCluster(t *testing.T) {
	dir := t.TempDir()
	versions, err := wanted(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(versions) < 6 {
		t.Fatalf("versions %v, want those of etcd, Kubernetes, containerd, the network plugins, Istio and Envoy", versions)
	}
	good := state{Keep: true, Ready: true, Registry: "127.0.0.1:5000", Versions: versions}
	for want, c := range map[string]struct {
		s      state
		status node.Status
	}{
		"never became ready":   {state{Keep: true}, node.Status{}},
		"other versions":       {state{Keep: true, Ready: true, Versions: versions[1:]}, node.Status{}},
		"no image registry":    {state{Keep: true, Ready: true, Versions: versions}, node.Status{}},
		"kubelet: exit status": {good, node.Status{Ready: true, Exited: map[string]string{"kubelet": "exit status 1"}}},
		"kubeconfig":           {good, node.Status{Ready: true}}, // it is not there
	} {
		config := node.Config{Dir: fullDir(dir)}
		if err := os.MkdirAll(config.Dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := node.WriteJSON(config.StatusPath(), c.status); err != nil {
			t.Fatal(err)
		}
		if why := c.s.useless(t.Context(), dir); !strings.Contains(why, want) {
			t.Errorf("%+v with %+v: %q, want %q", c.s, c.status, why, want)
		}
	}
}
