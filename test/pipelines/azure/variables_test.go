package azure

import (
	"strings"
	"testing"
)

// TestVariablesOfTheDocumentation are the examples of "Conditions" and "Deployment jobs" that turn on what a variable, a
// parameter or an output is at that moment.
func TestVariablesOfTheDocumentation(t *testing.T) {
	carryOut(t, []example{
		{"a variable that is a runtime expression, in a condition", `
variables:
  isMain: $[eq(variables['Build.SourceBranch'], 'refs/heads/main')]
stages:
- stage: A
  jobs:
  - job: A1
    steps:
      - script: "true"
- stage: B
  condition: and(succeeded(), eq(variables.isMain, true))
  jobs:
  - job: B1
    condition: and(succeeded(), eq(variables.isMain, true))
    steps:
      - script: echo $(isMain) >>$SEEN
`, false, map[string]Result{"A": Succeeded, "A/A1": Succeeded, "B": Succeeded, "B/B1": Succeeded}, []string{"True"}},
		{"a job's own runtime expression cannot be used in its condition", `
jobs:
- job: A
  variables:
    isMain: $[eq(variables['Build.SourceBranch'], 'refs/heads/main')]
  condition: eq(variables.isMain, true)
  steps:
  - script: echo never >>$SEEN
`, false, map[string]Result{"__default": Skipped, "__default/A": Skipped}, nil},
		{"a static variable, one of compile time, one of run time", `
variables:
  staticVar: 'my value' # static variable
  compileVar: ${{ variables.staticVar }} # compile time expression
  isMain: $[eq(variables['Build.SourceBranch'], 'refs/heads/main')] # runtime expression
jobs:
- job: A
  steps:
  - script: |
      echo ${{variables.staticVar}} >>$SEEN # outputs my value
      echo $(compileVar) >>$SEEN # outputs my value
      echo $(isMain) >>$SEEN # outputs True
`, false, map[string]Result{"__default": Succeeded, "__default/A": Succeeded}, strings.Fields("my value my value True")},
		{"an empty variable", `
variables:
- name: testEmpty
  value: ''
jobs:
- job: A
  condition: eq(variables.testEmpty, '')
  steps:
  - script: echo blank >>$SEEN
`, false, map[string]Result{"__default": Succeeded, "__default/A": Succeeded}, []string{"blank"}},
		{"a parameter in a condition", `
parameters:
- name: doThing
  default: true
  type: boolean
jobs:
- job: A
  steps:
  - script: echo I did a thing >>$SEEN
    condition: and(succeeded(), ${{ eq(parameters.doThing, true) }})
  - script: echo I did not >>$SEEN
    condition: and(succeeded(), eq('${{ parameters.doThing }}', false))
`, false, map[string]Result{"__default": Succeeded, "__default/A": Succeeded}, []string{"I", "did", "a", "thing"}},
		{"the table of conditions, after a job that failed", `
jobs:
- job: before
  steps: [{script: exit 1}]
- {job: main, dependsOn: before, condition: "eq(variables['Build.SourceBranch'], 'refs/heads/main')", steps: [{script: "true"}]}
- {job: mainIfGood, dependsOn: before, condition: "and(succeeded(), eq(variables['Build.SourceBranch'], 'refs/heads/main'))", steps: [{script: "true"}]}
- {job: notMain, dependsOn: before, condition: "and(succeeded(), ne(variables['Build.SourceBranch'], 'refs/heads/main'))", steps: [{script: "true"}]}
- {job: users, dependsOn: before, condition: "and(succeeded(), startsWith(variables['Build.SourceBranch'], 'refs/heads/users/'))", steps: [{script: "true"}]}
- {job: ci, dependsOn: before, condition: "and(succeeded(), in(variables['Build.Reason'], 'IndividualCI', 'BatchedCI'))", steps: [{script: "true"}]}
- {job: pr, dependsOn: before, condition: "and(failed(), eq(variables['Build.Reason'], 'PullRequest'))", steps: [{script: "true"}]}
- {job: scheduled, dependsOn: before, condition: "eq(variables['Build.Reason'], 'Schedule')", steps: [{script: "true"}]}
- {job: debug, dependsOn: before, condition: "eq(variables['System.debug'], true)", steps: [{script: "true"}]}
`, false, map[string]Result{
			"__default": Failed, "__default/before": Failed, "__default/main": Succeeded, "__default/mainIfGood": Skipped, "__default/notMain": Skipped, "__default/users": Skipped,
			"__default/ci": Skipped, "__default/pr": Succeeded, "__default/scheduled": Skipped, "__default/debug": Succeeded,
		}, nil},
		{"deployment jobs: an output within the stage", `
stages:
- stage: StageA
  jobs:
  - deployment: A
    environment: staging
    strategy:
      runOnce:
        deploy:
          steps:
          - bash: echo "##vso[task.setvariable variable=myOutputVar;isOutput=true]this is the deployment variable value"
            name: setvarStep
          - bash: echo $(setvarStep.myOutputVar) >>$SEEN
  - job: B
    dependsOn: A
    variables:
      myVarFromDeploymentJob: $[ dependencies.A.outputs['A.setvarStep.myOutputVar'] ]
    steps:
    - script: "echo $(myVarFromDeploymentJob) >>$SEEN"
`, false, map[string]Result{"StageA": Succeeded, "StageA/A": Succeeded, "StageA/B": Succeeded}, strings.Fields("this is the deployment variable value this is the deployment variable value")},
		{"deployment jobs: a stage's condition, and its variable, from another stage", `
stages:
- stage: StageA
  jobs:
  - job: A1
    steps:
      - bash: echo "##vso[task.setvariable variable=RunStageB;isOutput=true]true"
        name: setvarStep
- stage: StageB
  dependsOn:
    - StageA
  condition: eq(dependencies.StageA.outputs['A1.setvarStep.RunStageB'], 'true')
  variables:
    myOutputVar: $[stageDependencies.StageA.A1.outputs['setvarStep.RunStageB']]
  jobs:
  - deployment: B1
    environment: envB
    strategy:
      runOnce:
        deploy:
          steps:
          - bash: echo $(myOutputVar) >>$SEEN
`, false, map[string]Result{"StageA": Succeeded, "StageA/A1": Succeeded, "StageB": Succeeded, "StageB/B1": Succeeded}, []string{"true"}},
	})
}
