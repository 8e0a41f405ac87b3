package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

var (
	update  = flag.Bool("update", false, "write the golden files")
	rejudge = flag.Bool("rejudge", false, "ask the judge for its verdicts, and write them")
)

// TestMain reads the verdicts that the reports are about.
func TestMain(m *testing.M) {
	flag.Parse()
	const file = "testdata/verdicts.json"
	if *rejudge {
		cases()
		text, err := json.MarshalIndent(verdicts, "", " ")
		if err == nil {
			err = os.WriteFile(file, append(text, '\n'), 0o600)
		}
		if err != nil {
			panic(err)
		}
	}
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &verdicts)
	}
	if err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// cases are the rollouts that a report has to tell apart.
func cases() map[string]Facts {
	quiet := [2]float64{.002, .002}
	good := func(name string) *world {
		w := newWorld(name)
		w.fails = quiet
		return w.step(3000, 10*time.Minute).step(20000, 10*time.Minute).step(40000, 20*time.Minute)
	}
	wrong := newWorld("reverted-in-shadow")
	wrong.wrong = .4
	broken := newWorld("reverted-at-10")
	broken.step(2000, 10*time.Minute).step(5000, time.Minute)
	broken.fails = [2]float64{0, .3}
	first := newWorld("first-version")
	first.facts.From, first.facts.ID, first.facts.Counts = nil, "safe-driver-1", Counts{}
	pipeline := good("approved-by-pipeline").approved("50%", "system:serviceaccount:abtesting:pipeline", "Ann Lee <ann@contoso.example>")
	held := newWorld("inconclusive").step(300, time.Hour).step(200, 23*time.Hour)
	return map[string]Facts{
		"promoted": good("promoted").approved("50%", "ann", "").step(40000, 10*time.Minute).ended(rollout.Promoted, rollout.AllRequiredPass,
			"version 2 promoted: every required metric is within its bounds").facts,
		"reverted-in-shadow": wrong.step(800, 2*time.Minute).ended(rollout.Reverted, "", "").facts,
		"reverted-at-10":     broken.step(1500, 8*time.Second).ended(rollout.Reverted, "", "").facts,
		"inconclusive": held.decided(judge.Hold, rollout.MaxDurationReached,
			"24h0m0s of judging passed without a decision: errors needs about 6000 more requests. Holding the weights; end it with serin promote or serin abort").facts,
		"at-a-gate": good("at-a-gate").decided(judge.Hold, rollout.WaitingForApproval, "step 50% asks for approval: serin approve --step 50%").facts,
		"first-version": first.ended(rollout.Promoted, rollout.FirstVersion,
			"first version 2 is ready and serves all requests; there was no production version to compare it with, so it was not judged").facts,
		"aborted": good("aborted").ended(rollout.Aborted, rollout.AbortedByPerson,
			"aborted by bob: `rm -rf /` | see [here](http://evil.example) <img src=x onerror=alert(1)> @everyone ##vso[task.complete result=Succeeded]\n# heading\x1b[2J").facts,
		"approved-by-pipeline": pipeline.step(20000, 10*time.Minute).ended(rollout.Promoted, rollout.AllRequiredPass,
			"version 2 promoted: every required metric is within its bounds").facts,
	}
}

// TestGolden holds each form of each report against a file. Run with -update to
// write them, and read what changed.
func TestGolden(t *testing.T) {
	for name, f := range cases() {
		r := Build(f)
		var text bytes.Buffer
		enc := json.NewEncoder(&text)
		enc.SetIndent("", "  ")
		if err := enc.Encode(r); err != nil {
			t.Fatal(err)
		}
		for ext, got := range map[string]string{".md": r.Markdown(), ".txt": r.Screen(), ".json": text.String()} {
			file := filepath.Join("testdata", name+ext)
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("%s (-want +got):\n%s", file, d)
			}
		}
	}
}

// TestResults: the word, and the metric that decided.
func TestResults(t *testing.T) {
	want := map[string]struct {
		result Result
		metric string
	}{
		"promoted": {Promoted, ""}, "reverted-in-shadow": {Reverted, "agreement"}, "reverted-at-10": {Reverted, "errors"}, "inconclusive": {Inconclusive, "errors"},
		"at-a-gate": {Running, "errors"}, "first-version": {Promoted, ""}, "aborted": {Reverted, ""}, "approved-by-pipeline": {Promoted, ""},
	}
	for name, f := range cases() {
		r := Build(f)
		metric := ""
		if m := r.Decision.Metric; m != nil {
			metric = m.Name
		}
		if w := want[name]; r.Result != w.result || metric != w.metric {
			t.Errorf("%s: %s on %q, want %s on %q", name, r.Result, metric, w.result, w.metric)
		}
		if (r.Gate != nil) != (name == "at-a-gate") {
			t.Errorf("%s: gate %v", name, r.Gate)
		}
		failed := r.Evidence.StableErrors + r.Evidence.CandidateErrors - r.Evidence.FellBack
		if r.Clients.Failed != failed || r.Clients.Requests != r.Evidence.StableRequests+r.Evidence.CandidateRequests {
			t.Errorf("%s: clients %+v of %+v", name, r.Clients, r.Evidence)
		}
	}
}

