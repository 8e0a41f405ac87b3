package judge

// Calibration fixes what production looked like before the first judged request.
// It is stored with the policy and never changed during a rollout: edges learnt
// from the data they are tested on would void the error bounds.
type Calibration struct {
	Requests uint64 `json:"requests"` // stable latencies that the edges come from
	// RevertEdges are first buckets: a production request is slow at edge e when
	// its latency fell into bucket e or later, a candidate's when it fell into
	// e + shift or later.
	RevertEdges []int `json:"revertEdges"`
	// PromoteEdges are the same for the non-inferiority test: one per Latency.At.
	PromoteEdges []int     `json:"promoteEdges"`
	Scored       uint64    `json:"scored,omitempty"`
	ScoreCentre  float64   `json:"scoreCentre,omitempty"` // production's mean score
	ScoreSD      float64   `json:"scoreSD,omitempty"`
	Shares       []float64 `json:"shares,omitempty"` // production's share above each cut-off
}

// Calibrate chooses edges and centres from production's own requests; false when
// fewer than p.MinCalibration of them were seen.
func Calibrate(p Policy, baseline *Counts) (Calibration, bool) {
	return Calibration{}, false
}

// Judge says what the evidence allows.
func Judge(p Policy, c *Calibration, e Evidence, breaker Window) Verdict {
	return Verdict{Action: Hold, Reason: TooLittleData, Message: "nothing was judged yet", ExtraErrorRate: 1}
}

// HarmOfNext bounds the extra failed requests that the next step could cost.
func HarmOfNext(extraErrorRate, candidateRPS, lagSeconds float64, weightBP int) float64 { return 0 }
