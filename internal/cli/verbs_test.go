package cli

import (
	"encoding/json"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/rollout"
)

// TestVerbs drives every verb against one live endpoint, in the order in which a
// person would, and looks at each exit code; TestExitCodes has those that need no
// endpoint.
func TestVerbs(t *testing.T) {
	l := serveLive(t, document("1", ""))
	v2, v3 := l.write("v2.yaml", document("2", ""), 0o600), l.write("v3.yaml", document("3", ""), 0o600)
	v4 := l.write("v4.yaml", document("4", "    approvalTimeout: 1s\n"), 0o600)
	v5 := l.write("v5.yaml", document("5", ""), 0o600)
	bad := l.write("bad.yaml", strings.Replace(document("9", ""), "weight: 50%", "weight: 500%", 1), 0o600)
	other := l.write("other.yaml", strings.Replace(document("9", ""), "name: m}", "name: other}", 1), 0o600)
	waiting := func(s engine.Status) bool {
		return s.Rollout != nil && s.Rollout.Outcome == "" && s.Rollout.Decision.Reason == string(rollout.WaitingForApproval)
	}
	inStep := func(name string) func(engine.Status) bool {
		return func(s engine.Status) bool { return s.Rollout.StepName == name }
	}
	verbs, codes := map[string]bool{}, map[int]bool{}
	for _, c := range []struct {
		who    string
		args   string
		code   int
		says   string // on either stream
		before func(engine.Status) bool
	}{
		// The first version serves; nothing is on trial.
		{args: "status", code: ExitDone, says: "version 1"},
		{args: "status --endpoint other", code: ExitNotFound, says: `the one served is "m"`},
		{args: "wait", code: ExitDone, says: "Promoted"},
		{args: "wait --rollout m-77", code: ExitNotFound, says: "serin history"},
		{args: "wait --step nonsense", code: ExitUsage, says: "first, second, 100%"},
		{args: "wait --timeout -1s", code: ExitUsage, says: "negative"},
		{args: "approve", code: ExitForbidden, says: "no rollout runs"},
		{args: "rollback", code: ExitForbidden, says: "apply the earlier document"},
		{args: "retry", code: ExitForbidden, says: "nothing to retry"},
		{args: "history", code: ExitDone, says: "FirstVersion"},
		{args: "history --limit 0", code: ExitUsage, says: "from 1 to 1000"},
		{args: "load --count 5 --rate 1000 --url " + l.address, code: ExitDone, says: "sent 5"},
		{args: "load --count 3 --rate 1000 --url http://127.0.0.1:1/score", code: ExitError, says: "serin status"},
		// Roles: who pushes may not sign, who signs may not push, who watches may neither.
		{who: "watcher", args: "status", code: ExitDone, says: "version 1"},
		{who: "watcher", args: "apply -f " + v2, code: ExitForbidden, says: "needs operator"},
		{who: "signer", args: "apply -f " + v2, code: ExitForbidden, says: "needs operator"},
		{who: "pusher", args: "apply -f " + v4, code: ExitForbidden, says: "configurer"},
		{who: "pusher", args: "delete --dry-run", code: ExitDone, says: "drains and stops"},
		// A refused document, a dry run, and one that starts a rollout.
		{args: "apply -f " + bad, code: ExitUsage, says: "spec.rollout.steps[1].weight"},
		{args: "apply -f " + other, code: ExitNotFound, says: `the one served is "m"`},
		{args: "apply -f " + filepath.Join(l.folder, "none.yaml"), code: ExitUsage, says: "none.yaml"},
		{args: "apply --dry-run -f " + v2, code: ExitDone, says: "version 2 starts a rollout"},
		{args: "wait", code: ExitDone, says: "m-1"}, // still the first: a dry run changed nothing
		{who: "pusher", args: "apply -f " + v2, code: ExitDone, says: "spec.scorer.version: 1 → 2"},
		{args: "apply -o name -f " + v2, code: ExitDone, says: "m-2\n"},
		{args: "wait --step first", code: ExitDone, says: "WaitingForApproval (evidence "},
		{args: "wait --timeout 50ms", code: ExitTimeout, says: "still runs at step"},
		{args: "status", code: ExitDone, says: "serin approve --step first"},
		{args: "report --gate", code: ExitDone, says: "Waits for approval of step first; weight 0% planned, 0% in force"},
		{args: "report --gate -o markdown", code: ExitDone, says: "```text\nm-2 of m"},
		{args: "report", code: ExitDone, says: "serin approve --state "},
		{args: "report --rollout m-1", code: ExitDone, says: "✅ m-1: promoted"},
		{args: "report --rollout m-77", code: ExitNotFound, says: "serin history"},
		{args: "report -o text", code: ExitUsage, says: "--gate"},
		{args: "report -o xml", code: ExitUsage, says: "markdown, json or text"},
		// The gate.
		{who: "pusher", args: "approve", code: ExitForbidden, says: "needs approver"},
		{who: "signer", args: "approve --step second", code: ExitForbidden, says: `the next one is "first"`},
		{who: "signer", args: "approve --evidence 00ff00ff00ff", code: ExitForbidden, says: "EvidenceNotShown"},
		{who: "signer", args: "approve --rollout m-1", code: ExitForbidden, says: "WrongRollout"},
		{who: "signer", args: "approve --dry-run", code: ExitDone, says: "Nothing was asked"},
		{who: "signer", args: "approve --step first --reason looks-good --on-behalf-of ann", code: ExitDone, says: "approved by signer"},
		{who: "signer", args: "approve --step first", code: ExitDone, says: "already"},
		{args: "wait --step FIRST", code: ExitDone, says: "step first (1/3)"},
		{args: "wait --step second --timeout 50ms", code: ExitTimeout, says: "passed"},
		{who: "signer", args: "pause", code: ExitForbidden, says: "needs operator"},
		{who: "pusher", args: "pause", code: ExitDone, says: "paused"},
		{who: "pusher", args: "resume", code: ExitDone, says: "goes on"},
		{args: "history --audit", code: ExitDone, says: "by signer for ann"},
		// Reverted by people; tried again; promoted; rolled back.
		{args: "rollback", code: ExitForbidden, says: "abort it instead"},
		{who: "pusher", args: "abort", code: ExitForbidden, says: "needs approver"},
		{args: "abort --reason enough", code: ExitDone, says: "enough"},
		{args: "wait", code: ExitReverted, says: "Aborted"},
		{args: "report", code: ExitDone, says: "| first | signer | ann | `"},
		{args: "report", code: ExitDone, says: "reverted (aborted)"},
		{args: "apply -f " + v2, code: ExitHeld, says: "serin retry"},
		{args: "abort", code: ExitForbidden, says: "ended Aborted"},
		{who: "pusher", args: "retry", code: ExitDone, says: "tried again"},
		{args: "reject", code: ExitDone, says: "rejected by", before: waiting},
		{args: "wait", code: ExitReverted, says: "Rejected"},
		{args: "wait --rollout m-2", code: ExitReverted, says: "Aborted"},
		{args: "apply -f " + v3, code: ExitDone, says: "version 3 starts a rollout"},
		{args: "promote", code: ExitDone, says: "promoted by", before: waiting},
		{args: "wait", code: ExitDone, says: "Promoted"},
		{args: "rollback", code: ExitDone, says: "rolled back to version 1", before: func(s engine.Status) bool { return s.Previous != nil && s.Previous.Ready }},
		// Held: nobody approves in time.
		{args: "apply -f " + v4, code: ExitDone, says: "version 4 starts a rollout"},
		{args: "wait", code: ExitHeld, says: "nobody approved step first within 1s"},
		// Superseded by a newer version.
		{args: "apply -f " + v5, code: ExitDone, says: "version 5 starts a rollout"},
		{args: "wait --rollout m-5", code: ExitReverted, says: "Superseded"},
		{args: "approve", code: ExitDone, says: "approved", before: waiting},
		{args: "status", code: ExitDone, says: "approved first by", before: inStep("first")},
		// The end.
		{who: "signer", args: "delete", code: ExitForbidden, says: "needs operator"},
		{args: "delete", code: ExitDone, says: "its record stays"},
	} {
		if c.before != nil {
			l.status("before serin "+c.args, c.before)
		}
		verbs[strings.Fields(c.args)[0]], codes[c.code] = true, true
		code, out, errs := run(t, l.flags(c.who, c.args)...)
		if text := out + errs; code != c.code || !strings.Contains(text, c.says) {
			t.Fatalf("serin %s as %q: exit code %d, want %d; want %q in:\n%s", c.args, c.who, code, c.code, c.says, text)
		}
	}
	for code := ExitDone; code <= ExitTimeout; code++ {
		if !codes[code] {
			t.Errorf("no verb was seen to end with exit code %d", code)
		}
	}
	elsewhere := []string{"demo", "serve", "scorer", "init", "validate", "version", "completion", "controller", "recorder", "image", "install", "adopt"} // have tests of their own
	for _, c := range newRoot(IO{}).Commands() {
		if !c.Hidden && !verbs[c.Name()] && !slices.Contains(elsewhere, c.Name()) {
			t.Errorf("serin %s was not driven", c.Name())
		}
	}
	within(t, "serve has ended after delete", l.ended)
	if l.code != ExitDone {
		t.Errorf("serve ended with %d after delete:\n%s", l.code, l.log)
	}
	if code, _, errs := run(t, l.as("", "status")...); code != ExitNotFound || !strings.Contains(errs, "serin serve") {
		t.Errorf("status after the end: %d %s, want %d that names serin serve", code, errs, ExitNotFound)
	}
	if code, _, errs := run(t, l.as("watcher", "status")...); code != ExitNotFound || !strings.Contains(errs, "nobody listens") {
		t.Errorf("status on TCP after the end: %d %s, want %d", code, errs, ExitNotFound)
	}
}

