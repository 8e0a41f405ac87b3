package proxy

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
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
	signal   chan struct{}
	arms     [2]int
	failed   [2]int
	fellBack int
	spared   int
	pairs    int
	again    int      // answered twice, the same
	twice    int      // answered twice
	last     Exchange // the last primary one
	shadow   Exchange // the last shadow
}

func newCounter() *counter { return &counter{signal: make(chan struct{}, 1)} }

func (c *counter) note(change func()) {
	c.mu.Lock()
	change()
	c.mu.Unlock()
	select {
	case c.signal <- struct{}{}:
	default:
	}
}

func kept(x *Exchange) Exchange {
	k := *x
	k.Body = slices.Clone(x.Body)
	return k
}

func (c *counter) Primary(x *Exchange) {
	c.note(func() {
		c.arms[x.Arm]++
		if !x.Spared && (x.Failure != None || x.Status >= 500) {
			c.failed[x.Arm]++
		}
		if x.FellBack {
			c.fellBack++
		}
		if x.Spared {
			c.spared++
		}
		c.last = kept(x)
	})
}

func (c *counter) Pair(_, shadow *Exchange) {
	c.note(func() {
		c.pairs++
		c.shadow = kept(shadow)
	})
}

func (c *counter) Again(primary, repeat *Exchange) {
	c.note(func() {
		c.twice++
		if primary.Revision == "r1" && repeat.Revision == "r1" && string(primary.Body) == string(repeat.Body) {
			c.again++
		}
	})
}

// await waits until the counts are as wanted.
func (c *counter) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		c.mu.Lock()
		ok := done()
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-c.signal:
		case <-deadline:
			c.mu.Lock()
			defer c.mu.Unlock()
			t.Fatalf("%s: it did not come to that; the last exchange: %+v", what, c.last)
		}
	}
}

func (c *counter) primaries() int { return c.arms[0] + c.arms[1] }

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
	return serveWith(t, Config{Tap: tap})
}

func serveWith(t *testing.T, cfg Config) (*Gateway, string) {
	t.Helper()
	g := New(cfg)
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
	g, url := serve(t, newCounter())
	stable, candidate := backend(t, "r1", 200), backend(t, "r2", 200)
	swap(t, g, Table{Rollout: "x", Stable: stable})
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	var sent, bad atomic.Int64
	stop, tick := make(chan struct{}), make(chan struct{})
	var load sync.WaitGroup
	for range 8 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				case tick <- struct{}{}:
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
		<-tick // a request begins between two swaps
	}
	close(stop)
	load.Wait()
	if bad.Load() != 0 || sent.Load() != 1000 {
		t.Errorf("%d of %d requests failed during 1,000 swaps, want none of 1,000", bad.Load(), sent.Load())
	}
}

func TestSplitFollowsTheWeight(t *testing.T) {
	tap := newCounter()
	g, url := serve(t, tap)
	swap(t, g, Table{Rollout: "x", WeightBP: 2000, Stable: backend(t, "r1", 200), Candidate: backend(t, "r2", 200)})
	const n = 2000
	for range n {
		ask(t, url)
	}
	tap.await(t, "all requests recorded", func() bool { return tap.primaries() == n })
	if share := float64(tap.arms[split.Candidate]) / n; math.Abs(share-.2) > 5*math.Sqrt(.2*.8/n) {
		t.Errorf("the candidate got %.3f of the requests, want 0.2", share)
	}
}

func TestFallbackAnswersWhatTheCandidateFails(t *testing.T) {
	tap := newCounter()
	g, url := serve(t, tap)
	table := Table{Rollout: "x", Epoch: 3, WeightBP: 10000, Stable: backend(t, "r1", 200), Candidate: backend(t, "r2", 500), Fallback: true}
	swap(t, g, table)
	status, body, header := ask(t, url)
	if status != 200 || body != "r1:x" || header.Get("x-serin-fallback") == "" {
		t.Errorf("got %d %q, fallback %q; want stable's answer, marked", status, body, header.Get("x-serin-fallback"))
	}
	tap.await(t, "one failure of the candidate", func() bool { return tap.failed[split.Candidate] == 1 && tap.fellBack == 1 })
	if x := tap.last; x.Status != 500 || string(x.Body) != "r2:x" || x.Revision != "r2" || x.Epoch != 3 {
		t.Errorf("recorded %+v, want the candidate's own answer", x)
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
	for name, table := range map[string]Table{
		"a weight beyond 100 %": {WeightBP: 10001}, "a negative shadow share": {ShadowBP: -1}, "a repeat share beyond 100 %": {RepeatBP: 10001}, "negative first repeats": {RepeatFirst: -1}, "no candidate": {WeightBP: 1}, "a negative time-out": {Timeout: -1},
	} {
		if err := g.Swap(&table); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestShadowIsPairedAndDropped(t *testing.T) {
	tap := newCounter()
	g, url := serve(t, tap)
	swap(t, g, Table{Rollout: "x", ShadowBP: 10000, RepeatBP: 10000, Stable: backend(t, "r1", 200), Candidate: backend(t, "r2", 500)})
	const n = 20
	for range n {
		if status, body, _ := ask(t, url); status != 200 || body != "r1:x" {
			t.Fatalf("%d %q, want stable's answer", status, body)
		}
	}
	tap.await(t, "every copy paired or dropped", func() bool { return tap.pairs+int(g.Stats().ShadowDropped) == n && tap.again == tap.pairs })
}

// TestFirstShadowsAreRepeated: stable is asked twice for each of a rollout's first shadowed requests, however often its
// weights move; a new rollout begins anew.
func TestFirstShadowsAreRepeated(t *testing.T) {
	tap := newCounter()
	g, url := serve(t, tap)
	table := Table{Rollout: "x", ShadowBP: 10000, Stable: backend(t, "r1", 200), Candidate: backend(t, "r2", 200)}
	for i, step := range []struct {
		rollout      string
		first, again int
	}{{"x", 0, 0}, {"x", 7, 7}, {"x", 7, 7}, {"x", 12, 12}, {"y", 7, 19}, {"y", 7, 19}} {
		table.Rollout, table.Epoch, table.RepeatFirst = step.rollout, uint32(i), step.first
		swap(t, g, table)
		for range 10 {
			ask(t, url)
		}
		// One too many is seen at the next step at the latest.
		tap.await(t, fmt.Sprintf("step %d: 10 copies more paired, %d repeats", i, step.again), func() bool { return tap.pairs == 10*(i+1) && tap.again == step.again })
	}
}
