package proxy

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/serin-dev/serin/internal/split"
)

const (
	stampHeader     = "X-Serin-Route"
	fallbackHeader  = "X-Serin-Fallback"
	requestIDHeader = "X-Request-Id"
	defaultTimeout  = 30 * time.Second
	defaultBody     = 4 << 20
	maxRequestID    = 128
)

// Config sets a gateway's parts and bounds; zero values take defaults.
type Config struct {
	Tap               Tap
	ShadowConcurrency int   // copies under way at most; default 64
	ShadowQueueBytes  int64 // their bodies together at most; default 32 MiB
	RecordBodyBytes   int   // of an answer; default 64 KiB
	Logger            *slog.Logger
}

// Stats count what the gateway did besides forwarding.
type Stats struct {
	ShadowSent    uint64 `json:"shadowSent"`
	ShadowDropped uint64 `json:"shadowDropped"` // no room
	Refused       uint64 `json:"refused"`       // protocols that it does not carry
	TooLarge      uint64 `json:"tooLarge"`
}

// Gateway forwards requests by its present table.
type Gateway struct {
	cfg       Config
	table     atomic.Pointer[Table]
	transport *http.Transport
	server    *http.Server
	shadows   chan struct{}
	shadowed  atomic.Int64 // bytes
	flights   sync.Map     // revision → *atomic.Int64
	running   sync.WaitGroup
	stats     struct{ sent, dropped, refused, large atomic.Uint64 }
}

// New makes a gateway; without a table it answers 503.
func New(cfg Config) *Gateway {
	if cfg.ShadowConcurrency <= 0 {
		cfg.ShadowConcurrency = 64
	}
	if cfg.ShadowQueueBytes <= 0 {
		cfg.ShadowQueueBytes = 32 << 20
	}
	if cfg.RecordBodyBytes <= 0 {
		cfg.RecordBodyBytes = 64 << 10
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	g := &Gateway{cfg: cfg, shadows: make(chan struct{}, cfg.ShadowConcurrency)}
	g.transport = &http.Transport{
		DialContext: (&net.Dialer{Timeout: time.Second}).DialContext, MaxIdleConnsPerHost: 256, IdleConnTimeout: 60 * time.Second,
		DisableCompression: true, ResponseHeaderTimeout: 0, WriteBufferSize: 8 << 10, ReadBufferSize: 8 << 10,
	}
	g.server = &http.Server{Handler: g, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 120 * time.Second, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug)}
	return g
}

// Swap puts a table in force for every request that is not routed yet.
func (g *Gateway) Swap(t *Table) error {
	if err := t.Validate(); err != nil {
		return err
	}
	g.table.Store(t)
	return nil
}

// Table returns the table in force, or nil.
func (g *Gateway) Table() *Table { return g.table.Load() }

// Serve answers on ln until Shutdown.
func (g *Gateway) Serve(ln net.Listener) error {
	if err := g.server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the gateway: %w", err)
	}
	return nil
}

// Shutdown stops taking requests and waits for those under way, shadows included.
func (g *Gateway) Shutdown(ctx context.Context) error {
	err := g.server.Shutdown(ctx)
	done := make(chan struct{})
	go func() { g.running.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		err = errors.Join(err, ctx.Err())
	}
	g.transport.CloseIdleConnections()
	return err
}

// InFlight returns how many requests, shadows included, a revision is working on.
func (g *Gateway) InFlight(revision string) int {
	if n, ok := g.flights.Load(revision); ok {
		return int(n.(*atomic.Int64).Load())
	}
	return 0
}

// Stats returns the counts so far.
func (g *Gateway) Stats() Stats {
	return Stats{g.stats.sent.Load(), g.stats.dropped.Load(), g.stats.refused.Load(), g.stats.large.Load()}
}

// call is one client request on its way.
type call struct {
	g      *Gateway
	t      *Table
	w      http.ResponseWriter
	r      *http.Request
	body   []byte
	id     string
	keyed  bool
	key    uint64
	direct bool
	start  time.Time
}

// answer is what a revision answered.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	failure Failure
}

func (a *answer) failed() bool { return a.failure != None || a.status >= 500 }

// ServeHTTP forwards one request.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect || r.Header.Get("Upgrade") != "" || r.ProtoMajor > 1 {
		g.stats.refused.Add(1)
		refuse(w, http.StatusNotImplemented, "ProtocolNotCarried", "this gateway carries plain HTTP/1.1 requests; WebSocket, h2c and CONNECT are not carried")
		return
	}
	t := g.table.Load()
	if t == nil || t.Stable == nil {
		refuse(w, http.StatusServiceUnavailable, "NoStable", "no version serves this endpoint yet; see serin status")
		return
	}
	c := &call{g: g, t: t, w: w, r: r, start: time.Now()}
	if !c.readBody() {
		return
	}
	c.id = requestID(r.Header)
	c.forward(c.choose())
}

