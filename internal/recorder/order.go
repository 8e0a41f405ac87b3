package recorder

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/serin-dev/serin/internal/contract"
	"github.com/serin-dev/serin/internal/observe/wire"
	"github.com/serin-dev/serin/internal/proxy"
)

// order is what the controller said, made ready for use. The zero order holds before the first: serve, hand nothing on.
type order struct {
	wire.Order
	stable                    *proxy.Target // whom requests are handed to; nil: nobody
	previous                  *proxy.Target // who is asked what stable's scorer fails; nil: nobody
	candidateTimeout, timeout time.Duration
	extractor                 *contract.Extractor
}

func readOrder(o wire.Order) (out order, err error) {
	out.Order = o
	switch o.Role {
	case wire.Stable, wire.Candidate, wire.None:
	default:
		return order{}, fmt.Errorf("role %q: must be %s, %s or %s", o.Role, wire.Stable, wire.Candidate, wire.None)
	}
	switch {
	case o.Role != wire.Stable && o.StableURL != "":
		if out.stable, err = target(o.StableURL); err != nil {
			return order{}, fmt.Errorf("stable: %w", err)
		}
	case o.Role == wire.Stable && o.PreviousURL != "":
		if out.previous, err = target(o.PreviousURL); err != nil {
			return order{}, fmt.Errorf("previous: %w", err)
		}
	}
	if out.candidateTimeout, err = duration(o.CandidateTimeout); err != nil {
		return order{}, fmt.Errorf("candidateTimeout: %w", err)
	}
	if out.timeout, err = duration(o.Timeout); err != nil {
		return order{}, fmt.Errorf("timeout: %w", err)
	}
	if out.extractor, err = newExtractor(contract.Protocol(o.Protocol), o.JSONPath); err != nil {
		return order{}, err
	}
	return out, nil
}

func newExtractor(p contract.Protocol, jsonPath string) (*contract.Extractor, error) {
	e, err := contract.New(p, jsonPath)
	if err != nil {
		return nil, fmt.Errorf("protocol: %w", err)
	}
	return e.WithMaxBody(plainBytes), nil
}

// target reads the URL of a revision's Service. The name that was asked for goes with the request: a mesh finds the
// Service by it, and would find the client's own host by the other.
func target(text string) (*proxy.Target, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" {
		return nil, fmt.Errorf("%q: must be http://host:port", text)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	name, _, _ := strings.Cut(u.Hostname(), ".")
	return &proxy.Target{Revision: name, Addr: net.JoinHostPort(u.Hostname(), port), Host: strings.TrimSuffix(u.Host, ":80")}, nil
}

func duration(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q: must be a duration such as 30s", s)
	}
	return d, nil
}

// obey puts an order in force for every request that is not routed yet. One that cannot be read changes nothing.
func (r *Recorder) obey(o wire.Order) error {
	next, err := readOrder(o)
	if err != nil {
		return fmt.Errorf("reading order %d: %w", o.Seq, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.order
	r.order = next
	if err := r.install(); err != nil {
		r.order = was
		return fmt.Errorf("obeying order %d: %w", o.Seq, err)
	}
	r.reports.extractor.Store(next.extractor)
	return nil
}

// install makes the table of the present order. The caller holds mu.
func (r *Recorder) install() error {
	o := &r.order
	t := &proxy.Table{
		Rollout: o.Rollout, Epoch: o.Epoch, Candidate: &proxy.Target{Revision: r.o.Revision, Addr: r.o.Scorer}, Stable: o.stable, Previous: o.previous,
		CandidateTimeout: o.candidateTimeout, Timeout: o.timeout, MaxBodyBytes: o.MaxBodyBytes, Relay: &proxy.Relay{Name: r.o.Pod},
	}
	if o.Role == wire.Stable {
		t.ShadowBP, t.RepeatBP, t.RepeatFirst = o.ShadowBP, o.RepeatBP, o.RepeatFirst
		t.Fallback = o.Fallback && o.previous != nil
	}
	if o.stable != nil {
		t.Fallback, t.HandOver = o.Fallback && o.Role == wire.Candidate, o.HandOver
		t.Relay.Unready = !r.ever
	}
	return r.gateway.Swap(t)
}
