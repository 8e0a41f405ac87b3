package local

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver registers itself

	"github.com/serin-dev/serin/internal/engine"
)

// schemaVersion is written to the file; a newer file is refused, not guessed at.
const schemaVersion = 1

const schema = `
CREATE TABLE IF NOT EXISTS record (
  endpoint TEXT PRIMARY KEY,
  saved    TEXT NOT NULL,
  state    TEXT NOT NULL   -- everything but the evidence, JSON
) STRICT;
CREATE TABLE IF NOT EXISTS evidence (
  endpoint TEXT PRIMARY KEY,
  saved    TEXT NOT NULL,
  counts   TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS rollout (
  endpoint TEXT NOT NULL,
  id       TEXT NOT NULL,
  ended    TEXT NOT NULL,
  record   TEXT NOT NULL,
  PRIMARY KEY (endpoint, id)
) STRICT;
CREATE TABLE IF NOT EXISTS audit (
  seq      INTEGER PRIMARY KEY AUTOINCREMENT,
  endpoint TEXT NOT NULL,
  at       TEXT NOT NULL,
  entry    TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS audit_by_endpoint ON audit(endpoint, seq);
CREATE TABLE IF NOT EXISTS judgement (
  seq      INTEGER PRIMARY KEY AUTOINCREMENT,
  endpoint TEXT NOT NULL,
  rollout  TEXT NOT NULL,
  judged   TEXT NOT NULL   -- what a transition stood on, JSON
) STRICT;
CREATE INDEX IF NOT EXISTS judgement_by_rollout ON judgement(endpoint, rollout, seq);
CREATE TABLE IF NOT EXISTS started (
  endpoint TEXT PRIMARY KEY,
  document TEXT NOT NULL   -- that serve was last started with
) STRICT;
`

// unreadable is what to do about a record that cannot be read.
const unreadable = "nothing was changed: restore the file, run the serin that wrote it, or move it away to start a new record"

// Store is the record on one machine: one SQLite file in the state folder.
type Store struct{ db *sql.DB }

// OpenStore opens or makes serin.db in folder.
func OpenStore(ctx context.Context, folder string) (*Store, error) {
	file := filepath.Join(folder, "serin.db")
	dsn := "file:" + url.PathEscape(file) + "?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(5000)&_txlock=immediate"
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("opening the record %q: %w", file, err)
	}
	db.SetMaxOpenConns(1)
	s := &Store{db: db}
	if err := s.prepare(ctx); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("opening the record %q: %w; %s", file, err, unreadable)
	}
	return s, nil
}

func (s *Store) prepare(ctx context.Context) error {
	var version int
	if err := s.db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version > schemaVersion {
		return fmt.Errorf("it was written by a newer serin (schema %d, this one reads %d)", version, schemaVersion)
	}
	if version == schemaVersion {
		return nil
	}
	if _, err := s.db.ExecContext(ctx, schema); err != nil {
		return err
	}
	_, err := s.db.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", schemaVersion))
	return err
}

// Close closes the file.
func (s *Store) Close() error { return s.db.Close() }

// Load returns the record of an endpoint, and false when there is none.
func (s *Store) Load(ctx context.Context, endpoint string) (engine.Record, bool, error) {
	var r engine.Record
	var state, counts string
	err := s.db.QueryRowContext(ctx, `SELECT r.state, COALESCE(e.counts,'{}') FROM record r LEFT JOIN evidence e USING (endpoint) WHERE endpoint = ?`, endpoint).Scan(&state, &counts)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return r, false, nil
	case err != nil:
		return r, false, fmt.Errorf("reading the record of %q: %w", endpoint, err)
	}
	if err := json.Unmarshal([]byte(state), &r); err != nil {
		return r, false, fmt.Errorf("reading the record of %q: %w; %s", endpoint, err, unreadable)
	}
	if err := json.Unmarshal([]byte(counts), &r.Evidence); err != nil {
		return r, false, fmt.Errorf("reading the evidence of %q: %w; %s", endpoint, err, unreadable)
	}
	return r, true, nil
}

