package scenario

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	safedriver "github.com/serin-dev/serin/examples/safe-driver"
)

// clients ask the endpoint at a steady rate, each with rows as they occur.
type clients struct {
	w       *World
	missing atomic.Bool // ask about rows in which a value is missing

	mu    sync.Mutex
	seen  []seen
	epoch int // of the routes that answered last
	after int // ask about missing values once there is a later one; 0: never
	stop  func()
}

// seen is what one client saw.
type seen struct {
	at       time.Time
	status   int // 0: no answer
	route    string
	fallback bool
	text     string
}

func (s seen) failed() bool { return s.status < 200 || s.status > 299 }

// revision is who the endpoint routed to.
func (s seen) revision() string { return s.route[strings.LastIndexByte(s.route, '.')+1:] }

// mostRequests bounds a load that nobody stops.
const mostRequests = 200_000

func (w *World) clients(t *testing.T) *clients {
	t.Helper()
	c := &clients{w: w}
	done, jobs := make(chan struct{}), make(chan []byte, 16)
	var all sync.WaitGroup
	all.Go(func() {
		defer close(jobs)
		g, tick := safedriver.NewGenerator(7), time.NewTicker(time.Second/time.Duration(w.Rate))
		defer tick.Stop()
		for range mostRequests {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			select {
			case jobs <- c.body(g):
			default: // all clients wait: a slow answer must not become a burst
			}
		}
	})
	client := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	for range 8 {
		all.Go(func() {
			for body := range jobs {
				c.note(w.ask(client, body, ""))
			}
		})
	}
	c.stop = sync.OnceFunc(func() { close(done); all.Wait(); client.CloseIdleConnections() })
	t.Cleanup(c.stop)
	return c
}

func (c *clients) note(s seen) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, s)
	if parts := strings.Split(s.route, "."); len(parts) == 3 {
		if n, err := strconv.Atoi(parts[1]); err == nil {
			c.epoch = max(c.epoch, n)
		}
	}
	if c.after > 0 && c.epoch > c.after {
		c.missing.Store(true)
	}
}

// missingFromNextStep lets clients ask about missing values when the next weight holds.
func (c *clients) missingFromNextStep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.after = c.epoch
}

// since returns what clients saw of requests that began after a moment.
func (c *clients) since(from time.Time) []seen {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.seen), func(s seen) bool { return s.at.Before(from) })
}

func (c *clients) body(g *safedriver.Generator) []byte {
	row := g.Row(nil)
	row[safedriver.Column("ps_reg_03")] = map[bool]float64{true: -1, false: 0.9}[c.missing.Load()]
	text, err := json.Marshal(map[string]any{"data": [][]float64{row}})
	if err != nil {
		panic(err)
	}
	return text
}

// ask sends one request; a header value chooses a version.
func (w *World) ask(client *http.Client, body []byte, version string) seen {
	s := seen{at: time.Now()}
	req, err := http.NewRequest(http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		s.text = err.Error()
		return s
	}
	req.Host = w.Host
	req.Header.Set("Content-Type", "application/json")
	if version != "" {
		req.Header.Set("x-api-version", version)
	}
	resp, err := client.Do(req)
	if err != nil {
		s.text = err.Error()
		return s
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.text = err.Error()
		return s
	}
	s.status, s.text, s.route, s.fallback = resp.StatusCode, string(text), resp.Header.Get("x-serin-route"), resp.Header.Get("x-serin-fallback") != ""
	return s
}

var (
	sample     = safedriver.SampleRequest
	httpClient = &http.Client{Timeout: 10 * time.Second}
)
