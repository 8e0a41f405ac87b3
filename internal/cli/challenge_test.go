package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestTheTaskOnALaptop runs docs/challenge-9.md as it stands, sections 1.2 and 1.3: two dummies behind one endpoint, a
// header that reaches either, the share of each step, the promotion. serve is a process of its own.
func TestTheTaskOnALaptop(t *testing.T) {
	t.Parallel()
	w := newLaptop(t)
	page, err := os.ReadFile("../../docs/challenge-9.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, _ := strings.Cut(string(page), "### 1.2 ")
	part, _, _ = strings.Cut(part, "### 1.4 ")
	step, answers, tallies := "", []string{}, 0
	for _, line := range commands(part) {
		out := w.run(line)
		switch {
		case strings.HasPrefix(line, "curl"):
			answers = append(answers, strings.TrimSpace(out))
		case strings.Contains(line, " approve "):
			step = words(line)[3]
		case strings.Contains(line, " load "):
			tallies++
			w.shareIs(out, step)
		}
	}
	if got, want := strings.Join(answers, " "), `"New Model A" "New Model B" "New Model A"`; got != want {
		t.Errorf("curl was answered %s, want %s", got, want)
	}
	if tallies != 3 {
		t.Errorf("%d tallies, want one for each of 1%%, 10%% and 50%%", tallies)
	}
	if out := w.run("serin status -o json"); !strings.Contains(out, `"Promoted"`) {
		t.Errorf("at the end: %s", out)
	}
}

type laptop struct {
	live
	dir string
}

func newLaptop(t *testing.T) laptop {
	t.Helper()
	dir, listen := t.TempDir(), freeAddress(t)
	for _, name := range []string{"endpoint-a.yaml", "endpoint-b.yaml"} {
		text, err := os.ReadFile("../../examples/challenge-9/" + name)
		if err != nil {
			t.Fatal(err)
		}
		moved := strings.NewReplacer("127.0.0.1:8080", listen, "../../bin/serin", os.Args[0]).Replace(string(text))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(moved), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return laptop{live{t: t, state: filepath.Join(dir, "state"), address: "http://" + listen + "/score"}, dir}
}

// run runs one documented command; serve goes to the background until the test ends.
func (w laptop) run(line string) string {
	w.t.Helper()
	args := words(strings.NewReplacer("examples/challenge-9/", w.dir+"/", "--state .serin", "", "--rate 200 --duration 20s", "--rate 500 --duration 8s").Replace(line))
	switch {
	case args[0] == "curl":
		out, err := w.curl(args[1:])
		if err != nil {
			w.t.Fatalf("%s: %v", line, err)
		}
		return out
	case args[1] == "serve":
		w.serve(args[1:])
		return ""
	case args[1] == "load":
		args = append(args, "--url", w.address, "-o", "json")
	default:
		args = append(args, "--state", w.state)
	}
	code, out, errs := run(w.t, args[1:]...)
	if code != ExitDone {
		w.t.Fatalf("%s: exit code %d\n%s%s", line, code, out, errs)
	}
	return out
}

func (w laptop) serve(args []string) {
	w.t.Helper()
	c, quit := quittable(os.Args[0], append(args, "--state", w.state)...)
	var log safeBuffer
	c.Stdout, c.Stderr = &log, &log
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = c.Process.Signal(os.Interrupt)
		_ = ends(w.t, c, quit)
		quit()
		if w.t.Failed() {
			fmt.Fprintln(w.t.Output(), log.String())
		}
	})
	w.run("serin wait --timeout 2m")
}

// shareIs checks a tally against the weight of the step, within five standard deviations.
func (w laptop) shareIs(tally, step string) {
	w.t.Helper()
	var got struct {
		ByRevision map[string]int `json:"byRevision"`
	}
	if err := json.Unmarshal([]byte(tally), &got); err != nil {
		w.t.Fatalf("%v in %s", err, tally)
	}
	percent, err := strconv.ParseFloat(regexp.MustCompile(`[\d.]+`).FindString(step), 64)
	if err != nil {
		w.t.Fatalf("step %q: %v", step, err)
	}
	n, k := 0, got.ByRevision["dummy-r2"]
	for _, requests := range got.ByRevision {
		n += requests
	}
	p := percent / 100
	if off := float64(k) - p*float64(n); n < 500 || off*off > 25*float64(n)*p*(1-p) {
		w.t.Errorf("step %s: %d of %d requests by the candidate", step, k, n)
	}
}
