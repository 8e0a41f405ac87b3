package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	safedriver "github.com/serin-dev/serin/examples/safe-driver"
)

// answer is what one client saw.
type answer struct {
	at       time.Time
	took     time.Duration
	status   int    // 0: no answer
	stamp    string // x-serin-route
	fallback string
	header   string // the version that was asked for
	cookie   string // that the answer set
	client   int    // of a load with clients that are remembered
	err      string
	text     string // what a dummy says
	server   string // Azure ML's server names itself
}

func (a answer) failed() bool { return a.status < 200 || a.status > 299 }

// revision is who the gateway routed to, epoch by which routes.
func (a answer) revision() string { return a.stamp[strings.LastIndexByte(a.stamp, '.')+1:] }

func (a answer) epoch() string {
	if parts := strings.Split(a.stamp, "."); len(parts) == 3 {
		return parts[1]
	}
	return ""
}

// door is where clients come in; the zero config is for plain HTTP.
type door struct {
	url  string
	dial func(ctx context.Context, network, address string) (net.Conn, error) // nil: as the URL says
	tls  *tls.Config
}

func (d door) client() *http.Client {
	return &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16, DialContext: d.dial, TLSClientConfig: d.tls}}
}

// passerBy asks once, and belongs to no load.
var passerBy = &http.Client{Timeout: 15 * time.Second}

// ask sends one request; version and cookie may be empty.
func (w *world) ask(c *http.Client, body []byte, version, cookie string) (a answer) {
	a = answer{at: time.Now(), header: version}
	defer func() { a.took = time.Since(a.at) }()
	req, err := http.NewRequest(http.MethodPost, w.via.url+"/score", bytes.NewReader(body))
	if err != nil {
		a.err = err.Error()
		return a
	}
	req.Host = w.name + ".example.com"
	req.Header.Set("Content-Type", "application/json")
	if version != "" {
		req.Header.Set("x-api-version", version)
	}
	if cookie != "" {
		req.Header.Set("Cookie", cookie)
	}
	resp, err := c.Do(req)
	if err != nil {
		a.err = err.Error()
		return a
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		a.err = err.Error()
		return a
	}
	a.status, a.stamp, a.fallback = resp.StatusCode, resp.Header.Get("x-serin-route"), resp.Header.Get("x-serin-fallback")
	a.server = resp.Header.Get("x-ms-server-version")
	for _, k := range resp.Cookies() {
		a.cookie = k.Name + "=" + k.Value
	}
	if a.failed() {
		a.err = string(text)
	} else if bytes.HasPrefix(text, []byte{'"'}) {
		a.text = string(text)
	}
	return a
}

// caller makes the n-th request of a load.
type caller func(c *http.Client, n int, body []byte) answer

// traffic asks at a steady rate until the function returned is called.
func (w *world) traffic(perSecond int) (stop func() []answer) {
	return w.load(perSecond, func(c *http.Client, _ int, body []byte) answer { return w.ask(c, body, "", "") })
}

// mixed is traffic in which every tenth request asks for one version by header.
func (w *world) mixed(perSecond int) (stop func() []answer) {
	return w.load(perSecond, func(c *http.Client, n int, body []byte) answer {
		version := map[int]string{0: "green", 5: "blue"}[n%10]
		return w.ask(c, body, version, "")
	})
}

// remembered is traffic of so many clients that keep their cookie.
func (w *world) remembered(perSecond, clients int) (stop func() []answer) {
	type jar struct {
		sync.Mutex
		cookie string
	}
	jars := make([]jar, clients)
	return w.load(perSecond, func(c *http.Client, n int, body []byte) answer {
		j := &jars[n%clients]
		j.Lock()
		defer j.Unlock()
		a := w.ask(c, body, "", j.cookie)
		a.client = n % clients
		if a.cookie != "" {
			j.cookie = a.cookie
		}
		return a
	})
}

// mostRequests bounds a load that nobody stops.
const mostRequests = 200_000

func (w *world) load(perSecond int, call caller) (stop func() []answer) {
	w.t.Helper()
	type job struct {
		n    int
		body []byte
	}
	done, jobs := make(chan struct{}), make(chan job, 64)
	var wait sync.WaitGroup
	wait.Go(func() {
		defer close(jobs)
		g, tick := safedriver.NewGenerator(5), time.NewTicker(time.Second/time.Duration(perSecond))
		defer tick.Stop()
		for n := range mostRequests {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			select {
			case jobs <- job{n, w.body(g)}:
			default: // every client waits: a slow answer must not become a burst
			}
		}
	})
	client := w.via.client()
	for range 16 {
		wait.Go(func() {
			for j := range jobs {
				a := call(client, j.n, j.body)
				w.mu.Lock()
				w.seen = append(w.seen, a)
				w.mu.Unlock()
			}
		})
	}
	return sync.OnceValue(func() []answer {
		close(done)
		wait.Wait()
		client.CloseIdleConnections()
		return w.answers()
	})
}

// answers are all that clients saw so far, in the order in which they asked.
func (w *world) answers() []answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := slices.Clone(w.seen)
	slices.SortStableFunc(all, func(a, b answer) int { return a.at.Compare(b.at) })
	return all
}

// Rows that clients ask about. The scorer "some-rows" fails those in which a value
// is missing.
const (
	anyRow = iota
	wholeRows
	missingRows
)

func (w *world) body(g *safedriver.Generator) []byte {
	if w.rows.Load() == anyRow {
		return g.RequestBody(nil, 2)
	}
	row := g.Row(nil)
	row[safedriver.Column("ps_reg_03")] = map[bool]float64{true: -1, false: 0.9}[w.rows.Load() == missingRows]
	text, err := json.Marshal(map[string]any{"data": [][]float64{row}})
	if err != nil {
		panic(fmt.Sprint("numbers that JSON cannot hold: ", err))
	}
	return text
}

// failures returns what went wrong for clients.
func failures(all []answer) (out []answer) {
	for _, a := range all {
		if a.failed() {
			out = append(out, a)
		}
	}
	return out
}

// lastTo returns when a request was last routed to a revision, zero when none was.
func lastTo(revision string, all []answer) (last time.Time) {
	for _, a := range all {
		if a.revision() == revision && a.at.After(last) {
			last = a.at
		}
	}
	return last
}
