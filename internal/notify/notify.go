// Package notify tells receivers outside of what a rollout did: CloudEvents,
// Slack or Teams over HTTP. It never holds up the loop: what has no room is
// dropped and counted.
package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/serin-dev/serin/internal/engine"
)

// Receiver is where notifications go.
type Receiver struct {
	URL    string
	Format string // CloudEvents, Slack or Teams
}

// Config says for which endpoint to tell, and within what bounds; zero values
// take defaults.
type Config struct {
	Endpoint, Namespace string
	Logger              *slog.Logger
	Queue               int           // waiting for one receiver, default 256
	Timeout             time.Duration // of one attempt, default 10 s
	FirstPause          time.Duration // before the second attempt, default 1 s; doubles
	LongestPause        time.Duration // default 1 min
	GiveUp              time.Duration // after this long an event is given up, default 15 min
	Farewell            time.Duration // at the end what waits gets this long, default 3 s
	// Forbidden are addresses that no receiver may have, whatever its name; nil: none.
	Forbidden func(netip.Addr) bool
}

func (c *Config) setDefaults() {
	def := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	if c.Queue <= 0 {
		c.Queue = 256
	}
	def(&c.Timeout, 10*time.Second)
	def(&c.FirstPause, time.Second)
	def(&c.LongestPause, time.Minute)
	def(&c.GiveUp, 15*time.Minute)
	def(&c.Farewell, 3*time.Second)
}

// Notifier tells every receiver of every transition.
type Notifier struct {
	cfg    Config
	client *http.Client

	mu     sync.Mutex
	lines  []*line
	closed bool
}

// line is one receiver with its queue and its worker.
type line struct {
	to                    Receiver
	host                  string
	queue                 chan message
	stop                  chan struct{}
	done                  chan struct{}
	sent, failed, dropped atomic.Uint64
}

// message is one notification, ready to send.
type message struct {
	id, reason string
	body       []byte
}

// New makes a notifier without receivers.
func New(cfg Config) *Notifier {
	cfg.setDefaults()
	refuse := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	dialer := &net.Dialer{Timeout: cfg.Timeout, Control: cfg.mayDial}
	return &Notifier{cfg: cfg, client: &http.Client{Timeout: cfg.Timeout, CheckRedirect: refuse, Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute,
	}}}
}

var errForbidden = errors.New("the receiver's name stands for an address of Serin's own, or of its machine's: Serin does not call it")

// mayDial sees the address that a name was found to have, after which nothing can
// change it any more.
func (c *Config) mayDial(_, address string, _ syscall.RawConn) error {
	if c.Forbidden == nil {
		return nil
	}
	a, err := netip.ParseAddrPort(address)
	if err != nil || c.Forbidden(a.Addr()) {
		return errForbidden
	}
	return nil
}

// Set says who is told from now on. Receivers that stay keep what waits for them.
func (n *Notifier) Set(to []Receiver) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	var next []*line
	for _, l := range n.lines {
		if slices.Contains(to, l.to) {
			next = append(next, l)
		} else {
			close(l.stop)
		}
	}
	for _, r := range to {
		if !slices.ContainsFunc(next, func(l *line) bool { return l.to == r }) {
			next = append(next, n.open(r))
		}
	}
	n.lines = next
}

func (n *Notifier) open(r Receiver) *line {
	l := &line{to: r, host: hostOf(r.URL), queue: make(chan message, n.cfg.Queue), stop: make(chan struct{}), done: make(chan struct{})}
	go n.work(l)
	return l
}

// hostOf is all of an address that may be logged: the rest may hold a secret.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "unreadable"
	}
	return u.Host
}

