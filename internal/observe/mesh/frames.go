package mesh

import (
	"maps"
	"slices"
	"time"

	"github.com/serin-dev/serin/internal/contract"
	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/observe"
	"github.com/serin-dev/serin/internal/observe/wire"
)

const (
	// pairWait is how long one answer of a shadowed request waits for the other.
	pairWait = 10 * time.Second
	// mostWaiting bounds them; the oldest goes first, and is counted.
	mostWaiting = 20_000
	// mostWaitingBytes bounds their memory: an answer may hold thousands of scores.
	mostWaitingBytes = 32 << 20
	halfBytes        = 512 // of a half without its scores and labels
)

// half is the answer of a shadowed request that came first.
type half struct {
	frame wire.Frame
	arm   judge.Arm
	at    time.Time
	size  int
}

func newHalf(f *wire.Frame, arm judge.Arm, now time.Time) *half {
	a := &f.Answer
	size := halfBytes + len(f.ID) + 8*cap(a.Scores) + 16*cap(a.Labels)
	for _, l := range a.Labels {
		size += len(l)
	}
	return &half{*f, arm, now, size}
}

// Take counts a recorder's batch. A batch that was heard before changes nothing;
// it says whether the endpoint is known.
func (h *Hub) Take(b *wire.Batch) bool {
	e := h.endpoint(Key{b.Namespace, b.Endpoint})
	if e == nil {
		return false
	}
	now := h.clock()
	e.mu.Lock()
	defer e.mu.Unlock()
	src := source{b.Pod, b.Boot}
	t, known := e.served[src]
	if known && b.Seq <= t.seq {
		return true
	}
	if !known {
		t = e.meet(b, now)
	}
	e.tally(b, &t)
	for i := range b.Frames {
		e.frame(b.Revision, &b.Frames[i], now)
	}
	e.loseRepeats(b, &t)
	e.served[src] = tallies{
		at: now, seq: b.Seq, dropped: b.Dropped, lost: e.charge(b, t.lost+less(b.Dropped, t.dropped)), byEpoch: b.Served, repeatsLost: b.RepeatsLost,
	}
	e.expire(now)
	return true
}

// meet returns what a recorder that is heard for the first time is taken to have
// told before. One that reported to another controller has counted what is not ours.
func (e *endpoint) meet(b *wire.Batch, now time.Time) tallies {
	maps.DeleteFunc(e.served, func(_ source, t tallies) bool { return now.Sub(t.at) > forgotten })
	if b.Seq <= 1 {
		return tallies{}
	}
	e.meter.restart(now)
	return tallies{dropped: b.Dropped, byEpoch: b.Served, repeatsLost: b.RepeatsLost}
}

// tally counts what a recorder served since its last batch.
func (e *endpoint) tally(b *wire.Batch, before *tallies) {
	n := amounts{dropped: less(b.Dropped, before.dropped)}
	for i := range b.Frames {
		if b.Frames[i].Again == nil { // a repeat tells of no other request
			n.told++
		}
	}
	for epoch, served := range b.Served {
		if _, known := e.arm(epoch, b.Revision); known {
			n.served += less(served, before.byEpoch[epoch])
		}
	}
	e.meter.recorded[b.Revision] = true
	e.meter.add(b.Revision, n)
}

// charge counts lost answers for the newest epoch that the batch speaks of, and
// returns those that wait for one.
func (e *endpoint) charge(b *wire.Batch, lost uint64) (left uint64) {
	if lost == 0 {
		return 0
	}
	epochs := slices.Sorted(maps.Keys(b.Served))
	for i := range b.Frames {
		epochs = append(epochs, b.Frames[i].Epoch)
	}
	for _, epoch := range slices.Backward(epochs) {
		if arm, known := e.arm(epoch, b.Revision); known {
			e.collector.Load().Lost(epoch, arm, lost)
			return 0
		}
	}
	return lost
}

