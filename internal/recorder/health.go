package recorder

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	probeEvery = 500 * time.Millisecond
	probeTime  = time.Second
)

// newProbes makes the client that asks the scorer whether it is ready: a new connection each time, and what the scorer
// says itself, not where it points to.
func newProbes() *http.Client {
	return &http.Client{
		Timeout: probeTime, Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// watch asks the scorer again and again whether it is ready.
func (r *Recorder) watch(ctx context.Context) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		r.learn(r.probe(ctx))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (r *Recorder) probe(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.o.Scorer+r.o.Readiness, nil)
	if err != nil {
		return false // a path that is none: never ready, as /readyz shows
	}
	resp, err := r.probes.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	return resp.StatusCode >= 200 && resp.StatusCode < 300
}

// learn notes whether the scorer is ready; the first time changes the table.
func (r *Recorder) learn(ready bool) {
	if r.ready.Swap(ready) != ready {
		r.o.Logger.Info("scorer's readiness changed", "ready", ready)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !ready || r.ever {
		return
	}
	r.ever = true
	if err := r.install(); err != nil {
		r.ever = false
		r.o.Logger.Error("routing to the scorer failed", "error", err)
	}
}

// health answers probes: /readyz is the scorer's own readiness, whatever the controller does.
func (r *Recorder) health() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		switch {
		case r.leaving.Load():
			http.Error(w, "leaving", http.StatusServiceUnavailable)
		case !r.ready.Load():
			http.Error(w, "the scorer is not ready", http.StatusServiceUnavailable)
		default:
			fmt.Fprintln(w, "ok")
		}
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = w.Write(r.metrics())
	})
	return mux
}

func (r *Recorder) metrics() []byte {
	waiting, bytes, dropped := r.reports.counts()
	r.mu.Lock()
	seq := r.order.Seq
	r.mu.Unlock()
	gateway := r.gateway.Stats()
	var b []byte
	for _, m := range []struct {
		name, kind, help string
		value            uint64
	}{
		{"serin_recorder_frames_waiting", "gauge", "Answers that are not reported yet.", uint64(waiting)},
		{"serin_recorder_frames_waiting_bytes", "gauge", "Memory that they hold.", uint64(bytes)},
		{"serin_recorder_frames_dropped_total", "counter", "Answers that there was no room to report.", dropped},
		{"serin_recorder_repeats_total", "counter", "Requests that the scorer was asked once more, to learn how far its answers differ.", gateway.ShadowSent},
		{"serin_recorder_repeats_dropped_total", "counter", "Requests that it should have been asked once more, without room for it.", gateway.ShadowDropped},
		{"serin_recorder_order_seq", "gauge", "Number of the order in force; 0 before the first.", seq},
		{"serin_recorder_controller_connected", "gauge", "1 while orders are listened to.", one(r.link.connected.Load())},
		{"serin_recorder_scorer_ready", "gauge", "1 while the scorer says that it is ready.", one(r.ready.Load())},
	} {
		b = fmt.Appendf(b, "# HELP %s %s\n# TYPE %s %s\n%s %d\n", m.name, m.help, m.name, m.kind, m.name, m.value)
	}
	return b
}

func one(yes bool) uint64 {
	if yes {
		return 1
	}
	return 0
}
