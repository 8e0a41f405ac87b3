package node

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Run starts the node's programs and stays until the process is killed or, when owned, its standard input ends.
// Call it from the main goroutine, locked to its thread: the programs are killed when that thread ends.
func Run(ctx context.Context, c Config) error {
	for _, dir := range []string{"log", "log/pods", "containerd", "cni", "kubelet", "registry"} {
		if err := os.MkdirAll(c.path(dir), 0o755); err != nil {
			return err
		}
	}
	if c.Full {
		if err := isolate(c); err != nil {
			return fmt.Errorf("preparing the node's namespaces: %w", err)
		}
	}
	if c.Owned {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin) // an error ends it just as the end does
			os.Exit(0)
		}()
	}
	ps := newPrograms(c)
	if err := startAll(ctx, c, ps); err != nil {
		ps.fail(err)
		return err
	}
	ps.ready()
	select {}
}

func startAll(ctx context.Context, c Config, ps *programs) error {
	if c.Full {
		if err := serveRegistry(c); err != nil {
			return err
		}
		if err := ps.start("containerd", containerd(c)); err != nil {
			return err
		}
	}
	if err := ps.start("etcd", etcd(c)); err != nil {
		return err
	}
	if err := ps.start("kube-apiserver", apiServer(c)); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.KubeConfig())
	if err != nil {
		return err
	}
	if err := awaitAPI(ctx, config); err != nil || !c.Full {
		return err
	}
	if err := awaitFile(ctx, c.path("containerd", "containerd.sock")); err != nil {
		return err
	}
	for _, p := range []struct {
		name string
		argv func(Config) []string
	}{
		{"kube-controller-manager", controllerManager}, {"kube-scheduler", scheduler}, {"kubelet", kubelet}, {"kube-proxy", kubeProxy},
	} {
		if err := ps.start(p.name, p.argv(c)); err != nil {
			return err
		}
	}
	return serveDNS(ctx, config)
}

// awaitAPI asks the API server until it says that it is ready.
func awaitAPI(ctx context.Context, config *rest.Config) error {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	last := ""
	err = until(ctx, 2*time.Minute, func() bool {
		res, err := client.Get(config.Host + "/readyz")
		if err != nil {
			last = err.Error()
			return false
		}
		defer res.Body.Close()
		last = res.Status
		return res.StatusCode == http.StatusOK
	})
	if err != nil {
		return fmt.Errorf("the API server is not ready: %s: %w", last, err)
	}
	return nil
}

func awaitFile(ctx context.Context, path string) error {
	err := until(ctx, time.Minute, func() bool {
		_, err := os.Stat(path)
		return err == nil
	})
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", filepath.Base(path), err)
	}
	return nil
}

// until asks ok ten times a second.
func until(ctx context.Context, limit time.Duration, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}