// loseRepeats counts second answers of stable that its recorder could not tell of.
func (e *endpoint) loseRepeats(b *wire.Batch, before *tallies) {
	for epoch, n := range b.RepeatsLost {
		if arm, known := e.arm(epoch, b.Revision); known && arm == judge.Stable {
			if lost := less(n, before.repeatsLost[epoch]); lost > 0 {
				e.collector.Load().LostRepeats(epoch, lost)
			}
		}
	}
}

// frame counts one answer. The caller holds mu.
func (e *endpoint) frame(revision string, f *wire.Frame, now time.Time) {
	arm, known := e.arm(f.Epoch, revision)
	if !known {
		return
	}
	if f.Again != nil {
		e.again(f, arm)
		return
	}
	if f.Shadow {
		e.counts.shadowed++
	}
	event, answer := read(f, arm)
	if !f.Shadow && !event.Failed && f.Status < 400 {
		e.collector.Load().Answered(&event, &answer)
	}
	if !e.arms[f.Epoch].shadow || f.ID == "" || !f.Shadow && arm != judge.Stable {
		return
	}
	e.join(f, arm, now)
}

// again counts that stable answered a shadowed request twice. The caller holds mu.
func (e *endpoint) again(f *wire.Frame, arm judge.Arm) {
	if arm != judge.Stable || !e.arms[f.Epoch].shadow {
		return
	}
	first, a := read(f, arm)
	second, b := read(&wire.Frame{Epoch: f.Epoch, Status: f.Again.Status, Failed: f.Again.Failed, Answer: f.Again.Answer}, arm)
	e.collector.Load().Repeated(&first, &second, &a, &b)
}

// join pairs stable's answer with the candidate's to the same request.
func (e *endpoint) join(f *wire.Frame, arm judge.Arm, now time.Time) {
	other := e.waiting[f.ID]
	if other == nil || other.arm == arm {
		if other == nil {
			e.order = append(e.order, f.ID)
		}
		e.forget(f.ID)
		w := newHalf(f, arm, now)
		e.waiting[f.ID] = w
		e.waitingBytes += w.size
		return
	}
	e.forget(f.ID)
	stable, candidate := f, &other.frame
	if arm == judge.Candidate {
		stable, candidate = candidate, stable
	}
	s, sa := read(stable, judge.Stable)
	k, ka := read(candidate, judge.Candidate)
	e.collector.Load().Paired(&s, &k, &sa, &ka)
}

// forget lets an answer wait no longer.
func (e *endpoint) forget(id string) {
	if w := e.waiting[id]; w != nil {
		e.waitingBytes -= w.size
		delete(e.waiting, id)
	}
}

// expire forgets answers that waited too long. Stable's answers in a weight step,
// or beyond the share that is copied, have no other half and are no loss.
func (e *endpoint) expire(now time.Time) {
	gone := 0
	for _, id := range e.order {
		w := e.waiting[id]
		if w != nil && now.Sub(w.at) < pairWait && len(e.order)-gone <= mostWaiting && e.waitingBytes <= mostWaitingBytes {
			break
		}
		gone++
		if w != nil {
			if w.arm == judge.Candidate {
				e.unpaired++
			}
			e.forget(id)
		}
	}
	e.order = append(e.order[:0], e.order[gone:]...)
}

// read turns a frame into what the collector takes.
func read(f *wire.Frame, arm judge.Arm) (observe.Event, contract.Answer) {
	event := observe.Event{
		Epoch: f.Epoch, Candidate: arm == judge.Candidate, Drawn: true, Status: f.Status, Failed: f.Failed, FellBack: f.FellBack,
		Latency: time.Duration(f.MS * float64(time.Millisecond)), Meta: contract.Meta{Status: f.Status},
	}
	a := contract.Answer{
		Kind: contract.Kind(f.Answer.Kind), Rows: f.Answer.Rows, Width: f.Answer.Width, Labels: f.Answer.Labels, NonFinite: f.Answer.NonFinite, Hash: f.Answer.Hash, Length: f.Answer.Length,
	}
	for _, v := range f.Answer.Scores {
		a.Scores = append(a.Scores, float64(v))
	}
	if f.Failed || f.Status >= 400 {
		a.Kind = contract.Error
	}
	return event, a
}
