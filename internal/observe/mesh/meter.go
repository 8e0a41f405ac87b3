package mesh

import (
	"maps"
	"slices"
	"time"
)

// Two counts of the same requests, the gateway's and the recorders', arrive by ways
// of their own. The meter compares them over the last minutes, so that what was lost
// once is held against nobody for ever, and calls nothing missing that may just be late.
const (
	// sampleEvery is more than either way takes: a gateway sends its log within a
	// second, a recorder its batch within a quarter of one.
	sampleEvery = 3 * time.Second
	samplesKept = 61 // three minutes
	// moved is how long after evidence came to this hub from another one counts are
	// not compared: what was served meanwhile is told in one piece, or lost.
	moved = 5 * time.Second
	// silence is how long a hub that is new waits for the gateway's first entry.
	silence = time.Minute
	// mostMeasured bounds the revisions that are compared.
	mostMeasured = 16
)

// Kind says what is missing.
type Kind uint8

// What may be missing of a revision's evidence.
const (
	// LogLacks: requests that its recorders served are not in the gateway's log.
	LogLacks Kind = iota
	// RecordersLack: requests that it answered at the gateway no recorder told of.
	RecordersLack
	// NoRecorder: the same, and no recorder of it was ever heard.
	NoRecorder
	// AnswersDropped: its recorders had no room for answers.
	AnswersDropped
)

// Loss is how much is missing of a revision's evidence of the last minutes.
type Loss struct {
	Revision    string
	Kind        Kind
	Missing, Of uint64
}

// amounts are totals of one revision since the hub began to watch, of requests that
// were routed by weight.
type amounts struct {
	logged   uint64 // tries of the gateway
	answered uint64 // requests that it answered itself, by the gateway's log
	served   uint64 // by its recorders
	told     uint64 // answers that its recorders told of, copies too
	dropped  uint64 // or had no room for
}

// minus never wraps: a revision that was forgotten may begin anew.
func (a amounts) minus(b amounts) amounts {
	return amounts{less(a.logged, b.logged), less(a.answered, b.answered), less(a.served, b.served), less(a.told, b.told), less(a.dropped, b.dropped)}
}

type sample struct {
	at time.Time
	of map[string]amounts
}

// meter compares the two counts of one endpoint.
type meter struct {
	totals   map[string]amounts // by revision
	recorded map[string]bool    // revisions whose recorders were heard
	samples  []sample           // oldest first, sampleEvery apart
	watched  time.Time
	from     time.Time // what was counted before is not compared
	log      time.Time // last entry of the gateway's log; zero before the first
}

func newMeter(now time.Time) meter {
	return meter{totals: map[string]amounts{}, recorded: map[string]bool{}, watched: now, from: now}
}

// add counts for a revision; what is one too many is not compared.
func (m *meter) add(revision string, n amounts) {
	t, known := m.totals[revision]
	if !known && len(m.totals) >= mostMeasured {
		return
	}
	m.totals[revision] = amounts{t.logged + n.logged, t.answered + n.answered, t.served + n.served, t.told + n.told, t.dropped + n.dropped}
}

// restart compares what comes from some time after now on: evidence moves here.
func (m *meter) restart(now time.Time) {
	m.samples, m.from = nil, now.Add(moved)
}

// heardLog notes an entry of the gateway's log.
func (m *meter) heardLog(now time.Time) {
	if m.log.IsZero() {
		m.restart(now)
	}
	m.log = now
}

// sample remembers the totals of now, if it is time to.
func (m *meter) sample(now time.Time) {
	if now.Before(m.from) || m.log.IsZero() && now.Sub(m.watched) < silence {
		return
	}
	if n := len(m.samples); n > 0 && now.Sub(m.samples[n-1].at) < sampleEvery {
		return
	}
	m.samples = append(m.samples, sample{now, maps.Clone(m.totals)})
	m.samples = m.samples[max(0, len(m.samples)-samplesKept):]
}

// forget drops revisions that no epoch names any more.
func (m *meter) forget(used func(revision string) bool) {
	maps.DeleteFunc(m.totals, func(r string, _ amounts) bool { return !used(r) })
	maps.DeleteFunc(m.recorded, func(r string, _ bool) bool { return !used(r) })
}

// losses compares. What one side lacks over the whole window counts only if it lacks
// it too when the other side's first and last seconds are left out: else it may be
// late, not lost.
func (m *meter) losses(now time.Time) (out []Loss) {
	m.sample(now)
	if len(m.samples) < 3 {
		return nil
	}
	settled := len(m.samples) - 1
	if now.Sub(m.samples[settled].at) < sampleEvery {
		settled--
	}
	first, second, last := m.samples[0], m.samples[1], m.samples[settled]
	for _, revision := range slices.Sorted(maps.Keys(m.totals)) {
		all := m.totals[revision].minus(first.of[revision])
		sure := last.of[revision].minus(second.of[revision])
		add := func(k Kind, missing, of uint64, certain bool) {
			if missing > 0 && certain {
				out = append(out, Loss{revision, k, missing, of})
			}
		}
		add(LogLacks, less(all.served, all.logged), all.served, sure.served > all.logged)
		kind := RecordersLack
		if !m.recorded[revision] {
			kind = NoRecorder
		}
		add(kind, less(all.answered, all.served), all.answered, sure.answered > all.served)
		add(AnswersDropped, all.dropped, all.told+all.dropped, true)
	}
	return out
}

// less subtracts without wrapping.
func less(a, b uint64) uint64 {
	if a < b {
		return 0
	}
	return a - b
}
