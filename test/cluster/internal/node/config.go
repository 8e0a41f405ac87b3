// Package node is the inside of the harness's Kubernetes: one process (cmd/clusternode) that starts the cluster's
// programs as its children and ends with them.
//
// A full node lives in namespaces of its own for processes, network and mounts, with this process as their first. So
// killing that one process is the whole teardown: the kernel then ends every program and container and drops every
// mount, bridge and packet filter rule. Nothing of it can be left behind by a crash.
package node

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// The addresses of a full node. The machine reaches the node, its pods and its Services by routes through HostLink.
const (
	Network      = "10.189.0.0/16" // everything below lies in it
	HostAddress  = "10.189.0.1"    // the machine's end of the link: what pods call the machine by
	Address      = "10.189.0.2"    // the node's end
	LinkBits     = "/30"
	PodNetwork   = "10.189.1.0/24"
	ServiceNet   = "10.189.128.0/18"
	KubernetesIP = "10.189.128.1"
	HostLink     = "serin0"
	NodeLink     = "eth0"
	RegistryPort = 5000
	CgroupRoot   = "/serin-cluster"
	Name         = "node1"
)

// Config is what a node needs to know; it travels as a file.
type Config struct {
	Dir        string // everything this run writes
	Full       bool   // kubelet, containerd and the rest too, in namespaces of its own
	Owned      bool   // end when standard input ends, so that nothing outlives the test that started it
	Address    string // where the API server listens
	Loopback   string // host:port of the machine's loopback address that the registry answers at too; see launch
	APIPort    int
	EtcdPort   int
	PeerPort   int
	Kube       string // folders of the programs
	Etcd       string
	Containerd string
	CNI        string
}

// Status is what the node reports while it runs.
type Status struct {
	Ready  bool              // every program has been started
	Exited map[string]string // programs that ended, and how
	Failed string            // why the node gave up
}

// KubeConfig is the path of the administrator's kubeconfig.
func (c Config) KubeConfig() string { return filepath.Join(c.Dir, "kubeconfig") }

// Registry is where the node's image registry listens for the node.
func (c Config) Registry() string { return fmt.Sprintf("%s:%d", c.Address, RegistryPort) }

// PauseImage is what holds a pod's namespaces open.
func (c Config) PauseImage() string { return c.Registry() + "/pause:1" }

func (c Config) path(parts ...string) string {
	return filepath.Join(append([]string{c.Dir}, parts...)...)
}

// Path is the file that the config is read from.
func (c Config) Path() string { return c.path("node.json") }

// StatusPath is the file that the status is written to.
func (c Config) StatusPath() string { return c.path("status.json") }

// ReadConfig reads what WriteJSON wrote.
func ReadConfig(path string) (c Config, err error) {
	return c, readJSON(path, &c)
}

// ReadStatus answers an empty status while the node has not written one.
func (c Config) ReadStatus() (s Status, err error) {
	if err := readJSON(c.StatusPath(), &s); err != nil && !os.IsNotExist(err) {
		return s, err
	}
	return s, nil
}

func readJSON(path string, into any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}

// WriteJSON replaces path in one step: a reader never sees half of it.
func WriteJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
