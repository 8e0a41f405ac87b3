package proxy

import (
	"bytes"
	"math"

	"github.com/serin-dev/serin/internal/proxy/wire"
	"github.com/serin-dev/serin/internal/split"
)

// Relay makes a gateway the one beside a scorer: a gateway in front of it drew the arm and wrote it on the request, so
// this one reads stamps and makes none. The table's Candidate is the scorer beside it, whatever its role; Stable, which
// may be missing, is whom requests are handed to.
type Relay struct {
	// Name is what the next relay reads on a request that this one hands on.
	Name string
	// Unready: the scorer has never been ready. Requests are handed over, and that is nobody's failure.
	Unready bool
}

// Chosen says how the gateway in front chose the revision of a request.
type Chosen uint8

// The ways to choose.
const (
	Unstamped Chosen = iota // it did not say
	ByWeight
	BySticky // a client keeps what it had
	ByHeader // the client asked for it
)

// Stamp is what a relay reads on a request.
type Stamp struct {
	Chosen Chosen
	Epoch  uint32 // of ByWeight
	Copy   bool   // it names another revision: a mirrored request, whose answer nobody sees
	Handed bool   // by another relay: it is handed on no more, and counted there
}

// readStamp reads ROLLOUT.EPOCH.REVISION, where the epoch may be a word; names hold no dot. What is malformed is no
// stamp.
func readStamp(b []byte, revision string) (s Stamp) {
	rollout, rest, ok := bytes.Cut(b, []byte{'.'})
	epoch, name, both := bytes.Cut(rest, []byte{'.'})
	if !ok || !both || len(rollout) == 0 || len(name) == 0 || bytes.IndexByte(name, '.') >= 0 {
		return Stamp{}
	}
	switch string(epoch) {
	case "direct":
		s.Chosen = ByHeader
	case "sticky":
		s.Chosen = BySticky
	default:
		n := uint64(0)
		for _, c := range epoch {
			if n = 10*n + uint64(c-'0'); c < '0' || c > '9' || n > math.MaxUint32 {
				return Stamp{}
			}
		}
		if len(epoch) == 0 {
			return Stamp{}
		}
		s.Chosen, s.Epoch = ByWeight, uint32(n)
	}
	s.Copy = string(name) != revision
	return s
}

// relay chooses between the scorer and whom its requests are handed to.
func (k *call) relay() {
	r, req := k.route, &k.c.req
	k.stamp = readStamp(req.Get(wire.SerinRoute), r.Candidate.Revision)
	if req.Has(wire.SerinHandedBy) {
		k.stamp.Handed, k.stamp.Copy = true, false
	}
	k.arm, k.keyed = split.Candidate, false
	k.direct = k.stamp.Chosen == ByHeader
	if (r.HandOver || r.Relay.Unready) && !k.direct && !k.stamp.Copy && !k.stamp.Handed {
		k.arm = split.Stable
	}
}

// judged says whether a request was sent here by weight or stickiness, and first by us: what its scorer fails may be
// asked of stable.
func (s Stamp) judged() bool {
	return (s.Chosen == ByWeight || s.Chosen == BySticky) && !s.Copy && !s.Handed
}

const (
	dropRelayed = ours&^(1<<wire.SerinRoute) | 1<<wire.SerinHandedBy | 1<<wire.SerinRevision | 1<<wire.Host | 1<<wire.ContentLength | 1<<wire.Expect
	// dropOwnAnswer: a scorer does not say which revision it is; a relay that a request was handed to does.
	dropOwnAnswer = dropAnswer | 1<<wire.SerinRevision
)

// dropped are the fields of a request that are not passed on.
func (r *route) dropped() uint64 {
	if r.Relay != nil {
		return dropRelayed
	}
	return dropRequest
}

// handedBy tells the next relay that it must not hand the request on.
func (r *route) handedBy(dst []byte, to *upstream) []byte {
	if r.Relay == nil || to == r.candidate {
		return dst
	}
	return append(append(append(dst, "x-serin-handed-by: "...), r.Relay.Name...), "\r\n"...)
}

// droppedAnswer are the fields of an answer that are not passed on.
func (r *route) droppedAnswer(from *upstream) uint64 {
	if r.Relay != nil && from == r.candidate {
		return dropOwnAnswer
	}
	return dropAnswer
}

// answeredBy appends whose answer it is, as far as this gateway has to say it.
func (r *route) answeredBy(dst []byte, served *upstream) []byte {
	switch {
	case r.Relay == nil:
		return append(dst, r.stamp(served)...)
	case served == r.candidate:
		return append(append(append(dst, "x-serin-revision: "...), r.Candidate.Revision...), "\r\n"...)
	}
	return dst
}

// instead says why another answers than whom the request was meant for; empty: it does not.
func (k *call) instead(served *upstream) string {
	r := k.route
	switch {
	case served == r.previous:
		return "previous"
	case r.Relay != nil && served != r.candidate && k.arm == split.Stable && r.Relay.Unready:
		return "unready"
	case r.Relay != nil && served != r.candidate && k.arm == split.Stable:
		return "handed-over"
	case r.Relay != nil && served != r.candidate, k.arm == split.Candidate && served != r.candidate:
		return "stable"
	}
	return ""
}

// serves says whether anybody answers by this route.
func (r *route) serves() bool { return r != nil && (r.stable != nil || r.Relay != nil) }
