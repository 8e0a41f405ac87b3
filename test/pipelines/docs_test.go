package pipelines_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/serin-dev/serin/test/pipelines/azure"
)

var setting = regexp.MustCompile(`SERIN_[A-Z0-9_]+`)

// TestSettingsAreDocumented: every setting that a script or a template reads stands in docs/pipelines.md, and no other.
func TestSettingsAreDocumented(t *testing.T) {
	page := settings(t, root+"/docs/pipelines.md")
	used := map[string]bool{}
	for _, pattern := range []string{"scripts/*.sh", "azure-devops/*.yml", "azure-devops/templates/*.yml"} {
		files, err := filepath.Glob(root + "/pipelines/" + pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, f := range files {
			for s := range settings(t, f) {
				used[s] = true
				if !page[s] {
					t.Errorf("%s reads %s, which docs/pipelines.md does not name", filepath.Base(f), s)
				}
			}
		}
	}
	for s := range page {
		if !used[s] {
			t.Errorf("docs/pipelines.md names %s, which nothing reads", s)
		}
	}
	if len(used) < 20 {
		t.Errorf("only %d settings: the test does not see the scripts", len(used))
	}
}

// TestNoGateCanBeLeftOut: who queues a run may deselect stages, but for those that say no.
func TestNoGateCanBeLeftOut(t *testing.T) {
	for file, parameters := range map[string]map[string]string{"azure-pipelines.yml": nil, "azure-pipelines-verbs.yml": {"image": "i"}} {
		p, err := azure.Load(root+"/pipelines/azure-devops/"+file, parameters)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range p.Stages {
			if s.Skippable != (s.Name == "Build") {
				t.Errorf("%s: stage %s: isSkippable %v", file, s.Name, s.Skippable)
			}
		}
	}
}

func settings(t *testing.T, file string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, s := range setting.FindAllString(string(text), -1) {
		found[s] = true
	}
	return found
}
