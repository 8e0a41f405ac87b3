package rollout

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/serin-dev/serin/internal/judge"
)

var update = flag.Bool("update", false, "write the outputs of testdata/*.txt anew; read the difference before you commit it")

// TestScenarios plays testdata/*.txt: blocks of commands, `----`, and what they
// print. testdata/README.md has the commands.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d scenarios found (%v), want at least 40", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(raw))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(raw), got); diff != "" && !*update {
				t.Errorf("%s (-want +got):\n%s", file, diff)
			}
		})
	}
}

// play returns the scenario with what its commands print now.
func play(t *testing.T, scenario string) string {
	t.Helper()
	p := &player{world: newWorld(t)}
	p.begun = p.in.Now
	var out strings.Builder
	for block := range strings.SplitSeq(strings.TrimSpace(scenario), "\n\n") {
		commands, _, isBlock := strings.Cut(block+"\n", "----\n")
		if !isBlock { // prose
			out.WriteString(block + "\n\n")
			continue
		}
		p.out.Reset()
		p.stepped = false
		for line := range strings.SplitSeq(strings.TrimSpace(commands), "\n") {
			if !strings.HasPrefix(line, "#") {
				p.command(line)
			}
		}
		if p.stepped {
			fmt.Fprintf(&p.out, "  = %s\n", p.now())
		}
		if p.out.Len() == 0 {
			p.out.WriteString("ok\n")
		}
		fmt.Fprintf(&out, "%s----\n%s\n", commands, p.out.String())
	}
	return strings.TrimSpace(out.String()) + "\n"
}

// player carries out commands on a world and writes the transcript.
type player struct {
	*world
	begun  time.Time
	out    strings.Builder
	said   Reason
	asked  ActionRequest
	number int
	// stepped: Step was called in this block.
	stepped bool
}

// words splits a line; "quoted words" stay together.
func words(line string) []string {
	quoted := false
	return strings.FieldsFunc(line, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ' ' && !quoted
	})
}

func (p *player) command(line string) {
	p.t.Helper()
	f := words(line)
	args, flags := f[1:], map[string]string{}
	for _, w := range args {
		if k, v, ok := strings.Cut(w, "="); ok {
			flags[k] = strings.Trim(v, `"`)
		}
	}
	first := ""
	if len(args) > 0 {
		first = args[0]
	}
	if !p.around(f[0], first, flags) && !p.happens(f[0], first, flags) {
		p.t.Fatalf("unknown command %q", line)
	}
}

// around are commands that set the scene and call nothing.
func (p *player) around(verb, first string, flags map[string]string) bool {
	switch verb {
	case "plan":
		p.in.Plan = p.plan(flags)
	case "document":
		p.asks(first)
	case "production":
		p.asks(first)
		for range 3 {
			p.step()
		}
	case "platform":
		p.auto, p.broken = first == "quick", flags["broken"]
	case "routes":
		p.routes(first, flags)
	case "traffic":
		p.perSecond = uint64(p.integer(first))
	case "rate":
		p.in.TotalRPS = p.float(first)
	case "calibrated":
		p.in.Calibrated = first == "yes"
	case "losses":
		p.losses(first, flags)
	case "recent":
		n := uint64(p.integer(flags["requests"]))
		p.in.Recent = judge.Window{Requests: [2]uint64{n, 0}, Errors: [2]uint64{uint64(p.integer(flags["errors"])), 0}}
	case "verdict":
		p.verdict(first, flags)
	case "clock":
		at, err := time.Parse("2006-01-02T15:04", first)
		p.must(err)
		p.in.Now, p.begun = at, at
	case "record":
		p.in.Observed.StateUnreadable = first == "unreadable"
	default:
		return false
	}
	return true
}

