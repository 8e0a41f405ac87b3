package cluster

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/serin-dev/serin/test/cluster/internal/node"
)

// Logs writes what a person would look at first after a failed test: which programs ended, and the last lines of the logs
// of the full cluster that ran last.
func Logs(o Options, to io.Writer) error {
	dir, err := stateDir(o.Dir)
	if err != nil {
		return err
	}
	dir = fullDir(holderDir(dir))
	if _, err := os.Stat(filepath.Join(dir, "log")); err != nil {
		return fmt.Errorf("no full cluster has run: %w", err)
	}
	status, err := node.Config{Dir: dir}.ReadStatus()
	if err != nil {
		return err
	}
	if status.Failed != "" {
		fmt.Fprintln(to, "the node gave up:", status.Failed)
	}
	for name, how := range status.Exited {
		fmt.Fprintf(to, "%s ended: %s\n", name, how)
	}
	programs, err := filepath.Glob(filepath.Join(dir, "log", "*.log"))
	if err != nil {
		return err
	}
	pods, err := filepath.Glob(filepath.Join(dir, "log", "pods", "*", "*", "*.log"))
	if err != nil {
		return err
	}
	for _, path := range slices.Concat(programs, pods) {
		if err := writeTail(to, path, dir); err != nil {
			return err
		}
	}
	return nil
}

// lastLines says how many lines of a log matter: most of the controller's, none of what says the same each time.
func lastLines(path string) int {
	switch {
	case strings.Contains(path, "/serin-system_") && strings.Contains(path, "/controller/"):
		return 40
	case strings.Contains(path, "/istio-init/"):
		return 0
	default:
		return 8
	}
}

func writeTail(to io.Writer, path, dir string) error {
	n := lastLines(path)
	if n == 0 {
		return nil
	}
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil // its pod has just gone
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	const most = 64 << 10
	if _, err := f.Seek(max(0, info.Size()-most), io.SeekStart); err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return err
	}
	fmt.Fprintf(to, "--- %s\n", strings.TrimPrefix(path, dir+"/log/"))
	for line := range strings.Lines(tail(string(text), n)) {
		fmt.Fprintf(to, "%.400s\n", strings.TrimSuffix(line, "\n"))
	}
	return nil
}
