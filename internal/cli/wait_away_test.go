package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/rollout"
)

// clock is an API on synthetic time: at says what it answers after how long.
type clock struct {
	api
	began time.Time
	at    func(time.Duration) (engine.Status, error)
}

func (c *clock) Status(context.Context) (engine.Status, error) { return c.at(time.Since(c.began)) }

func (c *clock) Next(ctx context.Context) (engine.Status, error) {
	if err := rest(ctx, time.Second); err != nil {
		return engine.Status{}, err
	}
	return c.Status(ctx)
}

var errAway = exit{ExitError, away{errors.New("nobody listens")}}

// waitOn waits in synthetic time and returns the exit code and the log.
func waitOn(t *testing.T, timeout time.Duration, at func(time.Duration) (engine.Status, error)) (code int, log string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var errs bytes.Buffer
		stdio := IO{Err: &errs}
		c := &clock{began: time.Now(), at: at}
		o := waitOptions{timeout: timeout, rollout: "safe-driver-2"}
		cl, st, err := reach(t.Context(), func() (api, error) { return c, nil }, timeout, stdio)
		if err == nil {
			var w waited
			if w, err = wait(t.Context(), cl, st, o, stdio); err == nil {
				errs.WriteString(w.Message)
				err = exit{w.ExitCode, nil}
			}
		}
		code, log = codeOf(err), errs.String()
	})
	return code, log
}

func stood(change func(*engine.Status)) (engine.Status, error) {
	st := onTrial()
	change(&st)
	return st, nil
}

// TestWaitOutlastsARestart: with a timeout an API that is away is borne for as long.
func TestWaitOutlastsARestart(t *testing.T) {
	gone := func(from, to, end time.Duration) func(time.Duration) (engine.Status, error) {
		return func(d time.Duration) (engine.Status, error) {
			switch {
			case d >= from && d < to:
				return engine.Status{}, errAway
			case d >= end:
				return stood(promoted)
			}
			return stood(running)
		}
	}
	const never = 1000 * time.Hour
	for name, c := range map[string]struct {
		timeout time.Duration
		at      func(time.Duration) (engine.Status, error)
		code    int
		says    string
	}{
		"20 minutes, and back":         {2 * time.Hour, gone(time.Minute, 21*time.Minute, 30*time.Minute), ExitDone, "no answer; asking again"},
		"until the timeout":            {time.Hour, gone(10*time.Minute, never, never), ExitTimeout, "has given no answer for 50 min"},
		"no timeout, 4 minutes":        {0, gone(time.Minute, 5*time.Minute, 6*time.Minute), ExitDone, "Promoted"},
		"no timeout, longer":           {0, gone(time.Minute, never, never), ExitError, "no answer"},
		"at the beginning":             {time.Hour, gone(0, 40*time.Second, time.Minute), ExitDone, "no answer; asking again"},
		"never there":                  {time.Hour, gone(0, never, never), ExitError, "no answer"},
		"never there, and no timeout":  {0, gone(0, never, never), ExitError, ""},
		"there, and longer than asked": {time.Hour, gone(never, never, never), ExitTimeout, "still runs at step 10%"},
	} {
		if code, log := waitOn(t, c.timeout, c.at); code != c.code || !strings.Contains(log, c.says) {
			t.Errorf("%s: exit code %d, want %d; want %q in:\n%s", name, code, c.code, c.says, log)
		}
	}
}

// TestWaitReadsWellInALog: a line for each change at once, and else one in 30 s,
// each a line whatever people wrote.
func TestWaitReadsWellInALog(t *testing.T) {
	at := func(d time.Duration) (engine.Status, error) {
		return stood(func(s *engine.Status) {
			running(s)
			s.Rollout.Evidence.CandidateRequests = uint64(d.Seconds()) // grows all the time
			s.Rollout.Verdict.Metrics[1].Needed = uint64(7200 - d.Seconds())
			switch {
			case d >= 20*time.Minute:
				s.Rollout.Outcome, s.Rollout.Decision.Message = string(rollout.Aborted), "aborted by bob: ##vso[task.complete result=Succeeded]\nno more"
			case d >= 10*time.Minute:
				s.Rollout.Decision.Reason = "Paused"
			}
		})
	}
	code, log := waitOn(t, time.Hour, at)
	if code != ExitReverted {
		t.Errorf("exit code %d, want %d", code, ExitReverted)
	}
	for _, says := range []string{"safe-driver-2 step 10% (2/4), candidate 10%: WaitingForRequests; needs about 7200 more candidate requests", ": Paused", "safe-driver-2 Aborted: aborted by bob: # #vso[task.complete result=Succeeded] no more\n"} {
		if !strings.Contains(log, says) {
			t.Errorf("want %q in:\n%s", says, log)
		}
	}
	if n := strings.Count(log, "\n"); n < 38 || n > 43 {
		t.Errorf("%d lines in 20 minutes, want about two a minute:\n%s", n, log)
	}
}

