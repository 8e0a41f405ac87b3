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
`

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
		return nil, fmt.Errorf("opening the record %q: %w (nothing was changed; restore the file, or move it away to start a new record)", file, err)
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
		return r, false, fmt.Errorf("reading the record of %q: %w", endpoint, err)
	}
	if err := json.Unmarshal([]byte(counts), &r.Evidence); err != nil {
		return r, false, fmt.Errorf("reading the evidence of %q: %w", endpoint, err)
	}
	return r, true, nil
}

// Save writes state, evidence and audit entries in one transaction.
func (s *Store) Save(ctx context.Context, r engine.Record, entries ...engine.Entry) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("saving the record of %q: %w", r.Endpoint, err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing
	if err := saveAll(ctx, tx, r, entries); err != nil {
		return fmt.Errorf("saving the record of %q: %w", r.Endpoint, err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("saving the record of %q: %w", r.Endpoint, err)
	}
	return nil
}

func saveAll(ctx context.Context, tx *sql.Tx, r engine.Record, entries []engine.Entry) error {
	evidence := r.Evidence
	counts, err := json.Marshal(evidence)
	if err != nil {
		return err
	}
	state, err := json.Marshal(r)
	if err != nil {
		return err
	}
	now := stamp(r.SavedAt)
	if _, err := tx.ExecContext(ctx, `INSERT INTO record(endpoint, saved, state) VALUES(?,?,?) ON CONFLICT(endpoint) DO UPDATE SET saved=excluded.saved, state=excluded.state`, r.Endpoint, now, string(state)); err != nil {
		return err
	}
	if err := upsertEvidence(ctx, tx, r.Endpoint, now, counts); err != nil {
		return err
	}
	for _, e := range entries {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO audit(endpoint, at, entry) VALUES(?,?,?)`, r.Endpoint, stamp(e.At), string(line)); err != nil {
			return err
		}
	}
	return nil
}

type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func upsertEvidence(ctx context.Context, db execer, endpoint, now string, counts []byte) error {
	_, err := db.ExecContext(ctx, `INSERT INTO evidence(endpoint, saved, counts) VALUES(?,?,?) ON CONFLICT(endpoint) DO UPDATE SET saved=excluded.saved, counts=excluded.counts`, endpoint, now, string(counts))
	return err
}

// SaveEvidence writes the evidence alone: it changes every second, the rest seldom.
func (s *Store) SaveEvidence(ctx context.Context, r engine.Record) error {
	counts, err := json.Marshal(r.Evidence)
	if err == nil {
		err = upsertEvidence(ctx, s.db, r.Endpoint, stamp(r.SavedAt), counts)
	}
	if err != nil {
		return fmt.Errorf("saving the evidence of %q: %w", r.Endpoint, err)
	}
	return nil
}

// SaveRollout files the record of a rollout that ended.
func (s *Store) SaveRollout(ctx context.Context, endpoint string, r engine.RolloutRecord) error {
	text, err := json.Marshal(r)
	if err == nil {
		_, err = s.db.ExecContext(ctx, `INSERT INTO rollout(endpoint, id, ended, record) VALUES(?,?,?,?) ON CONFLICT(endpoint, id) DO UPDATE SET ended=excluded.ended, record=excluded.record`, endpoint, r.ID, stamp(r.EndedAt), string(text))
	}
	if err != nil {
		return fmt.Errorf("saving rollout %q: %w", r.ID, err)
	}
	return nil
}

// Rollouts returns the records of ended rollouts, latest first.
func (s *Store) Rollouts(ctx context.Context, endpoint string, limit int) ([]engine.RolloutRecord, error) {
	return query[engine.RolloutRecord](ctx, s.db, `SELECT record FROM rollout WHERE endpoint = ? ORDER BY ended DESC LIMIT ?`, endpoint, limit)
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
			return nil, fmt.Errorf("reading the record: %w", err)
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
