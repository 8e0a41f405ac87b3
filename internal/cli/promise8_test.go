package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/rollout"
)

// TestPromise8 holds what product.md promises of approvals: an authenticated
// identity, the digest of the evidence that the approver saw, and that who pushes
// a version can neither approve it nor drop its gate.
func TestPromise8ApprovalsCarryIdentityAndEvidence(t *testing.T) {
	l := serveLive(t, document("1", ""))
	v2 := l.write("v2.yaml", document("2", ""), 0o600)
	ungated := l.write("ungated.yaml", strings.Replace(document("2", ""), ", approval: Required", "", 1), 0o600)
	lenient := l.write("lenient.yaml", document("2", "  judge: {errors: {orWithin: 50pp}}\n"), 0o600)
	must := func(code int, says, who string, args ...string) {
		t.Helper()
		if got, out, errs := run(t, l.as(who, args...)...); got != code || !strings.Contains(out+errs, says) {
			t.Fatalf("serin %v as %q: exit code %d, want %d that says %q:\n%s%s", args, who, got, code, says, out, errs)
		}
	}
	must(ExitForbidden, "spec.rollout.steps[0].approval", "pusher", "apply", "-f", ungated)
	must(ExitForbidden, "spec.judge.errors.orWithin", "pusher", "apply", "-f", lenient)
	must(ExitDone, "starts a rollout", "pusher", "apply", "-f", v2)
	l.status("the gate waits", func(s engine.Status) bool {
		return s.Rollout.Decision.Reason == string(rollout.WaitingForApproval)
	})
	seen := shownDigest(t, l)
	must(ExitForbidden, "needs approver", "pusher", "approve")
	must(ExitForbidden, "needs approver", "pusher", "promote")
	must(ExitForbidden, "look again", "signer", "approve", "--evidence", "0123456789ab")
	more := func() {
		t.Helper()
		run(t, "load", "--count", "20", "--rate", "1000", "--url", l.address)
		l.status("evidence has come in", func(s engine.Status) bool { return s.Rollout.Evidence.Digest != seen })
	}
	more() // else the next step begins with this evidence, and shows it
	must(ExitDone, "approved by signer", "signer", "approve", "--evidence", seen, "--on-behalf-of", "ann")
	st := l.status("the step is entered", func(s engine.Status) bool { return s.Rollout.StepName == "first" })
	if a := st.Rollout.Approvals; len(a) != 1 || a[0].By != "signer" || a[0].OnBehalfOf != "ann" || a[0].EvidenceDigest != seen || a[0].Step != "first" {
		t.Errorf("approvals %+v, want one by signer for ann of step first on evidence %s", a, seen)
	}
	must(ExitForbidden, "EvidenceNotShown", "signer", "approve", "--step", "second", "--evidence", seen) // of the step before
	_, out, _ := run(t, l.as("watcher", "history", "--audit", "-o", "json")...)
	var audit struct{ Items []engine.Entry }
	if err := json.Unmarshal([]byte(out), &audit); err != nil {
		t.Fatal(err)
	}
	if !recorded(audit.Items, true, seen) || !recorded(audit.Items, false, "0123456789ab") {
		t.Errorf("the audit lacks the approval, or the refusal of what nobody was shown:\n%s", out)
	}
}

// shownDigest is what somebody who looks at the status sees.
func shownDigest(t *testing.T, l *live) string {
	t.Helper()
	_, out, _ := run(t, l.as("signer", "status", "-o", "json")...)
	var st engine.Status
	if err := json.Unmarshal([]byte(out), &st); err != nil || st.Rollout.Evidence.Digest == "" {
		t.Fatalf("no digest of evidence in %s (%v)", out, err)
	}
	return st.Rollout.Evidence.Digest
}

func recorded(entries []engine.Entry, accepted bool, digest string) bool {
	for _, e := range entries {
		if e.Kind == engine.EntryAction && e.By == "signer" && e.Accepted != nil && *e.Accepted == accepted && e.EvidenceDigest == digest {
			return true
		}
	}
	return false
}
