package scorer

import (
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// statuses are all that the server answers; each has a counter.
var statuses = [...]int{200, 400, 404, 405, 408, 413, 415, 431, 500, 503}

// bucketBounds are upper bounds of scoring time, chosen around what one small request costs.
var bucketBounds = [...]time.Duration{
	10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// metrics are hand-written counters: the exposition is small, and client_golang's handler speaks net/http only.
type metrics struct {
	requests [len(statuses)]atomic.Uint64
	rows     atomic.Uint64
	inFlight atomic.Int64
	buckets  [len(bucketBounds) + 1]atomic.Uint64
	nanos    atomic.Uint64
}

func (m *metrics) answered(status int) {
	if i := slices.Index(statuses[:], status); i >= 0 {
		m.requests[i].Add(1)
	}
}

func (m *metrics) scored(rows int, took time.Duration) {
	m.rows.Add(uint64(rows))
	i, _ := slices.BinarySearch(bucketBounds[:], took)
	m.buckets[i].Add(1)
	m.nanos.Add(uint64(max(took, 0)))
}

// appendMetrics writes the Prometheus text format, version 0.0.4.
func (s *Server) appendMetrics(b []byte) []byte {
	m := &s.metrics
	b = append(b, "# HELP serin_scorer_requests_total Answers to /score by HTTP status.\n# TYPE serin_scorer_requests_total counter\n"...)
	for i, status := range statuses {
		b = fmt.Appendf(b, "serin_scorer_requests_total{code=\"%d\"} %d\n", status, m.requests[i].Load())
	}
	b = appendMetric(b, "serin_scorer_rows_total", "counter", "Rows scored.", strconv.FormatUint(m.rows.Load(), 10))
	b = appendMetric(b, "serin_scorer_in_flight", "gauge", "Requests to /score being answered.", strconv.FormatInt(m.inFlight.Load(), 10))
	ready := "0"
	if s.serving.Load() && s.notReady() == "" {
		ready = "1"
	}
	b = appendMetric(b, "serin_scorer_ready", "gauge", "1 when the model is loaded, has passed its self-test and no drain has begun.", ready)
	b = m.appendHistogram(b)
	b = append(b, "# HELP serin_scorer_model_info The model that answers.\n# TYPE serin_scorer_model_info gauge\n"...)
	outputs := 0
	if s.model != nil {
		outputs = s.model.NumOutputs()
	}
	return fmt.Appendf(b, "serin_scorer_model_info{model=%s,features=\"%d\",outputs=\"%d\"} 1\n", labelValue(s.o.ModelName), len(s.names), outputs)
}

func (m *metrics) appendHistogram(b []byte) []byte {
	const name = "serin_scorer_run_seconds"
	b = append(b, "# HELP "+name+" Time to parse and score one answered request.\n# TYPE "+name+" histogram\n"...)
	sum := uint64(0)
	for i := range m.buckets {
		sum += m.buckets[i].Load()
		bound := "+Inf"
		if i < len(bucketBounds) {
			bound = strconv.FormatFloat(bucketBounds[i].Seconds(), 'g', -1, 64)
		}
		b = fmt.Appendf(b, name+"_bucket{le=\"%s\"} %d\n", bound, sum)
	}
	return fmt.Appendf(b, name+"_sum %g\n"+name+"_count %d\n", time.Duration(m.nanos.Load()).Seconds(), sum)
}

func appendMetric(b []byte, name, kind, help, value string) []byte {
	return append(b, "# HELP "+name+" "+help+"\n# TYPE "+name+" "+kind+"\n"+name+" "+value+"\n"...)
}

// labelValue escapes as the text format wants it: backslash, quote and newline only.
func labelValue(s string) string {
	b := []byte{'"'}
	for _, c := range []byte(s) {
		switch c {
		case '\\', '"':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		default:
			b = append(b, c)
		}
	}
	return string(append(b, '"'))
}
