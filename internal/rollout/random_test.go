package rollout

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/judge"
)

// TestRandomWalks lets chance play everything around Step; checkStep looks at
// every call. A failure names its seed: run it again with -run 'TestRandomWalks/7$'.
func TestRandomWalks(t *testing.T) {
	seen := map[Reason]int{}
	for seed := range uint64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			d := &drunkard{world: newWorld(t), r: rand.New(rand.NewPCG(seed, 26)), seen: seen}
			d.auto = false
			for range 200 {
				d.stagger()
			}
		})
	}
	if testing.Short() || t.Failed() {
		return
	}
	// Walks that never get anywhere would prove nothing.
	var never []Reason
	for _, reason := range []Reason{FirstVersion, StepEntered, AllRequiredPass, PromotedByPerson, RejectedByPerson, AbortedByPerson, RolledBackByPerson, BakeFailed, SupersededByVersion,
		VersionFailedBefore, WeightsOverwritten, CrashLoop, ProgressDeadline, MaxDurationReached, ApprovalTimedOut, WaitingForApproval, Frozen, Paused, StableNotReady, HarmBudgetExceeded, judge.ErrorRate, judge.EvidenceMissing} {
		if seen[reason] == 0 {
			never = append(never, reason)
		}
	}
	if len(never) > 2 {
		t.Errorf("no walk came to %v", never)
	}
}

// drunkard is a world in which anything may happen next.
type drunkard struct {
	*world
	r    *rand.Rand
	seen map[Reason]int
	ids  int
}

func (d *drunkard) one(in int) bool { return d.r.IntN(in) == 0 }

// stagger lets something happen, then calls Step.
func (d *drunkard) stagger() {
	d.t.Helper()
	switch d.r.IntN(14) {
	case 0, 1:
		d.health()
	case 2, 11:
		d.verdict()
	case 3:
		d.document()
	case 4:
		for range 1 + d.r.IntN(2) {
			d.ask()
		}
	case 6:
		d.lagging = d.one(3)
	case 7:
		d.in.Observed.InForce.Overwritten = d.one(2)
	case 8:
		d.in.Calibrated, d.in.TotalRPS = d.one(2), float64(d.r.IntN(2000))
	case 9:
		n := uint64(d.r.IntN(20))
		d.in.Recent = judge.Window{Requests: [2]uint64{n, 0}, Errors: [2]uint64{n - uint64(d.r.IntN(2))*n/2, 0}}
	case 12:
		d.lose()
	case 10:
		if d.one(4) {
			d.restart()
		}
	}
	d.in.Observed.StateUnreadable = d.one(60)
	gap := time.Duration(d.r.IntN(4000)) * time.Millisecond
	if d.one(40) {
		gap = time.Duration(d.r.IntN(100)-50) * time.Hour
	}
	d.in.CandidateRequests += uint64(d.r.IntN(30))
	d.tick(gap)
	d.seen[d.last.Reason]++
}

// document changes the document, sometimes while somebody asks for something.
func (d *drunkard) document() {
	if d.one(2) {
		return
	}
	v := fmt.Sprintf("v%d", d.r.IntN(6))
	d.in.Wish, d.in.Plan = Wish{Digest: "digest of " + v, Version: v}, d.plan()
	if d.one(3) {
		d.ask()
	}
}

// health changes what the platform sees of one revision; mostly for the better.
func (d *drunkard) health() {
	live := d.state.live()
	if len(live) == 0 {
		return
	}
	st := RevisionStatus{Started: true, Ready: true, ReadyReplicas: 1 + d.r.IntN(3)}
	switch d.r.IntN(16) {
	case 0, 1:
		st = RevisionStatus{Started: true, Failure: "probe failed"}
	case 2:
		st.CrashLooping, st.Ready = true, d.one(2)
	}
	d.observe(live[d.r.IntN(len(live))].Name, st)
}

// lose loses some evidence of one revision, mostly little.
func (d *drunkard) lose() {
	d.in.Observed.Losses = nil
	if live := d.state.live(); len(live) > 0 && d.one(2) {
		d.in.Observed.Losses = []Loss{{Revision: live[d.r.IntN(len(live))].Name, Kind: LossLog, Missing: uint64(d.r.IntN(20)), Of: 200}}
	}
}

func (d *drunkard) verdict() {
	v := fine
	switch d.r.IntN(6) {
	case 0:
		v.Action, v.Reason = judge.Revert, judge.ErrorRate
	case 1:
		v.Action, v.Reason = judge.Hold, judge.BothArmsFailing
	case 2:
		v.ExtraErrorRate = d.r.Float64()
	case 3, 4:
		v.Promotable = true
	}
	d.in.Verdict = v
}

func (d *drunkard) ask() {
	d.ids++
	kinds := append([]ActionKind{"Frobnicate", Approve, Rollback, Rollback}, actionKinds...)
	a := ActionRequest{ID: fmt.Sprint(d.ids - d.r.IntN(2)), Kind: kinds[d.r.IntN(len(kinds))], By: "ann", At: d.in.Now}
	if d.one(4) {
		a.Step = []string{"a", "b", "d", "nowhere"}[d.r.IntN(4)]
	}
	if d.one(8) {
		a.Rollout = "ep-1"
	}
	d.in.Actions = append(d.in.Actions, a)
}

func (d *drunkard) plan() Plan {
	p := Plan{
		Steps:         []PlanStep{{Name: "a", ShadowBP: fullWeight}, {Name: "b", WeightBP: 1000, Approval: d.one(3)}, {Name: "c", WeightBP: 5000}, {Name: "d", WeightBP: fullWeight}}[d.r.IntN(4):],
		ApprovalEvery: d.one(6), MinRequests: uint64(d.r.IntN(30)), HarmBudget: float64(d.r.IntN(100)), OnTimeout: []OnTimeout{TimeoutHold, TimeoutRevert}[d.r.IntN(2)],
		MaxDuration: time.Duration(1+d.r.IntN(40)) * time.Second, ApprovalTimeout: time.Duration(1+d.r.IntN(20)) * time.Second, ProgressDeadline: time.Duration(5+d.r.IntN(20)) * time.Second,
		Warmup: time.Duration(d.r.IntN(5)) * time.Second, KeepFailed: time.Duration(d.r.IntN(20)) * time.Second, KeepOld: time.Duration(d.r.IntN(200)) * time.Second,
	}
	if d.one(5) {
		p.Freeze = []Window{{Cron: "*/2 * * * *", Duration: time.Minute, TimeZone: "UTC"}}
	}
	return p
}
