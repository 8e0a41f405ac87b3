// Package pipelines_test reads the workflows as GitHub does, as far as what they
// promise goes, and runs the plain script against a real endpoint.
package pipelines_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

type workflow struct {
	On          yaml.Node
	Permissions map[string]string
	Concurrency struct {
		Group            string
		CancelInProgress bool `yaml:"cancel-in-progress"`
	}
	Jobs map[string]job
}

type job struct {
	Needs       any
	If          string
	Uses        string
	Environment string
	With        map[string]string
	Minutes     any `yaml:"timeout-minutes"`
	Env         map[string]string
	Outputs     map[string]string
	Steps       []step
}

type step struct {
	ID, Name, Uses, Run, If string
	Env                     map[string]string
}

func read(t *testing.T, name string) (w workflow, text string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("github", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, &w); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return w, string(data)
}

// TestGitHubGatesEveryStep: each step of the plan is a job behind the environment, in
// a row, and each names the whole plan, so that no step is entered without its job.
func TestGitHubGatesEveryStep(t *testing.T) {
	ship, _ := read(t, "serin-ship.yml")
	step, _ := read(t, "serin-step.yml")
	if e := step.Jobs["step"].Environment; e != "${{ inputs.environment }}" {
		t.Errorf("the job of a step has the environment %q", e)
	}
	var steps []string
	before := "build"
	for _, name := range []string{"shadow", "percent1", "percent10", "percent50", "promote"} {
		j := ship.Jobs[name]
		if j.Needs != before || !strings.HasSuffix(j.Uses, "/serin-step.yml") {
			t.Errorf("%s needs %v and uses %q; want %q and the step", name, j.Needs, j.Uses, before)
		}
		if name != "shadow" && (j.With["rollout"] != "${{ needs."+before+".outputs.rollout }}" || j.With["evidence"] != "${{ needs."+before+".outputs.evidence }}" || !strings.Contains(j.If, "needs."+before+".outputs.done")) {
			t.Errorf("%s takes %v, if %q", name, j.With, j.If)
		}
		steps, before = append(steps, j.With["step"]), name
	}
	for name, j := range ship.Jobs {
		if gates, ok := j.With["gates"]; ok && gates != strings.Join(steps, ",") {
			t.Errorf("%s: gates %v, the plan is %v", name, gates, steps)
		}
	}
}

// TestGitHubReverts: whatever happened, unless the version is in production; never
// behind an approval, never before all else has ended.
func TestGitHubReverts(t *testing.T) {
	ship, _ := read(t, "serin-ship.yml")
	revert, _ := read(t, "serin-revert.yml")
	r := ship.Jobs["revert"]
	if r.If != "${{ always() && needs.promote.result != 'success' }}" {
		t.Errorf("reverts if %q", r.If)
	}
	var others []any
	for name := range ship.Jobs {
		if name != "revert" {
			others = append(others, name)
		}
	}
	needs, _ := r.Needs.([]any)
	for _, o := range others {
		if !slices.Contains(needs, o) {
			t.Errorf("does not wait for %v: it could revert while that still moves the rollout", o)
		}
	}
	for name, j := range revert.Jobs {
		if j.Environment != "" {
			t.Errorf("revert's job %s waits for the approval of %q", name, j.Environment)
		}
		if j.If != "${{ always() }}" {
			t.Errorf("revert's job %s runs if %q: GitHub cancels a job without always() with its run", name, j.If)
		}
	}
	if ship.Concurrency.Group == "" || ship.Concurrency.CancelInProgress {
		t.Errorf("concurrency %+v: a second run must wait, and never cancel one that moves traffic", ship.Concurrency)
	}
}

// TestGitHubKeepsNoSecret: OIDC signs in; every job has a bound; nothing that others
// may write becomes part of a script.
func TestGitHubKeepsNoSecret(t *testing.T) {
	for _, name := range []string{"serin-ship.yml", "serin-build.yml", "serin-step.yml", "serin-revert.yml"} {
		w, text := read(t, name)
		if strings.Contains(text, "secrets.") || regexp.MustCompile(`(?i)client-secret|password`).MatchString(text) {
			t.Errorf("%s: a secret", name)
		}
		if w.Permissions["id-token"] != "write" || w.Permissions["contents"] != "read" {
			t.Errorf("%s: permissions %v", name, w.Permissions)
		}
		for id, j := range w.Jobs {
			if j.Uses == "" && j.Minutes == nil {
				t.Errorf("%s: job %s may run for ever", name, id)
			}
			for _, s := range j.Steps {
				if strings.Contains(s.Run, "${{") {
					t.Errorf("%s: step %q puts an expression into its script: pass it by env", name, s.Name)
				}
			}
		}
	}
}