// TestScreenFits: 24 lines of 100 columns, whatever the rollout is called and
// however much the judge judges.
func TestScreenFits(t *testing.T) {
	all := cases()
	long := all["at-a-gate"]
	long.ID, long.Endpoint, long.Namespace = strings.Repeat("i", 70), strings.Repeat("e", 63), strings.Repeat("n", 63)
	long.Decision.Message = strings.Repeat("words and words ", 100)
	long.To.Version = strings.Repeat("version ", 30)
	for range 20 {
		long.Steps = append(long.Steps, Step{Name: strings.Repeat("step", 20), WeightBP: 1, State: "Waiting"})
		long.Verdict.Metrics = append(long.Verdict.Metrics, judge.Metric{Name: strings.Repeat("m", 90), Message: strings.Repeat("x", 300), Required: true})
	}
	all["long"] = long
	for name, f := range all {
		lines := strings.Split(strings.TrimSuffix(Build(f).Screen(), "\n"), "\n")
		if len(lines) > gateLines {
			t.Errorf("%s: %d lines", name, len(lines))
		}
		for _, l := range lines {
			command := name == "long" && (strings.HasPrefix(l, "approve ") || strings.HasPrefix(l, "reject ") || strings.HasPrefix(l, "           --step")) // never cut
			if n := utf8.RuneCountInString(l); n > gateColumns && !command {
				t.Errorf("%s: %d columns: %s", name, n, l)
			}
		}
	}
	gate := Build(all["at-a-gate"]).Screen()
	for _, says := range []string{"10% planned, 10% in force", "3,958", "80 0.22%", "7 0.18%", "100 %", "WithinBounds", "0.149x to 2.18x", "n 55,866 and 4,134", "0a1b2c3d4e5f", "serin approve --namespace abtesting --rollout safe-driver-2", "--step 50%"} {
		if !strings.Contains(gate, says) {
			t.Errorf("an approver does not see %q:\n%s", says, gate)
		}
	}
}

// closeAll makes every object of a schema refuse keys that it does not describe.
func closeAll(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["properties"].(map[string]any); ok {
			v["additionalProperties"] = false
		}
		for _, x := range v {
			closeAll(x)
		}
	case []any:
		for _, x := range v {
			closeAll(x)
		}
	}
}

// TestSchema: every report is what docs/report.schema.json says, and a key that it
// does not know is found.
func TestSchema(t *testing.T) {
	text, err := os.ReadFile("../../docs/report.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	closeAll(doc)
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("report.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("report.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range cases() {
		text, err := json.Marshal(Build(f))
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		v.(map[string]any)["unheardOf"] = 1 // the schema of a reader lets it through, this one does not
		if schema.Validate(v) == nil {
			t.Errorf("%s: a key that no one described is let through", name)
		}
	}
}

// TestDocumentedScreen: the page shows what the program writes.
func TestDocumentedScreen(t *testing.T) {
	page, err := os.ReadFile("../../docs/report.md")
	if err != nil {
		t.Fatal(err)
	}
	if screen := Build(cases()["at-a-gate"]).Screen(); !strings.Contains(string(page), screen) {
		t.Errorf("docs/report.md does not show this screen:\n%s", screen)
	}
}

// TestOtherEnds: what the golden files do not show.
func TestOtherEnds(t *testing.T) {
	f := cases()["at-a-gate"]
	f.Decision.Reason, f.Paused, f.Namespace, f.Flags = "Paused", true, "", ""
	f.Counts.Dropped = 7
	no := false
	f.Events = append(f.Events, Event{At: f.At, Kind: "Action", Reason: "WrongStep", Accepted: &no})
	r := Build(f)
	for _, says := range []string{"safe-driver-2: paused", "of `safe-driver` ", "**Not recorded**: 7 answers", "**refused**: WrongStep"} {
		if page := r.Markdown(); !strings.Contains(page, says) {
			t.Errorf("want %q in\n%s", says, page)
		}
	}
	f.Decision.Reason = string(rollout.WaitingForApproval)
	if g := Build(f).Gate; g == nil || g.Reject != "serin reject --rollout safe-driver-2" {
		t.Errorf("without flags: %+v", g)
	}
	f.Verdict.Metrics = f.Verdict.Metrics[:1]
	if r := Build(f); r.Agreement.Judged || !strings.Contains(r.Screen(), "none was declared") || !strings.Contains(r.Markdown(), "none was declared") {
		t.Errorf("agreement that was not declared: %+v", r.Agreement)
	}
	f.Decision.Reason, f.Paused, f.Weights = "WaitingForDuration", false, Weights{ShadowBP: 10000}
	if s := Build(f).Screen(); !strings.Contains(s, "Running; weight 0% planned, 0% in force, 100% copied") {
		t.Errorf("a shadow step:\n%s", s)
	}
	f.Outcome, f.EndedAt = rollout.RolledBack, &f.At
	if r := Build(f); r.Result != Reverted || r.headline() != "reverted (rolled back)" || r.Weights != nil {
		t.Errorf("taken back after promotion: %s, %q", r.Result, r.headline())
	}
	if m := (Metric{Name: "errors"}); m.sentence() != "Metric **errors**: nothing is known yet." || m.decidesAt() != "" {
		t.Errorf("a metric of nothing: %s", m.sentence())
	}
	if got := Quoted("a b"); got != "'a b'" {
		t.Errorf("quoted: %s", got)
	}
}