// happens are commands that call Step.
func (p *player) happens(verb, first string, flags map[string]string) bool {
	switch verb {
	case "apply":
		p.asks(first)
		p.show(p.step(), true)
	case "observe":
		p.seen(first, flags)
		p.show(p.step(), true)
	case "tick":
		p.ticks(p.duration(first))
	case "jump":
		p.in.Now = p.in.Now.Add(p.duration(first))
		p.show(p.step(), true)
	case "act":
		p.number++
		p.asked = ActionRequest{ID: "a" + strconv.Itoa(p.number), Kind: ActionKind(strings.ToUpper(first[:1]) + first[1:]), Step: flags["step"], Rollout: flags["rollout"], By: flags["by"], OnBehalfOf: flags["for"], Reason: flags["reason"], At: p.in.Now, EvidenceDigest: flags["evidence"], Unseen: flags["unseen"] != ""}
		p.in.Actions = append(p.in.Actions, p.asked)
		if flags["and"] == "" {
			p.show(p.step(), true)
		}
	case "replay":
		p.in.Actions = []ActionRequest{p.asked}
		p.show(p.step(), true)
	case "crash":
		p.crash(first)
	default:
		return false
	}
	return true
}

// asks lets the document ask for a version.
func (p *player) asks(version string) {
	p.in.Wish = Wish{Digest: "digest of " + version, Version: version}
}

func (p *player) routes(how string, flags map[string]string) {
	switch how {
	case "older":
		p.in.Observed.InForce.Stale = p.duration(flags["for"])
	case "lag", "ok":
		p.lagging = how == "lag"
	case "overwritten":
		p.in.Observed.InForce.Overwritten, p.in.Observed.InForce.By = true, flags["by"]
	case "lost":
		p.in.Observed.InForce = InForce{Overwritten: true}
	default:
		p.t.Fatalf("routes cannot be %q", how)
	}
}

func (p *player) must(err error) {
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *player) integer(s string) int {
	n, err := strconv.Atoi(s)
	p.must(err)
	return n
}

func (p *player) float(s string) float64 {
	v, err := strconv.ParseFloat(s, 64)
	p.must(err)
	return v
}

func (p *player) duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	p.must(err)
	return d
}

func (p *player) share(s string) int {
	return int(p.float(strings.TrimSuffix(s, "%")) * 100)
}

// plan reads steps=shadow:10m,10%,50%!,100%: a name is its share, :D is the least
// duration, ! asks for approval.
func (p *player) plan(flags map[string]string) Plan {
	out := Plan{OnTimeout: TimeoutHold, ProgressDeadline: time.Minute, HarmBudget: 50}
	for text := range strings.SplitSeq(flags["steps"], ",") {
		out.Steps = append(out.Steps, p.planStep(text))
	}
	durations := map[string]*time.Duration{"warmup": &out.Warmup, "maxDuration": &out.MaxDuration, "approvalTimeout": &out.ApprovalTimeout, "progressDeadline": &out.ProgressDeadline, "keepFailed": &out.KeepFailed, "keepOld": &out.KeepOld}
	for k, v := range flags {
		if d := durations[k]; d != nil {
			*d = p.duration(v)
			continue
		}
		switch k {
		case "steps":
		case "minRequests":
			out.MinRequests = uint64(p.integer(v))
		case "harmBudget":
			out.HarmBudget = p.float(v)
		case "onTimeout":
			out.OnTimeout = OnTimeout(v)
		case "approval":
			out.ApprovalEvery = v == "EveryStep"
		case "freeze":
			w := strings.Split(v, "; ")
			out.Freeze = append(out.Freeze, Window{Cron: w[0], Duration: p.duration(w[1]), TimeZone: w[2]})
		default:
			p.t.Fatalf("unknown field %q of a plan", k)
		}
	}
	return out
}

func (p *player) planStep(text string) PlanStep {
	text, approval := strings.CutSuffix(text, "!")
	name, least, _ := strings.Cut(text, ":")
	step := PlanStep{Name: name, Approval: approval}
	if least != "" {
		step.MinDuration = p.duration(least)
	}
	switch share, shadow := strings.CutPrefix(name, "shadow"); {
	case !shadow:
		step.WeightBP = p.share(name)
	case share == "":
		step.ShadowBP = fullWeight
	default:
		step.ShadowBP = p.share(share)
	}
	return step
}

