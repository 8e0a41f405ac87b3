package azure

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// trial runs a pipeline text; what its scripts append to $SEEN is returned by line.
type trial struct {
	*Run
	seen string
}

func newTrial(t *testing.T, text string) *trial {
	t.Helper()
	p, err := Load(files(t, "p.yml", text), nil)
	if err != nil {
		t.Fatalf("%v of\n%s", err, text)
	}
	folder := t.TempDir()
	seen := filepath.Join(folder, "seen")
	return &trial{&Run{
		Pipeline: p, RejectedAs: Failed, Repository: folder, Env: []string{"SEEN=" + seen},
		Predefined: map[string]string{"Build.SourceBranch": "refs/heads/main", "Build.Reason": "PullRequest", "System.debug": "true"}, Secrets: map[string]string{"System.AccessToken": "s3cret"},
		Log: func(stage, line string) { t.Logf("[%s] %s", stage, line) },
	}, seen}
}

func (r *trial) run(t *testing.T) *trial {
	t.Helper()
	r.Start(t.Context())
	return r.wait(t)
}

func (r *trial) wait(t *testing.T) *trial {
	t.Helper()
	if err := r.Wait(); err != nil {
		t.Errorf("the run: %v", err)
	}
	return r
}

// lines are what the scripts wrote.
func (r *trial) lines() []string {
	text, _ := os.ReadFile(r.seen)
	return strings.Fields(string(text))
}

// jobs are the results of all jobs, as STAGE/JOB.
func (r *trial) results() map[string]Result {
	out := maps.Clone(r.stages)
	for stage, jobs := range r.jobs {
		for name, j := range jobs {
			out[stage+"/"+name] = j.result
		}
	}
	return out
}

const cancelMe = "echo started >>$SEEN; read -r _ <wait" // blocks until it is cancelled

