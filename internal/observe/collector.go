// Package observe turns what happened to requests into the judge's evidence.
//
// A Collector sits beside the data plane. Recording an event counts errors and
// latency at once and hands a copy of the answer's body to workers through a
// bounded queue; when the queue is full the body is dropped and the drop is
// counted. No call waits for a worker.
package observe

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/serin-dev/serin/internal/contract"
	"github.com/serin-dev/serin/internal/judge"
)

// Config sets a Collector's rules and bounds; a bound below 1 takes its default.
type Config struct {
	Extractor  *contract.Extractor // nil: contract.Auto
	Cutoffs    []float64           // a row is above a cut-off if its score is greater
	Tolerance  float64             // two scores agree if they differ by no more than this
	QueueSize  int                 // answers waiting for a worker, default 4,096
	QueueBytes int                 // their bodies together, default 32 MiB
	Workers    int                 // default 1
	MaxKeys    int                 // sticky keys remembered per epoch, default 100,000
}

// Bounds that need no setting.
const (
	maxEpochs      = 1024    // the oldest is forgotten for one more: its rollout is long over
	maxKeyedEpochs = 4       // epochs whose sticky keys are remembered; older ones are over
	maxKeptBuffer  = 1 << 16 // bytes; larger buffers go back to the garbage collector
)

// Event is what happened to one request on one arm.
type Event struct {
	Epoch      uint32        // weight epoch that routed the request
	Candidate  bool          // the arm
	Direct     bool          // the client chose the arm by header
	FellBack   bool          // this arm failed and another version answered
	ClientGone bool          // the client went away first
	WeightBP   int           // the candidate's share that the arm was drawn with
	Drawn      bool          // the router says that its arm was drawn by this epoch's coin
	Keyed      bool          // routed by a sticky key: Key stands for it
	Key        uint64        // hash of the sticky key
	Bucket     int           // where the key fell, in basis points: the candidate's below WeightBP
	Status     int           // HTTP status, 0 if there was no answer
	Failed     bool          // 5xx, transport failure or timeout
	Latency    time.Duration // as the client felt it
	Meta       contract.Meta
	Body       []byte // copied by the Collector; the caller may reuse it
}

func (e *Event) failed() bool  { return e.Failed || e.Status >= 500 }
func (e *Event) refused() bool { return !e.failed() && e.Status >= 400 }

func (e *Event) arm() judge.Arm {
	if e.Candidate {
		return judge.Candidate
	}
	return judge.Stable
}

// Drops counts what could not be recorded.
type Drops struct {
	Bodies uint64 `json:"bodies"` // answers of routed requests, queue full
	Pairs  uint64 `json:"pairs"`  // shadow pairs, queue full
	Again  uint64 `json:"again"`  // repeated requests, queue full
	Keys   uint64 `json:"keys"`   // requests of sticky keys beyond MaxKeys: served, not judged
	Epochs uint64 `json:"epochs"` // events of an epoch that was never begun, or is forgotten
	Panics uint64 `json:"panics"` // answers that broke the reader: a defect, please report
}

// Collector gathers evidence of one rollout. All methods are safe for any
// number of goroutines.
type Collector struct {
	cfg    Config
	epochs atomic.Pointer[map[uint32]*epoch] // replaced whole by Begin
	begin  sync.Mutex
	order  []*epoch // as begun, for forgetting sticky keys

	sending sync.RWMutex // held for reading while a job is queued, for writing by Close
	closed  bool
	queue   chan *job
	bytes   atomic.Int64 // of queued bodies
	jobs    sync.Pool
	workers sync.WaitGroup
	notify  chan struct{}

	bodies, pairs, again, keys, strays, panics atomic.Uint64
}

// epoch is the evidence of one weight epoch.
type epoch struct {
	id   uint32
	mu   sync.Mutex
	ev   judge.EpochEvidence
	keys map[uint64]seen // nil until the first key
	past bool            // keys are forgotten
}

