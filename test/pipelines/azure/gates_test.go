package azure

import (
	"context"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const gatedText = `
lockBehavior: sequential
stages:
- stage: A
  jobs: [{job: J, steps: [{script: "true"}]}]
- stage: B
  jobs:
  - deployment: D
    environment: prod
    strategy: {runOnce: {deploy: {steps: [{script: echo B >>$SEEN}]}}}
- stage: C
  jobs: [{job: J, steps: [{script: "true"}]}]
`

// TestGates: an approval is asked for after the conditions and before any job; rejected
// the stage does not run, and counts as failed or skipped; timed out it is skipped.
func TestGates(t *testing.T) {
	for _, c := range []struct {
		answer Answer
		as     Result
		want   Result
	}{{Approved, Failed, Succeeded}, {Rejected, Failed, Failed}, {Rejected, Skipped, Skipped}, {TimedOut, Failed, Skipped}} {
		r := newTrial(t, gatedText)
		r.RejectedAs = c.as
		var asked []string
		r.Gate = func(_ context.Context, stage, environment string) Answer {
			asked = append(asked, stage+" "+environment)
			if len(r.lines()) > 0 {
				t.Error("a job ran before its gate was asked")
			}
			return c.answer
		}
		r.run(t)
		after := Skipped
		if c.answer == Approved {
			after = Succeeded
		}
		if got := r.Results(); got["B"] != c.want || got["C"] != after || !slices.Equal(asked, []string{"B prod"}) || (len(r.lines()) == 1) != (c.answer == Approved) {
			t.Errorf("%v: %v, asked %v, ran %v", c, got, asked, r.lines())
		}
	}
}

// TestGateOfAStageThatDoesNotRun: nobody is asked.
func TestGateOfAStageThatDoesNotRun(t *testing.T) {
	r := newTrial(t, strings.Replace(gatedText, `script: "true"`, "script: exit 1", 1))
	r.Gate = func(context.Context, string, string) Answer { t.Error("somebody was asked"); return Approved }
	if got := r.run(t).Results()["B"]; got != Skipped {
		t.Errorf("B: %s", got)
	}
}

// TestExclusiveLock: of two runs only one is in a stage with the environment.
func TestExclusiveLock(t *testing.T) {
	locks := &Locks{}
	text := strings.Replace(gatedText, "echo B >>$SEEN", "mkdir ../one && echo B >>$SEEN && rmdir ../one", 1)
	var all sync.WaitGroup
	shared := t.TempDir()
	for range 4 {
		r := newTrial(t, text)
		r.Repository, r.Locks = filepath.Join(shared, filepath.Base(r.Repository)+filepath.Base(filepath.Dir(r.Repository))), locks
		if err := os.Mkdir(r.Repository, 0o700); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
		all.Go(func() {
			if got := r.run(t).Results()["B"]; got != Succeeded {
				t.Errorf("B: %s", got)
			}
		})
	}
	all.Wait()
}

// TestSecretsAndMistakes: a secret is no environment variable unless it is mapped, and
// what cannot work is an error of its stage.
func TestSecretsAndMistakes(t *testing.T) {
	r := newTrial(t, `
jobs:
- job: A
  steps:
  - script: echo "[$SYSTEM_ACCESSTOKEN]" "[$MAPPED]" "[$TF_BUILD]" '[$(no.such)]' >>$SEEN
    env: {MAPPED: $(System.AccessToken)}
`).run(t)
	if got := strings.Join(r.lines(), " "); got != "[] [s3cret] [True] [$(no.such)]" {
		t.Errorf("environment: %s", got)
	}
	for _, text := range []string{
		"jobs: [{job: A, steps: [{task: NoSuch@1}]}]", "jobs: [{job: A, condition: nosuch(), steps: [{script: x}]}]", "jobs: [{job: A, steps: [{script: x, condition: eq(1)}]}]",
		"jobs: [{job: A, variables: {x: '$[ dependencies.B.result.. ]'}, steps: [{script: 'true'}]}]", "jobs: [{job: A, steps: [{checkout: other}]}]", "jobs: [{job: A, steps: [{download: current}]}]",
		"jobs: [{job: A, steps: [{publish: /no/such/path}]}]", "jobs: [{job: A, steps: [{task: AzureCLI@2, inputs: {azureSubscription: none}}]}]", "jobs: [{job: A, steps: [{task: Kubernetes@1, inputs: {command: login}}]}]",
	} {
		if got := newTrial(t, text).run(t).Results()["__default"]; got != Failed {
			t.Errorf("%s: %s, want Failed", text, got)
		}
	}
}

// TestARunThatHangsEnds: a step that nothing but a kill ends does not hold the run beyond its limit; what was under way is
// told, and no other stage runs any more.
func TestARunThatHangsEnds(t *testing.T) {
	r := newTrial(t, `
stages:
- stage: A
  jobs: [{job: J, steps: [{script: "trap '' INT TERM; mkfifo never; read -r _ <never", displayName: a long wait}]}]
- stage: B
  condition: always()
  jobs: [{job: J, steps: [{script: echo B >>$SEEN}]}]
`)
	r.Limit = time.Second
	r.Start(t.Context())
	if err := r.Wait(); err == nil || !strings.Contains(err.Error(), `A/J runs step "a long wait"`) {
		t.Errorf("the run ended with %v, want that it says what was under way", err)
	}
	if seen := r.lines(); len(seen) > 0 {
		t.Errorf("%v ran after the end", seen)
	}
}

// TestWhoeverIsAskedGoes: a gate that will not be answered fails its stage.
func TestWhoeverIsAskedGoes(t *testing.T) {
	r := newTrial(t, gatedText)
	r.Gate = func(context.Context, string, string) Answer { goruntime.Goexit(); return Approved }
	if got := r.run(t).Results()["B"]; got != Failed {
		t.Errorf("B: %s, want %s", got, Failed)
	}
}
