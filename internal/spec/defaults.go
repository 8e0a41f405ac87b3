package spec

import "github.com/serin-dev/serin/api/v1alpha1"

// Defaults that the digest of a version leaves out.
const (
	defaultReadinessPath    = "/"
	defaultReadinessTimeout = "2m"
	defaultPort             = 5001
)

func or(field *string, value string) {
	if *field == "" {
		*field = value
	}
}

func orInt(field **int64, value int64) {
	if *field == nil {
		*field = &value
	}
}

// setDefaults fills in what a careful engineer would choose (product.md).
func setDefaults(s *v1alpha1.ScoringEndpointSpec) {
	or(&s.Scorer.Readiness.Path, defaultReadinessPath)
	or(&s.Scorer.Readiness.Timeout, defaultReadinessTimeout)
	or(&s.Contract.Path, "/score")
	or(&s.Contract.Protocol, "Auto")
	for i := range s.Notify {
		or(&s.Notify[i].Format, "CloudEvents")
	}
	if s.Adopt != nil {
		or(&s.Adopt.Afterwards, "Keep")
	}
	if s.Scaling.Replicas == nil && !autoscaler(s.Scaling) {
		s.Scaling.Replicas = new(int32(1))
	}
	t := &s.Traffic
	if t.Hosts == nil {
		t.Hosts = []string{"*"}
	}
	or(&t.Listen, "127.0.0.1:8080")
	or(&t.Header.Name, "x-api-version")
	or(&t.Header.Stable, "green")
	or(&t.Header.Candidate, "blue")
	or(&t.Fallback, "Stable")
	or(&t.CandidateTimeout, "2s")
	or(&t.Timeout, "5s")
	or(&t.MaxBodyBytes, "4Mi")
	rolloutDefaults(&s.Rollout)
	judgeDefaults(&s.Judge)
}

func rolloutDefaults(r *v1alpha1.Rollout) {
	if r.Steps == nil {
		r.Steps = []v1alpha1.Step{{Shadow: "100%", MinDuration: "10m"}, {Weight: "1%"}, {Weight: "10%"}, {Weight: "50%"}, {Weight: "100%"}}
	}
	for i := range r.Steps {
		step := &r.Steps[i]
		name := step.Weight
		if step.Shadow != "" {
			name = "shadow"
		}
		or(&step.Name, name)
		or(&step.MinDuration, "0s")
	}
	or(&r.Approval, "AsMarked")
	orInt(&r.MinRequests, 100)
	orInt(&r.HarmBudget, 50)
	or(&r.Warmup, "60s")
	or(&r.MaxDuration, "24h")
	or(&r.OnTimeout, "Hold")
	or(&r.ApprovalTimeout, "24h")
	or(&r.ProgressDeadline, "10m")
	or(&r.KeepFailed, "1h")
	or(&r.KeepOld, "1h")
	for i := range r.Freeze {
		or(&r.Freeze[i].TimeZone, "UTC")
	}
}

func judgeDefaults(j *v1alpha1.Judge) {
	or(&j.FalseRevert, "1%")
	or(&j.FalsePromote, "5%")
	or(&j.Errors.RevertAbove, "1.25x")
	or(&j.Errors.PromoteBelow, "2x")
	or(&j.Errors.OrWithin, "0.1pp")
	or(&j.Latency.RevertAbove, "1.1x")
	or(&j.Latency.PromoteBelow, "1.25x")
	if j.Latency.At == nil {
		j.Latency.At = []string{"p50", "p90", "p99"}
	}
	or(&j.Invalid.RevertAbove, "0.1%")
	or(&j.Invalid.PromoteBelow, "1%")
	if j.Scores != nil && j.Scores.Mean != nil {
		or(&j.Scores.Mean.RevertAbove, "10%")
		or(&j.Scores.Mean.PromoteBelow, "20%")
	}
	if j.Agreement != nil {
		or(&j.Agreement.RevertBelow, "90%")
		or(&j.Agreement.PromoteAbove, "95%")
	}
	if j.Labels != nil {
		or(&j.Labels.Loss, "LogLoss")
		or(&j.Labels.Maturity, "720h")
	}
}
