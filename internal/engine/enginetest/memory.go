package enginetest

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

// Recorder keeps records in memory, as JSON: what does not survive that is lost
// here as it is on a disk.
type Recorder struct {
	Broken error // of every Save while it is set

	mu       sync.Mutex
	record   map[string][]byte
	evidence map[string][]byte
	audit    []engine.Entry
	judged   map[string][][]byte
	rollouts map[string][]byte
	order    []string
	saves    int
}

// NewRecorder returns an empty one.
func NewRecorder() *Recorder {
	return &Recorder{record: map[string][]byte{}, evidence: map[string][]byte{}, judged: map[string][][]byte{}, rollouts: map[string][]byte{}}
}

// Put plays a record that another program left behind.
func (r *Recorder) Put(endpoint, record string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.record[endpoint], r.evidence[endpoint] = []byte(record), []byte("{}")
}

// Saves counts what was saved.
func (r *Recorder) Saves() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.saves
}

// Load returns what was saved last.
func (r *Recorder) Load(_ context.Context, endpoint string) (engine.Record, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var rec engine.Record
	text, found := r.record[endpoint]
	if !found {
		return rec, false, nil
	}
	if err := json.Unmarshal(text, &rec); err != nil {
		return rec, false, err
	}
	return rec, true, json.Unmarshal(r.evidence[endpoint], &rec.Evidence)
}

// Save keeps everything or nothing.
func (r *Recorder) Save(_ context.Context, rec engine.Record, with engine.Additions) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Broken != nil {
		return r.Broken
	}
	r.saves++
	r.record[rec.Endpoint], r.evidence[rec.Endpoint] = mustJSON(rec), mustJSON(rec.Evidence)
	for _, e := range with.Entries {
		if e.Judged != nil {
			r.judged[e.Rollout] = append(r.judged[e.Rollout], mustJSON(e.Judged))
		}
		r.audit = append(r.audit, e)
	}
	for _, x := range with.Ended {
		if r.rollouts[x.ID] == nil {
			r.order = append(r.order, x.ID)
		}
		r.rollouts[x.ID] = mustJSON(x)
	}
	return nil
}

func mustJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// Rollouts returns ended rollouts, latest first.
func (r *Recorder) Rollouts(_ context.Context, _ string, limit int) ([]engine.RolloutRecord, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []engine.RolloutRecord
	for _, id := range slices.Backward(r.order) {
		var x engine.RolloutRecord
		if err := json.Unmarshal(r.rollouts[id], &x); err != nil {
			return nil, err
		}
		for _, text := range r.judged[id] {
			var j engine.Judgement
			if err := json.Unmarshal(text, &j); err != nil {
				return nil, err
			}
			x.Decisions = append(x.Decisions, j)
		}
		if out = append(out, x); len(out) == limit {
			break
		}
	}
	return out, nil
}

// Audit returns entries, latest first.
func (r *Recorder) Audit(_ context.Context, _ string, limit int) ([]engine.Entry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Clone(r.audit)
	slices.Reverse(out)
	return out[:min(limit, len(out))], nil
}

// Source counts what tests say was served.
type Source struct {
	mu         sync.Mutex
	evidence   judge.Evidence
	configured []judge.Policy
	notify     chan struct{}
}

// NewSource returns an empty one.
func NewSource() *Source { return &Source{notify: make(chan struct{}, 1)} }

// Configure remembers the policy.
func (s *Source) Configure(p judge.Policy, _ uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.configured = append(s.configured, p)
	return nil
}

// Configured returns every policy that was configured, in order.
func (s *Source) Configured() []judge.Policy {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.configured)
}

// Begin opens an epoch, or replaces its flags.
func (s *Source) Begin(e judge.EpochInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := false
	for i := range s.evidence.Epochs {
		if info := &s.evidence.Epochs[i].Info; info.ID == e.ID {
			*info, known = e, true
		}
	}
	if !known {
		s.evidence = s.evidence.Merge(judge.Evidence{Epochs: []judge.EpochEvidence{{Info: e}}})
	}
}

// Snapshot returns all counts.
func (s *Source) Snapshot() judge.Evidence {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.evidence.Merge(judge.Evidence{})
}

// Notify receives when a candidate failed.
func (s *Source) Notify() <-chan struct{} { return s.notify }

// Serve counts n requests under these routes, split exactly by weight; a share of
// the candidate's fail.
func (s *Source) Serve(r rollout.Routing, n int, failing float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.evidence.Epochs {
		ep := &s.evidence.Epochs[i]
		if ep.Info.ID != r.Epoch {
			continue
		}
		candidate := n * r.WeightBP / 10000
		count(&ep.Arms[judge.Stable], n-candidate, 0)
		bad := int(float64(candidate) * failing)
		count(&ep.Arms[judge.Candidate], candidate, bad)
		if bad > 0 {
			select {
			case s.notify <- struct{}{}:
			default:
			}
		}
		if pairs := uint64(n * r.ShadowBP / 10000); pairs > 0 {
			ep.Shadow.N += pairs
			ep.Shadow.BothOK += pairs
			ep.Shadow.Compared += pairs
		}
	}
}

// Fail counts n requests that stable failed and the version before it answered.
func (s *Source) Fail(epoch uint32, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.evidence.Epochs {
		if ep := &s.evidence.Epochs[i]; ep.Info.ID == epoch {
			count(&ep.Arms[judge.Stable], n, n)
			ep.Arms[judge.Stable].FellBack += uint64(n)
		}
	}
}

func count(c *judge.Counts, n, bad int) {
	c.Requests += uint64(n)
	c.Units += uint64(n)
	c.AnsweredUnits += uint64(n - bad)
	c.Errors += uint64(bad)
	c.ErrorUnits += uint64(bad)
	for i := range n {
		c.AddLatency(time.Millisecond + time.Duration(i%10)*100*time.Microsecond)
	}
}
