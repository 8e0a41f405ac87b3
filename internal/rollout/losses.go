package rollout

import (
	"fmt"
	"time"
)

// LossKind says what is missing of a revision's evidence.
type LossKind string

// What may be missing.
const (
	// LossLog: requests that its recorders served are not in the gateway's log.
	LossLog LossKind = "AccessLogLacks"
	// LossRecorders: requests that it answered no recorder told of.
	LossRecorders LossKind = "RecordersLack"
	// LossNoRecorder: the same, and it has no recorder that ever said anything.
	LossNoRecorder LossKind = "NoRecorder"
	// LossDropped: its recorders had no room for answers.
	LossDropped LossKind = "AnswersDropped"
)

// Loss is a part of a revision's evidence that is known to be missing.
type Loss struct {
	Revision    string
	Kind        LossKind
	Missing, Of uint64
}

// A loss beyond lossPercent of at least lossLeast requests holds the step: less may
// be chance, and could not turn a verdict.
const (
	lossPercent = 5
	lossLeast   = 100
)

// TooMany reports that evidence with this loss is nothing to move on.
func (l Loss) TooMany() bool {
	return l.Of >= lossLeast && 100*l.Missing > lossPercent*l.Of
}

// String says what is missing, how much may be, and where to look.
func (l Loss) String() string {
	what, remedy := l.words()
	return fmt.Sprintf("%s in the last minutes (%.0f%%; at most %d%% of %d or more may be missing): %s", what, 100*float64(l.Missing)/float64(max(l.Of, 1)), lossPercent, lossLeast, remedy)
}

func (l Loss) words() (what, remedy string) {
	const reach = "reach the controller's port 9002"
	switch l.Kind {
	case LossLog:
		return fmt.Sprintf("the gateway's access log lacks %d of %d requests that the recorders of %s served", l.Missing, l.Of, l.Revision), "see that every gateway sends all of its log to Serin (the access-log provider, and its filter)"
	case LossNoRecorder:
		return fmt.Sprintf("no recorder of %s is heard, which answered %d requests", l.Revision, l.Of), "see that its pods have one (an adopted Deployment: serin adopt --restart) and that they " + reach
	case LossDropped:
		return fmt.Sprintf("the recorders of %s had no room for %d of %d answers", l.Revision, l.Missing, l.Of), "see whether the controller was away, or whether the pods have too little CPU"
	}
	return fmt.Sprintf("the recorders of %s did not tell of %d of %d requests that it answered", l.Revision, l.Missing, l.Of), "see that its pods " + reach
}

// RoutesDue is how long routes may take to be in force while there is traffic: the
// slowest mesh measured took ten seconds.
const RoutesDue = 30 * time.Second

// Overdue reports that routes are not in force although requests come in.
func (f InForce) Overdue() bool { return f.Stale >= RoutesDue }
