package recorder

import (
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/serin-dev/serin/internal/contract"
	"github.com/serin-dev/serin/internal/observe/wire"
	"github.com/serin-dev/serin/internal/proxy"
)

const (
	bodyBytes  = 64 << 10 // read of an answer
	plainBytes = 1 << 20  // of its text, decompressed: so a frame always fits a batch
	mostFrames = 8192     // not acknowledged, with what is not read yet
	mostBytes  = 16 << 20
	frameBytes = 256     // beside its body
	frameMost  = 4 << 20 // of one, encoded: the controller takes batches of twice that
	mostEpochs = 256
	keptBytes  = 1 << 10 // of a buffer that is used again: a small answer must not hold the memory of a large one
)

// reports is what there is to tell the controller. It is the gateway's Tap: it takes what it has room for and never
// makes a request wait.
type reports struct {
	batch     wire.Batch // who we are
	extractor atomic.Pointer[contract.Extractor]
	queue     chan *answer
	room      int           // bytes
	full      chan struct{} // a batch of frames waits
	worked    chan struct{} // closed: there will be no more

	mu            sync.Mutex
	closed        bool
	served        map[uint32]uint64
	frames, bytes int // room taken: in the queue, waiting, or under way
	dropped       uint64
	repeatsLost   map[uint32]uint64
	waiting       []encoded
	waitingBytes  int
	changed       bool // served, dropped or repeatsLost, since the last batch
}

// encoded is a frame as it will be sent.
type encoded struct {
	text   []byte
	repeat bool
	epoch  uint32
}

// answer is one that nobody has looked into yet, or two to the same request.
type answer struct {
	frame wire.Frame // with Again: there are two
	said  [2]said
	size  int
}

// said is what the scorer said.
type said struct {
	meta contract.Meta
	body []byte
}

func (s *said) set(x *proxy.Exchange) {
	s.body = append(s.body[:0], x.Body...)
	s.meta = contract.Meta{Status: x.Status, ContentType: x.ContentType, ContentEncoding: x.ContentEncoding, InferenceHeaderLength: x.InferenceHeaderLength, Truncated: x.BodyTruncated}
}

func (s *said) clear() {
	if s.meta = (contract.Meta{}); cap(s.body) > keptBytes {
		s.body = nil
	}
}

// sizeOf is the memory that what was said takes.
func sizeOf(x *proxy.Exchange) int {
	return frameBytes + len(x.RequestID) + len(x.ContentType) + len(x.ContentEncoding) + len(x.Body)
}

// putBack lets an answer's memory be used again.
func (a *answer) putBack() {
	a.frame = wire.Frame{}
	a.said[0].clear()
	a.said[1].clear()
	answers.Put(a)
}

var answers = sync.Pool{New: func() any { return new(answer) }}

func newReports(who wire.Batch) *reports {
	r := &reports{batch: who, queue: make(chan *answer, mostFrames), room: mostBytes, full: make(chan struct{}, 1), worked: make(chan struct{}), served: map[uint32]uint64{}, repeatsLost: map[uint32]uint64{}}
	auto, err := newExtractor(contract.Auto, "")
	if err != nil {
		panic(err) // Auto needs nothing
	}
	r.extractor.Store(auto)
	return r
}

// Primary takes note of one request. Those that were not drawn by weight have no epoch to count for, and one that
// another recorder handed over is told by that one.
func (r *reports) Primary(x *proxy.Exchange) {
	s := x.Stamp
	if s.Chosen != proxy.ByWeight || s.Handed {
		return
	}
	// A request that was handed over was not this scorer's to answer; whether a client that left would have got an
	// answer nobody knows.
	tell := x.Revision == r.batch.Revision && x.Failure != proxy.ClientGone
	size := sizeOf(x)
	r.mu.Lock()
	if !s.Copy && !x.Spared {
		r.count(r.served, s.Epoch)
	}
	if tell && !r.take(size) {
		tell = false
		r.drop(1)
	}
	r.mu.Unlock()
	if !tell {
		return
	}
	a := answers.Get().(*answer)
	a.size, a.frame = size, frameOf(x)
	a.said[0].set(x)
	r.offer(a)
}

func frameOf(x *proxy.Exchange) wire.Frame {
	return wire.Frame{
		ID: x.RequestID, Epoch: x.Epoch, Shadow: x.Shadow, Status: x.Status, Failed: failed(x), FellBack: x.FellBack,
		MS: float64(x.Latency) / float64(time.Millisecond),
	}
}

func failed(x *proxy.Exchange) bool { return x.Failure != proxy.None || x.Status >= 500 }

// Pair is for gateways that copy requests themselves.
func (r *reports) Pair(_, _ *proxy.Exchange) {}

