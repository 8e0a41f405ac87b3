package cli

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/rollout"
)

// contracts reads the table of docs/api.md: what the first cell says → its keys.
func contracts(t *testing.T) map[string][]string {
	t.Helper()
	page, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "## The JSON of every verb")
	words := regexp.MustCompile("`([^`]+)`")
	all := map[string][]string{}
	for _, line := range strings.Split(section, "\n") {
		cells := strings.Split(line, "|")
		if len(cells) != 4 || !strings.Contains(cells[2], "`") {
			continue
		}
		var keys []string
		for _, m := range words.FindAllStringSubmatch(cells[2], -1) {
			keys = append(keys, m[1])
		}
		all[strings.TrimSpace(cells[1])] = keys
	}
	return all
}

// paths lists the keys of a value as the table writes them.
func paths(v any, at string, into map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			into[at] = true
		}
		for k, x := range v {
			paths(x, strings.TrimPrefix(at+"."+k, "."), into)
		}
	case []any:
		for _, x := range v {
			paths(x, at+"[]", into)
		}
		if len(v) == 0 {
			into[at+"[]"] = true
		}
	default:
		into[at] = true
	}
}

// differences compares keys with a contract: those not documented, and those
// documented as always there that are not.
func differences(keys []string, contract []string) []string {
	var wrong []string
	matches := func(key, rule string) bool {
		rule, open := strings.CutSuffix(strings.ReplaceAll(rule, "?", ""), "{}")
		return key == rule || open && (strings.HasPrefix(key, rule+".") || strings.HasPrefix(key, rule+"["))
	}
	for _, k := range keys {
		empty := strings.HasSuffix(k, "[]") && slices.ContainsFunc(contract, func(r string) bool { return strings.HasPrefix(strings.ReplaceAll(r, "?", ""), k) })
		if !empty && !slices.ContainsFunc(contract, func(r string) bool { return matches(k, r) }) {
			wrong = append(wrong, "not documented: "+k)
		}
	}
	for _, r := range contract {
		if !strings.Contains(r, "?") && !slices.ContainsFunc(keys, func(k string) bool { return matches(k, r) }) {
			wrong = append(wrong, "documented, but not there: "+r)
		}
	}
	return wrong
}

func checkKeys(t *testing.T, what, text, contract string, all map[string][]string) {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Errorf("%s: not JSON: %v: %.300s", what, err, text)
		return
	}
	if all[contract] == nil {
		t.Fatalf("docs/api.md has no row %s", contract)
	}
	seen := map[string]bool{}
	paths(v, "", seen)
	for _, d := range differences(slices.Sorted(maps.Keys(seen)), all[contract]) {
		t.Errorf("%s: %s", what, d)
	}
}

// TestJSONContracts compares what the verbs write with docs/api.md.
func TestJSONContracts(t *testing.T) {
	all := contracts(t)
	const actions = "`approve` `reject` `pause` `resume` `promote` `abort` `rollback` `retry`"
	l := serveLive(t, document("1", ""))
	v2, v3 := l.write("v2.yaml", document("2", ""), 0o600), l.write("v3.yaml", document("3", ""), 0o600)
	bad := l.write("bad.yaml", "kind: Nothing", 0o600)
	waits := func(s engine.Status) bool { return s.Rollout.Decision.Reason == string(rollout.WaitingForApproval) }
	for _, c := range []struct {
		args, contract string
		before         func(engine.Status) bool
	}{
		{args: "apply --dry-run -f " + v2, contract: "`apply` `delete`"},
		{args: "apply -f " + v2, contract: "`apply` `delete`"},
		{args: "status", contract: "`status`", before: waits},
		{args: "wait --step first", contract: "`wait`"},
		{args: "wait --rollout m-1", contract: "`wait`"},
		{args: "approve --dry-run", contract: "the same with `--dry-run`"},
		{args: "approve --on-behalf-of ann", contract: actions},
		{args: "pause", contract: actions},
		{args: "status", contract: "`status`"},
		{args: "resume", contract: actions},
		{args: "rollback", contract: actions}, // refused
		{args: "abort", contract: actions},
		{args: "retry", contract: actions},
		{args: "reject", contract: actions, before: waits},
		{args: "apply -f " + v3, contract: "`apply` `delete`"},
		{args: "promote", contract: actions, before: waits},
		{args: "wait", contract: "`wait`"},
		{args: "report", contract: "`report`"},
		{args: "report --rollout m-1", contract: "`report`"},
		{args: "report --gate", contract: "`report`"},
		{args: "history", contract: "`history`"},
		{args: "history --audit", contract: "`history --audit`"},
		{args: "validate -f " + v2, contract: "`validate`"},
		{args: "validate -f " + bad, contract: "`validate`"},
		{args: "version", contract: "`version`"},
		{args: "load --count 5 --rate 1000 --url " + l.address, contract: "`load`"},
		{args: "delete --dry-run", contract: "`apply` `delete`"},
	} {
		if c.before != nil {
			l.status("before serin "+c.args, c.before)
		}
		args := strings.Fields(c.args)
		if !slices.Contains([]string{"validate", "version", "load"}, args[0]) {
			args = l.as("", args...)
		}
		_, out, errs := run(t, append(args, "-o", "json")...)
		checkKeys(t, "serin "+c.args, out, c.contract, all)
		if args[0] == "status" {
			var st struct{ Rollout json.RawMessage }
			if err := json.Unmarshal([]byte(out), &st); err != nil {
				t.Fatal(err)
			}
			checkKeys(t, "serin "+c.args+", rollout", string(st.Rollout), "`status`, key `rollout`", all)
		}
		if errs != "" && args[0] == "rollback" {
			checkKeys(t, "serin "+c.args, errs, "errors, on stderr", all)
		}
	}
	demo, err := json.Marshal(demoSummary{Trials: []*trialResult{{Version: "v"}}, Requests: newTally()})
	if err != nil {
		t.Fatal(err)
	}
	checkKeys(t, "serin demo", string(demo), "`demo`", all)
}

// TestDifferences: the comparison above can fail.
func TestDifferences(t *testing.T) {
	contract := []string{"a", "b?", "c[].d", "e{}", "f[]?"}
	for _, c := range []struct {
		keys string
		want int
	}{
		{"a c[].d e.x", 0}, {"a b c[] e f[]", 1}, {"a b c[].d e.x.y f[]", 0}, {"c[].d e", 1}, {"a c[].d e g", 1}, {"a c[].x e", 2},
	} {
		if got := differences(strings.Fields(c.keys), contract); len(got) != c.want {
			t.Errorf("%s: %v, want %d differences", c.keys, got, c.want)
		}
	}
}
