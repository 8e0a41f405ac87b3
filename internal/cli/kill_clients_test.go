package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	safedriver "github.com/serin-dev/serin/examples/safe-driver"
	"github.com/serin-dev/serin/internal/lightgbm"
)

const (
	killClients = 6
	killEvery   = 20 * time.Millisecond // of each client
	killBodies  = 200
)

// clientele sends requests whose right answers are known, and keeps what it saw.
type clientele struct {
	url    string
	bodies [][]byte
	want   map[string][]string // model → answers, by body

	mu   sync.Mutex
	seen []answered
}

// answered is one request as its client saw it.
type answered struct {
	interval
	body     int
	status   int
	revision string // by the stamp
	text     string
	err      error
}

func newClientele(t *testing.T, url string, models ...string) *clientele {
	t.Helper()
	c := &clientele{url: url, want: map[string][]string{}}
	g := safedriver.NewGenerator(11)
	for range killBodies {
		c.bodies = append(c.bodies, g.RequestBody(nil, 2))
	}
	for _, name := range models {
		text, err := safedriver.Model(name)
		if err != nil {
			t.Fatal(err)
		}
		m, err := lightgbm.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, body := range c.bodies {
			c.want[name] = append(c.want[name], scored(t, m, body))
		}
	}
	return c
}

// scored is what a model answers to a body.
func scored(t *testing.T, m *lightgbm.Model, body []byte) string {
	t.Helper()
	var in struct {
		Data [][]float64 `json:"data"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		t.Fatal(err)
	}
	var scores []float64
	out := make([]float64, m.NumOutputs())
	for _, row := range in.Data {
		if err := m.Predict(row, out); err != nil {
			t.Fatal(err)
		}
		scores = append(scores, out...)
	}
	return fmt.Sprint(scores)
}

// run sends requests until the context ends.
func (c *clientele) run(ctx context.Context) {
	var clients sync.WaitGroup
	for first := range killClients {
		clients.Go(func() {
			client := &http.Client{Timeout: killPatience, Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			tick := time.NewTicker(killEvery)
			defer tick.Stop()
			for i := first; ; i += killClients {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				a := c.send(client, i%killBodies)
				c.mu.Lock()
				c.seen = append(c.seen, a)
				c.mu.Unlock()
			}
		})
	}
	clients.Wait()
}

// send is not bound to the context: no request is given up at the end.
func (c *clientele) send(client *http.Client, body int) answered {
	a := answered{body: body, interval: interval{from: time.Now()}}
	resp, err := client.Post(c.url, "application/json", bytes.NewReader(c.bodies[body])) //nolint:noctx // see above
	if err == nil {
		defer resp.Body.Close()
		var text []byte
		text, err = io.ReadAll(resp.Body)
		stamp := resp.Header.Get(routeHeader)
		a.status, a.text, a.revision = resp.StatusCode, string(text), stamp[strings.LastIndex(stamp, ".")+1:]
	}
	a.err, a.to = err, time.Now()
	return a
}

// check checks every answer: clients may see that the process was down, and
// nothing else. models says which model each revision serves.
func (c *clientele) check(t *testing.T, s *served, models map[string]string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	lost, complaints := 0, 0
	for _, a := range c.seen {
		problem := ""
		switch {
		case a.err != nil && s.down(a.interval):
			lost++
		case a.err != nil:
			problem = fmt.Sprintf("failed while serve was up: %v", a.err)
		case a.status != http.StatusOK:
			problem = fmt.Sprintf("was answered %d: %s", a.status, a.text)
		default:
			problem = c.wrong(a, models)
		}
		if problem != "" && complaints < 10 {
			complaints++
			t.Errorf("a request of %s from %q %s", a.from.Format(time.StampMilli), a.revision, problem)
		}
	}
	t.Logf("%d requests, %d of them lost while serve was down", len(c.seen), lost)
}

func (c *clientele) wrong(a answered, models map[string]string) string {
	want, known := c.want[models[a.revision]]
	var got struct {
		Result []float64 `json:"result"`
	}
	switch {
	case !known:
		return "has the stamp of no known revision"
	case json.Unmarshal([]byte(a.text), &got) != nil:
		return "was answered junk: " + a.text
	case fmt.Sprint(got.Result) != want[a.body]:
		return fmt.Sprintf("was answered %v, want %s", got.Result, want[a.body])
	}
	for _, x := range got.Result {
		if math.IsNaN(x) {
			return "was answered NaN"
		}
	}
	return ""
}

// answersOf counts the answers of a revision to requests sent since then.
func (c *clientele) answersOf(revision string, since time.Time) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.seen {
		if a.revision == revision && a.from.After(since) {
			n++
		}
	}
	return n
}