// Tell hands a line of the audit to every receiver and returns at once.
// Transitions and faults are told; what people asked for shows in what follows.
func (n *Notifier) Tell(e engine.Entry) {
	if e.Kind != engine.EntryTransition && e.Kind != engine.EntryFault {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	for _, l := range n.lines {
		m, err := n.message(l.to.Format, e)
		if err != nil {
			n.cfg.Logger.Error("writing a notification failed", "receiver", l.host, "reason", e.Reason, "error", err)
			l.failed.Add(1)
			continue
		}
		select {
		case l.queue <- m:
		default:
			l.dropped.Add(1)
			n.cfg.Logger.Warn("notification dropped: the receiver is too slow or away, and its queue is full", "receiver", l.host, "reason", e.Reason, "dropped", l.dropped.Load())
		}
	}
}

// Follow tells of every event until the context ends, and of those that came
// before it did.
func (n *Notifier) Follow(ctx context.Context, events <-chan engine.Event) {
	for {
		select {
		case e := <-events:
			n.Tell(e.Entry)
			continue
		default:
		}
		select {
		case e := <-events:
			n.Tell(e.Entry)
		case <-ctx.Done():
			return
		}
	}
}

// Counts returns what each receiver got.
func (n *Notifier) Counts() []engine.NotifyCount {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []engine.NotifyCount
	for _, l := range n.lines {
		i := slices.IndexFunc(out, func(c engine.NotifyCount) bool { return c.Receiver == l.host })
		if i < 0 {
			out = append(out, engine.NotifyCount{Receiver: l.host})
			i = len(out) - 1
		}
		out[i].Sent += l.sent.Load()
		out[i].Failed += l.failed.Load()
		out[i].Dropped += l.dropped.Load()
		out[i].Waiting += len(l.queue)
	}
	return out
}

// Close gives what waits a last chance, within Config.Farewell, and ends.
func (n *Notifier) Close() {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return
	}
	n.closed = true
	lines := n.lines
	n.mu.Unlock()
	for _, l := range lines {
		close(l.stop)
	}
	for _, l := range lines {
		<-l.done
	}
	n.client.CloseIdleConnections()
}

// work delivers one receiver's messages in order.
func (n *Notifier) work(l *line) {
	defer close(l.done)
	for {
		select {
		case <-l.stop:
			n.farewell(l)
			return
		case m := <-l.queue:
			if !n.deliver(l, m) {
				n.farewell(l, m)
				return
			}
		}
	}
}

// deliver tries until the message is taken, refused or too old; false when the
// line was stopped meanwhile.
func (n *Notifier) deliver(l *line, m message) bool {
	began := time.Now()
	for pause := n.cfg.FirstPause; ; pause = min(2*pause, n.cfg.LongestPause) {
		ctx, cancel := stoppable(l.stop)
		err := n.post(ctx, l.to, m)
		cancel()
		var again *later
		switch {
		case err == nil:
			l.sent.Add(1)
			return true
		case stopped(l.stop):
			return false
		case !errors.As(err, &again) || time.Since(began) >= n.cfg.GiveUp:
			n.lose(l, m, err)
			return true
		}
		n.cfg.Logger.Warn("a notification was not delivered; trying again", "receiver", l.host, "reason", m.reason, "error", err)
		timer := time.NewTimer(max(pause/2+rand.N(pause/2+1), min(again.after, n.cfg.LongestPause)))
		select {
		case <-l.stop:
			timer.Stop()
			return false
		case <-timer.C:
		}
	}
}

func (n *Notifier) lose(l *line, m message, err error) {
	l.failed.Add(1)
	n.cfg.Logger.Error("a notification is given up", "receiver", l.host, "reason", m.reason, "error", err)
}

// farewell tries everything that is left once more.
func (n *Notifier) farewell(l *line, first ...message) {
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.Farewell)
	defer cancel()
	for {
		if len(first) == 0 {
			select {
			case m := <-l.queue:
				first = append(first, m)
			default:
				return
			}
		}
		m := first[0]
		first = first[1:]
		if err := n.post(ctx, l.to, m); err != nil {
			n.lose(l, m, err)
		} else {
			l.sent.Add(1)
		}
	}
}

func stopped(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}

// stoppable is a context that ends with stop.
func stoppable(stop <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// later is a failure that may pass.
type later struct {
	cause error
	after time.Duration // asked for by the receiver
}

func (l *later) Error() string { return l.cause.Error() }
func (l *later) Unwrap() error { return l.cause }

// post makes one attempt. Its errors never hold the address.
func (n *Notifier) post(ctx context.Context, to Receiver, m message) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.URL, bytes.NewReader(m.body))
	if err != nil {
		return errors.New("the address cannot be used")
	}
	req.Header.Set("Content-Type", contentType(to.Format))
	req.Header.Set("User-Agent", "serin")
	resp, err := n.client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // the rest is the address
		}
		if errors.Is(err, errForbidden) {
			return errForbidden
		}
		return &later{cause: err}
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	resp.Body.Close()
	switch {
	case resp.StatusCode < 300:
		return nil
	case resp.StatusCode >= 500, resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode == http.StatusRequestTimeout:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return &later{fmt.Errorf("the receiver answered %s", resp.Status), time.Duration(max(seconds, 0)) * time.Second}
	}
	return fmt.Errorf("the receiver refused it: %s", resp.Status)
}
