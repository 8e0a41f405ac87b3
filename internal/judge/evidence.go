package judge

import (
	"slices"
	"time"
)

// Arm says which of the two revisions a count belongs to.
type Arm uint8

// The two arms. Their order is the index into EpochEvidence.Arms.
const (
	Stable Arm = iota
	Candidate
)

// EpochInfo fixes what the router did while a weight epoch was in force. The
// epoch, not the step, is the unit of evidence: it pins the routing probability
// that every request of it was drawn with.
type EpochInfo struct {
	ID       uint32 `json:"id"`
	Step     int    `json:"step"`     // index into the plan
	WeightBP int    `json:"weightBP"` // routing probability of the candidate, basis points
	ShadowBP int    `json:"shadowBP"` // share of stable's requests copied, basis points
	// KeptBP is the greatest smaller weight that was in force before in this rollout,
	// where clients keep their arm (sticky routing): clients below it are the
	// candidate's without a new coin, and are not judged in this epoch. The others
	// drew (WeightBP - KeptBP) / (10000 - KeptBP).
	KeptBP int `json:"keptBP,omitempty"`
	// Warmup epochs feed the breaker only: the revision is too young to be judged.
	Warmup bool `json:"warmup,omitempty"`
	// Calibrating epochs are left out of the latency and score metrics: their
	// edges were not frozen yet when these requests were seen.
	Calibrating bool `json:"calibrating,omitempty"`
	// Tampered epochs are left out altogether: the weight in force was not ours.
	Tampered bool `json:"tampered,omitempty"`
}

// Counts are the additive counts of one arm in one epoch. Adding two Counts
// field by field (Merge) is the only way to combine them, so order, repetition
// of snapshots and restarts change nothing.
type Counts struct {
	// Requests routed to the arm by weight. Direct ones (chosen by header) and
	// those whose client went away are counted apart and never judged.
	Requests   uint64 `json:"requests,omitempty"`
	Errors     uint64 `json:"errors,omitempty"`     // 5xx, transport failures, timeouts, no answer
	Refusals   uint64 `json:"refusals,omitempty"`   // 4xx
	Direct     uint64 `json:"direct,omitempty"`     // by header
	ClientGone uint64 `json:"clientGone,omitempty"` // client disconnected first
	FellBack   uint64 `json:"fellBack,omitempty"`   // errors that another version answered

	// Units are what the judge counts: requests when a coin is drawn for each
	// request; with sticky routing the first request, and the first event of
	// each kind, of each key in this epoch (judge.md 1.9).
	Units         uint64 `json:"units,omitempty"`
	ErrorUnits    uint64 `json:"errorUnits,omitempty"`
	InvalidUnits  uint64 `json:"invalidUnits,omitempty"`
	RefusalUnits  uint64 `json:"refusalUnits,omitempty"`
	AnsweredUnits uint64 `json:"answeredUnits,omitempty"` // units whose answer was looked at (not dropped), valid or not
	// LateErrorUnits are those of ErrorUnits whose key had been served in the epoch
	// before: ErrorUnits - LateErrorUnits is how many first requests failed.
	LateErrorUnits uint64 `json:"lateErrorUnits,omitempty"`
	Unjudged       uint64 `json:"unjudged,omitempty"` // served, but not by a coin of this epoch's: kept keys, other weights

	// Answers. Unparsed and Opaque ones carry no score and are reported as such.
	Invalid  uint64 `json:"invalid,omitempty"` // 2xx without a usable score: NaN, missing, unparsable
	Opaque   uint64 `json:"opaque,omitempty"`
	Unparsed uint64 `json:"unparsed,omitempty"`
	Dropped  uint64 `json:"dropped,omitempty"` // answers the recorder had no room for

	// Scores: one value per answer, the mean over its rows, so that the unit of
	// analysis stays the unit of randomisation.
	Scored     uint64  `json:"scored,omitempty"`
	Clipped    uint64  `json:"clipped,omitempty"` // beyond ±MaxScore, counted at the limit
	Varied     uint64  `json:"varied,omitempty"`  // other than the least score before: none of a constant scorer's
	ScoreSum   Fixed   `json:"scoreSum,omitzero"`
	ScoreSq    Fixed   `json:"scoreSq,omitzero"`
	ScoreRange Range   `json:"scoreRange,omitzero"`
	Above      []Share `json:"above,omitempty"` // per declared cut-off, by index

	Latency Histogram `json:"latency,omitzero"` // of judged units only
}

// Share sums a per-answer share in [0,1] (of rows above a cut-off) and its square.
type Share struct {
	Sum Fixed `json:"sum"`
	Sq  Fixed `json:"sq"`
}

