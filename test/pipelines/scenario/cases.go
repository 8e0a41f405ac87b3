package scenario

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/serin-dev/serin/test/pipelines/azure"
)

func path() string { return os.Getenv("PATH") }

// Maker makes a world whose endpoint serves version "0"; without production there is
// none, or none that works.
type Maker func(t *testing.T, production bool) *World

// Cases are all of them, by name.
var Cases = map[string]func(t *testing.T, m Maker){
	"AllGood":           allGood,
	"BrokenImage":       brokenImage,
	"FailsAtTen":        failsAtTen,
	"RejectedAsFailed":  func(t *testing.T, m Maker) { rejected(t, m, azure.Failed) },
	"RejectedAsSkipped": func(t *testing.T, m Maker) { rejected(t, m, azure.Skipped) },
	"ApprovalTimedOut":  timedOut,
	"CancelledInAStep":  cancelledInAStep,
	"CancelledAtAGate":  cancelledAtAGate,
	"PromoteFails":      promoteFails,
	"FailsAfterPromote": failsAfterPromote,
	"FirstVersion":      firstVersion,
	"SecondRunRefused":  secondRunRefused,
	"Superseded":        superseded,
	"PromotedByHand":    promotedByHand,
	"EvidenceForgotten": evidenceForgotten,
	"EndedAtTheGate":    endedAtTheGate,
	"PromotedAtTheGate": promotedAtTheGate,
}

// production makes a world that serves, with clients that ask all the while.
func production(t *testing.T, m Maker) (*World, *clients, time.Time) {
	t.Helper()
	w := m(t, true)
	c := w.clients(t)
	return w, c, time.Now()
}

// skipped are stages that did not run.
func skipped(names ...string) map[string]azure.Result {
	out := map[string]azure.Result{}
	for _, n := range names {
		out[n] = azure.Skipped
	}
	return out
}

func with(m map[string]azure.Result, stage string, r azure.Result) map[string]azure.Result {
	m[stage] = r
	return m
}

func allGood(t *testing.T, m Maker) {
	w, c, began := production(t, m)
	r := newRun(t, w, options{candidate: Good, pack: true}).start().wait()
	r.check(want{stages: skipped("Revert")})
	for stage, weight := range map[string]int{"Shadow": 0, "Percent1": 0, "Percent10": 100, "Percent50": 1000, "Promote": 5000} {
		st, asked := r.atGates.Load(stage)
		if !asked {
			t.Errorf("nobody was asked before stage %s", stage)
			continue
		}
		if got := st.(status).Weights; got.InForceBP != weight || got.PlannedBP != weight {
			t.Errorf("at the gate of %s the candidate has %+v, want %d in force", stage, got, weight)
		}
	}
	st := w.status(t)
	if st.Rollout.Outcome != "Promoted" || st.Rollout.To != r.number || len(st.Rollout.Approvals) != 5 {
		t.Errorf("rollout %+v, want %s promoted with five approvals", st.Rollout, r.number)
	}
	for _, a := range st.Rollout.Approvals {
		if a.OnBehalfOf != approver || a.By == "" || a.EvidenceDigest == "" {
			t.Errorf("approval %+v, want it in the name of %s, by the pipeline, on evidence", a, approver)
		}
	}
	r.checkPacked(st.Stable.Image)
	checkViews(t, r)
	checkEnd(t, w, c, began, r.number)
}

// checkViews: what an approver sees at each gate is there, and fits on one screen.
func checkViews(t *testing.T, r *run) {
	t.Helper()
	seen := map[string]string{}
	for _, s := range r.Summaries {
		if _, more := seen[s.Stage]; !more { // the first one; the comparison's report follows it
			seen[s.Stage] = s.Text
		}
	}
	for stage, says := range map[string]string{"Shadow": "Next gate: step 1%", "Percent1": "Next gate: step 10%", "Percent10": "Next gate: step 50%", "Percent50": "Next gate: step 100%", "Promote": "is in production"} {
		text := seen[stage]
		for _, s := range []string{says, "version 0 → " + r.number, "clients", "errors "} {
			if !strings.Contains(text, s) {
				t.Errorf("summary of %s: want %q in:\n%s", stage, s, text)
			}
		}
		if lines := strings.Count(text, "\n"); lines > 40 {
			t.Errorf("summary of %s has %d lines: no screen shows them", stage, lines)
		}
	}
	for _, says := range []string{">10% ", "10% in force", "agreement", "verdict ", "decides at", "  n ", "http"} {
		if !strings.Contains(seen["Percent10"], says) {
			t.Errorf("summary of Percent10 lacks %q:\n%s", says, seen["Percent10"])
		}
	}
}

