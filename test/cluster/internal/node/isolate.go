package node

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// isolate makes the node's own view of the machine: private mounts, its own /proc, empty folders where containerd and
// the kubelet would write into the machine's, and the link to the machine.
func isolate(c Config) error {
	if os.Getpid() != 1 {
		return fmt.Errorf("process %d is not the first of its namespace: start it with Cloneflags", os.Getpid())
	}
	// Private first, or the mounts below would show up on the machine; shared then, because mount propagation into
	// containers needs it.
	for _, flags := range []uintptr{unix.MS_REC | unix.MS_PRIVATE, unix.MS_REC | unix.MS_SHARED} {
		if err := unix.Mount("", "/", "", flags, ""); err != nil {
			return fmt.Errorf("changing the propagation of /: %w", err)
		}
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	for _, dir := range []string{"/run/containerd", "/run/netns", "/var/lib/kubelet", "/var/log/containers"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
			return fmt.Errorf("mounting over %s: %w", dir, err)
		}
	}
	return network()
}

// network waits for the link that the machine puts into this namespace and gives it its address.
func network() error {
	err := until(context.Background(), 20*time.Second, func() bool {
		_, err := net.InterfaceByName(NodeLink)
		return err == nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the network link: %w", err)
	}
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"addr", "add", Address + LinkBits, "dev", NodeLink},
		{"link", "set", NodeLink, "up"},
		{"route", "add", "default", "via", HostAddress},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
	}
	// Without the second, a Service's answer on the same bridge would bypass the translation back to its address.
	for path, value := range map[string]string{"/proc/sys/net/ipv4/ip_forward": "1", "/proc/sys/net/bridge/bridge-nf-call-iptables": "1"} {
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			return fmt.Errorf("setting %s (is the module br_netfilter loaded?): %w", path, err)
		}
	}
	return nil
}
