package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"github.com/serin-dev/serin/test/cluster/internal/node"
)

func fullDir(dir string) string { return filepath.Join(dir, "full") }

// One of each for the machine, whatever the folders: addresses, link and control groups are the machine's too.
const (
	fullLock = "/run/serin-cluster.lock"     // held by a full cluster as long as it lives; names its folder
	useLock  = "/run/serin-cluster-use.lock" // held by the test run that uses a kept one
)

// errTaken says that another test run has the machine's full cluster.
var errTaken = errors.New("another run has the full cluster of this machine")

// noteHolder writes into the lock's file where its holder keeps its state.
func noteHolder(held *os.File, dir string) error {
	if err := held.Truncate(0); err != nil {
		return err
	}
	_, err := held.WriteAt([]byte(dir), 0)
	return err
}

// holderDir is the folder of the full cluster that runs, which may have been started with another one than dir.
func holderDir(dir string) string {
	if b, err := os.ReadFile(fullLock); err == nil && filepath.IsAbs(string(b)) {
		return string(b)
	}
	return dir
}

// join answers a handle for the cluster that `cluster up` keeps, and keeps other test runs out of it until Stop. One that
// is of no use any more is ended.
func join(ctx context.Context, dir string, log progress) (*Cluster, error) {
	dir = holderDir(dir)
	s, err := readState(fullDir(dir))
	if err != nil || !s.Keep || !s.Ready && !s.stuck(dir) {
		return nil, fmt.Errorf("%w (state in %s: process %d); wait for it, end it with `go run ./cmd/cluster down`, or share one that `cluster up` started", errTaken, dir, s.PID)
	}
	using, ok, err := lock(useLock)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("%w: its tests hold %s", errTaken, useLock)
	}
	if why := s.useless(ctx, dir); why != "" {
		log.say("ending the kept cluster of process %d: %s", s.PID, why)
		err := errors.Join(endRecorded(fullDir(dir)), using.Close())
		return nil, errors.Join(fmt.Errorf("%w: it is just ended", errTaken), err)
	}
	c, err := Running(Options{Dir: dir})
	if err != nil {
		return nil, errors.Join(err, using.Close())
	}
	c.log, c.stop = log, using.Close
	log.say("using the cluster that `cluster up` keeps (process %d)", s.PID)
	return c, nil
}

// stuck says that whoever started the cluster is gone without having finished.
func (s state) stuck(dir string) bool {
	info, err := os.Stat(statePath(fullDir(dir)))
	return err == nil && time.Since(info.ModTime()) > 5*time.Minute
}

// useless says why a kept cluster must not be used; empty: it may.
func (s state) useless(ctx context.Context, dir string) string {
	if !s.Ready {
		return "it never became ready"
	}
	if want, err := wanted(dir); err != nil || len(s.Versions) > 0 && !slices.Equal(want, s.Versions) {
		return "it runs other versions than this checkout's"
	}
	if s.Registry == "" {
		return "it offers no image registry on this machine"
	}
	config := node.Config{Dir: fullDir(dir), Address: node.Address}
	status, err := config.ReadStatus()
	if err != nil {
		return err.Error()
	}
	for name, how := range status.Exited {
		return name + ": " + how
	}
	c := &Cluster{KubeConfig: config.KubeConfig()}
	if err := c.connect(); err != nil {
		return err.Error()
	}
	return c.unanswered(ctx)
}

// unanswered says why the API server does not answer; empty: it does.
func (c *Cluster) unanswered(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	client, err := rest.HTTPClientFor(c.config)
	if err != nil {
		return err.Error()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.config.Host+"/readyz", nil)
	if err != nil {
		return err.Error()
	}
	res, err := client.Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "its API server says " + res.Status
	}
	return ""
}

// versions are the names of the folders of programs that are not the harness's own.
func versions(folders map[string]string) (names []string) {
	for _, f := range folders {
		if name := filepath.Base(f); strings.Contains(name, "-") && !strings.HasPrefix(name, "harness-") && filepath.Base(filepath.Dir(f)) == "bin" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// wanted are the versions that a cluster of this checkout would have.
func wanted(dir string) ([]string, error) {
	parts, err := programs(true)
	if err != nil {
		return nil, err
	}
	folders := map[string]string{}
	for _, p := range parts {
		if folders[p.name], err = (builder{dir: dir}).folder(p); err != nil {
			return nil, err
		}
	}
	folders["envoy"], _, err = envoyFolder(dir)
	return versions(folders), err
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
		KubeConfig: config.KubeConfig(), Registry: s.Registry, HostIP: node.HostAddress, Dir: config.Dir, Gateway: s.Gateway,
		log: newProgress(o.Log), stop: func() error { return nil },
	}
	return c, c.connect()
}

// endFull ends the full cluster, whoever started it.
func endFull(dir string) error {
	dir = holderDir(dir)
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
