package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/serin-dev/serin/test/cluster/internal/node"
)

// state is the record of a run, in its folder.
type state struct {
	PID     int    // of the node process
	Started string // when, as the kernel counts; an id alone may belong to somebody else by now
	Keep    bool   // it waits for Down
	Ready   bool
	Gateway string
	// Registry is the machine's name for the image registry.
	Registry string
	// Versions are the folders of the programs, whose names say what they were built from.
	Versions []string `json:",omitempty"`
}

func statePath(dir string) string { return filepath.Join(dir, "state.json") }

func readState(dir string) (s state, err error) {
	b, err := os.ReadFile(statePath(dir))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("reading %s: %w", statePath(dir), err)
	}
	return s, nil
}

func (r *run) record(s state) error {
	p, err := readProcess(fmt.Sprintf("/proc/%d/stat", r.cmd.Process.Pid))
	if err != nil {
		return err
	}
	s.PID, s.Started = p.id, p.started
	return node.WriteJSON(statePath(r.config.Dir), s)
}

// alive says whether the recorded process still is the one that was recorded.
func (s state) alive() bool {
	p, err := readProcess(fmt.Sprintf("/proc/%d/stat", s.PID))
	return err == nil && p.started == s.Started
}

// endRecorded kills the node of a folder, if it lives, and answers when it is gone.
func endRecorded(dir string) error {
	s, err := readState(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && !s.alive() {
		return nil
	}
	if err != nil {
		return err
	}
	p, err := os.FindProcess(s.PID)
	if err != nil {
		return err
	}
	if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("ending process %d: %w", s.PID, err)
	}
	for deadline := time.Now().Add(time.Minute); s.alive(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d did not end within a minute of being killed", s.PID)
		}
	}
	return nil
}
