package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/serin-dev/serin/test/cluster/internal/node"
)

func fullDir(dir string) string { return filepath.Join(dir, "full") }

// fullLock is one for the machine, whatever the folders: addresses, link and control groups are the machine's too.
const fullLock = "/run/serin-cluster.lock"

// startFull joins the cluster that `cluster up` keeps, or starts one.
func startFull(ctx context.Context, dir string, keep bool, log progress) (*Cluster, error) {
	if err := checkRights(); err != nil {
		return nil, err
	}
	held, ok, err := lock(fullLock)
	if err != nil {
		return nil, err
	}
	if !ok {
		return join(dir, log)
	}
	r, folders, err := prepare(ctx, dir, keep, held, log)
	if err != nil {
		return nil, errors.Join(err, held.Close())
	}
	c := &Cluster{
		KubeConfig: r.config.KubeConfig(), Registry: r.config.Registry(), HostIP: node.HostAddress, Dir: r.config.Dir, Own: !keep, log: log,
		Gateway: fmt.Sprintf("http://%s:%d", node.Address, gatewayPort),
		stop:    func() error { return errors.Join(r.end(), removeLeftovers(dir)) },
	}
	if err := c.bringUp(ctx, r, folders, keep); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	if keep {
		c.stop = func() error { return nil }
	}
	return c, nil
}

// prepare builds, clears the folder and starts the node.
func prepare(ctx context.Context, dir string, keep bool, held *os.File, log progress) (*run, map[string]string, error) {
	if err := preflight(ctx, log); err != nil {
		return nil, nil, err
	}
	if err := removeLeftovers(dir); err != nil {
		return nil, nil, err
	}
	if err := checkNetwork(); err != nil {
		return nil, nil, err
	}
	folders, err := buildAll(ctx, dir, Full, log)
	if err != nil {
		return nil, nil, err
	}
	if folders["envoy"], err = fetchEnvoy(ctx, dir, log); err != nil {
		return nil, nil, err
	}
	mine := fullDir(dir)
	if err := os.RemoveAll(mine); err != nil {
		return nil, nil, err
	}
	c := node.Config{
		Dir: mine, Full: true, Owned: !keep, Address: node.Address, APIPort: 6443, EtcdPort: 2379, PeerPort: 2380,
		Kube: folders["kube"], Etcd: folders["etcd"], Containerd: folders["containerd"], CNI: folders["cni"],
	}
	if err := os.MkdirAll(mine, 0o755); err != nil {
		return nil, nil, err
	}
	if err := errors.Join(writePKI(c), node.WriteFiles(c), makeCgroups()); err != nil {
		return nil, nil, err
	}
	r, err := launch(c, filepath.Join(folders["harness"], "clusternode"), held, syscall.CLONE_NEWNS|syscall.CLONE_NEWPID|syscall.CLONE_NEWNET|syscall.CLONE_NEWIPC)
	return r, folders, err
}

// bringUp takes a node that was just started to a mesh that takes requests.
func (c *Cluster) bringUp(ctx context.Context, r *run, folders map[string]string, keep bool) error {
	began := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // `cluster down` may end it while we wait for something in it
		select {
		case <-r.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := errors.Join(r.record(keep, false, ""), link(ctx, r.cmd.Process.Pid), c.connect()); err != nil {
		return err
	}
	// The registry answers first, and pods need these images as soon as there is a node.
	images := make(chan error, 1)
	go func() { images <- c.pushImages(ctx, folders) }()
	if err := r.awaitReady(ctx); err != nil {
		return err
	}
	c.log.since(began, "node started")
	if err := c.awaitNode(ctx); err != nil {
		return err
	}
	c.log.since(began, "node Ready")
	if err := <-images; err != nil {
		return fmt.Errorf("pushing images: %w", err)
	}
	if err := c.installIstio(ctx, folders["istio-source"]); err != nil {
		return fmt.Errorf("installing Istio: %w", err)
	}
	return r.record(keep, true, c.Gateway)
}

// join answers a handle for the cluster that another process started, if that one is meant to be shared.
func join(dir string, log progress) (*Cluster, error) {
	s, err := readState(fullDir(dir))
	if err != nil || !s.Keep || !s.Ready {
		return nil, fmt.Errorf("another run has the full cluster of this machine (state in %s: process %d); wait for it, end it with `go run ./cmd/cluster down`, or share one that `cluster up` started", dir, s.PID)
	}
	c, err := Running(Options{Dir: dir})
	if err != nil {
		return nil, err
	}
	c.log = log
	log.say("using the cluster that `cluster up` keeps (process %d)", s.PID)
	return c, nil
}

// Running answers the full cluster that runs now, without starting one. Its Stop does nothing.
func Running(o Options) (*Cluster, error) {
	dir, err := stateDir(o.Dir)
	if err != nil {
		return nil, err
	}
	s, err := readState(fullDir(dir))
	if err != nil || !s.alive() {
		return nil, fmt.Errorf("no full cluster runs in %s", dir)
	}
	if !s.Ready {
		return nil, fmt.Errorf("the full cluster of %s (process %d) is still starting; logs: %s/log", dir, s.PID, fullDir(dir))
	}
	config := node.Config{Dir: fullDir(dir), Address: node.Address}
	c := &Cluster{
		KubeConfig: config.KubeConfig(), Registry: config.Registry(), HostIP: node.HostAddress, Dir: config.Dir, Gateway: s.Gateway,
		log: newProgress(o.Log), stop: func() error { return nil },
	}
	return c, c.connect()
}

// endFull ends the full cluster, whoever started it.
func endFull(dir string) error {
	if err := endRecorded(fullDir(dir)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second) // its owner has to notice
	defer cancel()
	unlock, err := lockWait(ctx, fullLock, progress{})
	if err != nil {
		return fmt.Errorf("another run is just starting a cluster: %w", err)
	}
	defer unlock()
	return removeLeftovers(dir)
}

// checkNetwork refuses when the machine already uses the node's addresses.
func checkNetwork() error {
	_, ours, err := net.ParseCIDR(node.Network)
	if err != nil {
		return err
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && (ours.Contains(n.IP) || n.Contains(ours.IP)) {
			return fmt.Errorf("this machine's address %s overlaps the test cluster's network %s", n, node.Network)
		}
	}
	return nil
}
