package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/serin-dev/serin/test/cluster/internal/node"
)

// link connects the machine with the node's network namespace: a pair of virtual interfaces, and routes to pods and
// Services. It vanishes with the namespace.
func link(ctx context.Context, pid int) error {
	for _, args := range [][]string{
		{"link", "add", node.HostLink, "type", "veth", "peer", "name", node.NodeLink, "netns", fmt.Sprint(pid)},
		{"addr", "add", node.HostAddress + node.LinkBits, "dev", node.HostLink},
		{"link", "set", node.HostLink, "up"},
		{"route", "add", node.PodNetwork, "via", node.Address},
		{"route", "add", node.ServiceNet, "via", node.Address},
	} {
		out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
	}
	return nil
}

// cgroupRoots are the places of the node's control group: one per controller, or a single one (version 2).
func cgroupRoots() ([]string, error) {
	const base = "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(base, "cgroup.controllers")); err == nil {
		return []string{filepath.Join(base, node.CgroupRoot)}, nil
	}
	entries, err := os.ReadDir(base)
	if err != nil {
		return nil, err
	}
	var roots []string
	for _, e := range entries {
		// A symbolic link is another name of a controller that is there under its own.
		if e.IsDir() {
			roots = append(roots, filepath.Join(base, e.Name(), node.CgroupRoot))
		}
	}
	return roots, nil
}

func makeCgroups() error {
	roots, err := cgroupRoots()
	if err != nil {
		return err
	}
	for _, r := range roots {
		if err := os.MkdirAll(r, 0o755); err != nil {
			return fmt.Errorf("making the cluster's control group: %w", err)
		}
		if err := prefer(r); err != nil {
			return err
		}
	}
	return nil
}

// prefer gives the pods more of the processor than one of the machine's other processes: all of them together count as
// one, and would come to a stand beside a few compilers.
func prefer(group string) error {
	for file, share := range map[string]string{"cpu.shares": "32768", "cpu.weight": "1000"} {
		path := filepath.Join(group, file)
		if _, err := os.Stat(path); err != nil {
			continue // of the other version, or of another controller
		}
		if err := os.WriteFile(path, []byte(share), 0o644); err != nil {
			return fmt.Errorf("giving the cluster its share of the processor: %w", err)
		}
	}
	return nil
}

// removeLeftovers removes what the end of a node's namespaces does not: control groups, and the run's files but for its
// logs. Only the holder of the full cluster's lock may call it.
func removeLeftovers(dir string) error {
	if err := endRecorded(fullDir(dir)); err != nil {
		return err
	}
	if _, err := net.InterfaceByName(node.HostLink); err == nil {
		// The kernel removes it a moment after the namespace; only a crash between its making and its moving leaves it.
		_ = exec.Command("ip", "link", "del", node.HostLink).Run()
	}
	entries, err := os.ReadDir(fullDir(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = nil
	for _, e := range entries {
		if e.Name() != "log" {
			err = errors.Join(err, os.RemoveAll(filepath.Join(fullDir(dir), e.Name())))
		}
	}
	return errors.Join(err, removeCgroups())
}

func removeCgroups() error {
	roots, err := cgroupRoots()
	if err != nil {
		return err
	}
	for _, r := range roots {
		var groups []string
		err := filepath.WalkDir(r, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				groups = append(groups, path)
			}
			return nil // what vanishes meanwhile needs no removing
		})
		if err != nil {
			return err
		}
		slices.Reverse(groups) // inner ones first
		for _, g := range groups {
			if err := removeGroup(g); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeGroup gives the kernel a moment: a group counts as busy until its last process has wholly gone.
func removeGroup(path string) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := syscall.Rmdir(path)
		if err == nil || errors.Is(err, syscall.ENOENT) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("removing the control group %s: %w", path, err)
		}
	}
}
