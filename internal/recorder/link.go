package recorder

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/serin-dev/serin/internal/observe/wire"
)

const (
	dialTime   = 2 * time.Second
	answerTime = 10 * time.Second
	// silence: the controller says that it is still there every five seconds.
	silence    = 15 * time.Second
	orderBytes = 64 << 10
	backLeast  = 200 * time.Millisecond
	backMost   = 5 * time.Second
)

// link is the way to the controller.
type link struct {
	base, tokenFile string
	client          *http.Client
	transport       *http.Transport
	connected       atomic.Bool // orders are listened to
}

func newLink(base, tokenFile string) *link {
	t := &http.Transport{
		DialContext: (&net.Dialer{Timeout: dialTime}).DialContext, ResponseHeaderTimeout: answerTime, TLSHandshakeTimeout: dialTime,
		MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute,
	}
	return &link{base: strings.TrimRight(base, "/"), tokenFile: filepath.Clean(tokenFile), transport: t, client: &http.Client{Transport: t}}
}

func (l *link) close() { l.transport.CloseIdleConnections() }

// do sends a request with the token as the file has it now: it is replaced while we run. An answer that is no success
// is an error.
func (l *link) do(req *http.Request) (*http.Response, error) {
	token, err := os.ReadFile(l.tokenFile)
	if err != nil {
		return nil, fmt.Errorf("reading the token: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(token)))
	resp, err := l.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // what there is of it explains
	return nil, &refused{resp.StatusCode, strings.TrimSpace(string(text))}
}

// refused is an answer of the controller that is no success.
type refused struct {
	status int
	text   string
}

func (e *refused) Error() string {
	return fmt.Sprintf("the controller answered %d: %s", e.status, e.text)
}

// forGood says whether the same batch would be refused again.
func forGood(err error) bool {
	var e *refused
	return errors.As(err, &e) && (e.status == http.StatusBadRequest || e.status == http.StatusRequestEntityTooLarge || e.status == http.StatusUnprocessableEntity)
}

// backOff is how long to wait after failures in a row.
type backOff struct{ next time.Duration }

func (b *backOff) reset() { b.next = 0 }

// wait returns false when ctx ends first. A tenth more or less keeps recorders from coming all at once.
func (b *backOff) wait(ctx context.Context) bool {
	b.next = min(max(2*b.next, backLeast), backMost)
	t := time.NewTimer(time.Duration(float64(b.next) * (0.9 + 0.2*rand.Float64())))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// listen obeys the controller's orders until ctx ends, whatever becomes of the controller.
func (r *Recorder) listen(ctx context.Context) {
	var back backOff
	lost := false
	for {
		heard, err := r.hear(ctx)
		r.link.connected.Store(false)
		if ctx.Err() != nil {
			return
		}
		if heard {
			back.reset()
		}
		if heard || !lost {
			r.o.Logger.Warn("controller lost, the last order holds", "error", err)
		}
		lost = true
		if !back.wait(ctx) {
			return
		}
	}
}

// take obeys an order, or keeps the one before and says so.
func (r *Recorder) take(o wire.Order) {
	if err := r.obey(o); err != nil {
		r.o.Logger.Error("order not obeyed, the one before holds", "error", err)
		return
	}
	r.o.Logger.Info("order obeyed", "seq", o.Seq, "role", string(o.Role), "epoch", o.Epoch, "handOver", o.HandOver, "stable", o.StableURL, "previous", o.PreviousURL)
}

// hear listens on one connection. heard: there was an order.
func (r *Recorder) hear(ctx context.Context) (heard bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	q := url.Values{"namespace": {r.o.Namespace}, "endpoint": {r.o.Endpoint}, "revision": {r.o.Revision}, "pod": {r.o.Pod}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.link.base+wire.OrdersPath+"?"+q.Encode(), nil)
	if err != nil {
		return false, err
	}
	resp, err := r.link.do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	r.link.connected.Store(true)
	dead := time.AfterFunc(silence, cancel)
	defer dead.Stop()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, orderBytes)
	last := uint64(0) // numbers begin anew with each controller, so with each connection
	for lines.Scan() {
		dead.Reset(silence)
		text, ok := bytes.CutPrefix(lines.Bytes(), []byte("data:"))
		if !ok {
			continue
		}
		var o wire.Order
		if err := json.Unmarshal(text, &o); err != nil {
			return heard, fmt.Errorf("reading an order: %w", err)
		}
		if heard && o.Seq < last {
			continue
		}
		heard, last = true, o.Seq
		r.take(o)
	}
	if err := lines.Err(); err != nil {
		return heard, fmt.Errorf("listening to the controller: %w", err)
	}
	return heard, errors.New("the controller ended the stream")
}
