// Package wire is what recorders and the controller say to each other: orders
// one way, frames the other (docs/adr/0005-cluster.md). Values only.
package wire

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// Paths on the controller's recorder port.
const (
	OrdersPath = "/v1/orders" // GET, server-sent events
	FramesPath = "/v1/frames" // POST, one Batch
)

// Audience of the service-account token that a recorder shows.
const Audience = "serin-controller"

// Headers on requests and answers of the data plane.
const (
	StampHeader     = "x-serin-route"
	FallbackHeader  = "x-serin-fallback"
	HandedByHeader  = "x-serin-handed-by" // by which recorder: never handed on again
	RequestIDHeader = "x-request-id"
)

// Role is what a revision is to its endpoint now.
type Role string

// The roles of a revision.
const (
	Stable    Role = "Stable"
	Candidate Role = "Candidate"
	None      Role = "None" // kept, or not routed to yet
)

// Order tells every recorder of a revision what to do. It is replaced whole; a
// recorder that lost the controller keeps the last one.
type Order struct {
	Seq     uint64 `json:"seq"` // grows; an older one is ignored
	Role    Role   `json:"role"`
	Rollout string `json:"rollout,omitempty"`
	Epoch   uint32 `json:"epoch"`
	// HandOver: send everything to stable at once, but for header routes.
	HandOver bool `json:"handOver,omitempty"`
	// StableURL is stable's Service, such as http://safe-driver-r1.abtesting.svc.cluster.local:80.
	StableURL string `json:"stable,omitempty"`
	// PreviousURL is the Service of the version before stable while it is kept, for stable itself.
	PreviousURL string `json:"previous,omitempty"`
	// Fallback: what the scorer of a candidate fails is asked of stable, what stable's fails of the version before it.
	Fallback         bool   `json:"fallback,omitempty"`
	CandidateTimeout string `json:"candidateTimeout,omitempty"`
	Timeout          string `json:"timeout,omitempty"`
	MaxBodyBytes     int64  `json:"maxBodyBytes,omitempty"`
	Protocol         string `json:"protocol,omitempty"`
	JSONPath         string `json:"jsonPath,omitempty"`
	// ShadowBP is the share of stable's requests, in basis points, that the gateway copies to the candidate in this epoch.
	ShadowBP int `json:"shadowBP,omitempty"`
	// RepeatBP is the share of those, in basis points, that a recorder of stable asks its scorer once more, off the
	// client's path: how far its answers differ by themselves. RepeatFirst is how many of the first of a rollout it asks
	// twice whatever RepeatBP says.
	RepeatBP    int `json:"repeatBP,omitempty"`
	RepeatFirst int `json:"repeatFirst,omitempty"`
}

// Batch is what a recorder reports at once. (Pod, Boot, Seq) makes it harmless
// when it comes twice.
type Batch struct {
	Namespace string `json:"namespace"`
	Endpoint  string `json:"endpoint"`
	Revision  string `json:"revision"`
	Pod       string `json:"pod"`
	Boot      string `json:"boot"` // changes when the recorder starts
	Seq       uint64 `json:"seq"`
	Dropped   uint64 `json:"dropped"` // frames that had no room, since boot
	// Served counts the requests routed here by weight, per epoch, since boot:
	// what the gateway's access log must have too.
	Served map[uint32]uint64 `json:"served,omitempty"`
	// RepeatsLost counts the second answers, per epoch and since boot, that had no room or could not be sent.
	RepeatsLost map[uint32]uint64 `json:"repeatsLost,omitempty"`
	Frames      []Frame           `json:"frames,omitempty"`
}

// Frame is one request that a scorer answered, or failed to.
type Frame struct {
	ID       string  `json:"id"` // x-request-id; a copy has its original's
	Epoch    uint32  `json:"epoch"`
	Shadow   bool    `json:"shadow,omitempty"` // a copy: nobody saw the answer
	Status   int     `json:"status,omitempty"` // 0: no answer
	Failed   bool    `json:"failed,omitempty"`
	FellBack bool    `json:"fellBack,omitempty"`
	MS       float64 `json:"ms"` // scorer's own time
	Answer   Answer  `json:"answer,omitzero"`
	// Again is what the scorer answered when it was asked the same once more. A frame that has it is a repeat: it counts
	// for nothing else, since the request has a frame of its own.
	Again *Again `json:"again,omitempty"`
}

// Again is a second answer, which nobody saw.
type Again struct {
	Status int    `json:"status,omitempty"` // 0: no answer
	Failed bool   `json:"failed,omitempty"`
	Answer Answer `json:"answer,omitzero"`
}

// Answer is what contract.Extract found, without its memory.
type Answer struct {
	Kind      uint8    `json:"kind,omitempty"`
	Scores    []Float  `json:"scores,omitempty"`
	Rows      int      `json:"rows,omitempty"`
	Width     int      `json:"width,omitempty"`
	Labels    []string `json:"labels,omitempty"`
	NonFinite int      `json:"nonFinite,omitempty"`
	Hash      uint64   `json:"hash,omitempty"`
	Length    int      `json:"length,omitempty"`
}

// Float is a float64 whose JSON also knows NaN and the infinities, as text.
type Float float64

// MarshalJSON writes a number, or "NaN", "+Inf", "-Inf".
func (f Float) MarshalJSON() ([]byte, error) {
	v := float64(f)
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return json.Marshal(strconv.FormatFloat(v, 'g', -1, 64))
	}
	return strconv.AppendFloat(nil, v, 'g', -1, 64), nil
}

// UnmarshalJSON reads what MarshalJSON writes, and nothing else.
func (f *Float) UnmarshalJSON(text []byte) error {
	switch s := string(text); s {
	case `"NaN"`:
		*f = Float(math.NaN())
	case `"+Inf"`:
		*f = Float(math.Inf(1))
	case `"-Inf"`:
		*f = Float(math.Inf(-1))
	default:
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return fmt.Errorf("reading a score: %s is no number", s)
		}
		*f = Float(v)
	}
	return nil
}