// Pairs are the counts of shadowed requests of one epoch: both answers known.
type Pairs struct {
	N              uint64 `json:"n,omitempty"`
	BothOK         uint64 `json:"bothOK,omitempty"`
	BothFailed     uint64 `json:"bothFailed,omitempty"`
	OnlyStableBad  uint64 `json:"onlyStableBad,omitempty"`  // c of McNemar
	OnlyShadowBad  uint64 `json:"onlyShadowBad,omitempty"`  // b of McNemar: error or invalid answer
	ShadowErrors   uint64 `json:"shadowErrors,omitempty"`   // of the candidate: transport, 5xx, timeout
	ShadowInvalid  uint64 `json:"shadowInvalid,omitempty"`  // of the candidate: 2xx without a usable score
	ShadowRefusals uint64 `json:"shadowRefusals,omitempty"` // of the candidate: 4xx
	Compared       uint64 `json:"compared,omitempty"`       // both scored (or both labelled), same shape
	Disagreed      uint64 `json:"disagreed,omitempty"`      // of Compared: beyond tolerance, or another shape
	NotComparable  uint64 `json:"notComparable,omitempty"`  // an answer opaque, unparsed or dropped
	Dropped        uint64 `json:"dropped,omitempty"`        // no room to record

	// Repeats: stable was asked the same request twice, to learn how far its answers
	// differ by themselves.
	Repeats          uint64 `json:"repeats,omitempty"`          // both answers usable
	RepeatsDisagreed uint64 `json:"repeatsDisagreed,omitempty"` // of Repeats, as Disagreed of Compared
	RepeatsLost      uint64 `json:"repeatsLost,omitempty"`      // an answer missing, unreadable or dropped

	Scored         uint64 `json:"scored,omitempty"`       // both scored: feeds the sums below
	StableVaried   uint64 `json:"stableVaried,omitempty"` // as Varied, of stable
	StableSum      Fixed  `json:"stableSum,omitzero"`     // sum of stable's per-answer mean score
	CandidateSum   Fixed  `json:"candidateSum,omitzero"`
	StableSq       Fixed  `json:"stableSq,omitzero"`
	CandidateSq    Fixed  `json:"candidateSq,omitzero"`
	Cross          Fixed  `json:"cross,omitzero"` // sum of stable x candidate: with the squares, the variance of any contrast
	StableRange    Range  `json:"stableRange,omitzero"`
	CandidateRange Range  `json:"candidateRange,omitzero"`
	Above          []Pair `json:"above,omitempty"` // per cut-off: flips of the first kind and the second

	Latency [2]Histogram `json:"latency,omitzero"` // reported, never judged
}

// Pair counts decision flips at one cut-off: rows above it for one arm only.
type Pair struct {
	OnlyStable    uint64 `json:"onlyStable,omitempty"`
	OnlyCandidate uint64 `json:"onlyCandidate,omitempty"`
}

// EpochEvidence is all that was counted while one epoch was in force.
type EpochEvidence struct {
	Info   EpochInfo `json:"info"`
	Arms   [2]Counts `json:"arms"`
	Shadow Pairs     `json:"shadow,omitzero"`
}

// Evidence is the whole that a verdict stands on: epochs in ascending order of ID.
type Evidence struct {
	Epochs []EpochEvidence `json:"epochs,omitempty"`
}

// Merge returns the sum of both; neither argument is changed.
func (e Evidence) Merge(o Evidence) Evidence {
	out := Evidence{Epochs: make([]EpochEvidence, 0, max(len(e.Epochs), len(o.Epochs)))}
	i, j := 0, 0
	for i < len(e.Epochs) || j < len(o.Epochs) {
		switch {
		case j == len(o.Epochs) || (i < len(e.Epochs) && e.Epochs[i].Info.ID < o.Epochs[j].Info.ID):
			out.Epochs = append(out.Epochs, e.Epochs[i].clone())
			i++
		case i == len(e.Epochs) || o.Epochs[j].Info.ID < e.Epochs[i].Info.ID:
			out.Epochs = append(out.Epochs, o.Epochs[j].clone())
			j++
		default:
			m := e.Epochs[i].clone()
			m.add(&o.Epochs[j])
			out.Epochs = append(out.Epochs, m)
			i, j = i+1, j+1
		}
	}
	return out
}

// Epoch returns the evidence of one epoch, and whether there is any.
func (e Evidence) Epoch(id uint32) (EpochEvidence, bool) {
	i, ok := slices.BinarySearchFunc(e.Epochs, id, func(x EpochEvidence, id uint32) int { return int(int64(x.Info.ID) - int64(id)) })
	if !ok {
		return EpochEvidence{}, false
	}
	return e.Epochs[i], true
}

func (e *EpochEvidence) clone() EpochEvidence {
	c := *e
	for a := range c.Arms {
		c.Arms[a].Above = slices.Clone(c.Arms[a].Above)
	}
	c.Shadow.Above = slices.Clone(c.Shadow.Above)
	return c
}

// Clone returns a deep copy that shares nothing with e.
func (e *EpochEvidence) Clone() EpochEvidence { return e.clone() }

func (e *EpochEvidence) add(o *EpochEvidence) {
	for a := range e.Arms {
		e.Arms[a].Add(&o.Arms[a])
	}
	e.Shadow.Add(&o.Shadow)
}

