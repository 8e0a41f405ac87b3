package kube

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/metrics"
)

// healthServer answers on one port: whether this replica lives, whether it leads,
// and the metrics of what it drives. A standby drives nothing: its metrics are its
// own process's, so that no endpoint is shown twice.
func healthServer(c *Controller, o Options, elected <-chan struct{}) (*manager.Server, error) {
	own := prometheus.NewRegistry()
	for _, m := range []prometheus.Collector{metrics.Collector{Build: o.Build, Endpoints: c.readings}, clusterMetrics{c, elected}} {
		if err := own.Register(m); err != nil {
			return nil, fmt.Errorf("registering metrics: %w", err)
		}
	}
	// The second holds controller-runtime's and client-go's, and the Go runtime's.
	all := prometheus.Gatherers{own, ctrlmetrics.Registry}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(all, promhttp.HandlerOpts{MaxRequestsInFlight: mostScrapes, Timeout: scrapeTimeout}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		// A standby is ready to take over. Nothing that fails with the API server belongs
		// here: a leader that is not ready gets no evidence.
		role := "ok: standing by\n"
		if leads(elected) {
			role = "ok: leading\n"
		}
		_, _ = io.WriteString(w, role)
	})
	return &manager.Server{
		Name: "health and metrics", ShutdownTimeout: new(drain),
		Server: &http.Server{Addr: o.Health, Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10},
	}, nil
}

const (
	// Anyone may be allowed to scrape: more at a time than this wait for nothing.
	mostScrapes   = 4
	scrapeTimeout = 30 * time.Second
)

func leads(elected <-chan struct{}) bool {
	select {
	case <-elected:
		return true
	default:
		return false
	}
}

// reading is one endpoint as metrics read it.
type reading struct {
	*endpoint
	hub Hub
}

func (c *Controller) readings() (out []metrics.Endpoint) {
	for _, x := range c.opened() {
		out = append(out, reading{x, c.hub})
	}
	return out
}

// opened are the endpoints that run now.
func (c *Controller) opened() (out []*endpoint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.endpoints {
		out = append(out, x)
	}
	return out
}

// Glance implements metrics.Endpoint.
func (r reading) Glance() engine.Status {
	st := r.engine.Glance()
	st.Namespace = r.key.Namespace
	return st
}

// Counters implements metrics.Endpoint.
func (r reading) Counters() engine.Counters {
	n := r.hub.Counts(r.key)
	out := engine.Counters{FellBack: n.FellBack, ShadowSent: n.Shadowed, Notifications: r.teller.notifier.Counts()}
	for _, q := range n.Requests {
		arm := "stable"
		if q.Arm == judge.Candidate {
			arm = "candidate"
		}
		out.Requests = append(out.Requests, engine.RequestCount{Arm: arm, Revision: q.Revision, Code: q.Code, N: q.N})
	}
	return out
}

// clusterMetrics are what only a cluster has; docs/cluster-operations.md lists
// them, and a test holds the two together.
type clusterMetrics struct {
	c       *Controller
	elected <-chan struct{}
}

var (
	mLeader    = prometheus.NewDesc("serin_leader", "1 on the replica that drives the endpoints, 0 on a standby.", nil, nil)
	mEndpoints = prometheus.NewDesc("serin_endpoints", "Endpoints that this replica drives.", nil, nil)
	mStray     = prometheus.NewDesc("serin_access_log_stray_total", "Access-log entries of other hosts and routes than Serin's.", nil, nil)
	mLost      = prometheus.NewDesc("serin_access_log_lost_total", "Access-log entries of Serin's routes that belong to no arm: no cluster was found, or the stamp is missing.", nil, nil)
	mUnpaired  = prometheus.NewDesc("serin_shadow_unpaired_total", "The candidate's answers to copies that found no answer of stable in time.", []string{"namespace", "endpoint"}, nil)
	mGap       = prometheus.NewDesc("serin_evidence_gap_ratio", "Greatest share of requests that recorders served and the access log did not show, over revisions and weight epochs with at least 100 requests.", []string{"namespace", "endpoint"}, nil)
)

// Describe implements prometheus.Collector.
func (m clusterMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{mLeader, mEndpoints, mStray, mLost, mUnpaired, mGap} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m clusterMetrics) Collect(ch chan<- prometheus.Metric) {
	put := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	role := 0.
	if leads(m.elected) {
		role = 1
	}
	all := m.c.opened()
	put(mLeader, prometheus.GaugeValue, role)
	put(mEndpoints, prometheus.GaugeValue, float64(len(all)))
	whole := m.c.hub.Losses(Key{})
	put(mStray, prometheus.CounterValue, float64(whole.Stray))
	put(mLost, prometheus.CounterValue, float64(whole.Lost))
	for _, x := range all {
		l := m.c.hub.Losses(x.key)
		put(mUnpaired, prometheus.CounterValue, float64(l.Unpaired), x.key.Namespace, x.key.Name)
		put(mGap, prometheus.GaugeValue, l.Gap, x.key.Namespace, x.key.Name)
	}
}
