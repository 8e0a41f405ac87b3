package observe

import (
	"math"

	"github.com/serin-dev/serin/internal/contract"
)

// kind says what a job's answers are.
type kind uint8

const (
	primary kind = iota // the one that a client got
	pair                // stable's and the candidate's
	again               // stable's first and second
)

// job is one answer, or two of them, that wait for a worker.
type job struct {
	ep     *epoch
	kind   kind
	events [2]Event // the first alone for primary
}

// set copies e with its body into the job's own memory.
func (d *Event) set(e *Event) {
	body := d.Body[:0]
	*d = *e
	d.Body = append(body, e.Body...)
}

// send queues j or, if there is no room, takes it back and says so.
func (c *Collector) send(j *job, size int) bool {
	if c.bytes.Add(int64(size)) <= int64(c.cfg.QueueBytes) && c.offer(j) {
		return true
	}
	c.bytes.Add(-int64(size))
	c.release(j)
	return false
}

func (c *Collector) offer(j *job) bool {
	c.sending.RLock()
	defer c.sending.RUnlock()
	if c.closed {
		return false
	}
	select {
	case c.queue <- j:
		return true
	default:
		return false
	}
}

func (c *Collector) release(j *job) {
	j.ep = nil
	for i := range j.events {
		if e := &j.events[i]; cap(e.Body) > maxKeptBuffer {
			e.Body = nil
		} else {
			e.Body = e.Body[:0]
		}
	}
	c.jobs.Put(j)
}

// work counts queued answers until the queue is closed and empty.
func (c *Collector) work() {
	var answers [2]contract.Answer
	for j := range c.queue {
		size := len(j.events[0].Body)
		c.extract(&answers[0], &j.events[0])
		if j.kind != primary {
			size += len(j.events[1].Body)
			c.extract(&answers[1], &j.events[1])
		}
		switch j.kind {
		case pair:
			c.compare(j, &answers[0], &answers[1])
		case again:
			c.repeated(j.ep, &answers[0], &answers[1])
		default:
			c.judgeable(j, &answers[0])
		}
		c.bytes.Add(-int64(size))
		c.release(j)
	}
}

// extract reads an answer. A recorder must not take the gateway down with it,
// so a defect in the reader makes the answer unparsed and is counted.
func (c *Collector) extract(a *contract.Answer, e *Event) {
	defer func() {
		if r := recover(); r != nil {
			c.panics.Add(1)
			*a = contract.Answer{Kind: contract.Unparsed}
		}
	}()
	if e.failed() || e.refused() {
		*a = contract.Answer{Kind: contract.Error}
		return
	}
	m := e.Meta
	m.Status = e.Status
	c.cfg.Extractor.Extract(a, m, e.Body)
}

// usable says whether an answer is valid: every score a finite number, or labels.
func usable(a *contract.Answer) bool {
	return a.Kind == contract.Labels || a.Kind == contract.Scores && a.NonFinite == 0
}

// invalid says whether an answer that claims success is none. Opaque and
// unparsed answers are neither: nobody looked inside.
func invalid(a *contract.Answer) bool {
	return a.Kind == contract.Invalid || a.Kind == contract.Error || a.Kind == contract.Scores && a.NonFinite > 0
}

// judgeable counts the answer of a routed request.
func (c *Collector) judgeable(j *job, a *contract.Answer) {
	e, ep := &j.events[0], j.ep
	bad := invalid(a)
	ep.mu.Lock()
	defer ep.mu.Unlock()
	n := &ep.ev.Arms[e.arm()]
	switch {
	case bad:
		n.Invalid++
	case a.Kind == contract.Opaque:
		n.Opaque++
	case a.Kind == contract.Unparsed:
		n.Unparsed++
	}
	if ep.first(c, e.Keyed, e.Key, seenAnswer) {
		n.AnsweredUnits++
	}
	if bad {
		if ep.first(c, e.Keyed, e.Key, seenInvalid) {
			n.InvalidUnits++
		}
		if e.Candidate {
			c.wake()
		}
		return
	}
	if a.Kind != contract.Scores || !ep.first(c, e.Keyed, e.Key, seenScore) {
		return
	}
	n.AddScore(mean(a))
	for i, cut := range c.cfg.Cutoffs {
		n.AddAbove(i, share(a, cut))
	}
}

// stride returns where the score of the first row stands and how far the next
// is. Of several numbers in a row the last one is the score: predict_proba of
// two classes ends with the positive class, and the mean over all classes would
// be the same for every answer. Rows that differ in width count number by number.
func stride(a *contract.Answer) (first, step int) {
	if a.Width > 1 {
		return a.Width - 1, a.Width
	}
	return 0, 1
}

// mean is the mean score over the rows of a scored answer.
func mean(a *contract.Answer) float64 {
	first, step := stride(a)
	sum, n := 0.0, 0.0
	for i := first; i < len(a.Scores); i += step {
		sum += a.Scores[i]
		n++
	}
	if !math.IsInf(sum, 0) {
		return sum / n
	}
	sum = 0
	for i := first; i < len(a.Scores); i += step {
		sum += a.Scores[i] / n
	}
	return sum
}

// share is the share of rows whose score is above cut.
func share(a *contract.Answer, cut float64) float64 {
	first, step := stride(a)
	above, n := 0, 0
	for i := first; i < len(a.Scores); i += step {
		if a.Scores[i] > cut {
			above++
		}
		n++
	}
	return float64(above) / float64(n)
}
