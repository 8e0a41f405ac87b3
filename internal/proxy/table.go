// Package proxy is the data plane: it forwards scoring requests to the stable
// or the candidate revision by one immutable routing table, copies some to the
// candidate as shadows, and tells a Tap what happened.
package proxy

import (
	"errors"
	"fmt"
	"time"

	"github.com/serin-dev/serin/internal/split"
)

// Target is where a revision listens.
type Target struct {
	Revision string
	Addr     string // host:port
	Host     string // sent in place of the client's own; empty: the client's
}

// HeaderRoute reaches an arm directly: served, never judged.
type HeaderRoute struct{ Name, Stable, Candidate string }

// Sticky names what a client is recognised by; empty: a coin per request.
type Sticky struct{ Cookie, Header string }

// Table is the routing snapshot. It is replaced whole and never changed.
type Table struct {
	Rollout            string // salt of the split, and first part of the stamp
	Epoch              uint32
	WeightBP, ShadowBP int // of a relay, ShadowBP is what the gateway in front copies
	Stable, Candidate  *Target
	Header             HeaderRoute
	Sticky             Sticky
	// Previous is the version before stable while it is kept; nil: there is none.
	Previous *Target
	// Fallback: a request that the candidate fails is asked again of stable, one that stable fails of the version before it.
	Fallback                  bool
	CandidateTimeout, Timeout time.Duration
	MaxBodyBytes              int64
	// RepeatBP is the share of shadowed requests, in basis points, that stable is
	// asked once more, off the request path: how far its own answers differ. A relay
	// asks the scorer beside it.
	RepeatBP int
	// RepeatFirst is the number of a rollout's first shadowed requests that stable is
	// asked once more whatever RepeatBP says: until then nothing is known of its noise.
	RepeatFirst int
	// HandOver sends what is due to the candidate to stable, but for header routes.
	HandOver bool
	// Relay: the arms were drawn by a gateway in front of this one.
	Relay *Relay
}

// Validate says what is wrong with the table.
func (t *Table) Validate() error {
	switch {
	case t.WeightBP < 0 || t.WeightBP > split.Buckets:
		return fmt.Errorf("weight %d: must be from 0 to %d basis points", t.WeightBP, split.Buckets)
	case t.ShadowBP < 0 || t.ShadowBP > split.Buckets:
		return fmt.Errorf("shadow share %d: must be from 0 to %d basis points", t.ShadowBP, split.Buckets)
	case t.RepeatBP < 0 || t.RepeatBP > split.Buckets:
		return fmt.Errorf("repeat share %d: must be from 0 to %d basis points", t.RepeatBP, split.Buckets)
	case t.RepeatFirst < 0:
		return fmt.Errorf("first repeats %d: must not be negative", t.RepeatFirst)
	case (t.WeightBP > 0 || t.ShadowBP > 0) && t.Candidate == nil:
		return errors.New("a share for a candidate that is not there")
	case t.Relay != nil && t.Candidate == nil:
		return errors.New("a relay must stand beside a scorer")
	case t.Relay != nil && t.Stable == nil && (t.Fallback && t.Previous == nil || t.HandOver || t.Relay.Unready):
		return errors.New("a relay must know whom it hands requests to")
	case t.Relay != nil && t.WeightBP > 0:
		return errors.New("a relay draws no arms")
	case t.Timeout < 0 || t.CandidateTimeout < 0 || t.MaxBodyBytes < 0:
		return errors.New("time-outs and sizes must not be negative")
	}
	return nil
}

// Failure says how a request failed at the transport.
type Failure uint8

// The failures.
const (
	None Failure = iota
	Connect
	Reset
	Timeout
	BadAnswer
	ClientGone
	NoTarget
)

// String returns the failure's name.
func (f Failure) String() string {
	names := [...]string{"None", "Connect", "Reset", "Timeout", "BadAnswer", "ClientGone", "NoTarget"}
	if int(f) < len(names) {
		return names[f]
	}
	return "Unknown"
}

// Exchange is what happened to one request on one arm.
type Exchange struct {
	RequestID             string
	Rollout               string
	Epoch                 uint32
	WeightBP              int
	Arm                   split.Arm
	Revision              string
	Direct                bool // chose its arm by header
	Shadow                bool
	FellBack              bool
	Spared                bool  // due to a candidate that cannot be reached, answered by stable without asking it: never judged
	Stamp                 Stamp // read by a relay
	Keyed                 bool
	Key                   uint64
	Start                 time.Time
	Latency               time.Duration
	Status                int
	Failure               Failure
	ContentType           string
	ContentEncoding       string
	InferenceHeaderLength int
	Body                  []byte // valid only during the call
	BodyTruncated         bool
}

// Tap is told what happened. Its methods must not block, and must not keep an
// Exchange or its Body.
type Tap interface {
	// Primary is called once for each client request.
	Primary(*Exchange)
	// Pair is called when both answers of a shadowed request are known.
	Pair(primary, shadow *Exchange)
	// Again is called when stable answered the same request twice: the client's,
	// and once more to learn how far its answers differ by themselves.
	Again(primary, repeat *Exchange)
}