// Again takes note of a request that the scorer answered twice. Both answers go into one frame, so that none is told
// without the other.
func (r *reports) Again(first, second *proxy.Exchange) {
	size := sizeOf(first) + sizeOf(second)
	r.mu.Lock()
	room := r.take(size)
	if !room {
		r.count(r.repeatsLost, first.Epoch)
	}
	r.mu.Unlock()
	if !room {
		return
	}
	a := answers.Get().(*answer)
	a.size, a.frame = size, frameOf(first)
	a.frame.Again = &wire.Again{Status: second.Status, Failed: failed(second)}
	a.said[0].set(first)
	a.said[1].set(second)
	r.offer(a)
}

// count counts one more of an epoch; of too many epochs the oldest is forgotten. The caller holds mu.
func (r *reports) count(n map[uint32]uint64, epoch uint32) {
	if _, known := n[epoch]; !known && len(n) >= mostEpochs {
		oldest := epoch
		for e := range n {
			oldest = min(oldest, e)
		}
		if oldest == epoch {
			return
		}
		delete(n, oldest)
	}
	n[epoch]++
	r.changed = true
}

// take takes room for a frame. The caller holds mu.
func (r *reports) take(size int) bool {
	if r.frames >= mostFrames || r.bytes+size > r.room {
		return false
	}
	r.frames++
	r.bytes += size
	return true
}

// drop counts frames that are lost. The caller holds mu.
func (r *reports) drop(n int) {
	if n == 0 {
		return // nothing new to tell: a batch that was refused must not be the reason for the next
	}
	r.dropped += uint64(n)
	r.changed = true
}

// lose counts a frame that will not be told. The caller holds mu.
func (r *reports) lose(repeat bool, epoch uint32) {
	if repeat {
		r.count(r.repeatsLost, epoch)
		return
	}
	r.drop(1)
}

// offer queues an answer that has room.
func (r *reports) offer(a *answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		r.giveBack(1, a.size)
		r.lose(a.frame.Again != nil, a.frame.Epoch)
		return
	}
	r.queue <- a // there is room: as many as may wait fit
}

// giveBack gives back room. The caller holds mu.
func (r *reports) giveBack(frames, bytes int) {
	r.frames -= frames
	r.bytes -= bytes
}

// close ends the taking of notes. What is queued will still be reported.
func (r *reports) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	close(r.queue)
}

// work looks into the answers, off the requests' path.
func (r *reports) work() {
	defer close(r.worked)
	var read contract.Answer
	for a := range r.queue {
		r.keep(a, r.encode(a, &read))
		a.putBack()
	}
}

// encode returns a frame as it will be sent, nil when it cannot be. A recorder must not take the requests down with it,
// so a defect in the reader costs one answer.
func (r *reports) encode(a *answer, read *contract.Answer) (text []byte) {
	defer func() {
		if recover() != nil {
			text = nil
		}
	}()
	f := &a.frame
	if !f.Failed {
		f.Answer = r.read(&a.said[0], read)
	}
	if f.Again != nil && !f.Again.Failed {
		f.Answer.Labels = slices.Clone(f.Answer.Labels) // read is used again
		f.Again.Answer = r.read(&a.said[1], read)
	}
	text, err := json.Marshal(f)
	if err != nil || len(text) > frameMost {
		return nil
	}
	return text
}

func (r *reports) read(s *said, into *contract.Answer) wire.Answer {
	r.extractor.Load().Extract(into, s.meta, s.body)
	scores := make([]wire.Float, len(into.Scores))
	for i, v := range into.Scores {
		scores[i] = wire.Float(v)
	}
	return wire.Answer{
		Kind: uint8(into.Kind), Scores: scores, Rows: into.Rows, Width: into.Width, Labels: into.Labels, NonFinite: into.NonFinite, Hash: into.Hash, Length: into.Length,
	}
}

// keep lets a frame wait for the next batch, if there is still room for it.
func (r *reports) keep(a *answer, text []byte) {
	size := frameSize(text)
	f := &a.frame
	r.mu.Lock()
	defer r.mu.Unlock()
	r.giveBack(1, a.size)
	if text == nil || !r.take(size) {
		r.lose(f.Again != nil, f.Epoch)
		return
	}
	r.waiting = append(r.waiting, encoded{text, f.Again != nil, f.Epoch})
	r.waitingBytes += len(text)
	if r.enough() {
		select {
		case r.full <- struct{}{}:
		default:
		}
	}
}

func frameSize(text []byte) int { return frameBytes + len(text) }

func (r *reports) counts() (frames, bytes int, dropped uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.frames, r.bytes, r.dropped
}