// drew says whether the request's arm was drawn by this epoch's coin. It was not when
// the weight in force was another one (the candidate had no address), when its client
// kept the candidate from an earlier weight, or when it has no key where clients that
// have one drew other odds. The caller holds mu.
func (ep *epoch) drew(e *Event) bool {
	info := &ep.ev.Info
	switch {
	case e.Drawn:
		return true
	case e.WeightBP != info.WeightBP:
		return false
	case info.KeptBP == 0:
		return true
	}
	return e.Keyed && e.Bucket >= info.KeptBP
}

// seen remembers which events of a sticky key have been counted.
type seen uint8

const (
	seenRequest seen = 1 << iota
	seenError
	seenRefusal
	seenAnswer
	seenInvalid
	seenScore
)

// New starts a Collector and its workers; Close ends them.
func New(cfg Config) *Collector {
	if cfg.Extractor == nil {
		cfg.Extractor, _ = contract.New(contract.Auto, "") // Auto cannot fail
	}
	cfg.Cutoffs = slices.Clone(cfg.Cutoffs)
	cfg.QueueSize = orDefault(cfg.QueueSize, 4096)
	cfg.QueueBytes = orDefault(cfg.QueueBytes, 32<<20)
	cfg.Workers = orDefault(cfg.Workers, 1)
	cfg.MaxKeys = orDefault(cfg.MaxKeys, 100_000)
	c := &Collector{cfg: cfg, queue: make(chan *job, cfg.QueueSize), notify: make(chan struct{}, 1)}
	c.epochs.Store(&map[uint32]*epoch{})
	c.jobs.New = func() any { return new(job) }
	for range cfg.Workers {
		c.workers.Go(c.work)
	}
	return c
}

func orDefault(n, def int) int {
	if n < 1 {
		return def
	}
	return n
}

// Begin opens an epoch; events that name it count from now on. For an epoch
// that is open already it replaces the flags, so that one can still be marked
// as tampered.
func (c *Collector) Begin(info judge.EpochInfo) {
	c.begin.Lock()
	defer c.begin.Unlock()
	old := *c.epochs.Load()
	if ep := old[info.ID]; ep != nil {
		ep.mu.Lock()
		ep.ev.Info = info
		ep.mu.Unlock()
		return
	}
	next := make(map[uint32]*epoch, len(old)+1)
	for id, ep := range old {
		next[id] = ep
	}
	if len(c.order) == maxEpochs {
		delete(next, c.order[0].id)
		c.order = slices.Delete(c.order, 0, 1)
	}
	ep := &epoch{id: info.ID, ev: judge.EpochEvidence{Info: info}}
	if n := len(c.order); n > 0 {
		ep.inherit(c.order[n-1])
	}
	next[info.ID] = ep
	c.epochs.Store(&next)
	c.order = append(c.order, ep)
	if n := len(c.order) - maxKeyedEpochs; n > 0 {
		c.order[n-1].forget()
	}
}

// inherit takes over the sticky keys of the epoch before if its coins are still in
// force: nobody is drawn again at the same weight.
func (ep *epoch) inherit(from *epoch) {
	from.mu.Lock()
	defer from.mu.Unlock()
	was, is := &from.ev.Info, &ep.ev.Info
	if is.WeightBP == 0 || was.WeightBP != is.WeightBP || was.Warmup != is.Warmup || was.Tampered {
		return
	}
	ep.keys, from.keys, from.past = from.keys, nil, true
}

// forget frees the sticky keys: their late events are no units any more.
func (ep *epoch) forget() {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	ep.keys, ep.past = nil, true
}

