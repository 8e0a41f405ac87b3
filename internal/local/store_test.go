package local

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

// within lets cmp look into the judge's counts.
var within = cmp.Exporter(func(reflect.Type) bool { return true })

func openStore(t *testing.T, folder string) *Store {
	t.Helper()
	s, err := OpenStore(t.Context(), folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func aRecord(document string) engine.Record {
	e := judge.Evidence{Epochs: []judge.EpochEvidence{{Info: judge.EpochInfo{ID: 3, WeightBP: 1000}}}}
	e.Epochs[0].Arms[judge.Candidate].AddLatency(7 * time.Millisecond)
	e.Epochs[0].Arms[judge.Candidate].Requests = 1
	e.Epochs[0].Shadow.AddScores(0.1, 0.2)
	s := rollout.NewState("ep")
	s.Stable = &rollout.Revision{Name: "ep-r1", Number: 1, Digest: "d", Version: "1"}
	return engine.Record{
		Endpoint: "ep", SavedAt: time.Date(2026, 1, 1, 0, 0, 0, 1, time.UTC), Document: document, State: s, Policy: judge.DefaultPolicy(),
		Calibration: &judge.Calibration{Requests: 9, RevertEdges: []int{1, 2}, PromoteEdges: []int{3}, ScoreCentre: 0.1}, StableSince: 2, CountedSince: 1,
		Revisions: map[string]string{"d": "{}"}, Evidence: e,
	}
}

func load(t *testing.T, s *Store) engine.Record {
	t.Helper()
	r, found, err := s.Load(t.Context(), "ep")
	if err != nil || !found {
		t.Fatalf("found %v, %v", found, err)
	}
	return r
}

func TestStoreKeepsEverything(t *testing.T) {
	folder := t.TempDir()
	s := openStore(t, folder)
	if _, found, err := s.Load(t.Context(), "ep"); found || err != nil {
		t.Fatalf("an empty store: found %v, %v", found, err)
	}
	want := aRecord("one")
	verdict := judge.Judge(want.Policy, want.Calibration, want.Evidence, judge.Window{WeightBP: 1000})
	judged := &engine.Judgement{At: want.SavedAt, Reason: "StepEntered", Calibrated: true, Evidence: want.Evidence, Window: judge.Window{WeightBP: 1000}, Verdict: verdict}
	with := engine.Additions{
		Entries: []engine.Entry{{At: want.SavedAt, Kind: engine.EntryTransition, Rollout: "ep-1", Message: "first", Judged: judged}, {At: want.SavedAt, Kind: engine.EntryApplied, Message: "second"}},
		Ended:   []engine.RolloutRecord{{ID: "ep-1", EndedAt: want.SavedAt, Policy: want.Policy, Calibration: want.Calibration}, {ID: "ep-2", EndedAt: want.SavedAt.Add(time.Nanosecond)}},
	}
	if err := s.Save(t.Context(), want, with); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = openStore(t, folder)
	if diff := cmp.Diff(want, load(t, s), within); diff != "" {
		t.Errorf("the record came back changed:\n%s", diff)
	}
	entries, err := s.Audit(t.Context(), "ep", 10)
	if err != nil || len(entries) != 2 || entries[0].Message != "second" {
		t.Errorf("audit %+v, %v; want two lines, the latest first", entries, err)
	}
	all, err := s.Rollouts(t.Context(), "ep", 10)
	if err != nil || len(all) != 2 || all[0].ID != "ep-2" || len(all[1].Decisions) != 1 {
		t.Fatalf("rollouts %+v, %v; want ep-2, then ep-1 with its decision", all, err)
	}
	d := all[1].Decisions[0]
	if diff := cmp.Diff(verdict, d.Recompute(all[1].Policy, all[1].Calibration)); diff != "" {
		t.Errorf("the decision comes out differently from the file:\n%s", diff)
	}
}

// TestPromise6FullDiskKeepsTheOldRecord: all of a Save, or nothing.
func TestPromise6FullDiskKeepsTheOldRecord(t *testing.T) {
	s := openStore(t, t.TempDir())
	want := aRecord("old")
	if err := s.Save(t.Context(), want, engine.Additions{}); err != nil {
		t.Fatal(err)
	}
	pages(t, s, 0)
	big := aRecord(strings.Repeat("new ", 100_000))
	err := s.Save(t.Context(), big, engine.Additions{Entries: []engine.Entry{{Message: "must not be there"}}})
	if err == nil || !strings.Contains(err.Error(), "full") {
		t.Fatalf("error %v, want that the disk is full", err)
	}
	if diff := cmp.Diff(want, load(t, s), within); diff != "" {
		t.Errorf("a Save that failed changed the record:\n%s", diff)
	}
	if entries, err := s.Audit(t.Context(), "ep", 10); err != nil || len(entries) != 0 {
		t.Errorf("a Save that failed left %+v, %v", entries, err)
	}
	pages(t, s, 1_000_000)
	if err := s.Save(t.Context(), big, engine.Additions{}); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// pages bounds the file, as a disk would; 0: to what it has.
func pages(t *testing.T, s *Store, most int) {
	t.Helper()
	if most == 0 {
		if err := s.db.QueryRowContext(t.Context(), "PRAGMA page_count").Scan(&most); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.db.ExecContext(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", most)); err != nil {
		t.Fatal(err)
	}
}

// TestPromise6UnreadableFileIsLeftAlone: what cannot be read is refused, says what
// to do, and stays as it was.
func TestPromise6UnreadableFileIsLeftAlone(t *testing.T) {
	sql := func(statement string) func(*testing.T, string) {
		return func(t *testing.T, folder string) {
			s := openStore(t, folder)
			if err := s.Save(t.Context(), aRecord("old"), engine.Additions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.db.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
			s.Close()
		}
	}
	for _, c := range []struct {
		name, says string
		spoil      func(*testing.T, string)
	}{
		{"newer", "schema 99", sql("PRAGMA user_version = 99")},
		{"broken state", "reading the record", sql("UPDATE record SET state = '{'")},
		{"broken evidence", "reading the evidence", sql("UPDATE evidence SET counts = 'x'")},
		{"not a database", "not a database", func(t *testing.T, folder string) {
			if err := os.WriteFile(filepath.Join(folder, "serin.db"), bytes.Repeat([]byte("junk "), 2000), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			folder := t.TempDir()
			c.spoil(t, folder)
			before, err := os.ReadFile(filepath.Join(folder, "serin.db"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = Open(context.Background(), options(t, folder, document("1", "127.0.0.1:0", "")))
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "nothing was changed") {
				t.Errorf("error %v; want %q and what to do", err, c.says)
			}
			after, err := os.ReadFile(filepath.Join(folder, "serin.db"))
			if err != nil || !bytes.Equal(before, after) {
				t.Errorf("the file was changed (%v)", err)
			}
		})
	}
}