// readBody holds the whole body, so that it can be sent again to stable or as a
// copy.
func (c *call) readBody() bool {
	most := c.t.MaxBodyBytes
	if most <= 0 {
		most = defaultBody
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, most))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		c.g.stats.large.Add(1)
		refuse(c.w, http.StatusRequestEntityTooLarge, "BodyTooLarge", fmt.Sprintf("the body is larger than %d bytes (spec.traffic.maxBodyBytes)", most))
		return false
	case err != nil:
		refuse(c.w, http.StatusBadRequest, "BadBody", "the body could not be read to its end")
		return false
	}
	c.body = body
	return true
}

// choose decides the arm: by header, by key, or by a coin.
func (c *call) choose() split.Arm {
	t := c.t
	if t.Header.Name != "" {
		switch v := c.r.Header.Get(t.Header.Name); {
		case v == "":
		case v == t.Header.Stable:
			c.direct = true
			return split.Stable
		case v == t.Header.Candidate && t.Candidate != nil:
			c.direct = true
			return split.Candidate
		}
	}
	weight := t.WeightBP
	if t.HandOver || t.Candidate == nil {
		weight = 0
	}
	if key := c.stickyKey(); key != "" {
		c.keyed, c.key = true, split.Hash(t.Rollout, []byte(key))
		return split.ByKey(weight, t.Rollout, []byte(key))
	}
	return split.ByCoin(weight, mathrand.Uint64())
}

