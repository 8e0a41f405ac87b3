package kube

import (
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	kuberecord "k8s.io/client-go/tools/record"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/judge"
)

func TestEventsSayWhatItStoodOnAndWhatComesNext(t *testing.T) {
	no := false
	judged := &engine.Judgement{Verdict: judge.Verdict{Message: "candidate failed 9 of 100, stable 1 of 900; passes below 2x"}}
	for _, c := range []struct {
		entry engine.Entry
		kind  string
		says  []string
	}{
		{engine.Entry{Kind: engine.EntryTransition, Action: "Advance", Reason: "StepEntered", Message: "entered step 10%", Judged: judged}, "Normal", []string{"entered step 10%", "9 of 100", "below 2x", "Next: the next step"}},
		{engine.Entry{Kind: engine.EntryTransition, Action: "Revert", Reason: "ErrorRate", Message: judged.Verdict.Message, Judged: judged}, "Warning", []string{"9 of 100", "Next: production serves all"}},
		{engine.Entry{Kind: engine.EntryTransition, Action: "Hold", Reason: "WaitingForApproval", Message: "step 50% asks"}, "Normal", []string{"serin approve"}},
		{engine.Entry{Kind: engine.EntryTransition, Action: "Hold", Reason: "WeightsOverwritten", Message: "put back"}, "Warning", nil},
		{engine.Entry{Kind: engine.EntryFault, Reason: "Degraded", Message: "no"}, "Warning", []string{"last weights hold"}},
		{engine.Entry{Kind: engine.EntryAction, Reason: "WrongStep", Message: "Approve: no", By: "ann", Accepted: &no}, "Warning", []string{"(by ann)"}},
		{engine.Entry{Kind: engine.EntryApplied, Reason: "Applied", Message: "version 2", By: "kubectl"}, "Normal", []string{"version 2 (by kubectl)"}},
		{engine.Entry{Kind: engine.EntryFault, Reason: "Degraded", Message: strings.Repeat("ä", 3000)}, "Warning", []string{" …. Next: the last weights hold"}},
	} {
		note := noteOf(c.entry)
		if got := eventType(c.entry); got != c.kind {
			t.Errorf("%s is %s, want %s", c.entry.Reason, got, c.kind)
		}
		for _, w := range c.says {
			if !strings.Contains(note, w) {
				t.Errorf("%s: %q lacks %q", c.entry.Reason, note, w)
			}
		}
		if len(note) > mostNote || !utf8.ValidString(note) {
			t.Errorf("%s: %d bytes, valid UTF-8 %v", c.entry.Reason, len(note), utf8.ValidString(note))
		}
		if m := judged.Verdict.Message; strings.Count(note, m) > 1 {
			t.Errorf("%s says its evidence twice: %q", c.entry.Reason, note)
		}
	}
}

type sink struct{ made, counted chan *corev1.Event }

func (s sink) Create(e *corev1.Event) (*corev1.Event, error) { s.made <- e; return e, nil }
func (s sink) Update(e *corev1.Event) (*corev1.Event, error) { return e, nil }
func (s sink) Patch(e *corev1.Event, _ []byte) (*corev1.Event, error) {
	s.counted <- e
	return e, nil
}

// A fault that comes and goes a thousand times makes a bounded number of writes, and
// does not use up what a revert needs.
func TestEventsDoNotFlood(t *testing.T) {
	s := sink{make(chan *corev1.Event, 3000), make(chan *corev1.Event, 3000)}
	b := kuberecord.NewBroadcaster(kuberecord.WithCorrelatorOptions(correlation()))
	b.StartRecordingToSink(s)
	scheme, err := Scheme()
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan string, 3000)
	w := b.StartEventWatcher(func(e *corev1.Event) { seen <- e.Reason })
	defer w.Stop()
	events := b.NewRecorder(scheme, corev1.EventSource{Component: "serin-controller"})
	o := corev1.ObjectReference{APIVersion: "serin.dev/v1alpha1", Kind: "ScoringEndpoint", Namespace: "a", Name: "m", UID: "1"}
	deadline := time.After(time.Minute)
	for n := range 500 {
		events.Event(&o, corev1.EventTypeWarning, "Degraded", "the API server does not answer")
		select {
		case <-seen:
		case <-deadline:
			t.Fatalf("the %d. Event was not told within a minute", n+1)
		}
	}
	events.Event(&o, corev1.EventTypeWarning, "ErrorRate", "reverted")
	for writes := 0; ; {
		select {
		case e := <-s.made:
			if writes++; e.Reason == "ErrorRate" {
				if writes += len(s.counted); writes > eventBurst+1 {
					t.Errorf("%d writes, want at most %d", writes, eventBurst+1)
				}
				return
			}
		case <-deadline:
			t.Fatal("the revert's Event was not written")
		}
	}
}

func TestTheControllersOwnAddressesAreNoReceivers(t *testing.T) {
	for _, a := range []string{"127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "169.254.169.254", "fe80::1", "0.0.0.0", "::", "224.0.0.1"} {
		if !ownAddress(netip.MustParseAddr(a)) {
			t.Errorf("%s may be called", a)
		}
	}
	for _, a := range []string{"192.0.2.7", "2001:db8::1", "203.0.113.1"} {
		if ownAddress(netip.MustParseAddr(a)) {
			t.Errorf("%s may not be called", a)
		}
	}
}
