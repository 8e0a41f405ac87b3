package server

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/serin-dev/serin/internal/metrics"
)

// metrics serves the Prometheus text format. It needs an identity as all else
// does: it tells the names of versions and how much traffic there is.
func (s *Server) metrics(b metrics.Build) handler {
	r := prometheus.NewRegistry()
	one := func() []metrics.Endpoint { return []metrics.Endpoint{s.control} }
	r.MustRegister(metrics.Collector{Build: b, Endpoints: one}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	h := promhttp.HandlerFor(r, promhttp.HandlerOpts{})
	return func(w http.ResponseWriter, r *http.Request, _ Identity) error {
		h.ServeHTTP(w, r)
		return nil
	}
}