func brokenImage(t *testing.T, m Maker) {
	w, c, began := production(t, m)
	r := newRun(t, w, options{candidate: Broken}).start().wait()
	r.check(want{stages: with(skipped("Percent1", "Percent10", "Percent50", "Promote"), "Shadow", azure.Failed), codes: map[string]int{"Shadow/step": 3}})
	checkEnd(t, w, c, began, "0")
}

func failsAtTen(t *testing.T, m Maker) {
	w, c, began := production(t, m)
	r := newRun(t, w, options{
		candidate: Failing, pack: true, variables: map[string]string{"SERIN_SCORER_FLAGS": "--fail-on-missing ps_reg_03"},
		at: map[string]func(){"Percent10": c.missingFromNextStep},
	}).start().wait()
	r.check(want{stages: with(skipped("Percent50", "Promote"), "Percent10", azure.Failed), codes: map[string]int{"Percent10/step": 3}})
	st := w.status(t)
	if st.Rollout.Outcome != "Reverted" {
		t.Errorf("rollout %+v, want it reverted by the judge", st.Rollout)
	}
	debuggable(t, w, r)
	checkEnd(t, w, c, began, "0")
}

// debuggable: after the revert the failed version is still there, for the header only,
// and the summary says how to reach it.
func debuggable(t *testing.T, w *World, r *run) {
	t.Helper()
	text := ""
	for _, s := range r.Summaries {
		text += s.Text
	}
	if !strings.Contains(text, "### Debugging") || !strings.Contains(text, "x-api-version: blue") {
		t.Errorf("no summary says how to debug:\n%s", text)
	}
	st := w.status(t)
	if st.Candidate == nil || st.Candidate.Version != r.number {
		t.Errorf("the failed version is not kept: %+v", st.Candidate)
		return
	}
	r.checkPacked(st.Candidate.Image)
	w.await(t, "the failed version answers to the header", func(status) bool {
		s := w.ask(httpClient, sample, "blue")
		return s.status == 200 && s.revision() == st.Candidate.Name
	})
}

func rejected(t *testing.T, m Maker, as azure.Result) {
	w, c, began := production(t, m)
	r := newRun(t, w, options{candidate: Good, answers: map[string]azure.Answer{"Percent50": azure.Rejected}, rejectedAs: as}).start().wait()
	r.check(want{stages: with(skipped("Promote"), "Percent50", as)})
	reverted(t, w, r)
	checkEnd(t, w, c, began, "0")
}

// reverted: the run's last stage sent the traffic back, in the run's name.
func reverted(t *testing.T, w *World, r *run) {
	t.Helper()
	if st := w.status(t); st.Rollout.To != r.number || st.Rollout.Outcome != "Aborted" || !strings.Contains(st.Rollout.Decision.Message, "buildId=") {
		t.Errorf("rollout %+v, want %s aborted by the run", st.Rollout, r.number)
	}
}

func timedOut(t *testing.T, m Maker) {
	w, c, began := production(t, m)
	// The API is away when the revert begins.
	away := sabotage("Revert", "status", `n=$(cat "$0.n" 2>/dev/null || echo 0); echo $((n + 1)) >"$0.n"; if [[ $n -lt 2 ]]; then echo "no answer" >&2; exit 1; fi`)
	r := newRun(t, w, options{candidate: Good, answers: map[string]azure.Answer{"Percent50": azure.TimedOut}, program: away}).start().wait()
	r.check(want{stages: skipped("Percent50", "Promote")})
	reverted(t, w, r)
	checkEnd(t, w, c, began, "0")
}

