// Package metrics tells what engines do as Prometheus metrics: the same names and
// meanings on one machine and in a cluster, so that one dashboard serves both.
package metrics

import (
	"runtime"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/serin-dev/serin/internal/engine"
)

// Build says which build of Serin answers.
type Build struct{ Version, Revision string }

// Endpoint is what the metrics of one endpoint are read from.
type Endpoint interface {
	Glance() engine.Status
	Counters() engine.Counters
}

// identity are the labels of every metric of an endpoint. No label holds what a
// client sent: who scores cannot make new series.
var identity = []string{"namespace", "endpoint"}

// family is one metric with its labels, besides identity.
type family struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func counter(name, help string, labels ...string) family {
	return family{prometheus.NewDesc(name, help, slices.Concat(identity, labels), nil), prometheus.CounterValue}
}

func gauge(name, help string, labels ...string) family {
	return family{prometheus.NewDesc(name, help, slices.Concat(identity, labels), nil), prometheus.GaugeValue}
}

// The metrics; docs/api.md lists them, and a test holds the two together.
var (
	build          = prometheus.NewDesc("serin_build_info", "Which build of Serin runs; always 1.", []string{"version", "revision", "goversion"}, nil)
	mRequests      = counter("serin_requests_total", "First answers to client requests, by arm, revision and status (none: no answer; gone: the client left first).", "arm", "revision", "response_code")
	mFellBack      = counter("serin_fallback_total", "Requests that one version failed and another answered: stable for the candidate, the version before for the one promoted.")
	mShadowSent    = counter("serin_shadow_sent_total", "Copies sent to the candidate.")
	mShadowDropped = counter("serin_shadow_dropped_total", "Copies not sent for want of room.")
	mRefused       = counter("serin_gateway_refused_total", "Requests by protocols that the gateway does not carry.")
	mTooLarge      = counter("serin_gateway_too_large_total", "Requests larger than traffic.maxBodyBytes.")
	mMalformed     = counter("serin_gateway_malformed_total", "Requests that could be read in two ways, or in none: refused.")
	mStreamed      = counter("serin_gateway_streamed_total", "Requests whose body was too large to be held: no fallback, no shadow copy.")
	mSpared        = counter("serin_gateway_spared_total", "Requests due to a candidate that cannot be reached, answered by stable without asking it.")
	mTurnedAway    = counter("serin_gateway_turned_away_total", "Connections of clients that were answered 503, or hung up on, because there were too many.")
	mConnections   = gauge("serin_gateway_connections", "Connections of clients.")
	mNotified      = counter("serin_notifications_total", "Notifications by receiver (host) and result: sent, failed, dropped.", "receiver", "result")
	mWaiting       = gauge("serin_notifications_waiting", "Notifications not delivered yet.", "receiver")
	mPlanned       = gauge("serin_candidate_weight_planned_ratio", "Share of requests that the plan gives to the candidate.")
	mInForce       = gauge("serin_candidate_weight_ratio", "Share of requests that go to the candidate by the routes in force.")
	mShadow        = gauge("serin_shadow_ratio", "Share of stable's requests that is copied to the candidate.")
	mEpoch         = gauge("serin_weight_epoch", "Number of the weight epoch in force.")
	mRate          = gauge("serin_requests_per_second", "Requests per second over the last seconds, by arm.", "arm")
	mReady         = gauge("serin_revision_ready", "1 when the revision's scorer is ready.", "arm", "revision", "version")
	mRestarts      = counter("serin_revision_restarts_total", "How often the revision's scorer was started again.", "arm", "revision", "version")
	mRollout       = gauge("serin_rollout_info", "The running rollout, or the last one; always 1. Outcome is Running while it runs.", "rollout", "from", "to", "outcome", "reason")
	mStep          = gauge("serin_rollout_step", "Number of the step entered, from 1; 0 before the first.")
	mSteps         = gauge("serin_rollout_steps", "Number of steps of the plan.")
	mPaused        = gauge("serin_rollout_paused", "1 while a person paused the rollout.")
	mEvidence      = gauge("serin_evidence", "Counts that the verdict stands on, of this rollout: stable_requests, stable_errors, candidate_requests, candidate_errors, fell_back, pairs, disagreed, dropped.", "count")
	mLogE          = gauge("serin_verdict_log_evidence", "Evidence by metric, as the natural logarithm of an e-value, for revert and for promote; metric `combined` is the whole.", "metric", "direction")
	mRevertAt      = gauge("serin_verdict_log_evidence_revert_threshold", "The combined evidence for revert at which the rollout is reverted.")
	mOutcome       = gauge("serin_verdict_outcome", "1 for the present outcome of each metric: Pass, Inconclusive, Fail, NotJudgeable.", "metric", "outcome", "reason")
	mCondition     = gauge("serin_condition", "1 when the condition is True: Ready, Degraded.", "type", "reason")
	families       = []family{
		mRequests, mFellBack, mShadowSent, mShadowDropped, mRefused, mTooLarge, mMalformed, mStreamed, mSpared, mTurnedAway, mConnections, mNotified, mWaiting, mPlanned, mInForce, mShadow, mEpoch, mRate, mReady,
		mRestarts, mRollout, mStep, mSteps, mPaused, mEvidence, mLogE, mRevertAt, mOutcome, mCondition,
	}
)

