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

// startFull joins the cluster that `cluster up` keeps, or starts one; while another test run has the cluster it waits.
func startFull(ctx context.Context, dir string, o Options, log progress) (*Cluster, error) {
	if err := checkRights(); err != nil {
		return nil, err
	}
	deadline, said := time.Now().Add(o.Wait), false
	for {
		held, ok, err := lock(fullLock)
		if err != nil {
			return nil, err
		}
		if ok {
			return startNew(ctx, dir, o.Keep, held, log)
		}
		c, err := join(ctx, dir, log)
		if err == nil || !errors.Is(err, errTaken) || time.Now().After(deadline) {
			return c, err
		}
		if !said {
			log.say("waiting for at most %s: %v", o.Wait, err)
			said = true
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// startNew starts a cluster; whoever calls holds the lock.
func startNew(ctx context.Context, dir string, keep bool, held *os.File, log progress) (*Cluster, error) {
	r, folders, err := prepare(ctx, dir, keep, held, log)
	if err != nil {
		return nil, errors.Join(err, held.Close())
	}
	c := &Cluster{
		KubeConfig: r.config.KubeConfig(), Registry: r.config.Loopback, HostIP: node.HostAddress, Dir: r.config.Dir, Own: !keep, log: log,
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
	if err := errors.Join(preflight(ctx, log), noteHolder(held, dir)); err != nil {
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
	socket, address, err := loopback()
	if err != nil {
		return nil, nil, err
	}
	defer socket.Close()
	c := node.Config{
		Dir: mine, Full: true, Owned: !keep, Address: node.Address, Loopback: address, APIPort: 6443, EtcdPort: 2379, PeerPort: 2380,
		Kube: folders["kube"], Etcd: folders["etcd"], Containerd: folders["containerd"], CNI: folders["cni"],
	}
	if err := os.MkdirAll(mine, 0o755); err != nil {
		return nil, nil, err
	}
	if err := errors.Join(writePKI(c), node.WriteFiles(c), makeCgroups()); err != nil {
		return nil, nil, err
	}
	r, err := launch(c, filepath.Join(folders["harness"], "clusternode"), held, syscall.CLONE_NEWNS|syscall.CLONE_NEWPID|syscall.CLONE_NEWNET|syscall.CLONE_NEWIPC, socket)
	return r, folders, err
}

// loopback opens a socket on this machine's loopback address.
func loopback() (socket *os.File, address string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", fmt.Errorf("opening a port for the image registry: %w", err)
	}
	defer l.Close() // the socket is a copy
	socket, err = l.(*net.TCPListener).File()
	return socket, l.Addr().String(), err
}

// bringUp takes a node that was just started to a mesh that takes requests.
func (c *Cluster) bringUp(ctx context.Context, r *run, folders map[string]string, keep bool) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	go func() { // `cluster down` may end it while we wait for something in it
		select {
		case <-r.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := errors.Join(r.record(state{Keep: keep, Registry: c.Registry, Versions: versions(folders)}), link(ctx, r.cmd.Process.Pid), c.connect()); err != nil {
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
	return r.record(state{Keep: keep, Ready: true, Gateway: c.Gateway, Registry: c.Registry, Versions: versions(folders)})
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
