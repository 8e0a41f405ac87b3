package proxy

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestStampsAreReadAsTheMeshWritesThem(t *testing.T) {
	for text, want := range map[string]Stamp{
		"a-2.5.a-r2":          {Chosen: ByWeight, Epoch: 5},
		"a-2.0.a-r2":          {Chosen: ByWeight},
		"a-2.4294967295.a-r2": {Chosen: ByWeight, Epoch: 4294967295},
		"a-2.5.a-r1":          {Chosen: ByWeight, Epoch: 5, Copy: true},
		"a-2.sticky.a-r2":     {Chosen: BySticky},
		"a-2.sticky.a-r1":     {Chosen: BySticky, Copy: true},
		"a-2.direct.a-r2":     {Chosen: ByHeader},
	} {
		if got := readStamp([]byte(text), "a-r2"); got != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
	for _, text := range []string{"", ".", "..", "a", "a.5", "a.5.", ".5.a-r2", "a..a-r2", "a.-1.a-r2", "a.+1.a-r2", "a.x.a-r2", "a.4294967296.a-r2", "a.5.a-r2.x", "a.99999999999999999999999.a-r2", "a.Direct.a-r2"} {
		if got := readStamp([]byte(text), "a-r2"); got != (Stamp{}) {
			t.Errorf("%q is taken for a stamp: %+v", text, got)
		}
	}
}

func TestRelaysTablesAreChecked(t *testing.T) {
	own, other := &Target{Revision: "r2", Addr: "127.0.0.1:1"}, &Target{Revision: "r1", Addr: "127.0.0.1:2"}
	for says, bad := range map[string]Table{
		"beside a scorer": {Relay: &Relay{}, Stable: other},
		"whom it hands":   {Relay: &Relay{}, Candidate: own, Fallback: true},
		"must know whom":  {Relay: &Relay{}, Candidate: own, HandOver: true},
		"must know":       {Relay: &Relay{Unready: true}, Candidate: own},
		"draws no arms":   {Relay: &Relay{}, Candidate: own, Stable: other, WeightBP: 1},
	} {
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("table %+v: error %v, want one with %q", bad, err, says)
		}
	}
	if err := (&Table{Relay: &Relay{}, Candidate: own}).Validate(); err != nil {
		t.Errorf("a relay with nobody to hand to: %v", err)
	}
}

// relay serves beside a scorer, with stable to hand to.
func relay(t *testing.T, tap Tap, own http.HandlerFunc, change func(*Table)) (*Gateway, string) {
	t.Helper()
	targets := [2]*Target{}
	for i, do := range []http.HandlerFunc{own, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("x-serin-revision", "r1")
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, decimal(n)+r.Header.Get("x-serin-handed-by"))
	}} {
		s := httptest.NewServer(do)
		t.Cleanup(s.Close)
		targets[i] = &Target{Revision: []string{"r2", "r1"}[i], Addr: s.Listener.Addr().String()}
	}
	g, url := serve(t, tap)
	table := Table{Candidate: targets[0], Stable: targets[1], Fallback: true, Timeout: 20 * time.Second, Relay: &Relay{Name: "pod"}}
	change(&table)
	swap(t, g, table)
	return g, url
}

func relayed(t *testing.T, url, stamp string, body io.Reader) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("x-serin-route", stamp)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

func TestLargeRequestsAreHandedOverWholeAndFallBackNot(t *testing.T) {
	large := bytes.Repeat([]byte("x"), 1<<20)
	broken := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(500)
	}
	for _, chunked := range []bool{false, true} {
		var body io.Reader = bytes.NewReader(large)
		if chunked {
			body = io.MultiReader(body)
		}
		_, url := relay(t, newCounter(), broken, func(t *Table) { t.HandOver = true })
		if resp, text := relayed(t, url, "a.5.r2", body); text != "1048576pod" || resp.Header.Get("x-serin-fallback") != "handed-over" || resp.Header.Get("x-serin-revision") != "r1" {
			t.Errorf("chunked %v: %d %q %v", chunked, resp.StatusCode, text, resp.Header)
		}
	}
	_, url := relay(t, newCounter(), broken, func(*Table) {})
	if resp, _ := relayed(t, url, "a.5.r2", bytes.NewReader(large)); resp.StatusCode != 500 || resp.Header.Get("x-serin-fallback") != "" {
		t.Errorf("a body that was not held went to stable: %d %v", resp.StatusCode, resp.Header)
	}
}

