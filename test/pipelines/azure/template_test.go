package azure

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// files writes files into a folder and returns the first one's path.
func files(t *testing.T, texts ...string) string {
	t.Helper()
	folder := t.TempDir()
	for i := 0; i < len(texts); i += 2 {
		if err := os.WriteFile(filepath.Join(folder, texts[i]), []byte(texts[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(folder, texts[0])
}

func scripts(t *testing.T, file string, parameters map[string]string) (out []string) {
	t.Helper()
	p, err := Load(file, parameters)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Stages {
		for _, j := range s.Jobs {
			for _, x := range j.Steps {
				out = append(out, x.Inputs["script"])
			}
		}
	}
	return out
}

// TestTemplatesOfTheDocumentation are the page's examples of each, if, elseif and else, and of parameters.
func TestTemplatesOfTheDocumentation(t *testing.T) {
	for _, c := range []struct {
		name, text string
		parameters map[string]string
		want       []string
	}{
		{"each over a list", "parameters:\n- name: listOfStrings\n  type: object\n  default:\n  - one\n  - two\njobs:\n- job: A\n  steps:\n  - ${{ each value in parameters.listOfStrings }}:\n    - script: echo ${{ value }}\n", nil, []string{"echo one", "echo two"}},
		{"each within each", "parameters:\n- name: listOfFruits\n  type: object\n  default:\n  - fruitName: 'apple'\n    colors: ['red','green']\n  - fruitName: 'lemon'\n    colors: ['yellow']\njobs:\n- job: A\n  steps:\n  - ${{ each fruit in parameters.listOfFruits }} :\n    - ${{ each fruitColor in fruit.colors}} :\n      - script: echo ${{ fruit.fruitName}} ${{ fruitColor }}\n", nil, []string{"echo apple red", "echo apple green", "echo lemon yellow"}},
		{"elseif", "parameters:\n- {name: foo, type: string, default: contoso}\njobs:\n- job: A\n  steps:\n  - script: echo \"start\"\n  - ${{ if eq(parameters.foo, 'adaptum') }}:\n    - script: echo \"this is adaptum\"\n  - ${{ elseif eq(parameters.foo, 'contoso') }}:\n    - script: echo \"this is contoso\"\n  - ${{ else }}:\n    - script: echo \"neither\"\n", nil, []string{"echo \"start\"", "echo \"this is contoso\""}},
		{"else", "parameters:\n- {name: foo, type: string, default: contoso}\njobs:\n- job: A\n  steps:\n  - ${{ if eq(parameters.foo, 'adaptum') }}:\n    - script: echo a\n  - ${{ elseif eq(parameters.foo, 'contoso') }}:\n    - script: echo c\n  - ${{ else }}:\n    - script: echo neither\n", map[string]string{"foo": "x"}, []string{"echo neither"}},
		{"input by a condition", "parameters:\n- {name: main, type: boolean, default: true}\njobs:\n- job: A\n  steps:\n  - task: Bash@3\n    inputs:\n      ${{ if eq(parameters.main, true) }}:\n        script: prod\n      ${{ else }}:\n        script: dev\n", map[string]string{"main": "False"}, []string{"dev"}},
		{"list of steps as a parameter", "parameters:\n- name: more\n  type: stepList\n  default: [{script: one}, {script: two}]\njobs:\n- job: A\n  steps:\n  - ${{ parameters.more }}\n  - script: three\n", nil, []string{"one", "two", "three"}},
		{"each over a mapping", "parameters:\n- name: m\n  type: object\n  default: {b: 1, a: 2}\njobs:\n- job: A\n  steps:\n  - ${{ each p in parameters.m }}:\n    - script: ${{ p.key }}=${{ p.value }}\n", nil, []string{"b=1", "a=2"}},
	} {
		if diff := cmp.Diff(c.want, scripts(t, files(t, "p.yml", c.text), c.parameters)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestTemplateFiles(t *testing.T) {
	file := files(t, "p.yml", "jobs:\n- template: jobs.yml\n  parameters: {names: [a, b], n: 3}\n", "jobs.yml",
		"parameters:\n- {name: names, type: object}\n- {name: n, type: number}\njobs:\n- ${{ each x in parameters.names }}:\n  - job: ${{ x }}\n    steps:\n    - template: steps.yml\n      parameters: {text: '${{ x }}${{ parameters.n }}'}\n",
		"steps.yml", "parameters:\n- {name: text, type: string}\nsteps:\n- bash: ${{ parameters.text }}\n")
	if diff := cmp.Diff([]string{"a3", "b3"}, scripts(t, file, nil)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestVariablesByCondition: the branches of a condition are one, also among variables.
func TestVariablesByCondition(t *testing.T) {
	file := files(t, "p.yml", "parameters:\n- {name: main, type: boolean}\nvariables:\n  ${{ if parameters.main }}:\n    stage: prod\n  ${{ else }}:\n    stage: dev\njobs:\n- job: A\n  steps:\n  - script: ${{ variables.stage }}\n")
	for main, want := range map[string]string{"true": "prod", "false": "dev"} {
		if got := scripts(t, file, map[string]string{"main": main}); len(got) != 1 || got[0] != want {
			t.Errorf("main %s: %q, want %q", main, got, want)
		}
	}
}

// TestInsertion is the page's example of ${{ insert }}.
func TestInsertion(t *testing.T) {
	file := files(t, "p.yml", "jobs:\n- template: jobs.yml\n  parameters: {additionalVariables: {TEST_SUITE: 'L0,L1'}}\n",
		"jobs.yml", "parameters:\n- {name: additionalVariables, type: object, default: {}}\njobs:\n- job: build\n  variables:\n    configuration: debug\n    ${{ insert }}: ${{ parameters.additionalVariables }}\n  steps:\n  - script: x\n")
	p, err := Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Variable{{"configuration", "debug"}, {"TEST_SUITE", "L0,L1"}}, p.Stages[0].Jobs[0].Variables); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestWhatIsRefused: nothing that this interpreter does not know is passed over.
func TestWhatIsRefused(t *testing.T) {
	job := "jobs:\n- job: A\n  steps:\n"
	for text, says := range map[string]string{
		job + "  - script: x\n    retries: 3\n":                                                                       `property "retries"`,
		job + "  - powershell: x\n":                                                                                   "not known",
		job + "  - template: none.yml\n":                                                                              "none.yml",
		job + "  - script: ${{ parameters.x }}\n":                                                                     "key not found",
		job + "  - script: ${{ if }}\n":                                                                               "expression",
		job + "  - ${{ else }}:\n    - script: x\n":                                                                   "without an if",
		job + "  - script: a ${{ x\n":                                                                                 "does not end",
		"parameters:\n- {name: x, type: string}\n" + job + "  - script: x\n":                                          "must be given",
		"parameters:\n- {name: x, type: number, default: y}\n" + job + "  - script: x\n":                              "no number",
		"parameters:\n- {name: x, type: string, values: [a], default: b}\n" + job + "  - script: x\n":                 "not one of",
		"jobs:\n- job: A\n  strategy: {matrix: {}}\n  steps:\n  - script: x\n":                                        "strategy",
		"jobs:\n- deployment: A\n  environment: e.cluster\n  strategy: {runOnce: {deploy: {steps: [{script: x}]}}}\n": "resources of an environment",
		"jobs:\n- deployment: A\n  environment: e\n  strategy: {canary: {}}\n":                                        `property "canary"`,
		"stages:\n- stage: A\n  dependsOn: B\n  jobs:\n  - job: J\n    steps: [{script: x}]\n":                        "not before it",
		"stages:\n- stage: A\n  jobs:\n  - job: J\n    steps: [{script: x}]\n- stage: A\n  jobs: []\n":                "twice",
		"jobs:\n- job: A\n  dependsOn: B\n  steps: [{script: x}]\n":                                                   "not before it",
		"jobs:\n- job: A\n  steps: []\n":                                                                              "no steps",
		"jobs:\n- job: A\n  steps:\n  - script: x\n    script: y\n":                                                   "twice",
		"jobs:\n- job: A\n  steps:\n  - &a\n    script: x\n  - *a\n":                                                  "anchors",
	} {
		if _, err := Load(files(t, "p.yml", text), nil); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v; want an error with %q of\n%s", err, says, text)
		}
	}
	if _, err := Load(files(t, "p.yml", job+"  - script: x\n"), map[string]string{"y": "1"}); err == nil || !strings.Contains(err.Error(), "unexpected parameter") {
		t.Errorf("a parameter that is not declared: %v", err)
	}
}