// Save writes the record and what comes with it in one transaction.
func (s *Store) Save(ctx context.Context, r engine.Record, with engine.Additions) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("saving the record of %q: %w", r.Endpoint, err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing
	if err := saveAll(ctx, tx, r, with); err != nil {
		return fmt.Errorf("saving the record of %q: %w", r.Endpoint, err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("saving the record of %q: %w", r.Endpoint, err)
	}
	return nil
}

func saveAll(ctx context.Context, tx *sql.Tx, r engine.Record, with engine.Additions) error {
	now := stamp(r.SavedAt)
	if err := insert(ctx, tx, `INSERT INTO record(endpoint, saved, state) VALUES(?,?,?) ON CONFLICT(endpoint) DO UPDATE SET saved=excluded.saved, state=excluded.state`, r, r.Endpoint, now); err != nil {
		return err
	}
	if err := insert(ctx, tx, `INSERT INTO evidence(endpoint, saved, counts) VALUES(?,?,?) ON CONFLICT(endpoint) DO UPDATE SET saved=excluded.saved, counts=excluded.counts`, r.Evidence, r.Endpoint, now); err != nil {
		return err
	}
	for _, e := range with.Entries {
		if err := insert(ctx, tx, `INSERT INTO audit(endpoint, at, entry) VALUES(?,?,?)`, e, r.Endpoint, stamp(e.At)); err != nil {
			return err
		}
		if e.Judged == nil {
			continue
		}
		if err := insert(ctx, tx, `INSERT INTO judgement(endpoint, rollout, judged) VALUES(?,?,?)`, e.Judged, r.Endpoint, e.Rollout); err != nil {
			return err
		}
	}
	for _, x := range with.Ended {
		if err := insert(ctx, tx, `INSERT INTO rollout(endpoint, id, ended, record) VALUES(?,?,?,?) ON CONFLICT(endpoint, id) DO UPDATE SET ended=excluded.ended, record=excluded.record`, x, r.Endpoint, x.ID, stamp(x.EndedAt)); err != nil {
			return err
		}
	}
	return nil
}

// insert writes v as JSON into the last column.
func insert(ctx context.Context, tx *sql.Tx, statement string, v any, columns ...any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, statement, append(columns, string(text))...)
	return err
}

// Started returns the document that serve was last started with, if any, and
// SetStarted keeps it.
func (s *Store) Started(ctx context.Context, endpoint string) (string, error) {
	var text string
	err := s.db.QueryRowContext(ctx, `SELECT document FROM started WHERE endpoint = ?`, endpoint).Scan(&text)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("reading what serve was started with: %w; %s", err, unreadable)
	}
	return text, nil
}

// SetStarted keeps the document that serve is started with.
func (s *Store) SetStarted(ctx context.Context, endpoint, document string) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO started(endpoint, document) VALUES(?,?) ON CONFLICT(endpoint) DO UPDATE SET document=excluded.document`, endpoint, document)
	if err != nil {
		return fmt.Errorf("recording what serve is started with: %w", err)
	}
	return nil
}

// Rollouts returns the records of ended rollouts, latest first, each with the
// judgements behind its transitions.
func (s *Store) Rollouts(ctx context.Context, endpoint string, limit int) ([]engine.RolloutRecord, error) {
	all, err := query[engine.RolloutRecord](ctx, s.db, `SELECT record FROM rollout WHERE endpoint = ? ORDER BY ended DESC LIMIT ?`, endpoint, limit)
	if err != nil {
		return nil, err
	}
	for i := range all {
		all[i].Decisions, err = query[engine.Judgement](ctx, s.db, `SELECT judged FROM judgement WHERE endpoint = ? AND rollout = ? ORDER BY seq`, endpoint, all[i].ID)
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Audit returns audit entries, latest first.
func (s *Store) Audit(ctx context.Context, endpoint string, limit int) ([]engine.Entry, error) {
	return query[engine.Entry](ctx, s.db, `SELECT entry FROM audit WHERE endpoint = ? ORDER BY seq DESC LIMIT ?`, endpoint, limit)
}

func query[T any](ctx context.Context, db *sql.DB, sql string, args ...any) ([]T, error) {
	rows, err := db.QueryContext(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("reading the record: %w", err)
	}
	defer rows.Close()
	out := []T{}
	for rows.Next() {
		var text string
		var v T
		if err := rows.Scan(&text); err != nil {
			return nil, fmt.Errorf("reading the record: %w", err)
		}
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			return nil, fmt.Errorf("reading the record: %w; %s", err, unreadable)
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// stamp has a fixed width, so that text sorts as time does.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000000Z") }
