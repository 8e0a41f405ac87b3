// Package recorder is the container beside each scorer of a cluster: it forwards scoring requests to the scorer, asks
// stable in its place when it must, and tells the controller what was answered (docs/adr/0005-cluster.md).
package recorder

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/serin-dev/serin/internal/observe/wire"
	"github.com/serin-dev/serin/internal/proxy"
)

// Options say whom the recorder stands beside and whom it reports to.
type Options struct {
	Listen, Health string // addresses for requests, and for probes
	Scorer         string // host:port
	Readiness      string // path of the scorer
	Endpoint       string
	Revision       string
	Pod, Namespace string
	Controller     string // URL
	TokenFile      string
	LameDuck       time.Duration // go on answering for so long when told to end
	Drain          time.Duration // then wait at most so long for requests under way; default 35 s
	Logger         *slog.Logger
	// Listening is told the addresses, once; may be nil.
	Listening func(listen, health string)
}

const (
	drainTime = 35 * time.Second
	flushTime = 3 * time.Second // for what is still to be reported at the end
	// Of requests that the scorer is asked once more, under way at a time: the clients' come first.
	mostRepeats = 8
	repeatBytes = 4 << 20
	// clientIdle is longer than the hour for which Envoy keeps an idle connection: who closes first may meet a request
	// that is just being sent, and Envoy does not send it again.
	clientIdle = 2 * time.Hour
)

// Recorder is one of them.
type Recorder struct {
	o       Options
	gateway *proxy.Gateway
	reports *reports
	link    *link
	probes  *http.Client
	after   func(time.Duration) <-chan time.Time // of the lame duck; tests decide when

	mu    sync.Mutex
	order order
	ever  bool // the scorer was ready once

	ready   atomic.Bool // the scorer is
	leaving atomic.Bool
}

// New makes a recorder, which does nothing before Run.
func New(o Options) (*Recorder, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Drain <= 0 {
		o.Drain = drainTime
	}
	r := &Recorder{o: o, link: newLink(o.Controller, o.TokenFile), probes: newProbes(), after: time.After}
	r.reports = newReports(wire.Batch{Namespace: o.Namespace, Endpoint: o.Endpoint, Revision: o.Revision, Pod: o.Pod, Boot: rand.Text()})
	r.gateway = proxy.New(proxy.Config{Tap: r.reports, RecordBodyBytes: bodyBytes, ShadowConcurrency: mostRepeats, ShadowQueueBytes: repeatBytes, ClientIdle: clientIdle, Logger: o.Logger})
	if err := r.install(); err != nil {
		return nil, err
	}
	return r, nil
}

func (o *Options) check() error {
	for _, f := range []struct{ name, value string }{
		{"--listen", o.Listen}, {"--health", o.Health}, {"--scorer", o.Scorer}, {"--endpoint", o.Endpoint}, {"--revision", o.Revision},
		{"--controller", o.Controller}, {"--token-file", o.TokenFile}, {"POD_NAME", o.Pod}, {"POD_NAMESPACE", o.Namespace},
	} {
		if f.value == "" {
			return fmt.Errorf("%s must be given", f.name)
		}
	}
	if !strings.HasPrefix(o.Readiness, "/") {
		return fmt.Errorf("--readiness %q: must be a path such as /healthz", o.Readiness)
	}
	if _, _, err := net.SplitHostPort(o.Scorer); err != nil {
		return fmt.Errorf("--scorer %q: must be host:port: %w", o.Scorer, err)
	}
	if u, err := url.Parse(o.Controller); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("--controller %q: must be a URL such as http://serin-recorder.serin-system.svc:9002", o.Controller)
	}
	return nil
}

// Run answers until ctx ends, then is a lame duck, drains and reports the rest.
func (r *Recorder) Run(ctx context.Context) error {
	data, err := listen(ctx, r.o.Listen)
	if err != nil {
		return err
	}
	health, err := listen(ctx, r.o.Health)
	if err != nil {
		data.Close()
		return err
	}
	if r.o.Listening != nil {
		r.o.Listening(data.Addr().String(), health.Addr().String())
	}
	r.o.Logger.Info("recorder serves", "address", data.Addr().String(), "scorer", r.o.Scorer, "revision", r.o.Revision)
	probes := &http.Server{Handler: r.health(), ReadHeaderTimeout: 5 * time.Second}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var own, sender sync.WaitGroup
	own.Go(func() { _ = probes.Serve(health) }) // until Close; a probe that is not answered tells the rest
	own.Go(func() { r.watch(background) })
	own.Go(func() { r.listen(background) })
	own.Go(r.reports.work)
	sending, stopSending := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSending()
	sender.Go(func() { r.send(sending) })
	served := make(chan error, 1)
	go func() { served <- r.gateway.Serve(data) }()

	err = r.last(ctx, served)
	stop()
	probes.Close()
	r.reports.close()
	own.Wait()
	flush := time.AfterFunc(flushTime, stopSending)
	defer flush.Stop()
	sender.Wait()
	r.link.close()
	if untold, _, _ := r.reports.counts(); untold > 0 {
		r.o.Logger.Warn("recorder ends before all was reported", "frames", untold)
	}
	return err
}

// last waits for the end and lets the requests under way come to theirs.
func (r *Recorder) last(ctx context.Context, served <-chan error) error {
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	r.leaving.Store(true)
	r.o.Logger.Info("recorder leaves", "lameDuck", r.o.LameDuck.String())
	select {
	case err := <-served:
		return err
	case <-r.after(r.o.LameDuck):
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.o.Drain)
	defer cancel()
	return errors.Join(r.gateway.Shutdown(drain), <-served)
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listening on %q: %w", addr, err)
	}
	return ln, nil
}