// Collector reads everything anew at each scrape: no metric outlives what it
// tells of.
type Collector struct {
	Build     Build
	Endpoints func() []Endpoint
}

// Describe implements prometheus.Collector.
func (m Collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- build
	for _, f := range families {
		ch <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (m Collector) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(build, prometheus.GaugeValue, 1, m.Build.Version, m.Build.Revision, runtime.Version())
	for _, e := range m.Endpoints() {
		st := e.Glance()
		s := sink{ch, st.Namespace, st.Endpoint}
		s.counters(e.Counters())
		s.status(&st)
	}
}

func ratio(bp int) float64 { return float64(bp) / 10000 }

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// sink writes samples of one endpoint.
type sink struct {
	ch                  chan<- prometheus.Metric
	namespace, endpoint string
}

func (s sink) put(f family, v float64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(f.desc, f.kind, v, append([]string{s.namespace, s.endpoint}, labels...)...)
}

func (s sink) counters(c engine.Counters) {
	for _, r := range c.Requests {
		s.put(mRequests, float64(r.N), r.Arm, r.Revision, r.Code)
	}
	s.put(mFellBack, float64(c.FellBack))
	s.put(mShadowSent, float64(c.ShadowSent))
	if g := c.Gateway; g != nil {
		s.put(mShadowDropped, float64(g.ShadowDropped))
		s.put(mRefused, float64(g.Refused))
		s.put(mTooLarge, float64(g.TooLarge))
		s.put(mMalformed, float64(g.Malformed))
		s.put(mStreamed, float64(g.Streamed))
		s.put(mSpared, float64(g.Spared))
		s.put(mTurnedAway, float64(g.TurnedAway))
		s.put(mConnections, float64(g.Connections))
	}
	for _, n := range c.Notifications {
		s.put(mNotified, float64(n.Sent), n.Receiver, "sent")
		s.put(mNotified, float64(n.Failed), n.Receiver, "failed")
		s.put(mNotified, float64(n.Dropped), n.Receiver, "dropped")
		s.put(mWaiting, float64(n.Waiting), n.Receiver)
	}
}

func (s sink) status(st *engine.Status) {
	s.put(mPlanned, ratio(st.Weights.PlannedBP))
	s.put(mInForce, ratio(st.Weights.InForceBP))
	s.put(mShadow, ratio(st.Weights.ShadowBP))
	s.put(mEpoch, float64(st.Weights.Epoch))
	s.put(mRate, st.Traffic.RequestsPerSecond-st.Traffic.CandidatePerSecond, "stable")
	s.put(mRate, st.Traffic.CandidatePerSecond, "candidate")
	s.revision("stable", st.Stable)
	s.revision("candidate", st.Candidate)
	s.revision("previous", st.Previous)
	for _, c := range st.Conditions {
		s.put(mCondition, one(c.Status == "True"), c.Type, c.Reason)
	}
	if st.Rollout != nil {
		s.rollout(st.Rollout)
	}
}

func (s sink) revision(arm string, r *engine.RevisionView) {
	if r == nil {
		return
	}
	s.put(mReady, one(r.Ready), arm, r.Name, r.Version)
	s.put(mRestarts, float64(r.Restarts), arm, r.Name, r.Version)
}

func (s sink) rollout(r *engine.RolloutView) {
	outcome := r.Outcome
	if outcome == "" {
		outcome = "Running"
	}
	s.put(mRollout, 1, r.ID, r.From, r.To, outcome, r.Decision.Reason)
	step := 0
	if r.StepName != "" {
		step = r.Step + 1
	}
	s.put(mStep, float64(step))
	s.put(mSteps, float64(len(r.Steps)))
	s.put(mPaused, one(r.Paused))
	e := r.Evidence
	for name, n := range map[string]uint64{
		"stable_requests": e.StableRequests, "stable_errors": e.StableErrors, "candidate_requests": e.CandidateRequests, "candidate_errors": e.CandidateErrors,
		"fell_back": e.FellBack, "pairs": e.Pairs, "disagreed": e.Disagreed, "dropped": e.Dropped,
	} {
		s.put(mEvidence, float64(n), name)
	}
	s.put(mLogE, r.Verdict.LogE, "combined", "revert")
	s.put(mRevertAt, r.Verdict.LogERevertAt)
	for _, m := range r.Verdict.Metrics {
		s.put(mLogE, m.EvidenceRevert, m.Name, "revert")
		s.put(mLogE, m.EvidencePromote, m.Name, "promote")
		s.put(mOutcome, 1, m.Name, string(m.Outcome), string(m.Reason))
	}
}
