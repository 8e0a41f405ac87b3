package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

const (
	// auditKept lines stay in the record; older ones are in ScoringRollouts.
	auditKept = 200
	// saveTries bounds how often a save is tried against someone who edits the
	// same object.
	saveTries = 5
)

// errFenced is what a save returns when another controller has written the
// record: this one must stop.
var errFenced = errors.New("another controller has written the record; this one stops writing")

// saved is the text of status.record: all of it, or nothing.
type saved struct {
	Record   engine.Record  `json:"record"`
	Evidence judge.Evidence `json:"evidence"`
	Audit    []entry        `json:"audit,omitempty"`
	// Ended rollouts wait here until they are filed in their ScoringRollouts.
	Ended []engine.RolloutRecord `json:"ended,omitempty"`
}

// entry is an audit line with what it stood on.
type entry struct {
	engine.Entry
	Judged *engine.Judgement `json:"judged,omitempty"`
}

// record keeps the record of one endpoint in its status.
type record struct {
	key    Key
	api    client.Client
	direct client.Reader // not cached: a save must see what is

	mu      sync.Mutex
	last    string // status.record as we wrote or read it
	tried   string // what a save that failed may have written
	version string // of the object that holds it; empty: look
	have    saved
}

func newRecord(k Key, api client.Client, direct client.Reader) *record {
	return &record{key: k, api: api, direct: direct}
}

func (r *record) object(ctx context.Context) (*v1alpha1.ScoringEndpoint, error) {
	var e v1alpha1.ScoringEndpoint
	if err := r.direct.Get(ctx, client.ObjectKey{Namespace: r.key.Namespace, Name: r.key.Name}, &e); err != nil {
		return nil, fmt.Errorf("reading endpoint %q: %w", r.key, err)
	}
	return &e, nil
}

// Load returns the record, and false when there is none. What cannot be read is
// an error, never a fresh start.
func (r *record) Load(ctx context.Context, _ string) (engine.Record, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, err := r.object(ctx)
	if err != nil {
		return engine.Record{}, false, err
	}
	r.last, r.version, r.have = e.Status.Record, e.ResourceVersion, saved{}
	if r.last == "" {
		return engine.Record{}, false, nil
	}
	if err := json.Unmarshal([]byte(r.last), &r.have); err != nil {
		return engine.Record{}, false, fmt.Errorf("reading status.record of %q: %w (nothing was changed; restore the object's status, or delete the endpoint to start anew)", r.key, err)
	}
	rec := r.have.Record
	rec.Evidence = r.have.Evidence
	return rec, true, nil
}

// Save writes the record and what comes with it in one piece. Rollouts that ended
// are filed in objects of their own afterwards; until that is done they stay here.
func (r *record) Save(ctx context.Context, rec engine.Record, with engine.Additions) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := saved{Record: rec, Evidence: rec.Evidence, Audit: slices.Clone(r.have.Audit), Ended: slices.Clone(r.have.Ended)}
	for _, e := range with.Entries {
		next.Audit = append(next.Audit, entry{e, e.Judged})
	}
	for _, ended := range with.Ended {
		for _, e := range next.Audit {
			if e.Judged != nil && e.Rollout == ended.ID {
				ended.Decisions = append(ended.Decisions, *e.Judged)
			}
		}
		next.Ended = append(next.Ended, ended)
	}
	next.Audit = next.Audit[max(0, len(next.Audit)-auditKept):]
	for i := range next.Audit { // judgements of rollouts that ended are with them
		if rec.State.Attempt == nil || next.Audit[i].Rollout != rec.State.Attempt.ID || rec.State.Attempt.Outcome != rollout.Running {
			next.Audit[i].Judged = nil
		}
	}
	return r.write(ctx, next)
}

// write replaces status.record if it is still what we last knew.
func (r *record) write(ctx context.Context, next saved) error {
	next, text, err := fitted(next)
	if err != nil {
		return fmt.Errorf("saving the record of %q: %w", r.key, err)
	}
	for range saveTries {
		if r.version == "" {
			if err = r.look(ctx); err != nil {
				return err
			}
		}
		if err = r.patch(ctx, text); err == nil {
			r.have = next
			return nil
		}
		r.version = "" // whatever it was: look before the next try
		if !apierrors.IsConflict(err) {
			break
		}
	}
	return fmt.Errorf("saving the record of %q: %w", r.key, err)
}

// look learns which version of the object holds the record that we know.
func (r *record) look(ctx context.Context) error {
	e, err := r.object(ctx)
	if err != nil {
		return err
	}
	if r.tried != "" && e.Status.Record == r.tried { // written, and the answer was lost
		r.last = r.tried
	}
	if e.Status.Record != r.last {
		return fmt.Errorf("saving the record of %q: %w", r.key, errFenced)
	}
	r.version = e.ResourceVersion
	return nil
}

// patch writes the record into that version of the object, or nothing.
func (r *record) patch(ctx context.Context, text string) error {
	raw, err := json.Marshal(map[string]any{"metadata": map[string]string{"resourceVersion": r.version}, "status": map[string]string{"record": text}})
	if err != nil {
		return err
	}
	e := &v1alpha1.ScoringEndpoint{ObjectMeta: metav1.ObjectMeta{Namespace: r.key.Namespace, Name: r.key.Name}}
	r.tried = text
	if err := r.api.Status().Patch(ctx, e, client.RawPatch(types.MergePatchType, raw), client.FieldOwner(FieldManager)); err != nil {
		return err
	}
	r.last, r.tried, r.version = text, "", e.ResourceVersion
	return nil
}

// saw notes a newer version of the object that holds the record that we know, so that
// the next save need not look for it.
func (r *record) saw(e *v1alpha1.ScoringEndpoint) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last != "" && e.Status.Record == r.last {
		r.version = e.ResourceVersion
	}
}

// fitted makes a record fit into its field: what is left out first is what the
// judgements of transitions stood on, oldest first, then the oldest audit lines.
func fitted(next saved) (saved, string, error) {
	for {
		text, err := json.Marshal(next)
		if err != nil || len(text) <= mostRecord {
			return next, string(text), err
		}
		next.Audit = slices.Clone(next.Audit)
		judged := slices.IndexFunc(next.Audit, func(e entry) bool { return e.Judged != nil })
		switch {
		case judged >= 0:
			next.Audit[judged].Judged = nil
		case len(next.Audit) > 0:
			next.Audit = next.Audit[1:]
		default:
			return next, "", fmt.Errorf("it takes %d bytes, more than the %d that its field holds", len(text), mostRecord)
		}
	}
}

// Audit returns audit entries, latest first.
func (r *record) Audit(_ context.Context, _ string, limit int) ([]engine.Entry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []engine.Entry
	for _, e := range slices.Backward(r.have.Audit) {
		if len(out) < limit {
			out = append(out, e.Entry)
		}
	}
	return out, nil
}