// TestActionsOutlastARestart: an action is asked for again while nobody answers, by
// the same id, so that it is done once.
func TestActionsOutlastARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out, errs bytes.Buffer
		c := &answers{clock: clock{began: time.Now(), at: func(time.Duration) (engine.Status, error) { return stood(running) }}, back: 40 * time.Second}
		o := actionOptions{timeout: time.Minute}
		req := engine.ActionRequest{ID: newID(), Action: "Approve"}
		if err := o.ask(t.Context(), c, req, false, IO{Out: &out, Err: &errs}); err != nil || len(c.ids) < 10 {
			t.Errorf("asked %d times: %v", len(c.ids), err)
		}
		for _, id := range c.ids {
			if id != req.ID || len(id) != 16 {
				t.Errorf("asked by the id %q, want %q", id, req.ID)
			}
		}
		o.timeout, c.back = time.Second, time.Hour
		if err := o.ask(t.Context(), c, req, false, IO{Out: &out, Err: &errs}); !isAway(err) {
			t.Errorf("nobody answers within the timeout: %v", err)
		}
	})
}

type answers struct {
	clock
	back time.Duration
	ids  []string
}

func (a *answers) Act(_ context.Context, r engine.ActionRequest) (engine.ActionResult, error) {
	a.ids = append(a.ids, r.ID)
	if time.Since(a.began) < a.back {
		return engine.ActionResult{}, errAway
	}
	return engine.ActionResult{ID: r.ID, Accepted: true}, nil
}

// TestWaitOutlastsAKill: serve is killed while a pipeline waits for a gate, and
// started again; the wait goes on, the gate opens as if nothing had happened, and the
// end is told.
func TestWaitOutlastsAKill(t *testing.T) {
	folder := t.TempDir()
	l := &live{t: t, folder: folder}
	s := &served{t: t, file: l.write("v1.yaml", document("1", ""), 0o600), state: folder + "/state", folder: folder}
	s.start()
	defer func() { s.kill() }()
	v2 := l.write("v2.yaml", document("2", ""), 0o600)
	if code, _, errs := run(t, "apply", "-f", v2, "--state", s.state); code != ExitDone {
		t.Fatal(errs)
	}
	log, code := &safeBuffer{}, make(chan int, 1)
	go func() {
		code <- Run(t.Context(), []string{"wait", "--timeout", "5m", "--state", s.state}, IO{In: strings.NewReader(""), Out: log, Err: log})
	}()
	s.until("the wait to begin", func() bool { return strings.Contains(log.String(), "WaitingForApproval") })
	s.kill()
	s.until("the wait to notice", func() bool { return strings.Contains(log.String(), "no answer; asking again") })
	s.start()
	s.until("the approval", func() bool { return s.ask("approve", "--step", "first", "--on-behalf-of", "Ann Lee") })
	s.until("the wait to see it", func() bool { return strings.Contains(log.String(), "step first (1/3)") })
	s.until("the end", func() bool { return s.ask("abort", "--timeout", "10s") })
	if got := within(t, "the wait has ended", code); got != ExitReverted || !strings.Contains(log.String(), "Aborted") {
		t.Errorf("exit code %d, want %d:\n%s", got, ExitReverted, log)
	}
	st, err := s.status()
	if err != nil || len(st.Rollout.Approvals) != 1 || st.Rollout.Approvals[0].OnBehalfOf != "Ann Lee" {
		t.Errorf("after the wait: %+v, %v\n%s", st.Rollout, err, log)
	}
}