// first says whether this kind of event is to be counted as a unit: always
// without a sticky key, else once per key. The caller holds mu.
func (ep *epoch) first(c *Collector, keyed bool, key uint64, what seen) bool {
	if !keyed {
		return true
	}
	had, known := ep.keys[key]
	if had&what != 0 {
		return false
	}
	if !known && (ep.past || len(ep.keys) >= c.cfg.MaxKeys) {
		if what == seenRequest {
			c.keys.Add(1)
		}
		return false
	}
	if ep.keys == nil {
		ep.keys = make(map[uint64]seen)
	}
	ep.keys[key] = had | what
	return true
}

// Primary records a request that an arm answered, or failed to. The answer's
// body is copied and looked at later, if there is room.
func (c *Collector) Primary(e *Event) {
	ep := (*c.epochs.Load())[e.Epoch]
	if ep == nil {
		c.strays.Add(1)
		return
	}
	if !ep.count(c, e) {
		return
	}
	j := c.jobs.Get().(*job)
	j.ep, j.kind = ep, primary
	j.events[0].set(e)
	if !c.send(j, len(e.Body)) {
		c.bodies.Add(1)
		ep.mu.Lock()
		ep.ev.Arms[e.arm()].Dropped++
		ep.mu.Unlock()
	}
}

// count records what is known without the body; it says whether the body is to be read.
func (ep *epoch) count(c *Collector, e *Event) (read bool) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	n := &ep.ev.Arms[e.arm()]
	switch {
	case e.Direct:
		n.Direct++
		return false
	case e.ClientGone:
		n.ClientGone++
		return false
	case !ep.drew(e):
		n.Unjudged++
		return false
	}
	n.Requests++
	unit := ep.first(c, e.Keyed, e.Key, seenRequest)
	if unit {
		n.Units++
		n.AddLatency(e.Latency)
	}
	switch {
	case e.failed():
		ep.countError(c, e, unit)
		return false
	case e.refused():
		n.Refusals++
		if ep.first(c, e.Keyed, e.Key, seenRefusal) {
			n.RefusalUnits++
		}
		return false
	}
	return true
}

// countError records a failure; unit says whether the request was one. The caller
// holds mu.
func (ep *epoch) countError(c *Collector, e *Event, unit bool) {
	n := &ep.ev.Arms[e.arm()]
	n.Errors++
	if e.FellBack {
		n.FellBack++
	}
	if ep.first(c, e.Keyed, e.Key, seenError) {
		n.ErrorUnits++
		if !unit {
			n.LateErrorUnits++
		}
	}
	if e.Candidate {
		c.wake()
	}
}

// wake tells whoever waits on Notify; a signal that is pending already is enough.
func (c *Collector) wake() {
	select {
	case c.notify <- struct{}{}:
	default:
	}
}

// Notify signals that a candidate failed or answered without a usable score
// since the last signal. It is never closed.
func (c *Collector) Notify() <-chan struct{} { return c.notify }

// Snapshot returns all counts so far, epochs in ascending order; it shares
// nothing with the Collector.
func (c *Collector) Snapshot() judge.Evidence {
	all := *c.epochs.Load()
	out := judge.Evidence{Epochs: make([]judge.EpochEvidence, 0, len(all))}
	for _, ep := range all {
		ep.mu.Lock()
		out.Epochs = append(out.Epochs, ep.ev.Clone())
		ep.mu.Unlock()
	}
	slices.SortFunc(out.Epochs, func(a, b judge.EpochEvidence) int {
		return int(int64(a.Info.ID) - int64(b.Info.ID))
	})
	return out
}

// Dropped returns the counts of what could not be recorded so far.
func (c *Collector) Dropped() Drops {
	return Drops{Bodies: c.bodies.Load(), Pairs: c.pairs.Load(), Again: c.again.Load(), Keys: c.keys.Load(), Epochs: c.strays.Load(), Panics: c.panics.Load()}
}

// Close waits until every queued answer is counted and ends the workers. Events
// recorded afterwards count, their bodies are dropped.
func (c *Collector) Close() {
	c.sending.Lock()
	if !c.closed {
		c.closed = true
		close(c.queue)
	}
	c.sending.Unlock()
	c.workers.Wait()
}
