// Package cluster starts a real Kubernetes for tests: etcd and an API server, or a whole node with Istio and Envoy.
//
//	c, err := cluster.Start(ctx, cluster.Options{Kind: cluster.APIOnly})
//	if err != nil { … }
//	defer c.Stop()
//
// Everything is built from Go modules whose versions programs/ pins (Envoy from a Python wheel), once, and then kept in
// Dir. An API-only cluster needs no rights, starts in seconds, and any number of them may run. A full one needs Linux and
// root, has namespaces of its own, and is the only one of its kind on the machine at a time.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Kind is how much of a cluster to start.
type Kind int

const (
	// APIOnly is etcd and the API server: no controller, no node. Namespaces, for instance, are never finally deleted.
	APIOnly Kind = iota
	// Full is one whole node with Istio, an ingress gateway and an image registry.
	Full
)

func (k Kind) String() string {
	return map[Kind]string{APIOnly: "api", Full: "full"}[k]
}

// Options of Start. The zero value is an API-only cluster under the user's cache folder.
type Options struct {
	Kind Kind
	Dir  string    // of programs and state; default: $SERIN_CLUSTER_DIR, else serin-cluster in the user's cache folder
	Log  io.Writer // progress with durations; default: standard error
	Keep bool      // the cluster outlives this process, until Down

	// Wait is how long to wait for another test run that has the full cluster of this machine.
	Wait time.Duration
}

// Cluster is a running cluster.
type Cluster struct {
	KubeConfig string // path of the administrator's kubeconfig
	Gateway    string // base URL of the ingress gateway; full only
	Registry   string // host:port of the image registry, plain HTTP; full only. This machine and the node know it by this name
	HostIP     string // the address by which pods reach this machine; full only
	Dir        string // what this run writes, log/ within it
	Own        bool   // Stop will end it; false for one that somebody offered or keeps

	config *rest.Config
	log    progress
	stop   func() error
}

// The variables by which a person offers a cluster of their own. KUBECONFIG itself is not read: tests create and delete
// things, and it may well point at production.
const (
	envKubeConfig = "SERIN_E2E_KUBECONFIG"
	envGateway    = "SERIN_E2E_GATEWAY"
	envRegistry   = "SERIN_E2E_REGISTRY"
	envDir        = "SERIN_CLUSTER_DIR"
)

// Start answers a cluster that is ready: the one that SERIN_E2E_KUBECONFIG names, or for a full one what `cluster up`
// keeps running, or a new one. Call Stop in each case; it ends only what Start started.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	log := newProgress(o.Log)
	if path := os.Getenv(envKubeConfig); path != "" {
		return external(path, o.Kind, log)
	}
	dir, err := stateDir(o.Dir)
	if err != nil {
		return nil, err
	}
	var c *Cluster
	if o.Kind == Full {
		c, err = startFull(ctx, dir, o, log)
	} else {
		c, err = startAPI(ctx, dir, log)
	}
	if err != nil {
		return nil, fmt.Errorf("starting the %s cluster: %w", o.Kind, err)
	}
	return c, nil
}

// Build makes the programs and starts nothing.
func Build(ctx context.Context, o Options) error {
	dir, err := stateDir(o.Dir)
	if err != nil {
		return err
	}
	_, err = buildAll(ctx, dir, o.Kind, newProgress(o.Log))
	return err
}

func stateDir(dir string) (string, error) {
	if dir == "" {
		dir = os.Getenv(envDir)
	}
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no folder for the cluster: set %s: %w", envDir, err)
		}
		dir = filepath.Join(cache, "serin-cluster")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

func external(path string, kind Kind, log progress) (*Cluster, error) {
	c := &Cluster{
		KubeConfig: path, Gateway: os.Getenv(envGateway), Registry: os.Getenv(envRegistry), log: log, stop: func() error { return nil },
	}
	if kind == Full && (c.Gateway == "" || c.Registry == "") {
		return nil, fmt.Errorf("%s names a cluster, so %s (base URL of its ingress gateway) and %s (host:port that it pulls from) are needed too", envKubeConfig, envGateway, envRegistry)
	}
	log.say("using the cluster of %s", path)
	return c, c.connect()
}

func (c *Cluster) connect() (err error) {
	if err := avoidProxy(); err != nil {
		return err
	}
	if c.config, err = clientcmd.BuildConfigFromFlags("", c.KubeConfig); err != nil {
		return fmt.Errorf("reading %s: %w", c.KubeConfig, err)
	}
	c.config.QPS, c.config.Burst = 200, 400 // the default of 5 a second makes tests slow
	return nil
}

// RESTConfig is a client configuration of one's own, for what watches.
func (c *Cluster) RESTConfig() *rest.Config { return rest.CopyConfig(c.config) }

// RequestConfig is one for single requests: what is not answered within a minute has failed.
func (c *Cluster) RequestConfig() *rest.Config {
	rc := c.RESTConfig()
	rc.Timeout = time.Minute
	return rc
}

// Stop ends what Start started and answers when it is gone. Logs stay until the next start.
func (c *Cluster) Stop() error {
	began := time.Now()
	if err := c.stop(); err != nil {
		return fmt.Errorf("stopping the cluster: %w", err)
	}
	c.log.since(began, "stopped")
	return nil
}

// Down ends the full cluster of Options.Dir, whoever started it, and removes what a crash left.
func Down(o Options) error {
	dir, err := stateDir(o.Dir)
	if err != nil {
		return err
	}
	return errors.Join(endFull(dir), sweepAPI(dir))
}
