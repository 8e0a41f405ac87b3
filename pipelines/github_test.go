package pipelines_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// done is what became of a job.
type done struct {
	result, log, summary string
	outputs              map[string]string
}

// ship carries out serin-ship.yml, but for the build. gate says which jobs the
// reviewers let in; nil: all.
func (w *team) ship(version string, gate func(job string) bool) map[string]done {
	w.t.Helper()
	flow, _ := read(w.t, "serin-ship.yml")
	number, attempt, _ := strings.Cut(version, ".")
	image := map[string]string{"image": "registry.example/m@sha256:" + strings.Repeat("0", 64)}
	all := map[string]done{"build": {result: "success", outputs: image}}
	for _, name := range []string{"shadow", "percent1", "percent10", "percent50", "promote", "revert"} {
		j := flow.Jobs[name]
		v := values{"github.run_number": number, "github.run_attempt": attempt}
		succeeded := true
		for _, n := range needed(j) {
			before := all[n]
			v["needs."+n+".result"] = before.result
			for k, x := range before.outputs {
				v["needs."+n+".outputs."+k] = x
			}
			succeeded = succeeded && before.result == "success"
		}
		runs := succeeded || strings.Contains(j.If, "always()")
		if runs && j.If != "" {
			runs = truth(v.fill(w.t, j.If))
		}
		if !runs {
			all[name] = done{result: "skipped"}
			continue
		}
		inputs := values{}
		for k, x := range j.With {
			inputs["inputs."+k] = v.fill(w.t, x)
		}
		all[name] = w.called(filepath.Base(j.Uses), inputs, gate == nil || gate(name))
	}
	return all
}

func needed(j job) (out []string) {
	if one, ok := j.Needs.(string); ok {
		return []string{one}
	}
	list, _ := j.Needs.([]any)
	for _, n := range list {
		out = append(out, fmt.Sprint(n))
	}
	return out
}

// called carries out the job of a reusable workflow.
func (w *team) called(file string, v values, letIn bool) (d done) {
	w.t.Helper()
	flow, _ := read(w.t, file)
	if len(flow.Jobs) != 1 {
		w.t.Fatalf("%s has %d jobs", file, len(flow.Jobs))
	}
	v["inputs.scripts"], v["inputs.environment"], v["inputs.timeout"] = "scripts", "abtestenv", "2m" // their defaults, but for the time
	for _, j := range flow.Jobs {
		if j.Environment != "" && !letIn {
			return done{result: "failure", log: "refused by the reviewers"}
		}
		d.result, d.outputs = "success", map[string]string{}
		for _, s := range j.Steps {
			if s.Uses != "" || d.result != "success" || s.If != "" && !truth(v.fill(w.t, s.If)) {
				continue
			}
			w.step(j, s, v, &d)
		}
		for k, x := range j.Outputs {
			d.outputs[k] = v.fill(w.t, x)
		}
	}
	return d
}

func (w *team) step(j job, s step, v values, d *done) {
	w.t.Helper()
	folder, err := os.MkdirTemp(w.folder, "step")
	if err != nil {
		w.t.Fatal(err)
	}
	output, summary := filepath.Join(folder, "output"), filepath.Join(folder, "summary")
	env := []string{"GITHUB_ACTIONS=true", "GITHUB_OUTPUT=" + output, "GITHUB_STEP_SUMMARY=" + summary, "GITHUB_REPOSITORY=team/repo", "GITHUB_RUN_ID=1", "GITHUB_SERVER_URL=https://github.example"}
	for _, from := range []map[string]string{j.Env, s.Env} {
		for k, x := range from {
			if k != "SERIN_DOCUMENT" { // it lies in the team's folder
				env = append(env, k+"="+v.fill(w.t, x))
			}
		}
	}
	code, out := w.run(env, "bash", "-eo", "pipefail", "-c", s.Run)
	d.log += fmt.Sprintf("--- %s: exit code %d\n%s", s.Name, code, out)
	if code != 0 {
		d.result = "failure"
	}
	text, _ := os.ReadFile(summary) // not every step writes one
	d.summary += string(text)
	text, _ = os.ReadFile(output)
	for _, line := range strings.Split(string(text), "\n") {
		if k, x, ok := strings.Cut(line, "="); ok {
			v["steps."+s.ID+".outputs."+k] = x
		}
	}
}
