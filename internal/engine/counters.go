package engine

// Counters are what the data plane and the notifier counted since this process
// began: for metrics, not for verdicts.
type Counters struct {
	Requests      []RequestCount
	FellBack      uint64 // failures of one version that another answered
	ShadowSent    uint64 // in a cluster: those that the candidate's recorders answered
	Notifications []NotifyCount
	Gateway       *GatewayCounts // nil where the gateway is not ours
}

// GatewayCounts are what Serin's own gateway counts.
type GatewayCounts struct {
	ShadowDropped uint64 // no room
	Refused       uint64 // protocols that the gateway does not carry
	TooLarge      uint64
	Malformed     uint64 // requests that could be read in two ways, or in none
	Streamed      uint64 // bodies too large to be held: no fallback, no copy
	Spared        uint64 // due to a candidate that cannot be reached, answered by stable at once
	TurnedAway    uint64 // connections beyond the most
	Connections   int    // of clients, now
}

// RequestCount counts the first answers of one revision on one arm.
type RequestCount struct {
	Arm, Revision string
	Code          string // HTTP status; "none" without an answer, "gone" when the client left first
	N             uint64
}

// NotifyCount counts what one receiver of notifications got.
type NotifyCount struct {
	Receiver              string // host only: the rest of the address may hold a secret
	Sent, Failed, Dropped uint64
	Waiting               int
}