func TestCopyIsAnsweredThoughItsSenderLeft(t *testing.T) {
	tap := newCounter()
	asked, release := make(chan struct{}), make(chan struct{})
	_, url := relay(t, tap, func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-release
		_, _ = io.WriteString(w, "late")
	}, func(*Table) {})
	c := dial(t, url)
	_, _ = io.WriteString(c, "POST /score HTTP/1.1\r\nHost: x\r\nx-serin-route: a.4.r1\r\nContent-Length: 0\r\n\r\n")
	<-asked
	c.Close()
	time.AfterFunc(2*glance, func() { close(release) }) // long enough to look for the sender, who nobody looks for
	tap.await(t, "the copy", func() bool { return tap.primaries() == 1 })
	if x := tap.last; !x.Shadow || x.Status != 200 || x.Failure != None || string(x.Body) != "late" || x.Epoch != 4 {
		t.Errorf("exchange %+v", x)
	}
}

func TestTimeIsTheScorersOwn(t *testing.T) {
	tap := newCounter()
	const late = 300 * time.Millisecond
	_, url := relay(t, tap, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, func(table *Table) {
		slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-time.After(late) }))
		t.Cleanup(slow.Close)
		table.Stable = &Target{Revision: "r1", Addr: slow.Listener.Addr().String()}
	})
	start := time.Now()
	relayed(t, url, "a.5.r2", nil)
	whole := time.Since(start)
	tap.await(t, "the request", func() bool { return tap.primaries() == 1 })
	if x := tap.last; !x.FellBack || x.Latency <= 0 || x.Latency > whole-late {
		t.Errorf("%s of %s are held against a scorer whose stead stable took in %s", x.Latency, whole, late)
	}
}