// cancelAtStart makes the pipe that cancelMe reads, and cancels when it does.
func (r *trial) cancelAtStart(t *testing.T) *trial {
	t.Helper()
	wait := filepath.Join(r.Repository, "wait")
	if err := syscall.Mkfifo(wait, 0o600); err != nil {
		t.Fatal(err)
	}
	r.Start(t.Context())
	defer func() { _ = r.Wait() }()
	// Opening the pipe for writing succeeds when the script has opened it for reading.
	w, err := os.OpenFile(wait, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	for deadline := time.Now().Add(time.Minute); err != nil && time.Now().Before(deadline); w, err = os.OpenFile(wait, os.O_WRONLY|syscall.O_NONBLOCK, 0) {
		time.Sleep(5 * time.Millisecond)
	}
	r.Cancel()
	if err != nil {
		t.Fatalf("the script did not start: %v", err)
	}
	defer w.Close()
	return r.wait(t)
}

// example is a pipeline of the documentation, and what is said to happen.
type example struct {
	name, text string
	cancel     bool // while its first script runs
	want       map[string]Result
	seen       []string
}

func carryOut(t *testing.T, examples []example) {
	t.Helper()
	for _, c := range examples {
		t.Run(c.name, func(t *testing.T) {
			r := newTrial(t, c.text)
			if c.cancel {
				r.cancelAtStart(t)
			} else {
				r.run(t)
			}
			if diff := cmp.Diff(c.want, r.results()); diff != "" {
				t.Errorf("results (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.seen, r.lines()); diff != "" && len(c.seen)+len(r.lines()) > 0 {
				t.Errorf("what ran (-want +got):\n%s", diff)
			}
		})
	}
}

// TestConditionsOfTheDocumentation are the examples of "Conditions" and "Expressions" with what they say happens.
func TestConditionsOfTheDocumentation(t *testing.T) {
	carryOut(t, []example{
		// The example's job has no condition, and is said to run. Of succeeded(), which is the default, Microsoft says that it is
		// false in a run that was cancelled: the stricter of the two holds here, so that no pipeline relies on the other.
		{"stage example 1, and a condition of the job's own: it runs in a cancelled run", `
stages:
- stage: stage1
  jobs:
  - job: A
    steps:
      - script: ` + cancelMe + `
- stage: stage2
  condition: eq(variables['Build.SourceBranch'], 'refs/heads/main')
  jobs:
  - job: B
    condition: always()
    steps:
      - script: echo 2 >>$SEEN
`, true, map[string]Result{"stage1": Canceled, "stage1/A": Canceled, "stage2": Succeeded, "stage2/B": Succeeded}, []string{"started", "2"}},
		{"stage example 2: a stage that is skipped runs no job, whatever the job's condition", `
stages:
- stage: stage1
  jobs:
  - job: A
    steps:
      - script: ` + cancelMe + `
- stage: stage2
  jobs:
  - job: B
    condition: eq(variables['Build.SourceBranch'], 'refs/heads/main')
    steps:
      - script: echo 2 >>$SEEN
`, true, map[string]Result{"stage1": Canceled, "stage1/A": Canceled, "stage2": Skipped}, []string{"started"}},
		{"stage example 3: a stage that is skipped runs no step, whatever the step's condition", `
stages:
- stage: stage1
  jobs:
  - job: A
    steps:
      - script: ` + cancelMe + `
- stage: stage2
  jobs:
  - job: B
    steps:
      - script: echo 2 >>$SEEN
        condition: eq(variables['Build.SourceBranch'], 'refs/heads/main')
`, true, map[string]Result{"stage1": Canceled, "stage1/A": Canceled, "stage2": Skipped}, []string{"started"}},
		{"job example 1", `
jobs:
- job: A
  steps:
  - script: ` + cancelMe + `
- job: B
  dependsOn: A
  condition: eq(variables['Build.SourceBranch'], 'refs/heads/main')
  steps:
    - script: echo step 2.1 >>$SEEN
`, true, map[string]Result{"__default": Canceled, "__default/A": Canceled, "__default/B": Succeeded}, []string{"started", "step", "2.1"}},
		{"job example 2", `
jobs:
- job: A
  steps:
  - script: ` + cancelMe + `
- job: B
  dependsOn: A
  steps:
    - script: echo step 2.1 >>$SEEN
      condition: eq(variables['Build.SourceBranch'], 'refs/heads/main')
`, true, map[string]Result{"__default": Canceled, "__default/A": Canceled, "__default/B": Skipped}, []string{"started"}},
		{"step example: 2.3 runs after the cancellation", `
jobs:
- job: A
  steps:
  - script: ` + cancelMe + `
  - script: echo 2.2 >>$SEEN
  - script: echo 2.3 >>$SEEN
    condition: eq(variables['Build.SourceBranch'], 'refs/heads/main')
`, true, map[string]Result{"__default": Canceled, "__default/A": Canceled}, []string{"started", "2.3"}},
		{"a job's default condition is false in a cancelled run, though its stage runs", `
stages:
- stage: A
  jobs:
  - job: J
    steps:
    - script: ` + cancelMe + `
- stage: Revert
  condition: always()
  jobs:
  - job: J
    steps:
    - script: echo reverted >>$SEEN
`, true, map[string]Result{"A": Canceled, "A/J": Canceled, "Revert": Skipped, "Revert/J": Skipped}, []string{"started"}},
		{"always() and failed()", `
jobs:
- job: Foo
  steps:
  - script: exit 1
  - script: echo never >>$SEEN
  - script: echo Hello! >>$SEEN
    condition: always()
- job: Bar
  dependsOn: Foo
  condition: failed()
  steps:
  - script: echo Bar >>$SEEN
- job: Baz
  dependsOn: Foo
  steps:
  - script: echo Baz >>$SEEN
`, false, map[string]Result{"__default": Failed, "__default/Foo": Failed, "__default/Bar": Succeeded, "__default/Baz": Skipped}, []string{"Hello!", "Bar"}},
		{"job c runs though a was skipped", `
jobs:
- job: a
  condition: false
  steps:
  - script: echo Job A >>$SEEN
- job: b
  steps:
  - script: "true"
- job: c
  dependsOn:
  - a
  - b
  condition: |
    and
    (
      in(dependencies.a.result, 'Succeeded', 'SucceededWithIssues', 'Skipped'),
      in(dependencies.b.result, 'Succeeded', 'SucceededWithIssues', 'Skipped')
    )
  steps:
  - script: echo C >>$SEEN
`, false, map[string]Result{"__default": Succeeded, "__default/a": Skipped, "__default/b": Succeeded, "__default/c": Succeeded}, []string{"C"}},
		{"stage B runs whether A is successful or skipped; C by default does not", `
stages:
- stage: A
  condition: false
  jobs:
  - job: A1
    steps:
    - script: echo A1 >>$SEEN
- stage: B
  condition: in(dependencies.A.result, 'Succeeded', 'SucceededWithIssues', 'Skipped')
  jobs:
  - job: B1
    steps:
    - script: echo B1 >>$SEEN
- stage: C
  jobs:
  - job: C1
    steps:
    - script: echo C1 >>$SEEN
`, false, map[string]Result{"A": Skipped, "B": Succeeded, "B/B1": Succeeded, "C": Skipped}, []string{"B1"}},
		{"output variables across jobs and stages; a deployment job's name stands twice", `
stages:
- stage: build
  jobs:
  - deployment: build_job
    environment: Production
    strategy:
      runOnce:
        deploy:
          steps:
          - bash: echo "##vso[task.setvariable variable=runTests;isOutput=true]true"
            name: setRunTests
          - bash: echo $(setRunTests.runTests) $SETRUNTESTS_RUNTESTS >>$SEEN
- stage: test
  dependsOn:
  - 'build'
  condition: eq(dependencies.build.outputs['build_job.build_job.setRunTests.runTests'], 'true')
  jobs:
  - job: run_tests
    condition: eq(stageDependencies.build.build_job.outputs['build_job.setRunTests.runTests'], 'true')
    variables:
      mapped: $[stageDependencies.build.build_job.outputs['build_job.setRunTests.runTests']]
      missing: $[stageDependencies.build.build_job.outputs['setRunTests.runTests']]
    steps:
    - script: echo mapped=$(mapped) missing=$(missing)$MISSING >>$SEEN
- stage: elsewhere
  dependsOn: test
  condition: and(succeeded(), eq(dependencies.build.outputs['build_job.build_job.setRunTests.runTests'], 'true'))
  jobs:
  - job: J
    steps:
    - script: echo never >>$SEEN
`, false, map[string]Result{"build": Succeeded, "build/build_job": Succeeded, "test": Succeeded, "test/run_tests": Succeeded, "elsewhere": Skipped}, []string{"true", "true", "mapped=true", "missing="}},
		{"job output in a condition; variables of a step are for later steps", `
jobs:
- job: A
  steps:
  - bash: echo "##vso[task.setvariable variable=shouldrun;isOutput=true]true"
    name: printvar
  - bash: echo "##vso[task.setvariable variable=doThing]Yes"
  - script: echo "$DOTHING" >>$SEEN
    condition: and(succeeded(), eq(variables['doThing'], 'Yes'))
- job: B
  condition: and(succeeded(), eq(dependencies.A.outputs['printvar.shouldrun'], 'true'))
  dependsOn: A
  steps:
  - script: echo B $DOTHING >>$SEEN
`, false, map[string]Result{"__default": Succeeded, "__default/A": Succeeded, "__default/B": Succeeded}, []string{"Yes", "B"}},
		{"continueOnError: the job succeeds with issues", `
jobs:
- job: A
  steps:
  - script: exit 1
    continueOnError: true
  - script: echo on >>$SEEN
- job: B
  dependsOn: A
  condition: eq(dependencies.A.result,'SucceededWithIssues')
  steps:
  - script: echo B >>$SEEN
`, false, map[string]Result{"__default": SucceededWithIssues, "__default/A": SucceededWithIssues, "__default/B": Succeeded}, []string{"on", "B"}},
		{"succeeded() asks all that came before, not only the last", `
stages:
- stage: A
  jobs: [{job: J, steps: [{script: exit 1}]}]
- stage: B
  condition: always()
  jobs: [{job: J, steps: [{script: "true"}]}]
- stage: C
  jobs: [{job: J, steps: [{script: "true"}]}]
- stage: D
  dependsOn: B
  condition: succeeded('B')
  jobs: [{job: J, steps: [{script: "true"}]}]
- stage: E
  dependsOn: C
  condition: and(failed(), succeededOrFailed(), not(canceled()))
  jobs: [{job: J, steps: [{script: "true"}]}]
`, false, map[string]Result{"A": Failed, "A/J": Failed, "B": Succeeded, "B/J": Succeeded, "C": Skipped, "D": Succeeded, "D/J": Succeeded, "E": Succeeded, "E/J": Succeeded}, nil},
	})
}