func (c *call) stickyKey() string {
	switch {
	case c.t.Sticky.Header != "":
		return c.r.Header.Get(c.t.Sticky.Header)
	case c.t.Sticky.Cookie == "":
		return ""
	}
	if k, err := c.r.Cookie(c.t.Sticky.Cookie); err == nil && k.Value != "" {
		return k.Value
	}
	key := randomHex(16)
	http.SetCookie(c.w, &http.Cookie{Name: c.t.Sticky.Cookie, Value: key, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	return key
}

// forward asks the arm and, if the candidate fails, stable in its place.
func (c *call) forward(arm split.Arm) {
	t := c.t
	timeout := orDefault(t.Timeout)
	target, fellBack := t.Stable, false
	limit := timeout
	if arm == split.Candidate {
		target = t.Candidate
		if t.Fallback && !c.direct && t.CandidateTimeout > 0 {
			limit = min(limit, t.CandidateTimeout)
		}
	}
	var shadow chan *Exchange
	if arm == split.Stable && !c.direct {
		shadow = c.shadow()
	}
	asked := target
	a := c.ask(c.r.Context(), target, limit)
	first := a
	if arm == split.Candidate && t.Fallback && !c.direct && a.failed() && a.failure != ClientGone {
		if left := timeout - time.Since(c.start); left > 0 {
			fellBack = true
			a, target = c.ask(c.r.Context(), t.Stable, left), t.Stable
		}
	}
	c.reply(a, target, fellBack)
	x := c.exchange(arm, asked, &first, time.Since(c.start))
	x.FellBack = fellBack
	c.g.record(&x)
	if shadow != nil {
		c.g.running.Go(func() { c.pair(&x, <-shadow) })
	}
}

// pair tells the tap both answers of a shadowed request, and for a few of them
// asks stable once more.
func (c *call) pair(x, shadow *Exchange) {
	if c.g.cfg.Tap == nil {
		return
	}
	c.g.cfg.Tap.Pair(x, shadow)
	if split.ByCoin(c.t.RepeatBP, mathrand.Uint64()) != split.Candidate || x.Failure != None {
		return
	}
	start := time.Now()
	a := c.ask(context.WithoutCancel(c.r.Context()), c.t.Stable, orDefault(c.t.Timeout))
	again := c.exchange(split.Stable, c.t.Stable, &a, time.Since(start))
	again.Shadow = true
	c.g.cfg.Tap.Again(x, &again)
}

func orDefault(d time.Duration) time.Duration {
	if d <= 0 {
		return defaultTimeout
	}
	return d
}

func (g *Gateway) record(x *Exchange) {
	if g.cfg.Tap != nil {
		g.cfg.Tap.Primary(x)
	}
}

func (c *call) exchange(arm split.Arm, target *Target, a *answer, took time.Duration) Exchange {
	x := Exchange{
		RequestID: c.id, Rollout: c.t.Rollout, Epoch: c.t.Epoch, WeightBP: c.t.WeightBP, Arm: arm, Revision: target.Revision, Direct: c.direct, Keyed: c.keyed, Key: c.key,
		Start: c.start, Latency: took, Status: a.status, Failure: a.failure, Body: a.body,
	}
	if a.header != nil {
		x.ContentType, x.ContentEncoding = a.header.Get("Content-Type"), a.header.Get("Content-Encoding")
		x.InferenceHeaderLength, _ = strconv.Atoi(a.header.Get("Inference-Header-Content-Length"))
	}
	if most := c.g.cfg.RecordBodyBytes; len(x.Body) > most {
		x.Body, x.BodyTruncated = x.Body[:most], true
	}
	return x
}

// shadow sends a copy to the candidate, if the share and the room allow, and
// returns where its exchange will arrive.
func (c *call) shadow() chan *Exchange {
	t := c.t
	if t.ShadowBP == 0 || t.HandOver || split.ByCoin(t.ShadowBP, mathrand.Uint64()) != split.Candidate {
		return nil
	}
	size := int64(len(c.body))
	select {
	case c.g.shadows <- struct{}{}:
	default:
		c.g.stats.dropped.Add(1)
		return nil
	}
	if c.g.shadowed.Add(size) > c.g.cfg.ShadowQueueBytes {
		c.g.shadowed.Add(-size)
		<-c.g.shadows
		c.g.stats.dropped.Add(1)
		return nil
	}
	c.g.stats.sent.Add(1)
	out := make(chan *Exchange, 1)
	c.g.running.Go(func() {
		defer func() { c.g.shadowed.Add(-size); <-c.g.shadows }()
		start := time.Now()
		a := c.ask(context.WithoutCancel(c.r.Context()), t.Candidate, orDefault(t.Timeout))
		x := c.exchange(split.Candidate, t.Candidate, &a, time.Since(start))
		x.Shadow = true
		out <- &x
	})
	return out
}

// ask sends the request to a target and reads its whole answer.
func (c *call) ask(ctx context.Context, target *Target, limit time.Duration) answer {
	flight := c.g.flight(target.Revision)
	flight.Add(1)
	defer flight.Add(-1)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, c.r.Method, "http://"+target.Addr+c.r.URL.RequestURI(), bytes.NewReader(c.body))
	if err != nil {
		return answer{failure: BadAnswer}
	}
	req.Host = c.r.Host
	req.Header = c.r.Header.Clone()
	dropHopByHop(req.Header)
	req.Header.Set(requestIDHeader, c.id)
	req.Header.Set(stampHeader, c.stamp(target))
	if req.Header.Get("Traceparent") == "" {
		req.Header.Set("Traceparent", "00-"+randomHex(16)+"-"+randomHex(8)+"-01")
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header["User-Agent"] = nil
	}
	// A request body that is held whole may be sent again when an idle connection
	// turns out to be closed before any byte of an answer.
	req.Header["Idempotency-Key"] = nil
	resp, err := c.g.transport.RoundTrip(req)
	if err != nil {
		return answer{failure: c.failureOf(ctx, err)}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{failure: c.failureOf(ctx, err)}
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: body}
}

func (c *call) failureOf(ctx context.Context, err error) Failure {
	var op *net.OpError
	switch {
	case c.r.Context().Err() != nil:
		return ClientGone
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return Timeout
	case errors.As(err, &op) && op.Op == "dial":
		return Connect
	}
	return Reset
}

func (g *Gateway) flight(revision string) *atomic.Int64 {
	n, _ := g.flights.LoadOrStore(revision, new(atomic.Int64))
	return n.(*atomic.Int64)
}

func (c *call) stamp(target *Target) string {
	return c.t.Rollout + "." + strconv.FormatUint(uint64(c.t.Epoch), 10) + "." + target.Revision
}

// reply writes the answer to the client. An error of the gateway itself carries
// no stamp; an answer of a scorer always does.
func (c *call) reply(a answer, target *Target, fellBack bool) {
	h := c.w.Header()
	if fellBack {
		h.Set(fallbackHeader, "stable")
	}
	h.Set(requestIDHeader, c.id)
	switch a.failure {
	case None:
	case ClientGone:
		return
	case Timeout:
		h.Set(stampHeader, c.stamp(target))
		refuse(c.w, http.StatusGatewayTimeout, "ScorerTimeout", fmt.Sprintf("%s did not answer in time", target.Revision))
		return
	default:
		h.Set(stampHeader, c.stamp(target))
		refuse(c.w, http.StatusBadGateway, "ScorerUnreachable", fmt.Sprintf("%s could not be reached or broke off (%s)", target.Revision, a.failure))
		return
	}
	dropHopByHop(a.header)
	for k, v := range a.header {
		if k != stampHeader && k != fallbackHeader && k != requestIDHeader {
			h[k] = append(h[k], v...)
		}
	}
	h.Set(stampHeader, c.stamp(target))
	if c.r.Method != http.MethodHead {
		h.Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	c.w.WriteHeader(a.status)
	_, _ = c.w.Write(a.body)
}

// refuse answers with the gateway's own error.
func refuse(w http.ResponseWriter, status int, reason, message string) {
	body, err := json.Marshal(map[string]string{"reason": reason, "message": message})
	if err != nil {
		body = []byte("{}")
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Serin-Error", reason)
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// hopByHop headers belong to one connection (RFC 9110, 7.6.1).
var hopByHop = []string{"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

func dropHopByHop(h http.Header) {
	for _, list := range h["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range hopByHop {
		h.Del(name)
	}
}

// requestID keeps a sane id of the client, or makes one.
func requestID(h http.Header) string {
	id := h.Get(requestIDHeader)
	if id == "" || len(id) > maxRequestID || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return randomHex(16)
	}
	return id
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}
