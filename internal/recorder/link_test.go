package recorder

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/observe/wire"
	"github.com/serin-dev/serin/internal/proxy"
)

// askMany sends n requests by weight and wants each answered by the candidate.
func askMany(t *testing.T, r *recorderUnderTest, name string, n int) {
	t.Helper()
	for i := range n {
		if got := r.ask(byWeight, wire.RequestIDHeader, fmt.Sprint(name, i)); got.status != 200 || got.revision != kandidat {
			t.Fatalf("answer %+v", got)
		}
	}
}

func TestOrdersAreKeptWhenTheControllerIsLost(t *testing.T) {
	p := newPair(t, says(200, `{"result": [0.5]}`), func(o *wire.Order) { o.HandOver = true })
	addr := p.c.addr()
	p.c.stop()
	until(t, "the loss to be seen", func() bool { return !p.candidate.link.connected.Load() })
	if got := p.candidate.ask(byWeight); got.fallback != "handed-over" || got.revision != stable {
		t.Errorf("answer %+v, want the hand-over to hold", got)
	}
	if p.candidate.get("/readyz") != http.StatusOK {
		t.Error("not ready without a controller")
	}
	p.c.seq.Store(0) // a new controller begins anew: its first order is lower than the last one of the old
	p.c.start(addr)
	p.order()
	if got := p.candidate.ask(byWeight); got.fallback != "" || got.revision != kandidat {
		t.Errorf("answer %+v, want the new controller obeyed", got)
	}
}