func (p *player) verdict(first string, flags map[string]string) {
	v := fine
	switch first {
	case "advance":
	case "promotable":
		v.Promotable, v.Reason, v.Message = true, judge.Promotable, "every required metric is within its bounds"
	case "hold":
		v.Action = judge.Hold
	case "revert":
		v.Action = judge.Revert
	default:
		p.t.Fatalf("unknown verdict %q", first)
	}
	if r := flags["reason"]; r != "" {
		v.Reason = Reason(r)
	}
	if m := flags["message"]; m != "" {
		v.Message = m
	}
	if e := flags["extra"]; e != "" {
		v.ExtraErrorRate = p.float(e)
	}
	if m := flags["shadowOnly"]; m != "" {
		v.Metrics = []judge.Metric{{Name: "agreement", ShadowOnly: true, Required: true, Outcome: judge.Outcome(m), Message: "agreement needs more pairs"}}
	}
	p.in.Verdict = v
}

// seen sets what the platform sees: r2=ready, r2=down, r2=crashing or r2=gone.
func (p *player) seen(first string, flags map[string]string) {
	name, how, _ := strings.Cut(first, "=")
	st := RevisionStatus{Started: true, WantReplicas: 1, Failure: flags["failure"], Unrecorded: flags["recorded"] == "no"}
	if n := flags["restarts"]; n != "" {
		st.Restarts = p.integer(n)
	}
	switch how {
	case "ready":
		st.Ready, st.ReadyReplicas = true, 1
		if n := flags["replicas"]; n != "" {
			st.ReadyReplicas = p.integer(n)
		}
	case "crashing":
		st.CrashLooping, st.Ready = true, flags["ready"] == "yes"
	case "gone":
		p.apply([]Action{StopRevision{Revision{Name: "ep-" + name}}})
		return
	case "down":
	default:
		p.t.Fatalf("unknown state %q of a revision", how)
	}
	p.observe("ep-"+name, st)
}

// ticks lets time pass second by second and shows what changed, and the end.
func (p *player) ticks(d time.Duration) {
	for left := d; left > 0; left -= time.Second {
		p.show(p.tick(min(time.Second, left)), left <= time.Second)
	}
}

// crash ends the process in the middle of a call: before what it decided was
// recorded, or after that and before it was done. `crash` alone: between calls.
func (p *player) crash(when string) {
	switch when {
	case "unrecorded":
		_, _, d := Step(p.state, p.in)
		fmt.Fprintf(&p.out, "lost: %s %s: %s\n", d.Action, d.Reason, d.Message)
	case "recorded":
		next, actions, d := Step(p.state, p.in)
		checkStep(p.t, p.state, p.in, next, actions, d)
		p.last = d
		p.state, p.in.Actions = next, nil
		p.show(nil, true)
		for _, a := range actions {
			fmt.Fprintf(&p.out, "  not done: %s\n", p.action(a))
		}
	}
	for _, a := range p.restart() {
		fmt.Fprintf(&p.out, "  restored: %s\n", p.action(a))
	}
}

// TestScenariosAreMapped: docs/scenarios.md names every scenario, and no other.
func TestScenariosAreMapped(t *testing.T) {
	page, err := os.ReadFile("../../docs/scenarios.md")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, name := range regexp.MustCompile("`([a-z0-9_]+\\.txt)`").FindAllStringSubmatch(string(page), -1) {
		named[name[1]] = true
		if _, err := os.Stat(filepath.Join("testdata", name[1])); err != nil {
			t.Errorf("docs/scenarios.md names %s: %v", name[1], err)
		}
	}
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !named[filepath.Base(f)] {
			t.Errorf("docs/scenarios.md does not name %s", f)
		}
	}
}
