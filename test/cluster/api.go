package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/serin-dev/serin/test/cluster/internal/node"
)

// startAPI starts etcd and an API server on free ports of the loopback address.
func startAPI(ctx context.Context, dir string, log progress) (*Cluster, error) {
	if err := sweepAPI(dir); err != nil {
		return nil, err
	}
	folders, err := buildAll(ctx, dir, APIOnly, log)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	mine, held, err := newRunDir(dir)
	if err != nil {
		return nil, err
	}
	c := node.Config{Dir: mine, Owned: true, Address: "127.0.0.1", Kube: folders["kube"], Etcd: folders["etcd"]}
	if err := freePorts(c.Address, &c.APIPort, &c.EtcdPort, &c.PeerPort); err != nil {
		return nil, err
	}
	if err := writePKI(c); err != nil {
		return nil, err
	}
	r, err := launch(c, filepath.Join(folders["harness"], "clusternode"), held, 0)
	if err != nil {
		return nil, err
	}
	end := func() error { return errors.Join(r.end(), os.RemoveAll(mine)) }
	cluster := &Cluster{KubeConfig: c.KubeConfig(), Dir: mine, Own: true, log: log, stop: end}
	err = r.record(state{})
	if err == nil {
		soon, cancel := context.WithTimeout(ctx, 5*time.Minute)
		err = r.awaitReady(soon)
		cancel()
	}
	if err == nil {
		err = cluster.connect()
	}
	if err != nil {
		return nil, errors.Join(err, end())
	}
	log.since(began, "API server ready at %s", cluster.config.Host)
	return cluster, nil
}

// newRunDir makes a folder that is locked from its first moment, so that nobody sweeps it.
func newRunDir(dir string) (string, *os.File, error) {
	runs := filepath.Join(dir, "api")
	if err := os.MkdirAll(runs, 0o755); err != nil {
		return "", nil, err
	}
	sweeping, err := lockAPI(dir)
	if err != nil {
		return "", nil, err
	}
	defer sweeping()
	mine, err := os.MkdirTemp(runs, "")
	if err != nil {
		return "", nil, err
	}
	held, ok, err := lock(filepath.Join(mine, "lock"))
	if err != nil || !ok {
		return "", nil, errors.Join(err, fmt.Errorf("%s is new and yet locked", mine))
	}
	return mine, held, nil
}

// lockAPI keeps others from making and removing folders of API-only clusters, which takes no time.
func lockAPI(dir string) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return lockWait(ctx, filepath.Join(dir, "api.lock"), progress{})
}

// sweepAPI ends and removes API-only clusters whose test process is gone. Their node ends by itself; this is for the
// folders, and for a node that was started but never read its input.
func sweepAPI(dir string) error {
	unlock, err := lockAPI(dir)
	if err != nil {
		return err
	}
	defer unlock()
	runs, err := os.ReadDir(filepath.Join(dir, "api"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, r := range runs {
		path := filepath.Join(dir, "api", r.Name())
		held, ok, err := lock(filepath.Join(path, "lock"))
		if errors.Is(err, os.ErrNotExist) || err == nil && !ok {
			continue // gone meanwhile, or in use
		}
		if err != nil {
			return err
		}
		err = os.RemoveAll(path)
		held.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// freePorts asks the kernel for ports. Another program may take one before it is used; the start then fails and says so.
func freePorts(address string, into ...*int) error {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			l.Close()
		}
	}()
	for _, port := range into {
		l, err := net.Listen("tcp", address+":0")
		if err != nil {
			return fmt.Errorf("looking for a free port: %w", err)
		}
		held = append(held, l)
		*port = l.Addr().(*net.TCPAddr).Port
	}
	return nil
}

func buildAll(ctx context.Context, dir string, kind Kind, log progress) (map[string]string, error) {
	parts, err := programs(kind == Full)
	if err != nil {
		return nil, err
	}
	if err := checkSpace(ctx, dir, kind, parts); err != nil {
		return nil, err
	}
	return builder{dir: dir, log: log}.build(ctx, parts)
}

// checkSpace refuses early what would otherwise fail after half an hour.
func checkSpace(ctx context.Context, dir string, kind Kind, parts []part) error {
	need := uint64(1 << 30)
	for _, p := range parts {
		folder, err := builder{dir: dir}.folder(p)
		if err != nil {
			return err
		}
		if !p.own() && len(p.missing(folder)) > 0 {
			need += map[Kind]uint64{APIOnly: 2 << 30, Full: 8 << 30}[kind]
			break
		}
	}
	caches, err := goTool(ctx, parts[0].dir, "env", "GOCACHE", "GOMODCACHE")
	if err != nil {
		return err
	}
	for _, place := range append([]string{dir}, strings.Fields(caches)...) {
		free, err := freeSpace(place)
		if errors.Is(err, fs.ErrNotExist) {
			continue // Go makes it, beside what was looked at
		}
		if err != nil {
			return err
		}
		if free < need {
			return fmt.Errorf("%s has %d MB free, %d are needed: make room, or choose other folders by %s, GOCACHE and GOMODCACHE", place, free>>20, need>>20, envDir)
		}
	}
	return nil
}
