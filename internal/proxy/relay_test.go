package proxy

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
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
		"copies nothing":  {Relay: &Relay{}, Candidate: own, Stable: other, ShadowBP: 1},
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
