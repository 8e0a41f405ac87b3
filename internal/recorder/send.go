package recorder

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"time"

	"github.com/serin-dev/serin/internal/observe/wire"
)

const (
	batchFrames = 512
	batchBytes  = 1 << 20 // or one frame
	batchEvery  = 250 * time.Millisecond
	postTime    = 15 * time.Second
)

// parcel is a batch that is sent until it is acknowledged, always the same.
type parcel struct {
	text          []byte
	frames, bytes int      // room that it holds
	repeats       []uint32 // epochs of those frames that are repeats
}

// next makes the next batch, nil when there is nothing to say.
func (r *reports) next() *parcel {
	r.mu.Lock()
	if len(r.waiting) == 0 && !r.changed {
		r.mu.Unlock()
		return nil
	}
	p, frames := r.fill()
	r.batch.Seq++
	b := r.batch
	b.Dropped, b.Served, b.RepeatsLost = r.dropped, maps.Clone(r.served), maps.Clone(r.repeatsLost)
	r.changed = false
	r.mu.Unlock()

	// The frames are encoded already; the outer field takes the place of the inner one.
	text, err := json.Marshal(struct {
		wire.Batch
		Frames []json.RawMessage `json:"frames,omitempty"`
	}{b, frames})
	if err != nil {
		r.done(p, false)
		return nil
	}
	p.text = text
	return p
}

// fill takes as many frames as a batch holds. The caller holds mu.
func (r *reports) fill() (*parcel, []json.RawMessage) {
	p := &parcel{}
	size := 0
	for i := range r.waiting {
		f := &r.waiting[i]
		if p.frames == batchFrames || p.frames > 0 && size+len(f.text) > batchBytes {
			break
		}
		p.frames++
		p.bytes += frameSize(f.text)
		size += len(f.text)
		if f.repeat {
			p.repeats = append(p.repeats, f.epoch)
		}
	}
	frames := make([]json.RawMessage, p.frames)
	for i := range frames {
		frames[i] = r.waiting[i].text
	}
	r.waitingBytes -= size
	left := copy(r.waiting, r.waiting[p.frames:])
	clear(r.waiting[left:])
	r.waiting = r.waiting[:left]
	return p, frames
}

// done gives back the room of a batch that was heard, or that nobody will ever take.
func (r *reports) done(p *parcel, heard bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.giveBack(p.frames, p.bytes)
	if heard {
		return
	}
	r.drop(p.frames - len(p.repeats))
	for _, epoch := range p.repeats {
		r.count(r.repeatsLost, epoch)
	}
}

// enough says whether a whole batch waits. The caller holds mu.
func (r *reports) enough() bool {
	return len(r.waiting) >= batchFrames || r.waitingBytes >= batchBytes
}

func (r *reports) more() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.enough()
}

// send reports until the last answer is told or ctx ends.
func (r *Recorder) send(ctx context.Context) {
	tick := time.NewTicker(batchEvery)
	defer tick.Stop()
	worked := r.reports.worked
	for last := false; ; {
		switch p := r.reports.next(); {
		case p != nil:
			if !r.deliver(ctx, p) {
				return
			}
		case last:
			return
		}
		if last || r.reports.more() {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-worked:
			last = true
		case <-r.reports.full:
		case <-tick.C:
		}
	}
}

// deliver sends one batch until the controller has it; false: ctx ended first.
func (r *Recorder) deliver(ctx context.Context, p *parcel) bool {
	var back backOff
	for lost := false; ; {
		err := r.post(ctx, p.text)
		switch {
		case err == nil:
			if lost {
				r.o.Logger.Info("reports are heard again")
			}
			r.reports.done(p, true)
			return true
		case forGood(err):
			r.o.Logger.Error("report refused", "frames", p.frames, "error", err)
			r.reports.done(p, false)
			return true
		case ctx.Err() != nil:
			return false
		case !lost:
			r.o.Logger.Warn("reports are not heard, they wait as far as there is room", "error", err)
			lost = true
		}
		if !back.wait(ctx) {
			return false
		}
	}
}

func (r *Recorder) post(ctx context.Context, text []byte) error {
	ctx, cancel := context.WithTimeout(ctx, postTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.link.base+wire.FramesPath, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.link.do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	return nil
}