func TestLateOrdersOfOneControllerAreIgnored(t *testing.T) {
	release := make(chan struct{})
	c := newController(t)
	c.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != wire.OrdersPath {
			return
		}
		for _, seq := range []int{5, 4, 6} {
			fmt.Fprintf(w, "event: order\ndata: {\"seq\": %d, \"role\": \"None\", \"epoch\": %d}\n\n: still here\n\n", seq, seq)
		}
		_ = http.NewResponseController(w).Flush()
		<-release
	})
	log := &logged{}
	r := run(t, c, kandidat, newScorer(t, says(200, "{}")).URL, func(r *Recorder) { r.o.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	t.Cleanup(func() { close(release) })
	until(t, "the last order", func() bool { return strings.Contains(log.String(), `"order obeyed" seq=6`) })
	if text := log.String(); !strings.Contains(text, `"order obeyed" seq=5`) || strings.Contains(text, `"order obeyed" seq=4`) {
		t.Errorf("a late order was obeyed:\n%s", text)
	}
	if r.gateway.Table().Epoch != 6 {
		t.Errorf("table %+v", r.gateway.Table())
	}
}

func TestControllerThatIsAwayLosesWhatHasNoRoom(t *testing.T) {
	c := newController(t)
	large := `{"result": ["` + strings.Repeat(strings.Repeat("x", 250)+`","`, 240) + `"]}`
	const room = 2 << 20 // so that few requests fill it
	full := run(t, c, kandidat, newScorer(t, says(200, large)).URL, func(r *Recorder) { r.reports.room = room })
	addr := c.addr()
	c.stop()
	const asked = 60
	askMany(t, full, "x", asked)
	until(t, "all to be taken note of", func() bool { // a client has its answer before that
		n, _, dropped := full.reports.counts()
		return uint64(n)+dropped == asked && len(full.reports.queue) == 0
	})
	frames, size, dropped := full.reports.counts()
	if size > room || frames > mostFrames || dropped == 0 || uint64(frames)+dropped != asked {
		t.Errorf("%d frames of %d bytes wait, %d dropped, of %d", frames, size, dropped, asked)
	}
	c.start(addr)
	until(t, "the rest to be told", func() bool { n, _, _ := full.reports.counts(); return n == 0 })
	_, _, dropped = full.reports.counts()
	want := asked - int(dropped)
	ids := map[string]int{}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.batches {
		for _, f := range b.Frames {
			ids[f.ID]++
		}
		if b.Boot == full.reports.batch.Boot && b.Dropped > dropped {
			t.Errorf("%d dropped were told of %d", b.Dropped, dropped)
		}
	}
	if len(ids) != want {
		t.Errorf("%d frames were told, want %d", len(ids), want)
	}
	for id, n := range ids {
		if n != 1 {
			t.Errorf("%s was told %d times", id, n)
		}
	}
}

func TestBatchWhoseAcknowledgementIsLostCountsOnce(t *testing.T) {
	c := newController(t)
	r := run(t, c, kandidat, newScorer(t, says(200, `{"result": [0.5]}`)).URL)
	lost := make(chan struct{}, 100)
	c.fault(func(w http.ResponseWriter, req *http.Request, next http.Handler) {
		next.ServeHTTP(discard{}, req) // heard
		lost <- struct{}{}
		hangUp(w, req)
	})
	askMany(t, r, "x", 10)
	<-lost
	<-lost
	c.fault(nil)
	until(t, "the rest to be told", func() bool { n, _, _ := r.reports.counts(); return n == 0 })
	if n := c.evidence(5).Arms[judge.Candidate].AnsweredUnits; n != 10 {
		t.Errorf("%d answers counted, want 10", n)
	}
	if _, b := c.frames(kandidat); b.Dropped != 0 || b.Served[5] != 10 {
		t.Errorf("last batch: %d dropped, served %v", b.Dropped, b.Served)
	}
}

// discard is an answer that nobody gets.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

func TestSlowControllerSlowsNoRequest(t *testing.T) {
	c := newController(t)
	r := run(t, c, kandidat, newScorer(t, says(200, `{"result": [0.5]}`)).URL)
	stuck, release := make(chan struct{}, 100), make(chan struct{})
	c.fault(func(w http.ResponseWriter, req *http.Request, next http.Handler) {
		stuck <- struct{}{}
		<-release
		next.ServeHTTP(w, req)
	})
	askMany(t, r, "first", 1)
	<-stuck
	askMany(t, r, "x", 1500) // none waits for the controller, which answers only when all are done
	c.fault(nil)
	close(release)
	until(t, "all to be told", func() bool { return c.evidence(5).Arms[judge.Candidate].AnsweredUnits == 1501 })
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.batches {
		if len(b.Frames) > batchFrames {
			t.Errorf("a batch of %d frames", len(b.Frames))
		}
	}
}

func TestTokenIsReadAnewAndRefusalsAreNotLosses(t *testing.T) {
	c := newController(t)
	r := run(t, c, kandidat, newScorer(t, says(200, `{"result": [0.5]}`)).URL)
	c.mu.Lock()
	c.tokens = map[string]bool{"newer": true}
	c.mu.Unlock()
	askMany(t, r, "x", 3)
	refusal := make(chan struct{}, 100)
	c.fault(func(w http.ResponseWriter, req *http.Request, next http.Handler) {
		next.ServeHTTP(w, req)
		refusal <- struct{}{}
	})
	<-refusal
	if err := os.WriteFile(r.o.TokenFile, []byte("newer"), 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "the new token to be shown", func() bool { return c.evidence(5).Arms[judge.Candidate].AnsweredUnits == 3 })
	if _, _, dropped := r.reports.counts(); dropped != 0 {
		t.Errorf("%d dropped", dropped)
	}
}

func TestBatchThatNobodyWillTakeIsCountedAsLost(t *testing.T) {
	c := newController(t)
	r := run(t, c, kandidat, newScorer(t, says(200, `{"result": [0.5]}`)).URL)
	c.fault(func(w http.ResponseWriter, req *http.Request, _ http.Handler) { w.WriteHeader(http.StatusBadRequest) })
	askMany(t, r, "x", 5)
	until(t, "the refusal", func() bool { n, _, dropped := r.reports.counts(); return n == 0 && dropped == 5 })
	c.fault(nil)
	askMany(t, r, "y", 1)
	c.awaitFrames(kandidat, 1)
	if _, b := c.frames(kandidat); b.Dropped != 5 || b.Served[5] != 6 {
		t.Errorf("%d dropped, served %v; want 5 and 6", b.Dropped, b.Served)
	}
}

func TestLameDuckGoesOnAnsweringThenDrains(t *testing.T) {
	c := newController(t)
	asked, release := make(chan struct{}, 1), make(chan struct{})
	s := newScorer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("x-slow") != "" {
			asked <- struct{}{}
			<-release
		}
		says(200, `{"result": [0.5]}`)(w, r)
	})
	enough := make(chan time.Time)
	r := run(t, c, kandidat, s.URL, func(r *Recorder) { r.after = func(time.Duration) <-chan time.Time { return enough } })
	r.awaitReady()
	r.end()
	until(t, "the lame duck", func() bool { return r.get("/readyz") == http.StatusServiceUnavailable })
	if r.get("/healthz") != http.StatusOK {
		t.Error("a lame duck is not healthy")
	}
	askMany(t, r, "lame", 3)
	var slow reply
	var err error
	var done sync.WaitGroup
	done.Go(func() { slow, err = r.try(byWeight, "x-slow", "1", wire.RequestIDHeader, "slow") })
	<-asked
	close(enough)
	until(t, "the door to close", func() bool {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		_, err := r.try("")
		return err != nil
	})
	close(release)
	done.Wait()
	if err != nil || slow.status != 200 {
		t.Errorf("the request under way: %+v, %v", slow, err)
	}
	if err := <-r.ended; err != nil {
		t.Errorf("running: %v", err)
	}
	r.ended <- nil
	if f := c.awaitFrames(kandidat, 4); f[3].ID != "slow" { // told before the end
		t.Errorf("frames %+v", f)
	}
}

