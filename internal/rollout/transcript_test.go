package rollout

import (
	"fmt"
	"strings"
)

// show writes one call of Step, if it is worth a line.
func (p *player) show(actions []Action, always bool) {
	d := p.last
	p.stepped = true
	if !always && len(actions) == 0 && !d.Transition && d.Reason == p.said && len(d.ActionResults) == 0 {
		return
	}
	p.said = d.Reason
	mark := " "
	if d.Transition {
		mark = "*"
	}
	fmt.Fprintf(&p.out, "%s%-5s %s\n", mark, p.in.Now.Sub(p.begun), words3(string(d.Action), string(d.Reason), d.Message))
	for _, r := range d.ActionResults {
		answer := "refused"
		if r.Accepted {
			answer = "accepted"
		}
		fmt.Fprintf(&p.out, "  %s %s %s: %s\n", r.ID, answer, r.Reason, r.Message)
	}
	for _, a := range actions {
		fmt.Fprintf(&p.out, "  %s\n", p.action(a))
	}
}

func words3(action, reason, message string) string {
	if reason == "" {
		return "nothing to do"
	}
	return action + " " + reason + ": " + message
}

func short(name string) string { return strings.TrimPrefix(name, "ep-") }

func (p *player) action(a Action) string {
	switch a := a.(type) {
	case StartRevision:
		return "start " + short(a.Revision.Name)
	case StopRevision:
		return "stop " + short(a.Revision.Name)
	case PromoteRevision:
		return "promote " + short(a.Revision.Name)
	case SetRouting:
		return "route " + routes(a.Routing)
	}
	return fmt.Sprintf("%#v", a)
}

func routes(r Routing) string {
	s := fmt.Sprintf("#%d %s %s", r.Epoch, short(r.Stable), Percent(fullWeight-r.WeightBP))
	if r.WeightBP > 0 {
		s += fmt.Sprintf(", %s %s", short(r.Candidate), Percent(r.WeightBP))
	}
	if r.ShadowBP > 0 {
		s += fmt.Sprintf(", copies of %s to %s", Percent(r.ShadowBP), short(r.Candidate))
	}
	if r.Candidate != "" && r.WeightBP+r.ShadowBP == 0 {
		s += fmt.Sprintf(", %s by header only", short(r.Candidate))
	}
	if r.Previous != "" {
		s += fmt.Sprintf(", %s behind", short(r.Previous))
	}
	for _, f := range []struct {
		set  bool
		name string
	}{{r.Warmup, "warm-up"}, {r.Calibrating, "calibrating"}, {r.HandOver, "hand-over"}} {
		if f.set {
			s += ", " + f.name
		}
	}
	return s
}

// now is where things stand, in one line.
func (p *player) now() string {
	var parts []string
	if a := p.state.Attempt; a != nil {
		where := "before the first step"
		if a.Step >= 0 {
			where = "step " + a.Plan.Steps[a.Step].Name
		}
		if a.Outcome != Running {
			where = string(a.Outcome)
		}
		parts = append(parts, a.ID+" "+where)
	}
	named := func(what string, r *Revision) {
		if r != nil {
			parts = append(parts, fmt.Sprintf("%s %s (%s)", what, short(r.Name), r.Version))
		}
	}
	named("stable", p.state.Stable)
	named("candidate", p.state.Candidate)
	for _, k := range []*Kept{p.state.Previous, p.state.Failed} {
		if k != nil {
			named("kept", &k.Revision)
		}
	}
	if p.state.Routing.Epoch > 0 {
		parts = append(parts, routes(p.state.Routing))
	}
	if len(parts) == 0 {
		return "nothing serves"
	}
	return strings.Join(parts, "; ")
}
