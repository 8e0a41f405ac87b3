package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Config sets a gateway's parts and bounds; zero values take defaults.
type Config struct {
	Tap               Tap
	ShadowConcurrency int           // copies under way at most; default 64
	ShadowQueueBytes  int64         // their bodies together at most; default 32 MiB
	RecordBodyBytes   int           // of an answer; default 64 KiB
	HoldBodyBytes     int64         // of a request: a larger body is streamed, without fallback or copy; default 256 KiB
	MaxConnections    int           // of clients; default 10,000, or what the open files that a process may have allow
	ClientIdle        time.Duration // a client's connection is closed after so long without a request; default 2 m
	Logger            *slog.Logger

	limits limits
}

// limits bound how long a client may take.
type limits struct{ head, body, idle, write, linger time.Duration }

// Stats count what the gateway did besides forwarding.
type Stats struct {
	ShadowSent    uint64 `json:"shadowSent"`
	ShadowDropped uint64 `json:"shadowDropped"` // no room, or the candidate was replaced meanwhile
	Refused       uint64 `json:"refused"`       // protocols that it does not carry
	TooLarge      uint64 `json:"tooLarge"`
	Malformed     uint64 `json:"malformed"`   // requests that could be read in two ways, or in none
	Streamed      uint64 `json:"streamed"`    // bodies too large to be held: no fallback, no copy
	Spared        uint64 `json:"spared"`      // due to a candidate that cannot be reached, answered by stable without asking it
	TurnedAway    uint64 `json:"turnedAway"`  // connections beyond MaxConnections
	Connections   int    `json:"connections"` // of clients, now
}

// Gateway forwards requests by its present table.
type Gateway struct {
	cfg      Config
	route    atomic.Pointer[route]
	shadows  chan struct{}
	shadowed atomic.Int64 // bytes
	draining atomic.Bool
	date     atomic.Pointer[dateLine]
	stats    struct{ sent, dropped, refused, large, malformed, streamed, spared, turned atomic.Uint64 }

	mu        sync.Mutex
	upstreams map[Target]*upstream
	conns     map[*conn]struct{}
	listeners map[net.Listener]struct{}
	fullSaid  time.Time      // when the log last said that there is no room
	away      chan struct{}  // clients that are being turned away
	running   sync.WaitGroup // connections and what they left behind: shadows
}

// New makes a gateway; without a table it answers 503.
func New(cfg Config) *Gateway {
	defaults(&cfg)
	return &Gateway{
		cfg: cfg, shadows: make(chan struct{}, cfg.ShadowConcurrency), away: make(chan struct{}, mostTurnedAway),
		upstreams: map[Target]*upstream{}, conns: map[*conn]struct{}{}, listeners: map[net.Listener]struct{}{},
	}
}

func defaults(cfg *Config) {
	if cfg.ShadowConcurrency <= 0 {
		cfg.ShadowConcurrency = 64
	}
	if cfg.ShadowQueueBytes <= 0 {
		cfg.ShadowQueueBytes = 32 << 20
	}
	if cfg.RecordBodyBytes <= 0 {
		cfg.RecordBodyBytes = 64 << 10
	}
	if cfg.HoldBodyBytes <= 0 {
		cfg.HoldBodyBytes = 256 << 10
	}
	if cfg.MaxConnections <= 0 {
		cfg.MaxConnections = defaultConnections()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.limits == (limits{}) {
		cfg.limits = limits{head: 10 * time.Second, body: 60 * time.Second, idle: 120 * time.Second, write: 60 * time.Second, linger: 2 * time.Second}
	}
	if cfg.ClientIdle > 0 {
		cfg.limits.idle = cfg.ClientIdle
	}
}

// Swap puts a table in force for every request that is not routed yet.
func (g *Gateway) Swap(t *Table) error {
	if err := t.Validate(); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	r := newRoute(t, g.upstream(t.Stable), g.upstream(t.Candidate), g.upstream(t.Previous))
	if old := g.route.Load(); old != nil && old.Rollout == r.Rollout {
		r.repeated = old.repeated
	} else {
		r.repeated = new(atomic.Int64)
	}
	g.route.Store(r)
	for target, u := range g.upstreams {
		if u != r.stable && u != r.candidate && u != r.previous {
			u.forget(true)
			if u.flight.Load() == 0 {
				delete(g.upstreams, target)
			}
		}
	}
	return nil
}

// upstream returns the one place where this revision listens.
func (g *Gateway) upstream(t *Target) *upstream {
	if t == nil {
		return nil
	}
	u := g.upstreams[*t]
	if u == nil {
		u = &upstream{Target: *t}
		g.upstreams[*t] = u
	}
	u.mu.Lock()
	u.retired = false
	u.mu.Unlock()
	return u
}

// Table returns the table in force, or nil.
func (g *Gateway) Table() *Table {
	if r := g.route.Load(); r != nil {
		return r.Table
	}
	return nil
}

// InFlight returns how many requests, shadows included, a revision is working on or may still be asked.
func (g *Gateway) InFlight(revision string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := int64(0)
	for target, u := range g.upstreams {
		if target.Revision == revision {
			n += u.flight.Load()
		}
	}
	return int(n)
}

// Stats returns the counts so far.
func (g *Gateway) Stats() Stats {
	s := &g.stats
	g.mu.Lock()
	connections := len(g.conns)
	g.mu.Unlock()
	return Stats{
		ShadowSent: s.sent.Load(), ShadowDropped: s.dropped.Load(), Refused: s.refused.Load(), TooLarge: s.large.Load(),
		Malformed: s.malformed.Load(), Streamed: s.streamed.Load(), Spared: s.spared.Load(),
		TurnedAway: s.turned.Load(), Connections: connections,
	}
}

// Serve answers on ln until Shutdown.
func (g *Gateway) Serve(ln net.Listener) error {
	g.mu.Lock()
	if g.draining.Load() {
		g.mu.Unlock()
		ln.Close()
		return nil
	}
	g.listeners[ln] = struct{}{}
	g.mu.Unlock()
	defer ln.Close()
	for wait := time.Duration(0); ; {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			wait = 0
			g.welcome(nc)
		case g.draining.Load():
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("serving the gateway: %w", err)
		default: // out of file descriptors, most likely: others will be closed
			g.cfg.Logger.Warn("connection not accepted", "error", err)
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			<-time.After(wait)
		}
	}
}

func (g *Gateway) welcome(nc net.Conn) {
	c := newConn(g, nc)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.draining.Load():
		nc.Close()
	case len(g.conns) >= g.cfg.MaxConnections:
		g.turnAway(c)
	default:
		g.conns[c] = struct{}{}
		g.running.Go(c.serve)
	}
}

func (g *Gateway) farewell(c *conn) {
	c.link.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
}

// Shutdown stops taking requests and waits for those under way, shadows included. When ctx ends first, it cuts them.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.mu.Lock()
	g.draining.Store(true)
	for ln := range g.listeners {
		ln.Close()
	}
	for c := range g.conns {
		if c.state.CompareAndSwap(idle, closed) {
			c.link.Close()
		}
	}
	g.mu.Unlock()
	done := make(chan struct{})
	go func() { g.running.Wait(); close(done) }()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("draining the gateway: %w", ctx.Err())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		c.link.Close()
	}
	for _, u := range g.upstreams {
		u.forget(true)
	}
	return err
}