func TestEndDoesNotWaitForAControllerThatIsAway(t *testing.T) {
	c := newController(t)
	r := run(t, c, kandidat, newScorer(t, says(200, `{"result": [0.5]}`)).URL)
	c.fault(func(_ http.ResponseWriter, req *http.Request, _ http.Handler) { <-req.Context().Done() })
	askMany(t, r, "x", 3)
	r.end()
	if err := <-r.ended; err != nil {
		t.Errorf("running: %v", err)
	}
	r.ended <- nil
	if text := r.log.String(); !strings.Contains(text, `"recorder ends before all was reported" frames=3`) {
		t.Errorf("it does not say what was lost:\n%s", text)
	}
}

func TestRoomIsBounded(t *testing.T) {
	r := newReports(wire.Batch{Revision: kandidat})
	x := proxy.Exchange{Revision: kandidat, Status: 200, Stamp: proxy.Stamp{Chosen: proxy.ByWeight}}
	for i := range mostFrames + 10 { // nobody works: the request path must not wait all the same
		x.Epoch = uint32(i)
		x.Stamp.Epoch = x.Epoch
		r.Primary(&x)
	}
	frames, size, dropped := r.counts()
	if frames != mostFrames || dropped != 10 || size != mostFrames*frameBytes {
		t.Errorf("%d frames of %d bytes, %d dropped", frames, size, dropped)
	}
	if _, newest := r.served[mostFrames+9]; len(r.served) != mostEpochs || !newest {
		t.Errorf("%d epochs are counted, want the newest %d", len(r.served), mostEpochs)
	}
	r.close()
	go r.work()
	<-r.worked
	r.Primary(&x) // a request that was cut at the end
	if n, _, dropped := r.counts(); n != mostFrames || dropped != 11 {
		t.Errorf("%d frames, %d dropped", n, dropped)
	}
	for told := 0; told < mostFrames; {
		p := r.next()
		if p == nil || p.frames > batchFrames {
			t.Fatalf("batch %+v after %d frames", p, told)
		}
		told += p.frames
		r.done(p, true)
	}
	if p := r.next(); p != nil {
		t.Errorf("there is more: %d frames", p.frames)
	}
	if n, size, _ := r.counts(); n != 0 || size != 0 {
		t.Errorf("%d frames of %d bytes are left", n, size)
	}
}

func TestFrameOfASmallBodyWithALargeTextFitsABatch(t *testing.T) {
	for name, text := range map[string]string{
		"many digits": `[` + strings.Repeat("1e20,", plainBytes/5-2) + `1]`,
		"no numbers":  `[` + strings.Repeat("null,", plainBytes/5-2) + `1]`,
		"beyond":      `[` + strings.Repeat("1,", plainBytes) + `1]`,
		"labels":      `["` + strings.Repeat(`<`, 200) + strings.Repeat(`","`+strings.Repeat("<", 250), 3000) + `"]`,
	} {
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		_, _ = io.WriteString(w, text)
		w.Close()
		if packed.Len() > bodyBytes {
			t.Fatalf("%s: %d bytes packed", name, packed.Len())
		}
		r := newReports(wire.Batch{Revision: kandidat})
		r.Primary(&proxy.Exchange{
			Revision: kandidat, Status: 200, ContentType: "application/json", ContentEncoding: "gzip", Body: packed.Bytes(), Stamp: proxy.Stamp{Chosen: proxy.ByWeight},
		})
		r.close()
		r.work()
		n, size, dropped := r.counts()
		if uint64(n)+dropped != 1 || size > frameMost+frameBytes {
			t.Errorf("%s: %d frames of %d bytes, %d dropped", name, n, size, dropped)
		}
		if p := r.next(); p == nil || len(p.text) > 2*frameMost {
			t.Errorf("%s: no batch, or one that the controller will not take", name)
		}
	}
}

func TestBackOffGrowsAndEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var b backOff
	var waits []time.Duration
	for range 7 {
		b.wait(ctx)
		waits = append(waits, b.next)
	}
	if want := "[200ms 400ms 800ms 1.6s 3.2s 5s 5s]"; fmt.Sprint(waits) != want {
		t.Errorf("waits %v, want %s", waits, want)
	}
	if b.reset(); b.wait(ctx) || b.next != backLeast {
		t.Errorf("after a success: %v", b.next)
	}
}
