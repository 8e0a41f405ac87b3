package engine

import (
	"time"

	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

func (e *Engine) epochInfo(r rollout.Routing) judge.EpochInfo {
	info := judge.EpochInfo{ID: r.Epoch, Step: r.Step, WeightBP: r.WeightBP, ShadowBP: r.ShadowBP, Warmup: r.Warmup, Calibrating: r.Calibrating}
	if a := e.rec.State.Attempt; a != nil && e.rec.Policy.Sticky {
		info.KeptBP = keptBP(e.evidence(), a.FirstEpoch, r)
	}
	return info
}

// keptBP is the greatest weight below the present one that the rollout had before:
// its clients have the candidate already.
func keptBP(e judge.Evidence, first uint32, r rollout.Routing) (kept int) {
	for i := range e.Epochs {
		if info := e.Epochs[i].Info; info.ID >= first && info.ID < r.Epoch && info.WeightBP < r.WeightBP {
			kept = max(kept, info.WeightBP)
		}
	}
	return kept
}

// evidence returns the counts of earlier processes and this one's: all since the
// present stable took over, and since the present or last attempt began.
func (e *Engine) evidence() judge.Evidence {
	mine := e.cfg.Source.Snapshot()
	all := e.base.Merge(mine)
	for i := range all.Epochs {
		info := &all.Epochs[i].Info
		now, _ := mine.Epoch(info.ID)
		info.Tampered = info.Tampered || now.Info.Tampered
	}
	first := e.rec.StableSince
	if a := e.rec.State.Attempt; a != nil {
		first = min(first, a.FirstEpoch)
	}
	return keep(all, func(i judge.EpochInfo) bool { return i.ID >= first })
}

func keep(e judge.Evidence, which func(judge.EpochInfo) bool) judge.Evidence {
	var out judge.Evidence
	for _, ep := range e.Epochs {
		if which(ep.Info) {
			out.Epochs = append(out.Epochs, ep)
		}
	}
	return out
}

// ofAttempt keeps the epochs of the attempt and, of those before it, the ones in
// which stable served alone: they say what its own rates are.
func ofAttempt(e judge.Evidence, first, countedSince uint32) judge.Evidence {
	return keep(e, func(i judge.EpochInfo) bool {
		return i.ID >= first || i.ID >= countedSince && i.WeightBP == 0 && i.ShadowBP == 0
	})
}

// input gathers what Step looks at. It also freezes the calibration as soon as
// stable has served enough requests.
func (e *Engine) input(now time.Time, all judge.Evidence) rollout.Input {
	in := rollout.Input{Now: now, Wish: e.wish.Target, Plan: e.wish.Plan, Observed: e.observed, ReactionLag: e.cfg.Lag}
	a := e.rec.State.Attempt
	for _, p := range e.pending {
		r := p.request
		r.Unseen = a != nil && r.EvidenceDigest != "" && !e.shown.has(stepOf(a), r.EvidenceDigest)
		in.Actions = append(in.Actions, r)
	}
	id := ""
	if a != nil {
		id = a.ID + string(a.Outcome)
	}
	if id != e.attempt {
		e.attempt = id
		e.span.reset()
	}
	runs := a != nil && a.Outcome == rollout.Running
	mine := all
	if runs {
		mine = ofAttempt(all, a.FirstEpoch, e.rec.CountedSince)
		e.calibrate(all, a.FirstEpoch)
		in.Calibrated = e.rec.Calibration != nil
	}
	e.span.add(totalsOf(now, mine, e.rec.State.Routing.WeightBP), mine)
	in.TotalRPS, _ = e.span.rate()
	in.Recent = e.span.window()
	e.judged = nil
	if runs {
		verdict := judge.Judge(e.rec.Policy, e.rec.Calibration, mine, in.Recent)
		e.last = Judgement{At: now, Calibrated: in.Calibrated, Evidence: mine, Window: in.Recent, Verdict: verdict}
		e.judged = &e.last
		in.Verdict = verdict
		in.CandidateRequests = inStep(mine, a)
		in.EvidenceDigest = digest(mine)
	}
	return in
}

// calibrate chooses the latency edges from what stable answered before the
// attempt, and during its calibrating epochs.
func (e *Engine) calibrate(all judge.Evidence, first uint32) {
	if e.rec.Calibration != nil {
		return
	}
	since := max(e.rec.StableSince, e.rec.CountedSince)
	var baseline judge.Counts
	for i := range all.Epochs {
		if info := all.Epochs[i].Info; info.ID >= since && (info.ID < first || info.Calibrating) {
			baseline.Add(&all.Epochs[i].Arms[judge.Stable])
		}
	}
	if c, ok := judge.Calibrate(e.rec.Policy, &baseline); ok {
		e.rec.Calibration = &c
	}
}

// inStep counts what the present step gave the judge: pairs in a shadow step,
// else requests of the candidate.
func inStep(e judge.Evidence, a *rollout.Attempt) (n uint64) {
	for i := range e.Epochs {
		ep := &e.Epochs[i]
		if ep.Info.ID < a.FirstEpoch || ep.Info.Step != a.Step || ep.Info.Warmup || ep.Info.Tampered {
			continue
		}
		if ep.Info.WeightBP == 0 {
			n += ep.Shadow.N
		} else {
			n += ep.Arms[judge.Candidate].Requests
		}
	}
	return n
}

// entriesOf are the audit lines of one round: what people asked, and what moved.
func (e *Engine) entriesOf(now time.Time, s rollout.State, in rollout.Input, d rollout.Decision) []Entry {
	var out []Entry
	id := ""
	if s.Attempt != nil {
		id = s.Attempt.ID
	}
	for _, r := range d.ActionResults {
		entry := Entry{At: now, Kind: EntryAction, Rollout: id, Reason: string(r.Reason), Message: r.Message, Accepted: &r.Accepted}
		for _, a := range in.Actions {
			if a.ID == r.ID {
				entry.By, entry.OnBehalf, entry.EvidenceDigest = a.By, a.OnBehalfOf, a.EvidenceDigest
				entry.Message = string(a.Kind) + ": " + r.Message
			}
		}
		out = append(out, entry)
	}
	if !d.Transition {
		return out
	}
	entry := Entry{At: now, Kind: EntryTransition, Rollout: id, Action: string(d.Action), Reason: string(d.Reason), Message: d.Message, EvidenceDigest: in.EvidenceDigest}
	if e.judged != nil && e.rec.State.Attempt.ID == id {
		j := *e.judged
		j.Reason = entry.Reason
		entry.Judged = &j
	}
	out = append(out, entry)
	return out
}
