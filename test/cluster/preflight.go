package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/serin-dev/serin/test/cluster/internal/node"
)

func freeSpace(dir string) (uint64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return s.Bavail * uint64(s.Bsize), nil
}

// avoidProxy keeps this process's requests to the node from a proxy that the environment names.
func avoidProxy() error {
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		old := os.Getenv(name)
		if strings.Contains(old, node.Network) {
			continue
		}
		if err := os.Setenv(name, strings.TrimPrefix(old+","+node.Network, ",")); err != nil {
			return err
		}
	}
	return nil
}

// needed are the programs of the operating system that a full node calls, and the Debian packages that have them.
var needed = map[string]string{"runc": "runc", "iptables": "iptables", "conntrack": "conntrack", "ip": "iproute2", "python3": "python3-pip", "ldd": "libc-bin"}

// checkRights refuses where a full node cannot run.
func checkRights() error {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return fmt.Errorf("a full cluster needs Linux and root (this is %s, user %d): run as root, or offer a cluster by %s", runtime.GOOS, os.Geteuid(), envKubeConfig)
	}
	return nil
}

// preflight installs what is missing, if it may.
func preflight(ctx context.Context, log progress) error {
	path := os.Getenv("PATH")
	if !strings.Contains(path, "/usr/sbin") {
		if err := os.Setenv("PATH", path+":/usr/sbin:/sbin"); err != nil {
			return err
		}
	}
	var packages []string
	for program, from := range needed {
		if _, err := exec.LookPath(program); err != nil {
			packages = append(packages, from)
		}
	}
	// Debian's python3 comes without pip, which is no program of its own where it is there.
	if err := exec.CommandContext(ctx, "python3", "-m", "pip", "--version").Run(); err != nil && !slices.Contains(packages, "python3-pip") {
		packages = append(packages, "python3-pip")
	}
	if len(packages) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("a full cluster needs programs that are not installed; Debian's packages of them are: %s", strings.Join(packages, " "))
	}
	began := time.Now()
	for _, args := range [][]string{{"update", "-q"}, append([]string{"install", "-q", "-y", "--no-install-recommends"}, packages...)} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w: %s", strings.Join(args, " "), err, tail(string(out), 10))
		}
	}
	log.since(began, "installed %s", strings.Join(packages, " "))
	return nil
}
