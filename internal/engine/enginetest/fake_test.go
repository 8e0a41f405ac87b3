package enginetest_test

import (
	"fmt"
	"testing"

	"github.com/serin-dev/serin/internal/engine/enginetest"
	"github.com/serin-dev/serin/internal/rollout"
)

// TestFakePlatform holds the fake to what the engine's own tests rely on.
func TestFakePlatform(t *testing.T) { enginetest.Run(t, inMemory) }

func inMemory(*testing.T) enginetest.Place {
	p := enginetest.NewPlatform()
	return enginetest.Place{
		Platform: p, HeaderStable: "green", HeaderCandidate: "blue",
		Revision: func(n int) rollout.Revision {
			return rollout.Revision{Name: fmt.Sprintf("ep-r%d", n), Number: n, Digest: fmt.Sprint(n), Version: fmt.Sprint(n)}
		},
		Broken:    func() rollout.Revision { return rollout.Revision{Name: "ep-r8", Number: 8, Digest: "broken"} },
		Ask:       func(_ *testing.T, header string) string { return p.Ask(header) },
		Overwrite: func(*testing.T) { p.Overwrite() },
		Restart:   inMemory,
		Crash: func(_ *testing.T, name string) {
			p.Set(name, rollout.RevisionStatus{Started: true, Ready: true, ReadyReplicas: 1, WantReplicas: 1, Restarts: 1})
		},
	}
}