// TestScorerBesideARelayIsAskedTwice: what came by weight in the present epoch, and was answered, is asked once more of
// the scorer beside the relay; the client waits for none of it.
func TestScorerBesideARelayIsAskedTwice(t *testing.T) {
	const asked = 5
	for name, do := range map[string]struct {
		stamp  string
		header string
		table  Table
		want   int // of asked
	}{
		"the first of a rollout": {stamp: "a.5.r2", table: Table{Epoch: 5, ShadowBP: 10000, RepeatFirst: 3}, want: 3},
		"a share":                {stamp: "a.5.r2", table: Table{Epoch: 5, ShadowBP: 10000, RepeatBP: 10000}, want: asked},
		"no shadow step":         {stamp: "a.5.r2", table: Table{Epoch: 5, RepeatBP: 10000, RepeatFirst: 9}},
		"no share":               {stamp: "a.5.r2", table: Table{Epoch: 5, ShadowBP: 10000}},
		"another epoch":          {stamp: "a.4.r2", table: Table{Epoch: 5, ShadowBP: 10000, RepeatBP: 10000}},
		"by cookie":              {stamp: "a.sticky.r2", table: Table{ShadowBP: 10000, RepeatBP: 10000}},
		"by header":              {stamp: "a.direct.r2", table: Table{ShadowBP: 10000, RepeatBP: 10000}},
		"a copy":                 {stamp: "a.5.r1", table: Table{Epoch: 5, ShadowBP: 10000, RepeatBP: 10000}},
		"handed over to it":      {stamp: "a.5.r2", header: "pod", table: Table{Epoch: 5, ShadowBP: 10000, RepeatBP: 10000}},
		"handed over by it":      {stamp: "a.5.r2", table: Table{Epoch: 5, ShadowBP: 10000, RepeatBP: 10000, HandOver: true}},
		"nobody routed it":       {table: Table{ShadowBP: 10000, RepeatBP: 10000}},
	} {
		t.Run(name, func(t *testing.T) {
			tap := newCounter()
			var mu sync.Mutex
			got := map[string]int{}
			g, url := relay(t, tap, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				mu.Lock()
				defer mu.Unlock()
				got[r.Header.Get("x-request-id")+" "+r.Header.Get("x-serin-route")+" "+string(body)]++
			}, func(into *Table) {
				into.Epoch, into.ShadowBP, into.RepeatBP, into.RepeatFirst, into.HandOver = do.table.Epoch, do.table.ShadowBP, do.table.RepeatBP, do.table.RepeatFirst, do.table.HandOver
			})
			for i := range asked {
				req, _ := http.NewRequest(http.MethodPost, url, strings.NewReader("body"))
				req.Header.Set("x-request-id", decimal(int64(i)))
				req.Header.Set("x-serin-route", do.stamp)
				req.Header.Set("x-serin-handed-by", do.header)
				if do.header == "" {
					req.Header.Del("x-serin-handed-by")
				}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
			}
			tap.await(t, "all to be told", func() bool { return tap.primaries() == asked && tap.twice == do.want })
			if err := g.Shutdown(t.Context()); err != nil { // waits for those that nobody expects
				t.Fatal(err)
			}
			if tap.twice != do.want || tap.pairs != 0 || g.Stats().ShadowSent != uint64(do.want) {
				t.Errorf("%d were answered twice, %d paired, %d sent; want %d, none and %d", tap.twice, tap.pairs, g.Stats().ShadowSent, do.want, do.want)
			}
			twice := 0
			for what, n := range got {
				if !strings.HasSuffix(what, do.stamp+" body") || n > 2 {
					t.Errorf("the scorer was asked %q %d times", what, n)
				}
				twice += n - 1
			}
			if twice != do.want {
				t.Errorf("the scorer was asked %d requests twice, want %d", twice, do.want)
			}
		})
	}
}

// TestRepeatsWithoutRoomAreCountedAndMadeUpFor: a scorer that hangs when it is asked again holds up no client, and a
// rollout's first repeats are not used up by requests that there was no room to repeat.
func TestRepeatsWithoutRoomAreCountedAndMadeUpFor(t *testing.T) {
	tap := newCounter()
	var mu sync.Mutex
	seen := map[string]bool{}
	again, release := make(chan struct{}, 10), make(chan struct{})
	g, url := relay(t, tap, func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		second := seen[r.Header.Get("x-request-id")]
		seen[r.Header.Get("x-request-id")] = true
		mu.Unlock()
		if second {
			again <- struct{}{}
			<-release
		}
	}, func(t *Table) { t.Epoch, t.ShadowBP, t.RepeatFirst = 5, 10000, 3 })
	g.shadows = make(chan struct{}, 1) // room for one at a time
	for range 20 {
		relayed(t, url, "a.5.r2", nil)
	}
	<-again
	soon(t, "1 sent and 19 dropped", func() bool { s := g.Stats(); return s.ShadowSent == 1 && s.ShadowDropped == 19 })
	close(release)
	for want := uint64(2); want <= 3; want++ {
		soon(t, "the one before", func() bool { return len(g.shadows) == 0 })
		relayed(t, url, "a.5.r2", nil)
		soon(t, "the next", func() bool { return g.Stats().ShadowSent == want })
	}
	relayed(t, url, "a.5.r2", nil)
	if err := g.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if tap.twice != 3 {
		t.Errorf("%d were answered twice, want the first 3 only", tap.twice)
	}
}

// soon waits for a condition that nobody signals.
func soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited for %s", what)
		case <-tick.C:
		}
	}
}
