package scorer

import (
	"errors"
	"math"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

var (
	errRun     = errors.New("the scoring function failed")
	errTimeout = errors.New("the scoring function took too long")
)

const (
	rowsPerClock   = 64      // rows scored between two looks at the deadline
	keepResultCap  = 1 << 16 // larger buffers go back to the garbage collector
	missingCode    = -1      // the safe-driver data's code for a missing value
	resultOpening  = `{"result":[`
	dataParameter  = "data"
	multipleOfData = "give either one data=[[…], …] or one data=[…] for each row"
)

// scratch is the memory of one request.
type scratch struct {
	row, out []float64
	result   []byte
	rows     int
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func (s *Server) takeScratch() *scratch {
	sc := scratches.Get().(*scratch)
	if s.model != nil {
		sc.row, sc.out = resize(sc.row, s.model.NumFeatures()), resize(sc.out, s.model.NumOutputs())
	}
	sc.result, sc.rows = sc.result[:0], 0
	return sc
}

func (sc *scratch) release() {
	if cap(sc.result) <= keepResultCap {
		scratches.Put(sc)
	}
}

func resize(s []float64, n int) []float64 {
	if cap(s) < n {
		return make([]float64, n)
	}
	return s[:n]
}

// scoreBody answers a POST's body into sc.result. The error is an *inputError, errRun or errTimeout.
func (s *Server) scoreBody(sc *scratch, body []byte, started time.Time) error {
	if done, err := s.rehearse(sc); done {
		return err
	}
	p := rowParser{b: body, names: s.names}
	if err := p.open(); err != nil {
		return err
	}
	if err := s.scoreRows(sc, &p, started); err != nil {
		return err
	}
	return p.close()
}

// scoreQuery answers a GET's parameters: each is parsed as JSON, a repeated one is a list, as Azure ML's server does.
func (s *Server) scoreQuery(sc *scratch, query string, started time.Time) error {
	if done, err := s.rehearse(sc); done {
		return err
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return badInput("the query could not be decoded: %v", err)
	}
	for name := range values {
		if name != dataParameter {
			return badInput("unknown parameter %s, allowed is \"data\"", quoteShort(name))
		}
	}
	data := values[dataParameter]
	switch len(data) {
	case 0:
		return badInput("A value is not provided for the 'data' parameter.")
	case 1:
		return s.scoreList(sc, data[0], started)
	}
	for i, row := range data {
		if !strings.HasPrefix(strings.TrimLeft(row, " \t\r\n"), "[") {
			return badInput("data[%d] (row %d): got %s, %s", i, i+1, quoteShort(row), multipleOfData)
		}
	}
	return s.scoreList(sc, "["+strings.Join(data, ",")+"]", started)
}

func (s *Server) scoreList(sc *scratch, list string, started time.Time) error {
	p := rowParser{b: []byte(list), names: s.names}
	if err := p.openList(); err != nil {
		return err
	}
	if err := s.scoreRows(sc, &p, started); err != nil {
		return err
	}
	return p.end()
}

// rehearse is everything that stands before a model: faults asked for, and the dummy.
func (s *Server) rehearse(sc *scratch) (done bool, err error) {
	if s.o.Delay > 0 {
		if err := s.wait(); err != nil {
			return true, err
		}
	}
	if s.o.FailAll {
		return true, errRun
	}
	if s.model == nil {
		sc.result = append(sc.result, s.dummyBody...)
		return true, nil
	}
	return false, nil
}

func (s *Server) wait() error {
	fires, stop := s.timer(min(s.o.Delay, s.o.Timeout))
	defer stop()
	select {
	case <-fires:
	case <-s.cut:
		return errRun
	}
	if s.o.Delay >= s.o.Timeout {
		return errTimeout
	}
	return nil
}

func (s *Server) scoreRows(sc *scratch, p *rowParser, started time.Time) error {
	sc.result = append(sc.result, resultOpening...)
	for {
		more, err := p.next(sc.row)
		if err != nil {
			return err
		}
		if !more {
			sc.result = append(sc.result, "]}"...)
			sc.rows = p.row
			return nil
		}
		if err := s.scoreRow(sc, p.row); err != nil {
			return err
		}
		if p.row%rowsPerClock == 0 && time.Since(started) > s.o.Timeout {
			return errTimeout
		}
	}
}

func (s *Server) scoreRow(sc *scratch, nth int) error {
	if s.failOn >= 0 && sc.row[s.failOn] == missingCode {
		return errRun
	}
	if err := s.model.Predict(sc.row, sc.out); err != nil {
		s.log.Error("predicting a row failed", "error", err)
		return errRun
	}
	if s.o.Noise > 0 {
		for i := range sc.out {
			sc.out[i] += s.o.Noise * (2*rand.Float64() - 1)
		}
	}
	if nth > 1 {
		sc.result = append(sc.result, ',')
	}
	if len(sc.out) == 1 {
		return sc.appendFloat(sc.out[0])
	}
	for i, v := range sc.out {
		sc.result = append(sc.result, "[,"[min(i, 1)])
		if err := sc.appendFloat(v); err != nil {
			return err
		}
	}
	sc.result = append(sc.result, ']')
	return nil
}

// appendFloat writes the shortest text that reads back as the same number.
func (sc *scratch) appendFloat(v float64) error {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return errRun // JSON has no word for it, and it is no score
	}
	format := byte('f')
	if a := math.Abs(v); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	sc.result = strconv.AppendFloat(sc.result, v, format, -1, 64)
	return nil
}