// Add adds o's counts to c.
func (c *Counts) Add(o *Counts) {
	c.Requests += o.Requests
	c.Errors += o.Errors
	c.Refusals += o.Refusals
	c.Direct += o.Direct
	c.ClientGone += o.ClientGone
	c.FellBack += o.FellBack
	c.Units += o.Units
	c.ErrorUnits += o.ErrorUnits
	c.InvalidUnits += o.InvalidUnits
	c.RefusalUnits += o.RefusalUnits
	c.AnsweredUnits += o.AnsweredUnits
	c.LateErrorUnits += o.LateErrorUnits
	c.Unjudged += o.Unjudged
	c.Invalid += o.Invalid
	c.Opaque += o.Opaque
	c.Unparsed += o.Unparsed
	c.Dropped += o.Dropped
	c.Scored += o.Scored
	c.Clipped += o.Clipped
	c.Varied += o.Varied
	c.ScoreSum = c.ScoreSum.Plus(o.ScoreSum)
	c.ScoreSq = c.ScoreSq.Plus(o.ScoreSq)
	c.ScoreRange = c.ScoreRange.Union(o.ScoreRange)
	for len(c.Above) < len(o.Above) {
		c.Above = append(c.Above, Share{})
	}
	for i, s := range o.Above {
		c.Above[i].Sum = c.Above[i].Sum.Plus(s.Sum)
		c.Above[i].Sq = c.Above[i].Sq.Plus(s.Sq)
	}
	c.Latency.Add(&o.Latency)
}

// AddScore counts one answer's mean score. NaN and infinities are the caller's
// to count as invalid: they are refused here by doing nothing.
func (c *Counts) AddScore(y float64) {
	v, clipped, ok := clip(y)
	if !ok {
		return
	}
	if clipped {
		c.Clipped++
	}
	c.Scored++
	if c.ScoreRange.Seen && v != c.ScoreRange.Min {
		c.Varied++
	}
	c.ScoreSum = c.ScoreSum.Plus(FixedOf(v))
	c.ScoreSq = c.ScoreSq.Plus(FixedOf(v * v))
	c.ScoreRange = c.ScoreRange.With(v)
}

// AddAbove counts the share (0..1) of an answer's rows above cut-off i.
func (c *Counts) AddAbove(i int, share float64) {
	for len(c.Above) <= i {
		c.Above = append(c.Above, Share{})
	}
	c.Above[i].Sum = c.Above[i].Sum.Plus(FixedOf(share))
	c.Above[i].Sq = c.Above[i].Sq.Plus(FixedOf(share * share))
}

// AddLatency counts one judged unit's latency.
func (c *Counts) AddLatency(d time.Duration) { c.Latency.Observe(d) }

// Add adds o's counts to p.
func (p *Pairs) Add(o *Pairs) {
	p.N += o.N
	p.BothOK += o.BothOK
	p.BothFailed += o.BothFailed
	p.OnlyStableBad += o.OnlyStableBad
	p.OnlyShadowBad += o.OnlyShadowBad
	p.ShadowErrors += o.ShadowErrors
	p.ShadowInvalid += o.ShadowInvalid
	p.ShadowRefusals += o.ShadowRefusals
	p.Compared += o.Compared
	p.Disagreed += o.Disagreed
	p.NotComparable += o.NotComparable
	p.Dropped += o.Dropped
	p.Repeats += o.Repeats
	p.RepeatsDisagreed += o.RepeatsDisagreed
	p.RepeatsLost += o.RepeatsLost
	p.Scored += o.Scored
	p.StableVaried += o.StableVaried
	p.StableSum = p.StableSum.Plus(o.StableSum)
	p.CandidateSum = p.CandidateSum.Plus(o.CandidateSum)
	p.StableSq = p.StableSq.Plus(o.StableSq)
	p.CandidateSq = p.CandidateSq.Plus(o.CandidateSq)
	p.Cross = p.Cross.Plus(o.Cross)
	p.StableRange = p.StableRange.Union(o.StableRange)
	p.CandidateRange = p.CandidateRange.Union(o.CandidateRange)
	for len(p.Above) < len(o.Above) {
		p.Above = append(p.Above, Pair{})
	}
	for i, x := range o.Above {
		p.Above[i].OnlyStable += x.OnlyStable
		p.Above[i].OnlyCandidate += x.OnlyCandidate
	}
	for a := range p.Latency {
		p.Latency[a].Add(&o.Latency[a])
	}
}

// AddScores counts the mean scores of one pair of answers.
func (p *Pairs) AddScores(stable, candidate float64) {
	s, _, ok1 := clip(stable)
	c, _, ok2 := clip(candidate)
	if !ok1 || !ok2 {
		return
	}
	p.Scored++
	if p.StableRange.Seen && s != p.StableRange.Min {
		p.StableVaried++
	}
	p.StableSum = p.StableSum.Plus(FixedOf(s))
	p.CandidateSum = p.CandidateSum.Plus(FixedOf(c))
	p.StableSq = p.StableSq.Plus(FixedOf(s * s))
	p.CandidateSq = p.CandidateSq.Plus(FixedOf(c * c))
	p.Cross = p.Cross.Plus(FixedOf(s * c))
	p.StableRange = p.StableRange.With(s)
	p.CandidateRange = p.CandidateRange.With(c)
}
