package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// startDemo serves v1 with traffic until the test ends.
func startDemo(t *testing.T) (*demo, *bytes.Buffer) {
	t.Helper()
	folder, err := demoFolder()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	log := &bytes.Buffer{}
	d := &demo{stdio: IO{Out: log, Err: log}, folder: folder, sum: newTally()}
	t.Cleanup(d.close)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := d.start(ctx); err != nil {
		t.Fatal(err)
	}
	return d, log
}

// TestPromise3 runs real scorers behind the real gateway: a version that answers
// nothing but errors is reverted without a person, with a stated reason, after a
// median of at most 5 failed requests, and with fallback no client sees one.
func TestPromise3VersionThatFailsIsRevertedWithoutAPerson(t *testing.T) {
	d, log := startDemo(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var failed []int
	for i := range 5 {
		broken := demoTrials[1] // a version of its own each time: one that failed is not tried again
		broken.name = fmt.Sprintf("broken-%d", i)
		broken.scorer = strings.Replace(broken.scorer, "--fail-all", fmt.Sprintf("--fail-all, --timeout, %ds", 30+i), 1)
		r, err := d.try(ctx, broken)
		if err != nil {
			t.Fatalf("%v\n%s", err, log.String())
		}
		if r.Outcome != "Reverted" || r.Reason == "" || r.FellBack == 0 {
			t.Errorf("outcome %s (%s), %d fell back; want Reverted with a reason after some", r.Outcome, r.Reason, r.FellBack)
		}
		failed = append(failed, r.FellBack)
	}
	d.stopTraffic()
	slices.Sort(failed)
	if failed[len(failed)/2] > 5 {
		t.Errorf("failed requests of the broken version until its revert: %v, want a median of at most 5", failed)
	}
	if d.sum.Failed != 0 {
		t.Errorf("%d requests failed for clients, want none: %v", d.sum.Failed, d.sum.ByStatus)
	}
}

// TestDemo runs the whole main job, from an empty folder and with nothing on the
// PATH: what it prints as JSON is what scripts check.
func TestDemo(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("PATH", "")
	code, out, errs := run(t, "demo", "-o", "json")
	if code != ExitDone {
		t.Fatalf("exit code %d:\n%s", code, errs)
	}
	var s demoSummary
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if !s.OK || s.Requests.Serin != 0 || len(s.Trials) != len(demoTrials) {
		t.Errorf("ok %v, %d failed because of Serin, %d rollouts; want ok, none and %d", s.OK, s.Requests.Serin, len(s.Trials), len(demoTrials))
	}
	for i, r := range s.Trials {
		want := demoTrials[i]
		if r.Outcome != want.want || want.shadow && want.want == "Reverted" && (r.Step != "shadow" || r.Exposed != 0) {
			t.Errorf("%s: %s at step %s after %d requests; want %s, in shadow if there is one", r.Version, r.Outcome, r.Step, r.Exposed, want.want)
		}
		if r.Failed != 0 && want.fallback != "None" {
			t.Errorf("%s: %d requests failed for clients, want none", r.Version, r.Failed)
		}
	}
	// Two columns swapped: by disagreement and by shift, both beyond what reverts (80 and
	// 10 %). Their evidence is added up; which has most of it at the revert is chance.
	var failed bool
	for name, beyond := range map[string]func(float64) bool{
		"agreement": func(v float64) bool { return v < .8 },
		"mean":      func(v float64) bool { return v > .1 },
	} {
		i := slices.IndexFunc(s.Trials[0].Metrics, func(m demoMetric) bool { return m.Name == name })
		if i < 0 {
			t.Errorf("swapped: %+v; want %s shown", s.Trials[0].Metrics, name)
			continue
		}
		m := s.Trials[0].Metrics[i]
		failed = failed || m.Outcome == "Fail"
		if !beyond(m.Value) {
			t.Errorf("swapped: %s is %g, want it beyond what reverts: %s", name, m.Value, m.Message)
		}
	}
	if !failed {
		t.Errorf("swapped: %+v; want one of them to fail", s.Trials[0].Metrics)
	}
}
