// Package mesh is where evidence comes from in a cluster: the access log of the
// ingress gateway, the frames of the recorders beside the scorers, and the joining
// of both. It also carries orders the other way. docs/adr/0005-cluster.md.
package mesh

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/observe"
	"github.com/serin-dev/serin/internal/observe/wire"
)

// Key names an endpoint in a cluster.
type Key struct{ Namespace, Name string }

func (k Key) String() string { return k.Namespace + "/" + k.Name }

// arms are the revisions that an epoch routes to.
type arms struct {
	stable, candidate string
	shadow            bool // answers of both are to be paired
}

// endpoint is what the hub knows of one endpoint.
type endpoint struct {
	collector atomic.Pointer[observe.Collector]
	source    *observe.Source

	mu           sync.Mutex
	arms         map[uint32]arms
	inForce      map[string]uint32 // rollout → last epoch seen at the gateway
	waiting      map[string]*half  // request id → the answer that came first
	order        []string          // of waiting, as they came
	waitingBytes int
	unpaired     uint64
	served       map[source]tallies
	counts       counts
	meter        meter
}

// source is one life of a recorder.
type source struct{ pod, boot string }

// tallies are what one recorder served, and how far it has been heard.
type tallies struct {
	at          time.Time
	seq         uint64
	dropped     uint64
	lost        uint64 // of dropped, those that no epoch could be charged with yet
	byEpoch     map[uint32]uint64
	repeatsLost map[uint32]uint64
}

const (
	// mostArms bounds the epochs whose late entries still count.
	mostArms = 1024
	// newestArms name the revisions whose two counts are compared.
	newestArms = 8
	// forgotten is how long a recorder that says nothing is remembered.
	forgotten = time.Hour
)

// Hub collects for every endpoint of a controller. All methods are safe for any
// number of goroutines.
type Hub struct {
	logger *slog.Logger
	clock  func() time.Time

	mu        sync.RWMutex
	endpoints map[Key]*endpoint
	orders    map[revisionKey]*channel
	stray     uint64 // access-log entries that belong to no endpoint of ours
	lost      uint64 // entries without a route: nobody's, and worth an alarm
}

type revisionKey struct {
	Key
	revision string
}

// NewHub makes a hub that watches nothing yet.
func NewHub(logger *slog.Logger, clock func() time.Time) *Hub {
	return &Hub{logger: logger, clock: clock, endpoints: map[Key]*endpoint{}, orders: map[revisionKey]*channel{}}
}

// Watch begins to collect evidence of an endpoint and returns its source; it
// replaces what was watched before.
func (h *Hub) Watch(k Key, c observe.Contract) (*observe.Source, error) {
	e := &endpoint{arms: map[uint32]arms{}, inForce: map[string]uint32{}, waiting: map[string]*half{}, served: map[source]tallies{}, meter: newMeter(h.clock())}
	var err error
	if e.source, err = observe.NewSource(c, e.collector.Store); err != nil {
		return nil, fmt.Errorf("watching %q: %w", k, err)
	}
	h.mu.Lock()
	old := h.endpoints[k]
	h.endpoints[k] = e
	h.mu.Unlock()
	if old != nil {
		old.source.Close()
	}
	return e.source, nil
}

// Forget ends the collecting of an endpoint, and its orders.
func (h *Hub) Forget(k Key) {
	h.mu.Lock()
	e := h.endpoints[k]
	delete(h.endpoints, k)
	for rk, c := range h.orders {
		if rk.Key == k {
			c.close()
			delete(h.orders, rk)
		}
	}
	h.mu.Unlock()
	if e != nil {
		e.source.Close()
	}
}

func (h *Hub) endpoint(k Key) *endpoint {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.endpoints[k]
}

// Arms says which revisions an epoch routes to, and whether stable's requests are
// copied to the candidate, before it is routed.
func (h *Hub) Arms(k Key, epoch uint32, stable, candidate string, shadow bool) {
	if e := h.endpoint(k); e != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.arms[epoch] = arms{stable, candidate, shadow}
		e.trim()
	}
}

// trim forgets the oldest epochs, and the counts of revisions that are long out of
// use. The caller holds mu.
func (e *endpoint) trim() {
	ids := slices.Sorted(maps.Keys(e.arms))
	for len(ids) > mostArms {
		delete(e.arms, ids[0])
		ids = ids[1:]
	}
	ids = ids[max(0, len(ids)-newestArms):]
	e.meter.forget(func(revision string) bool {
		return slices.ContainsFunc(ids, func(id uint32) bool { a := e.arms[id]; return revision == a.stable || revision == a.candidate })
	})
}

// InForce returns the last epoch of a rollout that the gateway was seen to use.
func (h *Hub) InForce(k Key, rollout string) uint32 {
	e := h.endpoint(k)
	if e == nil {
		return 0
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.inForce[rollout]
}

// arm says which arm a revision was in an epoch. The caller holds mu.
func (e *endpoint) arm(epoch uint32, revision string) (judge.Arm, bool) {
	a, known := e.arms[epoch]
	switch {
	case known && revision == a.stable:
		return judge.Stable, true
	case known && revision == a.candidate:
		return judge.Candidate, true
	}
	return judge.Stable, false
}

// Losses are what could not be joined or was not heard of.
type Losses struct {
	Stray, Lost, Unpaired uint64
	// Revisions says what is missing of the last minutes' evidence, Gap the greatest
	// share of it: of revisions with at least 100 requests or answers.
	Revisions []Loss
	Gap       float64
	// Logged is when the gateway's log last told of a request; zero: never.
	Logged time.Time
}

const gapLeast = 100

// Losses returns what is missing of an endpoint's evidence.
func (h *Hub) Losses(k Key) Losses {
	h.mu.RLock()
	out := Losses{Stray: h.stray, Lost: h.lost}
	h.mu.RUnlock()
	e := h.endpoint(k)
	if e == nil {
		return out
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	out.Unpaired, out.Logged = e.unpaired, e.meter.log
	out.Revisions = e.meter.losses(h.clock())
	for _, l := range out.Revisions {
		if l.Of >= gapLeast {
			out.Gap = max(out.Gap, float64(l.Missing)/float64(l.Of))
		}
	}
	return out
}

// Order replaces what the recorders of a revision are told; they hear at once.
func (h *Hub) Order(k Key, revision string, o wire.Order) {
	h.channel(revisionKey{k, revision}).set(o)
}

func (h *Hub) channel(k revisionKey) *channel {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.orders[k]
	if c == nil {
		c = newChannel()
		h.orders[k] = c
	}
	return c
}
