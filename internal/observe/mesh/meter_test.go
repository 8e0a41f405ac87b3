package mesh

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	data "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/observe/wire"
)

const (
	r1, r2   = "safe-driver-r1", "safe-driver-r2"
	weighted = "serin/abtesting/safe-driver/weighted"
)

// tellers plays a gateway and recorders that count the same requests.
type tellers struct {
	t   *testing.T
	hub *Hub
	now *time.Time
	who map[string]*wire.Batch // recorders, by pod
}

func newTellers(t *testing.T) *tellers {
	h, _, now := testHub(t)
	return &tellers{t: t, hub: h, now: now, who: map[string]*wire.Batch{}}
}

// recorder returns what pod's recorder has to tell.
func (c *tellers) recorder(pod, revision string) *wire.Batch {
	if c.who[pod] == nil {
		c.who[pod] = &wire.Batch{Namespace: "abtesting", Endpoint: "safe-driver", Revision: revision, Pod: pod, Boot: "1", Served: map[uint32]uint64{}}
	}
	return c.who[pod]
}

// tell sends a batch, as it is now.
func (c *tellers) tell(b *wire.Batch) {
	c.t.Helper()
	b.Seq++
	copied := *b
	copied.Served = maps.Clone(b.Served)
	if !c.hub.Take(&copied) {
		c.t.Fatal("the endpoint is not known")
	}
}

func (c *tellers) log(n int, stamp string, status uint32, change ...func(*data.HTTPAccessLogEntry)) {
	for range n {
		c.hub.Log(entry(weighted, stamp, status, change...))
	}
}

// seconds lets time pass; the engine looks once a second.
func (c *tellers) seconds(n int, each func()) {
	for range n {
		each()
		c.hub.Losses(key)
		*c.now = c.now.Add(time.Second)
	}
}

// candidate is a second in which the candidate serves some requests, of which the log
// has some.
func (c *tellers) candidate(served, logged int) func() {
	return func() {
		b := c.recorder("b", r2)
		b.Served[5] += uint64(served)
		c.tell(b)
		c.log(logged, "safe-driver-2.5."+r2, 200)
	}
}

func (c *tellers) losses(want ...Loss) {
	c.t.Helper()
	if diff := cmp.Diff(want, c.hub.Losses(key).Revisions); diff != "" {
		c.t.Errorf("losses (-want +got):\n%s", diff)
	}
}

// TestALogThatLosesEntriesIsSeenAndForgotten: the gap is held as long as it is in the
// last minutes.
func TestALogThatLosesEntriesIsSeenAndForgotten(t *testing.T) {
	c := newTellers(t)
	c.seconds(20, c.candidate(10, 10))
	c.losses()
	c.seconds(60, c.candidate(10, 7))
	got := c.hub.Losses(key).Revisions
	if len(got) != 1 || got[0].Kind != LogLacks || got[0].Revision != r2 || got[0].Missing != 180 || got[0].Of < 600 {
		t.Errorf("losses %+v, want 180 of 700 or so that the log lacks", got)
	}
	c.seconds(190, c.candidate(10, 10))
	c.losses()
}

func TestALogThatSaysNothingIsSeen(t *testing.T) {
	c := newTellers(t)
	c.seconds(50, c.candidate(10, 0))
	c.losses() // a gateway may take its time to find a new controller
	c.seconds(30, c.candidate(10, 0))
	got := c.hub.Losses(key)
	if len(got.Revisions) != 1 || got.Revisions[0].Missing != got.Revisions[0].Of || !got.Logged.IsZero() {
		t.Errorf("losses %+v, want that the log lacks all", got)
	}
}

func TestRecordersThatSayNothingAreSeen(t *testing.T) {
	c := newTellers(t)
	log := func() { c.log(10, "safe-driver-2.5."+r2, 200) }
	c.seconds(40, log)
	got := c.hub.Losses(key).Revisions
	if len(got) != 1 || got[0].Kind != NoRecorder || got[0].Missing != got[0].Of || got[0].Of < 200 {
		t.Errorf("losses %+v, want a revision without a recorder", got)
	}
	c.candidate(0, 0)()
	c.seconds(20, log)
	if got = c.hub.Losses(key).Revisions; len(got) != 1 || got[0].Kind != RecordersLack {
		t.Errorf("losses %+v, want recorders that lack requests", got)
	}
}

