package recorder

import (
	"encoding/json"
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
	waiting       [][]byte // frames, encoded
	waitingBytes  int
	changed       bool // served or dropped, since the last batch
}

// answer is one that nobody has looked into yet.
type answer struct {
	frame wire.Frame
	meta  contract.Meta
	body  []byte
	size  int
}

var answers = sync.Pool{New: func() any { return new(answer) }}

func newReports(who wire.Batch) *reports {
	r := &reports{batch: who, queue: make(chan *answer, mostFrames), room: mostBytes, full: make(chan struct{}, 1), worked: make(chan struct{}), served: map[uint32]uint64{}}
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
	size := frameBytes + len(x.Body)
	r.mu.Lock()
	if !s.Copy && !x.Spared {
		r.count(s.Epoch)
	}
	tell = tell && r.take(size)
	r.mu.Unlock()
	if tell {
		r.offer(x, size)
	}
}

// Pair is for gateways that copy requests themselves.
func (r *reports) Pair(_, _ *proxy.Exchange) {}

// Again is for gateways that copy requests themselves.
func (r *reports) Again(_, _ *proxy.Exchange) {}

// count counts a request that was routed here by weight. The caller holds mu.
func (r *reports) count(epoch uint32) {
	if _, known := r.served[epoch]; !known && len(r.served) >= mostEpochs {
		oldest := epoch
		for e := range r.served {
			oldest = min(oldest, e)
		}
		if oldest == epoch {
			return
		}
		delete(r.served, oldest)
	}
	r.served[epoch]++
	r.changed = true
}

// take takes room for a frame. The caller holds mu.
func (r *reports) take(size int) bool {
	if r.frames >= mostFrames || r.bytes+size > r.room {
		r.drop(1)
		return false
	}
	r.frames++
	r.bytes += size
	return true
}

// drop counts frames that are lost. The caller holds mu.
func (r *reports) drop(n int) {
	r.dropped += uint64(n)
	r.changed = true
}

func (r *reports) offer(x *proxy.Exchange, size int) {
	a := answers.Get().(*answer)
	a.size, a.body = size, append(a.body[:0], x.Body...)
	a.frame = wire.Frame{
		ID: x.RequestID, Epoch: x.Epoch, Shadow: x.Shadow, Status: x.Status, Failed: x.Failure != proxy.None || x.Status >= 500, FellBack: x.FellBack,
		MS: float64(x.Latency) / float64(time.Millisecond),
	}
	a.meta = contract.Meta{Status: x.Status, ContentType: x.ContentType, ContentEncoding: x.ContentEncoding, InferenceHeaderLength: x.InferenceHeaderLength, Truncated: x.BodyTruncated}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		r.giveBack(1, size)
		r.drop(1)
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
		a.frame = wire.Frame{}
		answers.Put(a)
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
	if !a.frame.Failed {
		r.extractor.Load().Extract(read, a.meta, a.body)
		scores := make([]wire.Float, len(read.Scores))
		for i, v := range read.Scores {
			scores[i] = wire.Float(v)
		}
		a.frame.Answer = wire.Answer{
			Kind: uint8(read.Kind), Scores: scores, Rows: read.Rows, Width: read.Width, Labels: read.Labels, NonFinite: read.NonFinite, Hash: read.Hash, Length: read.Length,
		}
	}
	text, err := json.Marshal(&a.frame)
	if err != nil || len(text) > frameMost {
		return nil
	}
	return text
}

// keep lets a frame wait for the next batch, if there is still room for it.
func (r *reports) keep(a *answer, text []byte) {
	size := frameSize(text)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.giveBack(1, a.size)
	if text == nil {
		r.drop(1)
		return
	}
	if !r.take(size) {
		return
	}
	r.waiting = append(r.waiting, text)
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
