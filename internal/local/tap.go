package local

import (
	"sync/atomic"

	"github.com/serin-dev/serin/internal/contract"
	"github.com/serin-dev/serin/internal/observe"
	"github.com/serin-dev/serin/internal/proxy"
	"github.com/serin-dev/serin/internal/split"
)

// tap hands what the gateway saw to the collector.
type tap struct {
	collector atomic.Pointer[observe.Collector]
	counts    requestCounts
}

// Primary records one client request.
func (t *tap) Primary(x *proxy.Exchange) {
	t.counts.add(x)
	e := eventOf(x)
	t.collector.Load().Primary(&e)
}

// Pair records one shadowed request.
func (t *tap) Pair(primary, shadow *proxy.Exchange) {
	a, b := eventOf(primary), eventOf(shadow)
	t.collector.Load().Pair(&a, &b)
}

// Again records one request that stable answered twice.
func (t *tap) Again(primary, repeat *proxy.Exchange) {
	a, b := eventOf(primary), eventOf(repeat)
	t.collector.Load().Again(&a, &b)
}

func eventOf(x *proxy.Exchange) observe.Event {
	gone := x.Failure == proxy.ClientGone
	unjudged := x.Direct || x.Spared // a spared request says nothing of either arm
	return observe.Event{
		Epoch: x.Epoch, Candidate: x.Arm == split.Candidate, Direct: unjudged, FellBack: x.FellBack, ClientGone: gone,
		WeightBP: x.WeightBP, Keyed: x.Keyed, Key: x.Key, Bucket: split.BucketOf(x.Key), Status: x.Status, Failed: !gone && (x.Failure != proxy.None || x.Status >= 500), Latency: x.Latency,
		Meta: contract.Meta{Status: x.Status, ContentType: x.ContentType, ContentEncoding: x.ContentEncoding, InferenceHeaderLength: x.InferenceHeaderLength, Truncated: x.BodyTruncated},
		Body: x.Body,
	}
}
