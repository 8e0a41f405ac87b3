package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	safedriver "github.com/serin-dev/serin/examples/safe-driver"
)

const (
	loadMostRate    = 100_000
	loadMostTime    = 24 * time.Hour
	loadMostLine    = 4 << 20
	loadAnswerBytes = 1 << 20
	routeHeader     = "X-Serin-Route"
	fallbackHeader  = "X-Serin-Fallback"
)

type loadOptions struct {
	out         output
	url         string
	rate        float64
	duration    time.Duration
	count       int
	concurrency int
	rows        int
	seed        uint64
	file        string
	headers     []string
	timeout     time.Duration
}

func newLoad(stdio IO) *cobra.Command {
	o := loadOptions{}
	c := &cobra.Command{
		Use: "load", Short: "Send bounded scoring traffic and tally the split and the errors", Args: cobra.NoArgs,
		Long:    "Send scoring requests at a steady rate, made by the safe-driver generator or read from a file of one JSON body\nper line, and tally which revision answered, what failed and how long it took. Always ends by itself.\n\n" + exitTable,
		Example: "  serin load --rate 200 --duration 30s\n  serin load --file requests.ndjson --count 1000 --header 'x-api-version: blue'",
		RunE:    func(c *cobra.Command, _ []string) error { return runLoad(c.Context(), o, stdio) },
	}
	o.out.addTo(c)
	f := c.Flags()
	f.StringVar(&o.url, "url", "http://127.0.0.1:8080/score", "address of the scoring endpoint")
	f.Float64Var(&o.rate, "rate", 100, "requests per second")
	f.DurationVar(&o.duration, "duration", 10*time.Second, "how long")
	f.IntVar(&o.count, "count", 0, "stop after this many requests (0: by --duration)")
	f.IntVar(&o.concurrency, "concurrency", 16, "requests in flight at most")
	f.IntVar(&o.rows, "rows", 2, "rows per generated request")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the generator")
	f.StringVar(&o.file, "file", "", "send these bodies, one JSON document per line, over and over")
	f.StringArrayVar(&o.headers, "header", nil, "`NAME: VALUE` to send, may be repeated")
	f.DurationVar(&o.timeout, "timeout", 10*time.Second, "of one request")
	return c
}

func (o *loadOptions) check() error {
	u, err := url.Parse(o.url)
	switch {
	case err != nil || u.Host == "":
		return usageError("--url %q: must look like http://127.0.0.1:8080/score", o.url)
	case !(o.rate > 0 && o.rate <= loadMostRate):
		return usageError("--rate %v: must be more than 0 and at most %d", o.rate, loadMostRate)
	case o.duration <= 0 || o.duration > loadMostTime:
		return usageError("--duration %s: must be more than 0 and at most %s", o.duration, loadMostTime)
	case o.concurrency < 1 || o.concurrency > 10_000:
		return usageError("--concurrency %d: must be from 1 to 10000", o.concurrency)
	case o.rows < 1 || o.rows > 10_000:
		return usageError("--rows %d: must be from 1 to 10000", o.rows)
	case o.count < 0:
		return usageError("--count %d: must not be negative", o.count)
	}
	return nil
}

// tally is what a client saw.
type tally struct {
	Sent       int            `json:"sent"`
	OK         int            `json:"ok"`
	Failed     int            `json:"failed"`
	Serin      int            `json:"failedBecauseOfSerin"` // no stamped scorer's answer behind the failure
	FellBack   int            `json:"fellBack"`
	ByRevision map[string]int `json:"byRevision"`
	ByStatus   map[string]int `json:"byStatus"`
	FailedBy   map[string]int `json:"failedByRevision"`
	FirstError string         `json:"firstError,omitempty"`
	P50        float64        `json:"p50Milliseconds"`
	P99        float64        `json:"p99Milliseconds"`
	Seconds    float64        `json:"seconds"`
	latencies  []time.Duration
}

func newTally() *tally {
	return &tally{ByRevision: map[string]int{}, ByStatus: map[string]int{}, FailedBy: map[string]int{}}
}

// shot is the outcome of one request.
type shot struct {
	at       time.Time
	latency  time.Duration
	status   int
	revision string
	fellBack bool
	err      error
}

func (s shot) failed() bool { return s.err != nil || s.status >= 500 }

func (t *tally) add(s shot) {
	t.Sent++
	t.latencies = append(t.latencies, s.latency)
	if s.fellBack {
		t.FellBack++
	}
	if s.revision != "" {
		t.ByRevision[s.revision]++
	}
	status := "no answer"
	if s.err == nil {
		status = fmt.Sprint(s.status)
	}
	t.ByStatus[status]++
	if !s.failed() {
		t.OK++
		return
	}
	t.Failed++
	if s.revision == "" {
		t.Serin++
		if t.FirstError == "" {
			t.FirstError = fmt.Sprintf("status %s: %v", status, s.err)
		}
		return
	}
	t.FailedBy[s.revision]++
}

func (t *tally) finish(took time.Duration) {
	slices.Sort(t.latencies)
	t.Seconds = took.Seconds()
	if n := len(t.latencies); n > 0 {
		t.P50 = float64(t.latencies[n/2]) / 1e6
		t.P99 = float64(t.latencies[min(n-1, n*99/100)]) / 1e6
	}
}

// traffic sends bodies at a steady rate until its context ends or count is reached.
type traffic struct {
	url         string
	header      http.Header
	rate        float64
	count       int
	concurrency int
	timeout     time.Duration
	next        func() []byte
	seen        func(shot) // called from one goroutine
}

