package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/rollout"
)

// TestScorerFieldsOfAPipeline: image and version take the place of what is there,
// and a version that looks like a number stays a text.
func TestScorerFieldsOfAPipeline(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"replaced", "spec:\n    scorer: {version: \"1\", image: old, port: 80}\n", "spec:\n    scorer: {version: \"20261125.3\", image: 'r/m@sha256:00', port: 80}\n"},
		{"added", "spec:\n    scorer: # the team's\n        port: 80\n", "spec:\n    scorer: # the team's\n        port: 80\n        version: \"20261125.3\"\n        image: r/m@sha256:00\n"},
	} {
		got, err := scorerFields{image: "r/m@sha256:00", version: "20261125.3"}.into([]byte(c.text))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	for _, text := range []string{"spec: {}", "spec: {scorer: none}", "a: [", ""} {
		if _, err := (scorerFields{version: "1"}).into([]byte(text)); err == nil {
			t.Errorf("%q took a version", text)
		}
	}
	if got, err := (scorerFields{}).into([]byte("a: [")); err != nil || string(got) != "a: [" {
		t.Errorf("nothing to set changed the text: %q %v", got, err)
	}
}

// TestApplyBehindGates: a plan with a step that a pipeline does not gate is refused
// before anything is changed; otherwise apply says which rollout it began.
func TestApplyBehindGates(t *testing.T) {
	l := serveLive(t, document("1", ""))
	open := l.write("open.yaml", document("2", ""), 0o600)
	gates := l.write("gates.yaml", document("2", "    approval: EveryStep\n"), 0o600)
	refused := func(says string, args ...string) {
		t.Helper()
		if code, out, errs := run(t, l.as("", append([]string{"apply"}, args...)...)...); code != ExitUsage || !strings.Contains(errs, says) {
			t.Errorf("apply %v: exit code %d, want %d and %q in: %s%s", args, code, ExitUsage, says, out, errs)
		}
	}
	refused("step second asks for no approval", "-f", open, "--gates", "first,second,100%")
	refused("--gates names first,100%", "-f", gates, "--gates", "first,100%")
	if st := l.status("the first version serves", func(engine.Status) bool { return true }); st.Rollout.To != "1" {
		t.Fatalf("a refused document started %s", st.Rollout.ID)
	}
	var r engine.ApplyResult
	for _, newVersion := range []bool{true, false} { // again: the same rollout, not another
		code, out, errs := run(t, l.as("", "apply", "-f", gates, "--gates", "first,second,100%", "--version", "20261125.3", "-o", "json")...)
		if err := json.Unmarshal([]byte(out), &r); err != nil || code != ExitDone || r.Rollout != "m-2" || r.Version != "20261125.3" || r.NewVersion != newVersion || len(r.Steps) != 3 {
			t.Fatalf("exit code %d, %v: %+v %s", code, err, r, errs)
		}
	}
}

// TestAbortIfRunning: what a pipeline's last stage asks may have been done long ago,
// or be about another run's rollout: then nothing is touched.
func TestAbortIfRunning(t *testing.T) {
	l := serveLive(t, document("1", ""))
	v2 := l.write("v2.yaml", document("2", ""), 0o600)
	if code, _, errs := run(t, l.as("", "apply", "-f", v2)...); code != ExitDone {
		t.Fatal(errs)
	}
	abort := func(id string, want int, says string) {
		t.Helper()
		code, out, errs := run(t, l.as("", "abort", "--if-running", "--rollout", id)...)
		if code != want || !strings.Contains(out+errs, says) {
			t.Errorf("abort --if-running --rollout %q: exit code %d, want %d and %q in: %s%s", id, code, want, says, out, errs)
		}
	}
	abort("", ExitUsage, "--rollout ID")
	abort("m-1", ExitDone, "nothing to do")
	if st := l.status("still running", func(engine.Status) bool { return true }); st.Rollout.Outcome != "" {
		t.Fatalf("another's abort ended it: %s", st.Rollout.Outcome)
	}
	abort("m-2", ExitDone, "aborted by")
	abort("m-2", ExitDone, "nothing to do")
	if st := l.status("the end", func(s engine.Status) bool { return s.Rollout.Outcome != "" }); st.Rollout.Outcome != string(rollout.Aborted) {
		t.Errorf("outcome %s", st.Rollout.Outcome)
	}
	if code, _, _ := run(t, l.as("watcher", "abort", "--if-running", "--rollout", "m-2")...); code != ExitForbidden {
		t.Errorf("somebody who may not abort: exit code %d, want %d", code, ExitForbidden)
	}
}

// TestStatusMarkdown: a pipeline's summary shows what an approver has to see.
func TestStatusMarkdown(t *testing.T) {
	st := onTrial()
	page := statusMarkdown(st, "--namespace abtesting")
	for _, says := range []string{"```text\nsafe-driver-2 of safe-driver: version 1 → 2", "Waits for approval of step 50%", "serin approve --namespace abtesting --rollout safe-driver-2", "agreement"} {
		if !strings.Contains(page, says) {
			t.Errorf("want %q in:\n%s", says, page)
		}
	}
	st.Rollout = nil
	if page := statusMarkdown(st, ""); !strings.Contains(page, "No rollout has run") {
		t.Errorf("nothing has run: %s", page)
	}
}
