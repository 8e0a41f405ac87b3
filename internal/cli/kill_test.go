package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/rollout"
)

const (
	killsDefault = 20 // SERIN_KILLS asks for another number
	killRows     = "ps_reg_03"
)

// killDocument decides fast: this test is about what is kept, not about judging.
const killDocument = `apiVersion: serin.dev/v1alpha1
kind: ScoringEndpoint
metadata: {name: ep}
spec:
  scorer: {version: %q, local: %s}
  traffic: {listen: %q, fallback: Stable, timeout: 60s, candidateTimeout: 20s}
  rollout: {steps: [%s], minRequests: 20, warmup: 0s, keepFailed: 30s, keepOld: 60s}
  judge:
    errors: {revertAbove: 1.5x, promoteBelow: 4x, orWithin: 5pp}
    latency: {revertAbove: 50x, promoteBelow: 100x, at: [p50]}
    agreement: {tolerance: "0.5", revertBelow: 50%%, promoteAbove: 60%%}
`

const (
	killGoodSteps = "{shadow: 100%, minDuration: 500ms}, {weight: 10%, minDuration: 500ms}, {weight: 50%, minDuration: 500ms, approval: Required}, {weight: 100%, approval: Required}"
	killBadSteps  = "{weight: 50%, minDuration: 500ms}, {weight: 100%, approval: Required}"
)

// killing is the test at work.
type killing struct {
	*served
	rng     *rand.Rand
	left    int // kills
	clients *clientele
	address string
	before  engine.Status        // the last that was seen before a kill
	sample  []engine.Status      // seen in this life, oldest first
	promise []engine.Entry       // every line that was seen before a kill
	since   map[string]time.Time // reverted revision → when serve was back after its revert
	models  map[string]string    // revision → model
}

// TestPromise6 kills serve at random moments of rollouts under load, and around
// each step, approval, promotion and revert. Nothing that was answered is lost, no
// evidence older than a second either; weights are as recorded; a reverted version
// gets no traffic again; clients see only the time that the process was down.
func TestPromise6KillingServeLosesNothing(t *testing.T) {
	k := newKilling(t)
	k.before = k.start()
	k.models[k.before.Stable.Name] = "v1"
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	load.Go(func() { k.clients.run(ctx) })
	t.Cleanup(func() { cancel(); load.Wait() })
	for round := 1; k.left > 0; round++ {
		k.promoted(round)
		if k.left > 0 {
			k.reverted(round)
		}
	}
	cancel()
	load.Wait()
	k.checkHistory()
	k.clients.check(t, k.served, k.models)
	for revision, since := range k.since {
		if n := k.clients.answersOf(revision, since); n > 0 {
			t.Errorf("reverted revision %s answered %d clients after a restart", revision, n)
		}
	}
	k.finish()
}