func (t *traffic) run(ctx context.Context) {
	client := &http.Client{Timeout: t.timeout, Transport: &http.Transport{MaxIdleConnsPerHost: t.concurrency, MaxConnsPerHost: t.concurrency, DisableCompression: true}}
	defer client.CloseIdleConnections()
	bodies, shots := make(chan []byte), make(chan shot, t.concurrency)
	var senders sync.WaitGroup
	for range t.concurrency {
		senders.Go(func() {
			for body := range bodies {
				shots <- t.send(client, body)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range shots {
			t.seen(s)
		}
	}()
	t.pace(ctx, bodies)
	close(bodies)
	senders.Wait()
	close(shots)
	<-done
}

// pace hands out bodies at the rate; where the senders cannot keep up it waits
// for them rather than piling up.
func (t *traffic) pace(ctx context.Context, bodies chan<- []byte) {
	began, sent := time.Now(), 0
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for t.count == 0 || sent < t.count {
		due := int(time.Since(began).Seconds() * t.rate)
		for sent < due && (t.count == 0 || sent < t.count) {
			select {
			case <-ctx.Done():
				return
			case bodies <- t.next():
				sent++
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// send is not bound to the context of the run: a request that was begun is finished.
func (t *traffic) send(client *http.Client, body []byte) shot {
	s := shot{at: time.Now()}
	req, err := http.NewRequest(http.MethodPost, t.url, bytes.NewReader(body))
	if err != nil {
		s.err = err
		return s
	}
	req.Header = t.header.Clone()
	resp, err := client.Do(req)
	if err != nil {
		s.err, s.latency = err, time.Since(s.at)
		return s
	}
	_, s.err = io.Copy(io.Discard, io.LimitReader(resp.Body, loadAnswerBytes))
	resp.Body.Close()
	s.latency, s.status = time.Since(s.at), resp.StatusCode
	s.revision = revisionOf(resp.Header.Get(routeHeader))
	s.fellBack = resp.Header.Get(fallbackHeader) != ""
	return s
}

// revisionOf takes the revision out of a stamp <rollout>.<epoch>.<revision>.
func revisionOf(stamp string) string {
	parts := strings.SplitN(stamp, ".", 3)
	return parts[len(parts)-1]
}

func runLoad(ctx context.Context, o loadOptions, stdio IO) error {
	asJSON, err := o.out.json()
	if err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	next, err := o.bodies()
	if err != nil {
		return err
	}
	header := http.Header{"Content-Type": {"application/json"}}
	for _, h := range o.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return usageError("--header %q: must look like 'NAME: VALUE'", h)
		}
		header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	ctx, cancel := context.WithTimeout(ctx, o.duration)
	defer cancel()
	sum, began := newTally(), time.Now()
	t := traffic{url: o.url, header: header, rate: o.rate, count: o.count, concurrency: o.concurrency, timeout: o.timeout, next: next, seen: sum.add}
	t.run(ctx)
	sum.finish(time.Since(began))
	if asJSON {
		if err := printJSON(stdio.Out, sum); err != nil {
			return err
		}
	} else {
		printTally(stdio.Out, sum)
	}
	if sum.Sent > 0 && sum.OK == 0 {
		return fmt.Errorf("none of %d requests to %s was answered well\nTry: serin status, or --url with the address that it shows", sum.Sent, o.url)
	}
	return nil
}

func (o *loadOptions) bodies() (func() []byte, error) {
	if o.file == "" {
		g := safedriver.NewGenerator(o.seed)
		return func() []byte { return g.RequestBody(nil, o.rows) }, nil
	}
	lines, err := readLines(o.file)
	if err != nil {
		return nil, err
	}
	i := -1
	return func() []byte { i++; return lines[i%len(lines)] }, nil
}

func readLines(file string) ([][]byte, error) {
	f, err := os.Open(filepath.Clean(file))
	if err != nil {
		return nil, usageError("--file: %w", err)
	}
	defer f.Close()
	var lines [][]byte
	in := bufio.NewScanner(f)
	in.Buffer(nil, loadMostLine)
	for in.Scan() {
		if line := bytes.TrimSpace(in.Bytes()); len(line) > 0 {
			lines = append(lines, bytes.Clone(line))
		}
	}
	switch {
	case errors.Is(in.Err(), bufio.ErrTooLong):
		return nil, usageError("--file %s: line %d is longer than %d bytes", file, len(lines)+1, loadMostLine)
	case in.Err() != nil:
		return nil, fmt.Errorf("reading %q: %w", file, in.Err())
	case len(lines) == 0:
		return nil, usageError("--file %s: holds no request", file)
	}
	return lines, nil
}

func printTally(w io.Writer, t *tally) {
	fmt.Fprintf(w, "sent %d in %.1f s (%.1f/s): %d answered well, %d failed (%d because of Serin), %d answered by a version in another's place\n",
		t.Sent, t.Seconds, float64(t.Sent)/max(t.Seconds, 1e-9), t.OK, t.Failed, t.Serin, t.FellBack)
	fmt.Fprintf(w, "latency p50 %.2f ms, p99 %.2f ms\n", t.P50, t.P99)
	for _, r := range sortedKeys(t.ByRevision) {
		fmt.Fprintf(w, "  %-20s %6d  %5.2f %%  %d failed\n", r, t.ByRevision[r], 100*float64(t.ByRevision[r])/float64(max(t.Sent, 1)), t.FailedBy[r])
	}
	for _, s := range sortedKeys(t.ByStatus) {
		fmt.Fprintf(w, "  status %-13s %6d\n", s, t.ByStatus[s])
	}
	if t.FirstError != "" {
		fmt.Fprintln(w, "  first failure because of Serin: "+t.FirstError)
	}
}

func sortedKeys(m map[string]int) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