// TestNoFalseLosses: what only looks like a loss.
func TestNoFalseLosses(t *testing.T) {
	candidate, stable := "safe-driver-2.5."+r2, "safe-driver-2.5."+r1
	for name, play := range map[string]func(c *tellers){
		"a burst whose log is still under way": func(c *tellers) {
			c.seconds(20, c.candidate(1, 1))
			c.candidate(5000, 0)()
		},
		"a burst whose batch is still under way": func(c *tellers) {
			c.seconds(20, c.candidate(1, 1))
			c.candidate(0, 5000)()
		},
		"a burst at the beginning of the window": func(c *tellers) {
			c.seconds(5, c.candidate(1, 1))
			c.seconds(1, c.candidate(0, 500)) // the first sample is taken here
			c.seconds(1, c.candidate(500, 0))
			c.seconds(20, c.candidate(1, 1))
		},
		"requests that reached nobody": func(c *tellers) {
			c.seconds(20, func() {
				c.candidate(10, 10)()
				c.log(10, candidate, 503)
				c.log(10, candidate, 0)
				c.log(3, candidate, 200, func(e *data.HTTPAccessLogEntry) {
					e.CommonProperties.ResponseFlags.DownstreamConnectionTermination = true
				})
			})
		},
		"refused by the gateway itself": func(c *tellers) {
			c.seconds(20, func() { c.candidate(10, 10)(); c.log(10, candidate, 413) })
		},
		"answered by stable": func(c *tellers) {
			c.seconds(20, func() {
				c.candidate(10, 10)()
				for _, how := range []string{"stable", "unready", "handed-over"} {
					c.log(10, candidate, 200, func(e *data.HTTPAccessLogEntry) { e.Response.ResponseHeaders[wire.FallbackHeader] = how })
				}
			})
		},
		"tried again by the gateway": func(c *tellers) {
			c.seconds(20, func() {
				c.candidate(20, 0)()
				c.log(10, candidate, 200, func(e *data.HTTPAccessLogEntry) { e.CommonProperties.UpstreamRequestAttemptCount = 2 })
			})
		},
		"by header and by cookie": func(c *tellers) {
			c.seconds(20, func() {
				c.candidate(1, 1)()
				c.log(20, "safe-driver-2.direct."+r2, 200)
				c.log(20, "safe-driver-2.sticky."+r2, 200)
			})
		},
		"copies": func(c *tellers) { // the log and the recorders count none
			c.seconds(20, func() {
				c.log(10, "safe-driver-2.4."+r1, 200)
				a, b := c.recorder("a", r1), c.recorder("b", r2)
				a.Served[4] += 10
				b.Frames = []wire.Frame{answered(fmt.Sprint(c.now.Unix()), 4, true, .1)}
				c.tell(a)
				c.tell(b)
			})
		},
		"an epoch that this hub does not know": func(c *tellers) { // routed before it was the leader
			c.seconds(20, func() {
				b := c.recorder("b", r2)
				b.Served[3] += 50
				c.candidate(1, 1)()
			})
		},
		"recorders that start anew": func(c *tellers) {
			c.seconds(20, c.candidate(10, 10))
			c.log(3, candidate, 200) // of a batch that was never sent
			b := c.recorder("b", r2)
			b.Boot, b.Seq, b.Served = "2", 0, map[uint32]uint64{}
			c.seconds(20, c.candidate(10, 10))
		},
		"another pod": func(c *tellers) {
			c.seconds(10, c.candidate(10, 10))
			c.seconds(10, func() {
				c.candidate(5, 10)()
				b := c.recorder("new", r2)
				b.Served[5] += 5
				c.tell(b)
			})
		},
		"stable beside it": func(c *tellers) {
			c.seconds(20, func() {
				c.candidate(1, 1)()
				a := c.recorder("a", r1)
				a.Served[5] += 9
				c.tell(a)
				c.log(9, stable, 200)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newTellers(t)
			play(c)
			for _, l := range c.hub.Losses(key).Revisions {
				if name != "recorders that start anew" || 20*l.Missing > l.Of {
					t.Errorf("taken for a loss: %+v", l)
				}
			}
		})
	}
}

// TestFailoverIsNoLoss: recorders and gateway come to the new leader one after the
// other, and tell in one piece what was served while nobody listened.
func TestFailoverIsNoLoss(t *testing.T) {
	for name, gatewayFirst := range map[string]bool{"recorders first": false, "gateway first": true} {
		t.Run(name, func(t *testing.T) {
			old := newTellers(t)
			old.seconds(20, old.candidate(10, 10))
			c := newTellers(t)
			c.who = old.who
			b := c.recorder("b", r2)
			stale := *b // made while the old leader lived, sent until somebody takes it
			stale.Served, stale.Seq = maps.Clone(b.Served), b.Seq+1
			b.Seq++
			come := func() {
				c.hub.Take(&stale)
				c.candidate(150, 0)() // what was served meanwhile
			}
			if gatewayFirst {
				c.seconds(12, c.candidateUnheard(10))
				come()
			} else {
				come()
				c.seconds(12, c.candidate(10, 0))
			}
			c.seconds(20, func() { c.candidate(10, 10)(); c.losses() })
			c.seconds(30, c.candidate(10, 5))
			if got := c.hub.Losses(key).Revisions; len(got) != 1 || got[0].Kind != LogLacks {
				t.Errorf("losses %+v, want those that came after the fail-over", got)
			}
		})
	}
}

// candidateUnheard is a second in which only the gateway tells.
func (c *tellers) candidateUnheard(n int) func() {
	return func() { c.log(n, "safe-driver-2.5."+r2, 200) }
}

// TestDroppedAnswersAreChargedOnce also when the batch that tells of them has no
// frames, or speaks of no epoch yet.
func TestDroppedAnswersAreChargedOnce(t *testing.T) {
	c := newTellers(t)
	source := c.hub.endpoint(key).source
	dropped := func() uint64 { return epochOf(t, source, 5).Arms[judge.Candidate].Dropped }
	b := c.recorder("b", r2)
	b.Dropped = 30
	c.tell(b) // no epoch to charge
	if n := dropped(); n != 0 {
		t.Errorf("%d dropped, want none yet", n)
	}
	b.Served[5], b.Dropped = 40, 50
	c.tell(b)
	c.tell(b)
	if n := dropped(); n != 50 {
		t.Errorf("%d dropped, want 50", n)
	}
	c.seconds(10, c.candidate(10, 10))
	c.seconds(20, func() {
		b.Frames = []wire.Frame{answered("x", 5, false, .1)}
		b.Dropped++
		c.candidate(2, 2)()
	})
	got := c.hub.Losses(key).Revisions
	if len(got) != 1 || got[0].Kind != AnswersDropped || got[0].Missing != 20 || got[0].Of < 30 {
		t.Errorf("losses %+v, want 20 dropped answers of 40 or so", got)
	}
}

func TestWhatTheHubRemembersIsBounded(t *testing.T) {
	c := newTellers(t)
	for i := range uint32(mostArms + 50) {
		revision := fmt.Sprintf("safe-driver-r%d", i+10)
		c.hub.Arms(key, i+10, r1, revision, false)
		c.log(1, fmt.Sprintf("safe-driver-%d.%d.%s", i, i+10, revision), 200)
		c.tell(c.recorder(fmt.Sprint("p", i), revision))
		*c.now = c.now.Add(time.Minute)
	}
	e := c.hub.endpoint(key)
	if len(e.arms) > mostArms || len(e.meter.totals) > mostMeasured || len(e.served) > 70 {
		t.Errorf("%d epochs, %d revisions, %d recorders are remembered", len(e.arms), len(e.meter.totals), len(e.served))
	}
}

// TestEvidenceHoldsNoAnswer: what goes into a record that viewers may read is counts
// and sums, no label, no id and no body.
func TestEvidenceHoldsNoAnswer(t *testing.T) {
	c := newTellers(t)
	for pod, revision := range map[string]string{"a": r1, "b": r2} {
		b := c.recorder(pod, revision)
		for _, epoch := range []uint32{4, 5} {
			f := answered("private-id", epoch, epoch == 4 && revision == r2, .125, .625)
			f.Answer.Labels = []string{"private-label"}
			b.Frames = append(b.Frames, f)
		}
		c.tell(b)
	}
	e := c.hub.endpoint(key).source.Snapshot()
	raw, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if n := epochOf(t, c.hub.endpoint(key).source, 4).Shadow.N; n != 1 {
		t.Fatalf("%d pairs were counted, want 1: the test would prove nothing", n)
	}
	if text := string(raw); strings.Contains(text, "private") {
		t.Errorf("the evidence holds what was answered: %s", text)
	}
}