func newKilling(t *testing.T) *killing {
	t.Helper()
	folder, err := demoFolder()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	if folder, err = filepath.EvalSymlinks(folder); err != nil {
		t.Fatal(err)
	}
	kills := killsDefault
	if text := os.Getenv("SERIN_KILLS"); text != "" {
		if kills, err = strconv.Atoi(text); err != nil || kills < 1 {
			t.Fatalf("SERIN_KILLS=%q: must be a number from 1", text)
		}
	}
	address := freeAddress(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("%d kills, seed %d", kills, seed)
	k := &killing{
		served: &served{t: t, folder: folder, state: filepath.Join(folder, "state")}, rng: rand.New(rand.NewPCG(seed, 0)), left: kills,
		clients: newClientele(t, "http://"+address+"/score", "v1", "v2"), address: address,
		since: map[string]time.Time{}, models: map[string]string{},
	}
	k.file = k.document("first", "{model: models/v1.txt}", killGoodSteps)
	return k
}

func (k *killing) document(version, scorer, steps string) string {
	k.t.Helper()
	file := filepath.Join(k.folder, version+".yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, killDocument, version, scorer, k.address, steps), 0o600); err != nil {
		k.t.Fatal(err)
	}
	return file
}

// apply starts a rollout and learns the candidate's name.
func (k *killing) apply(file, model string) {
	k.t.Helper()
	last := k.before.Rollout.Number
	if !k.ask("apply", "-f", file) {
		k.t.Fatalf("applying %s was not answered\n%s", file, k.out.String())
	}
	k.until("the rollout to start", func() bool {
		st := k.look()
		return st.Rollout.Number > last && st.Candidate != nil
	})
	k.models[k.before.Candidate.Name] = model
}

// promoted rolls out a good version and kills at every turn.
func (k *killing) promoted(round int) {
	model := []string{"v1", "v2"}[round%2]
	k.apply(k.document(fmt.Sprintf("good-%d", round), "{model: models/"+model+".txt}", killGoodSteps), model)
	k.killWithin(800 * time.Millisecond)
	k.atTransition("StepEntered", "shadow", func(r *engine.RolloutView) bool { return r.Step >= 0 && r.StepName == "shadow" })
	k.atTransition("StepEntered", "10%", func(r *engine.RolloutView) bool { return r.StepName == "10%" })
	k.approve("50%", true)
	k.atTransition("StepEntered", "50%", func(r *engine.RolloutView) bool { return r.StepName == "50%" })
	k.killWithin(600 * time.Millisecond)
	k.approve("100%", false)
	k.atTransition("AllRequiredPass", "promoted", func(r *engine.RolloutView) bool { return r.Outcome == "Promoted" })
	k.killWithin(300 * time.Millisecond)
	if st := k.look(); st.Stable.Version != fmt.Sprintf("good-%d", round) || st.Weights.PlannedBP != 0 {
		k.t.Fatalf("after the promotion: %+v, weights %+v", st.Stable, st.Weights)
	}
}

// reverted rolls out a version that fails on some rows, or that a person aborts.
func (k *killing) reverted(round int) {
	abort := round%2 == 0
	scorer, steps := "{command: [serin, scorer, --model, models/v2.txt, --fail-on-missing, "+killRows+", --listen, \"127.0.0.1:$PORT\"]}", killBadSteps
	if abort {
		scorer = "{command: [serin, scorer, --model, models/v2.txt, --listen, \"127.0.0.1:$PORT\"]}"
	}
	k.apply(k.document(fmt.Sprintf("bad-%d", round), scorer, steps), "v2")
	bad := k.before.Candidate.Name
	k.atTransition("StepEntered", "50%", func(r *engine.RolloutView) bool { return r.StepName == "50%" && r.Step >= 0 })
	k.until("weight on "+bad, func() bool {
		st := k.look()
		return st.Rollout.Outcome != "" || st.Weights.InForceBP > 0
	})
	if abort {
		k.until("the abort to be answered", func() bool { return k.ask("abort") || k.look().Rollout.Outcome == "Aborted" })
		k.kill9(k.soon())
	} else {
		k.killWithin(400 * time.Millisecond)
		k.atTransition("", bad, func(r *engine.RolloutView) bool { return r.Outcome == "Reverted" })
	}
	st := k.look()
	if o := st.Rollout.Outcome; o != "Reverted" && o != "Aborted" || st.Weights.PlannedBP != 0 || st.Weights.InForceBP != 0 {
		k.t.Fatalf("%s came to %q with weights %+v, want it reverted with none", bad, o, st.Weights)
	}
	k.since[bad] = time.Now()
}

// look asks for the status, and remembers it.
func (k *killing) look() engine.Status {
	st, err := k.status()
	if err != nil {
		return k.before
	}
	k.before = st
	k.sample = append(k.sample, st)
	return st
}

// soon is a pause within which a decision is recorded, applied, or neither.
func (k *killing) soon() time.Duration { return time.Duration(k.rng.IntN(4000)) * time.Microsecond }

func (k *killing) killWithin(most time.Duration) {
	k.t.Helper()
	k.kill9(time.Duration(k.rng.Int64N(int64(most))))
}

// atTransition waits for a line of the audit and kills within moments of it; or
// goes on when the rollout is there already.
func (k *killing) atTransition(reason, what string, there func(*engine.RolloutView) bool) {
	k.t.Helper()
	found := false
	k.until(reason+" "+what, func() bool {
		for !found {
			select {
			case e, open := <-k.events:
				if !open {
					k.t.Fatalf("the stream of events ended\n%s", k.out.String())
				}
				k.promise = append(k.promise, e)
				found = e.Kind == engine.EntryTransition && e.Reason == reason && strings.Contains(e.Message, what)
				continue
			default:
			}
			break
		}
		if found || there(k.look().Rollout) {
			return true
		}
		if r := k.before.Rollout; r.Outcome == "Reverted" || r.Outcome == "Aborted" {
			k.t.Fatalf("waiting for %s %s: the rollout came to %s: %s", reason, what, r.Outcome, r.Decision.Message)
		}
		return false
	})
	k.kill9(k.soon())
}

// approve waits for the gate, approves, and kills: right after the answer, or
// while it is on its way.
func (k *killing) approve(step string, answered bool) {
	k.t.Helper()
	k.until("the gate of "+step, func() bool {
		r := k.look().Rollout
		return r.Decision.Reason == "WaitingForApproval" && strings.Contains(r.Decision.Message, step)
	})
	if answered {
		k.until("the approval to be accepted", func() bool { return k.ask("approve", "--step", step) })
		k.kill9(k.soon())
		k.mustHoldApproval(step)
		return
	}
	result := make(chan bool, 1)
	go func() { result <- k.ask("approve", "--step", step) }()
	k.kill9(time.Duration(k.rng.IntN(30)) * time.Millisecond)
	if <-result {
		k.mustHoldApproval(step)
	}
	k.until("the approval to be accepted", func() bool {
		return k.ask("approve", "--step", step) || k.look().Rollout.Outcome == "Promoted"
	})
}

func (k *killing) mustHoldApproval(step string) {
	k.t.Helper()
	has := func(a rollout.Approval) bool { return a.Step == step && a.By != "" }
	if st := k.look(); !slices.ContainsFunc(st.Rollout.Approvals, has) {
		k.t.Errorf("the approval of %s was answered, and is lost: %+v", step, st.Rollout.Approvals)
	}
}

// kill9 kills serve after a pause, starts it again and compares.
func (k *killing) kill9(after time.Duration) {
	k.t.Helper()
	if k.left == 0 {
		return
	}
	k.left--
	pause := time.NewTimer(after)
	<-pause.C
	k.kill()
	for e := range k.events { // what came before the kill; the stream has ended
		k.promise = append(k.promise, e)
	}
	before, killed := k.before, k.killed
	now := k.start()
	k.compare(before, now)
	for _, s := range k.sample {
		if killed.Sub(s.At) > time.Second {
			k.compareEvidence(s, now)
		}
	}
	k.before, k.sample = now, nil
	k.until("every scorer to have an owner", func() bool { return len(k.ownerless()) == 0 })
}

// compare compares what was seen before a kill with what is recorded.
func (k *killing) compare(before, after engine.Status) {
	k.t.Helper()
	a, b := before.Rollout, after.Rollout
	switch {
	case b == nil || b.Number < a.Number:
		k.t.Errorf("rollout %s is lost: %+v", a.ID, b)
	case b.ID != a.ID:
		return
	case b.Outcome == "" && b.Step < a.Step, a.Outcome != "" && b.Outcome != a.Outcome:
		k.t.Errorf("rollout %s: step %d, outcome %q became step %d, outcome %q", a.ID, a.Step, a.Outcome, b.Step, b.Outcome)
	case after.Weights.Epoch < before.Weights.Epoch:
		k.t.Errorf("epoch %d became %d", before.Weights.Epoch, after.Weights.Epoch)
	case len(b.Approvals) < len(a.Approvals):
		k.t.Errorf("approvals %+v became %+v", a.Approvals, b.Approvals)
	}
	w := after.Weights
	if w.InForceBP != 0 && w.InForceBP != w.PlannedBP {
		k.t.Errorf("weights are not as recorded: %+v", w)
	}
	if b != nil && b.Outcome == "" && b.StepName != "" && len(b.Steps) > b.Step && after.Candidate != nil && after.Candidate.Ready && w.PlannedBP != b.Steps[b.Step].WeightBP && w.PlannedBP != 0 {
		k.t.Errorf("weights %+v in step %+v", w, b.Steps[b.Step])
	}
}

func (k *killing) compareEvidence(before, after engine.Status) {
	k.t.Helper()
	a, b := before.Rollout, after.Rollout
	if a.ID != b.ID {
		return
	}
	x, y := a.Evidence, b.Evidence
	if y.Pairs < x.Pairs || y.CandidateRequests < x.CandidateRequests || y.StableRequests < x.StableRequests || y.CandidateErrors < x.CandidateErrors {
		k.t.Errorf("evidence seen %s before the kill is lost: %+v became %+v", k.killed.Sub(before.At), x, y)
	}
}

// checkHistory holds the audit to every line that was seen, and the history to one
// promotion for each good version.
func (k *killing) checkHistory() {
	k.t.Helper()
	var audit struct{ Items []engine.Entry }
	var history struct{ Items []engine.RolloutRecord }
	for flag, into := range map[string]any{"--audit=true": &audit, "--audit=false": &history} {
		_, out, errs := run(k.t, "history", flag, "--limit", "1000", "-o", "json", "--state", k.state)
		if err := json.Unmarshal([]byte(out), into); err != nil {
			k.t.Fatalf("history %s: %v\n%s", flag, err, errs)
		}
	}
	kept := map[string]int{}
	for _, e := range audit.Items {
		kept[line(e)]++
	}
	for _, e := range k.promise {
		if n := kept[line(e)]; n != 1 && len(audit.Items) < 1000 {
			k.t.Errorf("a line that was told is in the audit %d times, want once: %s", n, line(e))
		}
	}
	outcomes := map[string]string{}
	for _, r := range history.Items {
		outcomes[r.ID] += string(r.Attempt.Outcome)
		for i, d := range r.Decisions {
			if again := d.Recompute(r.Policy, r.Calibration); fmt.Sprint(again) != fmt.Sprint(d.Verdict) {
				k.t.Errorf("%s: decision %d (%s) comes out differently when recomputed", r.ID, i, d.Reason)
			}
		}
	}
	for id, outcome := range outcomes {
		if outcome != "Promoted" && outcome != "Reverted" && outcome != "Aborted" {
			k.t.Errorf("rollout %s came to %q", id, outcome)
		}
	}
	promoted := map[string]int{}
	for _, e := range audit.Items {
		if e.Kind == engine.EntryTransition && e.Reason == "AllRequiredPass" {
			promoted[e.Rollout]++
		}
	}
	for id, n := range promoted {
		if n != 1 {
			k.t.Errorf("rollout %s was promoted %d times", id, n)
		}
	}
	k.t.Logf("%d rollouts, %d lines told before a kill", len(history.Items), len(k.promise))
}

func line(e engine.Entry) string {
	return fmt.Sprintf("%s %s %s %s %s", e.At.UTC().Format(time.RFC3339Nano), e.Kind, e.Rollout, e.Reason, e.Message)
}

// finish ends serve as a person would.
func (k *killing) finish() {
	k.t.Helper()
	if err := k.cmd.Process.Signal(os.Interrupt); err != nil {
		k.t.Fatal(err)
	}
	if err := ends(k.t, k.cmd, k.quit); err != nil {
		k.t.Errorf("serve did not end well: %v\n%s", err, k.out.String())
	}
	k.until("every scorer to be gone", func() bool { return len(k.ownerless()) == 0 })
}