func cancelledInAStep(t *testing.T, m Maker) {
	w, c, began := production(t, m)
	r := newRun(t, w, options{candidate: Good}).start()
	w.await(t, "step 1%", func(s status) bool { return s.Rollout != nil && s.Rollout.StepName == "1%" })
	r.Cancel()
	r.wait().check(want{stages: with(skipped("Percent10", "Percent50", "Promote"), "Percent1", azure.Canceled), codes: map[string]int{"Percent1/step": 1}})
	reverted(t, w, r)
	checkEnd(t, w, c, began, "0")
}

func cancelledAtAGate(t *testing.T, m Maker) {
	w, c, began := production(t, m)
	var r *run
	r = newRun(t, w, options{candidate: Good, at: map[string]func(){"Percent10": func() { r.Cancel() }}})
	r.start().wait().check(want{stages: with(skipped("Percent50", "Promote"), "Percent10", azure.Canceled)})
	reverted(t, w, r)
	checkEnd(t, w, c, began, "0")
}

// sabotage does something before serin runs a verb in a stage.
func sabotage(stage, verb, then string) string {
	return `#!/usr/bin/env bash
if [[ $SYSTEM_STAGENAME == ` + stage + ` && $1 == ` + verb + ` ]]; then
	` + then + `
fi
exec SERIN "$@"
`
}

func promoteFails(t *testing.T, m Maker) {
	w, c, began := production(t, m)
	r := newRun(t, w, options{candidate: Good, program: sabotage("Promote", "approve", "exit 1")}).start().wait()
	r.check(want{stages: with(map[string]azure.Result{}, "Promote", azure.Failed), codes: map[string]int{"Promote/step": 1}})
	reverted(t, w, r)
	checkEnd(t, w, c, began, "0")
}

// failsAfterPromote: the version is in production when its stage fails: it is rolled back.
func failsAfterPromote(t *testing.T, m Maker) {
	w, c, began := production(t, m)
	r := newRun(t, w, options{candidate: Good, program: sabotage("Promote", "wait", `[[ " $* " == *" --step "* ]] || { SERIN "$@" >/dev/null; exit 1; }`)}).start().wait()
	r.check(want{stages: with(map[string]azure.Result{}, "Promote", azure.Failed), codes: map[string]int{"Promote/step": 1}})
	if st := w.status(t); st.Rollout.Outcome != "RolledBack" {
		t.Errorf("rollout %+v, want it rolled back", st.Rollout)
	}
	checkEnd(t, w, c, began, "0")
}

// firstVersion: there is nothing to compare with: it serves when it is ready, nobody is
// asked for what is left, and nothing is reverted.
func firstVersion(t *testing.T, m Maker) {
	w := m(t, false)
	r := newRun(t, w, options{candidate: Good, pack: true}).start().wait()
	r.check(want{stages: skipped("Percent1", "Percent10", "Percent50", "Promote")})
	c, began := w.clients(t), time.Now()
	st := w.status(t)
	if st.Rollout.Outcome != "Promoted" || st.Rollout.From != "" {
		t.Errorf("rollout %+v, want the first version in production", st.Rollout)
	}
	r.checkPacked(st.Stable.Image)
	checkEnd(t, w, c, began, r.number)
}

func secondRunRefused(t *testing.T, m Maker) {
	w, c, began := production(t, m)
	var second *run
	locks := &azure.Locks{}
	first := newRun(t, w, options{candidate: Good, locks: locks, at: map[string]func(){"Percent10": func() {
		second = newRun(t, w, options{candidate: Good, locks: locks}).start()
		_ = second.Wait()
	}}}).start().wait()
	first.second(second, "Percent10").check(want{stages: with(skipped("Percent1", "Percent10", "Percent50", "Promote"), "Shadow", azure.Failed), codes: map[string]int{"Shadow/start": 6}})
	first.check(want{stages: skipped("Revert")})
	checkEnd(t, w, c, began, first.number)
}

