package recorder

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/observe/wire"
	"github.com/serin-dev/serin/internal/proxy"
)

// heap is the memory in use once what nobody needs is gone.
func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // pools give theirs back at the second
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// large is an answer whose frame is not small: labels are told as they are.
var large = `{"result": ["` + strings.Repeat(strings.Repeat("x", 250)+`","`, 240) + `"]}`

// TestPromise10RecordersMemoryIsBounded: whatever is wrong with the controller, clients are answered, what waits to be
// told takes no more memory than it may, and the rest is counted where an operator sees it; when the controller is back
// the evidence says how much it lacks.
func TestPromise10RecordersMemoryIsBounded(t *testing.T) {
	const (
		asked = 200 // 60 KB each: four times what may wait
		room  = 3 << 20
		slack = 3 << 20
	)
	for name, fault := range map[string]func(release <-chan struct{}) func(w http.ResponseWriter, r *http.Request, next http.Handler){
		"hangs": func(release <-chan struct{}) func(http.ResponseWriter, *http.Request, http.Handler) {
			return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				select {
				case <-release:
					next.ServeHTTP(w, r)
				case <-r.Context().Done():
				}
			}
		},
		"hangs up": func(<-chan struct{}) func(http.ResponseWriter, *http.Request, http.Handler) {
			return func(w http.ResponseWriter, r *http.Request, _ http.Handler) { hangUp(w, r) }
		},
		"fails": func(<-chan struct{}) func(http.ResponseWriter, *http.Request, http.Handler) {
			return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(http.StatusBadGateway) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newController(t)
			r := run(t, c, kandidat, newScorer(t, says(200, large)).URL, func(r *Recorder) { r.reports.room = room })
			r.awaitReady()
			askMany(t, r, "warm", 1)
			c.awaitFrames(kandidat, 1)
			release := make(chan struct{})
			c.fault(fault(release))
			before := heap()
			askMany(t, r, "x", asked)
			until(t, "all to be taken note of", func() bool {
				frames, _, dropped := r.reports.counts()
				return uint64(frames)+dropped == asked && len(r.reports.queue) == 0
			})
			_, size, dropped := r.reports.counts()
			if grown := heap() - before; grown > room+slack || size > room || dropped == 0 {
				t.Errorf("%d bytes more in use, %d of them accounted for, %d dropped; want at most %d", grown, size, dropped, room+slack)
			}
			if metrics := string(r.metrics()); strings.Contains(metrics, "serin_recorder_frames_waiting_bytes 0\n") || strings.Contains(metrics, "serin_recorder_frames_waiting 0\n") {
				t.Errorf("nothing waits, say the metrics:\n%s", metrics)
			}
			close(release)
			c.fault(nil)
			until(t, "the rest to be told", func() bool { n, _, _ := r.reports.counts(); return n == 0 })
			_, _, dropped = r.reports.counts()
			if want := fmt.Sprintf("serin_recorder_frames_dropped_total %d\n", dropped); !strings.Contains(string(r.metrics()), want) {
				t.Errorf("metrics lack %q:\n%s", want, r.metrics())
			}
			told := c.evidence(5).Arms[judge.Candidate]
			until(t, "the controller to know", func() bool { told = c.evidence(5).Arms[judge.Candidate]; return told.Dropped >= dropped })
			if told.Dropped != dropped || told.AnsweredUnits+told.Dropped != asked+1 {
				t.Errorf("the evidence has %d answers and lacks %d; want %d in all, %d dropped", told.AnsweredUnits, told.Dropped, asked+1, dropped)
			}
		})
	}
}

// TestSmallAnswersDoNotHoldTheMemoryOfLargeOnes: buffers are used again.
func TestSmallAnswersDoNotHoldTheMemoryOfLargeOnes(t *testing.T) {
	r := newReports(wire.Batch{Revision: kandidat})
	x := proxy.Exchange{Revision: kandidat, Status: 200, Stamp: proxy.Stamp{Chosen: proxy.ByWeight}}
	const n = 200
	for _, size := range []int{bodyBytes, 1} {
		x.Body = make([]byte, size)
		for range n {
			r.Primary(&x)
		}
		if size == 1 {
			break
		}
		for range n { // as work does
			a := <-r.queue
			r.keep(a, nil)
			a.putBack()
		}
	}
	held := 0
	for range n {
		a := <-r.queue
		held += cap(a.said[0].body) + cap(a.said[1].body)
	}
	if held > n*keptBytes {
		t.Errorf("%d answers of one byte hold %d bytes", n, held)
	}
}

// TestLongNamesTakeRoom: what a scorer says of its body is memory as well.
func TestLongNamesTakeRoom(t *testing.T) {
	r := newReports(wire.Batch{Revision: kandidat})
	x := proxy.Exchange{Revision: kandidat, Status: 200, Stamp: proxy.Stamp{Chosen: proxy.ByWeight}, ContentType: strings.Repeat("x", 20<<10), ContentEncoding: strings.Repeat("y", 4<<10)}
	for range mostFrames {
		r.Primary(&x)
	}
	if frames, size, dropped := r.counts(); frames*(24<<10) > mostBytes || size > mostBytes || dropped == 0 {
		t.Errorf("%d answers with names of 24 KiB wait, %d dropped", frames, dropped)
	}
}

// TestNobodyWaitsForTheQueue: requests are recorded from many goroutines while nobody reads the queue, batches are made
// and refused; every one of them is accounted for.
func TestNobodyWaitsForTheQueue(t *testing.T) {
	r := newReports(wire.Batch{Revision: kandidat})
	const each, callers = mostFrames / 4, 8
	var all, sender sync.WaitGroup
	stop := make(chan struct{})
	sender.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if p := r.next(); p != nil {
				r.done(p, false)
			}
		}
	})
	for range callers {
		all.Go(func() {
			x := proxy.Exchange{Revision: kandidat, Status: 200, Epoch: 4, Body: []byte(`[0.5]`), Stamp: proxy.Stamp{Chosen: proxy.ByWeight, Epoch: 4}}
			for i := range each {
				if r.Primary(&x); i%4 == 0 {
					r.Again(&x, &x)
				}
			}
		})
	}
	all.Wait()
	r.close()
	r.work()
	close(stop)
	sender.Wait()
	for p := r.next(); p != nil; p = r.next() {
		r.done(p, false)
	}
	if r.dropped != each*callers || r.repeatsLost[4] != each*callers/4 || r.served[4] != each*callers || r.frames != 0 || r.bytes != 0 {
		t.Errorf("%d dropped, %d repeats lost, %d served, %d frames of %d bytes left; want %d, %d, %d and none", r.dropped, r.repeatsLost[4], r.served[4], r.frames, r.bytes, each*callers, each*callers/4, each*callers)
	}
}
