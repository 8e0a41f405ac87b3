// Package scorer is the reference scoring server: it loads one LightGBM text model and answers
// POST /score {"data": [[…], …]} with {"result": […]}, with the routes, statuses, headers and error bodies of Azure
// ML's inference server (azureml-inference-server-http 1.5.1), so that either can stand behind the same endpoint.
//
// A request that is not exactly a list of rows of the model's width gets a 4xx that names the row and column, and
// never a score.
package scorer

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/serin-dev/serin/internal/lightgbm"
	"github.com/valyala/fasthttp"
)

const (
	defaultListen       = "127.0.0.1:5001"
	defaultMaxBodyBytes = 4 << 20
	defaultTimeout      = time.Minute
	defaultDrainTimeout = 10 * time.Second

	maxBodyBytesCeiling = 64 << 20
)

// Options configure a Server. Exactly one of Model and Dummy is given.
type Options struct {
	Model     []byte // LightGBM model text
	ModelName string // shown in metrics and logs
	Dummy     string // answer this JSON string to every /score instead of a model's

	Listen       string        // host:port for Run; default 127.0.0.1:5001
	MaxBodyBytes int64         // larger bodies get 413; default 4 MiB, at most 64 MiB
	Timeout      time.Duration // one request's scoring time, then 500 as Azure ML answers; default 1m
	DrainTimeout time.Duration // Run waits so long for requests in flight; default 10s
	Linger       time.Duration // not ready but still accepting before the drain, for routers that poll /readyz; default 0

	// Rehearsal faults: a version that is right but slow, one that fails on some rows, one that always fails, one that
	// does not repeat itself.
	Delay         time.Duration // added to every /score
	FailOnMissing string        // 500 when this column is -1 in any row
	FailAll       bool          // 500 on every /score
	Noise         float64       // added to every score: anything from -Noise to Noise, anew each time

	Logger *slog.Logger // default: none
}

// Server is a scoring server. Make it with New, start it with Serve once, stop it with Shutdown.
type Server struct {
	o         Options
	model     *lightgbm.Model // nil for a dummy
	names     []string
	failOn    int    // column of FailOnMissing, -1 when none
	dummyBody []byte // the JSON string that a dummy answers
	log       *slog.Logger
	metrics   metrics
	http      *fasthttp.Server
	conns     connections
	mu        sync.Mutex // guards ln and the order of adopt and Shutdown
	ln        net.Listener
	draining  atomic.Bool
	serving   atomic.Bool
	cut       chan struct{} // closed when the drain gave up: requests that wait for Delay end
	hasCut    atomic.Bool
	timer     func(time.Duration) (fires <-chan time.Time, stop func() bool) // tests put their own clock here
}

// New reads the model and asks it for answers to test rows: a Server that exists is able to score.
func New(o Options) (*Server, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	s := &Server{o: o, failOn: -1, log: o.Logger, cut: make(chan struct{}), timer: systemTimer}
	if o.Dummy != "" {
		s.dummyBody = appendQuoted(nil, o.Dummy)
	} else if err := s.load(); err != nil {
		return nil, err
	}
	s.conns.open = map[*trackedConn]struct{}{}
	s.http = s.newHTTP()
	return s, nil
}

func systemTimer(d time.Duration) (<-chan time.Time, func() bool) {
	t := time.NewTimer(d)
	return t.C, t.Stop
}

// OptionError is an option that is refused, so that whoever has another name for it can
// give that.
type OptionError struct {
	Option  string // name of the field of Options
	Value   string
	Allowed string // what is wrong, and what is allowed
}

func (e *OptionError) Error() string {
	return fmt.Sprintf("scorer options: %s %s: %s", e.Option, e.Value, e.Allowed)
}

func refused(option string, value any, allowed string) error {
	text := fmt.Sprint(value)
	if s, ok := value.(string); ok {
		text = strconv.Quote(s)
	}
	return &OptionError{Option: option, Value: text, Allowed: allowed}
}

func (o *Options) complete() error {
	if (len(o.Model) == 0) == (o.Dummy == "") {
		return errors.New("scorer options: exactly one of a model text and a dummy answer must be given")
	}
	if o.Dummy != "" && o.FailOnMissing != "" {
		return refused("FailOnMissing", o.FailOnMissing, "needs a model: a dummy has no columns")
	}
	if !(o.Noise >= 0) || math.IsInf(o.Noise, 0) {
		return refused("Noise", o.Noise, "must be 0 or a positive number")
	}
	if o.Dummy != "" && o.Noise > 0 {
		return refused("Noise", o.Noise, "needs a model: a dummy has no scores")
	}
	if o.MaxBodyBytes < 0 || o.MaxBodyBytes > maxBodyBytesCeiling {
		return refused("MaxBodyBytes", o.MaxBodyBytes, fmt.Sprintf("must be from 1 to %d", maxBodyBytesCeiling))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Timeout", o.Timeout}, {"DrainTimeout", o.DrainTimeout}, {"Linger", o.Linger}, {"Delay", o.Delay}} {
		if d.value < 0 {
			return refused(d.name, d.value, "must not be negative")
		}
	}
	o.setDefaults()
	return nil
}

func (o *Options) setDefaults() {
	if o.Listen == "" {
		o.Listen = defaultListen
	}
	if o.MaxBodyBytes == 0 {
		o.MaxBodyBytes = defaultMaxBodyBytes
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = defaultDrainTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

func (s *Server) load() error {
	m, err := lightgbm.Parse(s.o.Model)
	if err != nil {
		return fmt.Errorf("loading model %q: %w", s.o.ModelName, err)
	}
	s.o.Model = nil // only the parsed form is needed from here on
	s.model, s.names = m, m.FeatureNames()
	if s.o.FailOnMissing != "" {
		if s.failOn = slices.Index(s.names, s.o.FailOnMissing); s.failOn < 0 {
			return refused("FailOnMissing", s.o.FailOnMissing, fmt.Sprintf("must be a column of model %q, which has %s", s.o.ModelName, shortList(s.names)))
		}
	}
	if err := selfTest(m); err != nil {
		return fmt.Errorf("testing model %q: %w", s.o.ModelName, err)
	}
	return nil
}

// selfTest asks for one row of each kind that scorers meet: zeros, the missing code -1, and large values.
func selfTest(m *lightgbm.Model) error {
	row, out := make([]float64, m.NumFeatures()), make([]float64, m.NumOutputs())
	for _, fill := range []float64{0, -1, 1e6} {
		for i := range row {
			row[i] = fill
		}
		if err := m.Predict(row, out); err != nil {
			return fmt.Errorf("predicting a row of %gs: %w", fill, err)
		}
		if !finite(out) {
			return fmt.Errorf("predicting a row of %gs: got %v, every output must be finite", fill, out)
		}
	}
	return nil
}

func finite(values []float64) bool {
	for _, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return false
		}
	}
	return true
}

// notReady says why the server should get no new requests; empty when it should.
func (s *Server) notReady() string {
	if s.draining.Load() {
		return "draining: this scorer is shutting down"
	}
	return ""
}

func shortList(names []string) string {
	const most = 8
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