// flags splits a command line; the verbs that speak to no API get no address.
func (l *live) flags(who, line string) []string {
	args := strings.Fields(line)
	if args[0] == "load" {
		return args
	}
	return l.as(who, args...)
}

// TestServeRefusals: exit codes of serve where it does not come to serving.
func TestServeRefusals(t *testing.T) {
	l := serveLive(t, document("1", ""))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := l.write("taken.yaml", strings.Replace(document("1", ""), "127.0.0.1:0", taken.Addr().String(), 1), 0o600)
	bad := l.write("bad.yaml", "kind: Nothing", 0o600)
	open := l.write("open-tokens", tokenLines, 0o644)
	fresh := func() string { return filepath.Join(t.TempDir(), "state") }
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"-f", file, "--state", fresh()}, ExitUsage, "spec.traffic.listen"},
		{[]string{"-f", bad, "--state", fresh()}, ExitUsage, "kind"},
		{[]string{"-f", file, "--state", l.state}, ExitForbidden, "--state"},
		{[]string{"-f", file, "--state", fresh(), "--api", "0.0.0.0:1"}, ExitUsage, "loopback"},
		{[]string{"-f", file, "--state", fresh(), "--api", "127.0.0.1:0"}, ExitUsage, "--tokens"},
		{[]string{"-f", file, "--state", fresh(), "--tokens", open}, ExitUsage, "--api"},
		{[]string{"-f", file, "--state", fresh(), "--api", "127.0.0.1:0", "--tokens", open}, ExitUsage, "chmod 600"},
		{[]string{"-f", file, "--state", fresh(), "--log", "xml"}, ExitUsage, "text or json"},
	} {
		code, _, errs := run(t, append([]string{"serve"}, c.args...)...)
		if code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("serve %v: exit code %d, want %d; stderr %q, want %q in it", c.args, code, c.code, errs, c.says)
		}
	}
}

// TestErrorsAsJSON: with -o json stderr is JSON too.
func TestErrorsAsJSON(t *testing.T) {
	for _, c := range []struct {
		args   []string
		code   int
		reason string
	}{
		{[]string{"status", "-o", "json", "--state", t.TempDir()}, ExitNotFound, "NotFound"},
		{[]string{"apply", "-o", "json"}, ExitUsage, "Usage"},
		{[]string{"wait", "-o", "json", "--nonsense"}, ExitUsage, "Usage"},
	} {
		code, out, errs := run(t, c.args...)
		var e failureJSON
		if err := json.Unmarshal([]byte(errs), &e); err != nil || code != c.code || e.ExitCode != c.code || e.Reason != c.reason || e.Message == "" || out != "" {
			t.Errorf("serin %v: %d, stdout %q, stderr %q (%v)", c.args, code, out, errs, err)
		}
	}
}

func TestUnknownVerbsSuggest(t *testing.T) {
	for typed, meant := range map[string]string{"aprove": "approve", "stauts": "status", "valdate": "validate"} {
		if code, _, errs := run(t, typed); code != ExitUsage || !strings.Contains(errs, meant) {
			t.Errorf("serin %s: %d %q, want %q suggested", typed, code, errs, meant)
		}
	}
}