// superseded: the team wants the newest: the run before finds its rollout ended, and its
// revert leaves the other one alone.
func superseded(t *testing.T, m Maker) {
	w, c, began := production(t, m)
	newest := options{candidate: Good, variables: map[string]string{"SERIN_IN_FLIGHT": "supersede"}}
	var second *run
	o := newest
	o.at = map[string]func(){"Percent10": func() {
		asked := make(chan struct{})
		n := newest
		n.at = map[string]func(){"Percent1": func() { close(asked) }}
		second = newRun(t, w, n).start()
		second.awaitGate("Percent1", asked)
	}}
	first := newRun(t, w, o).start().wait()
	first.check(want{stages: with(skipped("Percent50", "Promote"), "Percent10", azure.Failed), codes: map[string]int{"Percent10/step": 3}})
	first.second(second, "Percent10").check(want{stages: skipped("Revert")})
	checkEnd(t, w, c, began, second.number)
}

// promotedByHand: a person promotes while the pipeline waits: no gate is left, and the
// revert does not undo it.
func promotedByHand(t *testing.T, m Maker) {
	w, c, began := production(t, m)
	r := newRun(t, w, options{candidate: Good, at: map[string]func(){"Percent10": func() { w.do(t, "promote", "--reason", "enough seen") }}}).start().wait()
	r.check(want{stages: skipped("Percent50", "Promote")})
	checkEnd(t, w, c, began, r.number)
}

// VerbsOnly is the variant for a team without rights of its own: it names an image, and
// signs in by a Kubernetes service connection.
func VerbsOnly(t *testing.T, m Maker) {
	w, c, began := production(t, m)
	r := newRun(t, w, options{file: "azure-pipelines-verbs.yml", candidate: Good, variables: map[string]string{"SERIN_AKS": ""}, parameters: map[string]string{"image": w.Image(Good)}}).start().wait()
	r.check(want{stages: skipped("Revert")})
	if called(t, r.calls, "az ") {
		t.Error("the variant spoke to Azure")
	}
	checkEnd(t, w, c, began, r.number)
}

// evidenceForgotten: the controller was restarted since it showed the evidence: the
// approval stands on what is there now, and says so.
func evidenceForgotten(t *testing.T, m Maker) {
	w, c, began := production(t, m)
	forget := sabotage("Percent10", "approve", `args=(); for a in "$@"; do if [[ ${last:-} == --evidence ]]; then a=00ff00ff00ff; fi; args+=("$a"); last=$a; done; set -- "${args[@]}"`)
	r := newRun(t, w, options{candidate: Good, program: forget}).start().wait()
	r.check(want{stages: skipped("Revert")})
	for _, a := range w.status(t).Rollout.Approvals {
		if a.EvidenceDigest == "00ff00ff00ff" || a.EvidenceDigest == "" {
			t.Errorf("approval %+v: on evidence that nobody was shown", a)
		}
	}
	checkEnd(t, w, c, began, r.number)
}

// justBefore lets somebody run a verb in the moment in which the stage of 10 % approves.
func justBefore(verb string) string {
	return sabotage("Percent10", "approve", `args=(); for a in "${@:2}"; do case $a in --namespace | --endpoint) args+=("$a"); take=1 ;; *) if [[ -n ${take:-} ]]; then args+=("$a"); take=; fi ;; esac; done; SERIN `+verb+` "${args[@]}" >&2`)
}

// promotedAtTheGate: a person promotes while its stage begins: that is no failure, and nothing is reverted.
func promotedAtTheGate(t *testing.T, m Maker) {
	w, c, began := production(t, m)
	r := newRun(t, w, options{candidate: Good, program: justBefore("promote --reason seen")}).start().wait()
	r.check(want{stages: skipped("Percent50", "Promote")})
	checkEnd(t, w, c, began, r.number)
}

// endedAtTheGate: the rollout ends while its stage begins: the stage says so, with the
// exit code of a revert.
func endedAtTheGate(t *testing.T, m Maker) {
	w, c, began := production(t, m)
	r := newRun(t, w, options{candidate: Good, program: justBefore("abort")}).start().wait()
	r.check(want{stages: with(skipped("Percent50", "Promote"), "Percent10", azure.Failed), codes: map[string]int{"Percent10/step": 3}})
	checkEnd(t, w, c, began, "0")
}
