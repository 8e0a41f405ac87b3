package proxy

import (
	"context"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/split"
)

// counter is a Tap that counts.
type counter struct {
	mu       sync.Mutex
	arms     [2]int
	failed   [2]int
	fellBack int
	pairs    int
	again    int
}

func (c *counter) Primary(x *Exchange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.arms[x.Arm]++
	if x.Failure != None || x.Status >= 500 {
		c.failed[x.Arm]++
	}
	if x.FellBack {
		c.fellBack++
	}
}

func (c *counter) Pair(_, _ *Exchange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pairs++
}

func (c *counter) Again(primary, repeat *Exchange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if primary.Revision == "r1" && repeat.Revision == "r1" && string(primary.Body) == string(repeat.Body) {
		c.again++
	}
}

func backend(t *testing.T, revision string, status int) *Target {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.Header.Get("x-serin-route"), "."+revision) {
			t.Errorf("%s got the stamp %q", revision, r.Header.Get("x-serin-route"))
		}
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(status)
		_, _ = w.Write(append([]byte(revision+":"), body...))
	}))
	t.Cleanup(s.Close)
	return &Target{Revision: revision, Addr: s.Listener.Addr().String()}
}

func serve(t *testing.T, tap Tap) (*Gateway, string) {
	t.Helper()
	g := New(Config{Tap: tap, Logger: slog.New(slog.DiscardHandler)})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- g.Serve(ln) }()
	t.Cleanup(func() {
		if err := g.Shutdown(context.Background()); err != nil {
			t.Errorf("shutting down: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	return g, "http://" + ln.Addr().String() + "/score"
}

func swap(t *testing.T, g *Gateway, table Table) {
	t.Helper()
	if err := g.Swap(&table); err != nil {
		t.Fatal(err)
	}
}

func ask(t *testing.T, url string, header ...string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

// TestPromise1 swaps the table 1,000 times under load: no request fails, and
// every answer comes from the revision that its stamp names.
func TestPromise1NoRequestFailsBecauseWeightsMove(t *testing.T) {
	g, url := serve(t, &counter{})
	stable, candidate := backend(t, "r1", 200), backend(t, "r2", 200)
	swap(t, g, Table{Rollout: "x", Stable: stable})
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	var sent, bad atomic.Int64
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 8 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := client.Post(url, "text/plain", strings.NewReader("x"))
				sent.Add(1)
				if err != nil {
					bad.Add(1)
					continue
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				revision, _, _ := strings.Cut(string(body), ":")
				if err != nil || resp.StatusCode != 200 || !strings.HasSuffix(resp.Header.Get("x-serin-route"), "."+revision) {
					bad.Add(1)
				}
			}
		})
	}
	for i := range 1000 {
		table := Table{Rollout: "x", Epoch: uint32(i), WeightBP: (i * 37) % 10001, ShadowBP: 5000, Stable: stable, Candidate: candidate, Fallback: true}
		if i%3 == 0 {
			table = Table{Rollout: "x", Epoch: uint32(i), Stable: candidate}
		}
		swap(t, g, table)
		for target := int64(i); sent.Load() < target; { // about one request between two swaps
			time.Sleep(50 * time.Microsecond)
		}
	}
	close(stop)
	load.Wait()
	if bad.Load() != 0 || sent.Load() < 1000 {
		t.Errorf("%d of %d requests failed during 1,000 swaps, want none of at least 1,000", bad.Load(), sent.Load())
	}
}

func TestSplitFollowsTheWeight(t *testing.T) {
	tap := &counter{}
	g, url := serve(t, tap)
	swap(t, g, Table{Rollout: "x", WeightBP: 2000, Stable: backend(t, "r1", 200), Candidate: backend(t, "r2", 200)})
	const n = 2000
	for range n {
		ask(t, url)
	}
	if share := float64(tap.arms[split.Candidate]) / n; math.Abs(share-.2) > 5*math.Sqrt(.2*.8/n) {
		t.Errorf("the candidate got %.3f of the requests, want 0.2", share)
	}
}

func TestFallbackAnswersWhatTheCandidateFails(t *testing.T) {
	tap := &counter{}
	g, url := serve(t, tap)
	table := Table{Rollout: "x", WeightBP: 10000, Stable: backend(t, "r1", 200), Candidate: backend(t, "r2", 500), Fallback: true}
	swap(t, g, table)
	status, body, header := ask(t, url)
	if status != 200 || body != "r1:x" || header.Get("x-serin-fallback") == "" {
		t.Errorf("got %d %q, fallback %q; want stable's answer, marked", status, body, header.Get("x-serin-fallback"))
	}
	if tap.failed[split.Candidate] != 1 || tap.fellBack != 1 {
		t.Errorf("%d failures of the candidate, %d fell back; want 1 and 1", tap.failed[split.Candidate], tap.fellBack)
	}
	table.Fallback = false
	swap(t, g, table)
	if status, body, _ := ask(t, url); status != 500 || body != "r2:x" {
		t.Errorf("without fallback: %d %q, want the candidate's own 500", status, body)
	}
	table.Candidate = &Target{Revision: "r3", Addr: "127.0.0.1:1"}
	swap(t, g, table)
	if status, _, header := ask(t, url); status != 502 || !strings.HasSuffix(header.Get("x-serin-route"), "r3") {
		t.Errorf("a candidate that is down: %d, stamp %q; want 502 with its stamp", status, header.Get("x-serin-route"))
	}
}

func TestHeaderReachesEitherArm(t *testing.T) {
	g, url := serve(t, nil)
	swap(t, g, Table{Rollout: "x", Stable: backend(t, "r1", 200), Candidate: backend(t, "r2", 200), HandOver: true, Header: HeaderRoute{"x-api-version", "green", "blue"}})
	for value, want := range map[string]string{"green": "r1:x", "blue": "r2:x", "": "r1:x", "red": "r1:x"} {
		if _, body, _ := ask(t, url, "x-api-version", value); body != want {
			t.Errorf("x-api-version %q: %q, want %q", value, body, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	g, url := serve(t, nil)
	if status, body, _ := ask(t, url); status != 503 || !strings.Contains(body, "NoStable") {
		t.Errorf("without a table: %d %q", status, body)
	}
	swap(t, g, Table{Rollout: "x", Stable: backend(t, "r1", 200), MaxBodyBytes: 1})
	if status, _, _ := ask(t, url, "Upgrade", "websocket"); status != 501 {
		t.Errorf("WebSocket: %d, want 501", status)
	}
	resp, err := http.Post(url, "text/plain", strings.NewReader("xx"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 413 {
		t.Errorf("a body that is too large: %d, want 413", resp.StatusCode)
	}
	if err := g.Swap(&Table{WeightBP: 10001}); err == nil {
		t.Error("a weight beyond 100 % is accepted")
	}
}

func TestShadowIsPairedAndDropped(t *testing.T) {
	tap := &counter{}
	g, url := serve(t, tap)
	swap(t, g, Table{Rollout: "x", ShadowBP: 10000, RepeatBP: 10000, Stable: backend(t, "r1", 200), Candidate: backend(t, "r2", 500)})
	const n = 20
	for range n {
		if status, body, _ := ask(t, url); status != 200 || body != "r1:x" {
			t.Fatalf("%d %q, want stable's answer", status, body)
		}
	}
	deadline := time.Now().Add(10 * time.Second)
	for done := false; !done; {
		tap.mu.Lock()
		done = tap.pairs+int(g.Stats().ShadowDropped) == n && tap.again == tap.pairs
		tap.mu.Unlock()
		if time.Now().After(deadline) {
			t.Fatalf("%d pairs and %d drops of %d", tap.pairs, g.Stats().ShadowDropped, n)
		}
		time.Sleep(time.Millisecond)
	}
}
