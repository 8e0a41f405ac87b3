package observe

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	"github.com/serin-dev/serin/internal/contract"
	"github.com/serin-dev/serin/internal/judge"
)

// Source counts what was seen of one endpoint, over all its rollouts. What is
// counted is frozen with each rollout's policy, like the policy itself: a document
// that is applied meanwhile changes it for the next one.
type Source struct {
	swap func(*Collector) // gives a new collector what happens from now on

	mu       sync.Mutex
	contract Contract // of the document, for the next rollout
	counts   counting
	present  *Collector
	past     *Collector     // the one before: its late answers count too
	kept     judge.Evidence // of those before that
	epochs   map[uint32]judge.EpochInfo
}

// Contract says how answers are read.
type Contract struct {
	Protocol contract.Protocol
	JSONPath string
}

// ContractOf is the contract that a document names.
func ContractOf(protocol, jsonPath string) Contract {
	return Contract{Protocol: contract.Protocol(protocol), JSONPath: jsonPath}
}

// counting is what a collector was made for.
type counting struct {
	contract  Contract
	cutoffs   []float64
	tolerance float64
}

// NewSource makes one; swap is called with every collector that takes over, the
// first included.
func NewSource(c Contract, swap func(*Collector)) (*Source, error) {
	s := &Source{swap: swap, contract: c, epochs: map[uint32]judge.EpochInfo{}}
	return s, s.Configure(judge.Policy{}, 0)
}

// SetContract says how answers are read from the next rollout on.
func (s *Source) SetContract(c Contract) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.contract = c
}

// Configure counts from now on what this policy needs, and forgets old epochs: a
// process that lives long must not gather them for ever.
func (s *Source) Configure(p judge.Policy, since uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	want := counting{contract: s.contract}
	for _, c := range p.Cutoffs {
		want.cutoffs = append(want.cutoffs, c.Value)
	}
	if p.Agreement != nil {
		want.tolerance = p.Agreement.Tolerance
	}
	before := len(s.epochs)
	maps.DeleteFunc(s.epochs, func(id uint32, _ judge.EpochInfo) bool { return id < since })
	if s.present != nil && len(s.epochs) == before && reflect.DeepEqual(want, s.counts) {
		return nil
	}
	extractor, err := contract.New(want.contract.Protocol, want.contract.JSONPath)
	if err != nil {
		return fmt.Errorf("reading spec.contract: %w", err)
	}
	next := New(Config{Extractor: extractor, Cutoffs: want.cutoffs, Tolerance: want.tolerance})
	for _, id := range slices.Sorted(maps.Keys(s.epochs)) {
		next.Begin(s.epochs[id])
	}
	s.swap(next)
	if s.past != nil {
		s.kept = s.kept.Merge(s.past.Snapshot())
	}
	s.kept.Epochs = slices.DeleteFunc(s.kept.Epochs, func(e judge.EpochEvidence) bool { return e.Info.ID < since })
	if s.present != nil {
		s.present.Close()
	}
	s.past, s.present, s.counts = s.present, next, want
	return nil
}

// Begin opens an epoch.
func (s *Source) Begin(e judge.EpochInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epochs[e.ID] = e
	s.present.Begin(e)
}

// Snapshot returns all counts since this process began.
func (s *Source) Snapshot() judge.Evidence {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.kept.Merge(s.present.Snapshot())
	if s.past != nil {
		all = all.Merge(s.past.Snapshot())
	}
	return all
}

// Notify receives when a candidate failed.
func (s *Source) Notify() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.present.Notify()
}

// Close counts what waits and ends the workers.
func (s *Source) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.present.Close()
}
