package mesh

import (
	"fmt"
	"testing"

	data "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/observe"
	"github.com/serin-dev/serin/internal/observe/wire"
)

func TestCountsTellRequestsByArmRevisionAndStatus(t *testing.T) {
	h, _, _ := testHub(t)
	weighted := "serin/abtesting/safe-driver/weighted"
	for range 3 {
		h.Log(entry(weighted, "safe-driver-2.5.safe-driver-r1", 200))
	}
	h.Log(entry(weighted, "safe-driver-2.5.safe-driver-r2", 0))
	h.Log(entry(weighted, "safe-driver-2.5.safe-driver-r2", 999)) // no status that HTTP knows
	h.Log(entry(weighted, "safe-driver-2.5.safe-driver-r2", 200, func(e *data.HTTPAccessLogEntry) { e.Response.ResponseHeaders[wire.FallbackHeader] = "stable" }))
	h.Log(entry(weighted, "safe-driver-2.5.safe-driver-r1", 0, func(e *data.HTTPAccessLogEntry) {
		e.CommonProperties.ResponseFlags.DownstreamConnectionTermination = true
	}))
	h.Log(entry("serin/abtesting/safe-driver/direct-candidate", "safe-driver-2.direct.safe-driver-r2", 500))
	h.Log(entry(weighted, "safe-driver-2.5.nobody", 500)) // a stamp that a client may write
	h.Take(&wire.Batch{Namespace: key.Namespace, Endpoint: key.Name, Revision: "safe-driver-r2", Pod: "p", Boot: "b", Seq: 1, Frames: []wire.Frame{answered("a", 4, true, .1)}})
	want := Counts{FellBack: 1, Shadowed: 1, Requests: []RequestCount{
		{judge.Stable, "safe-driver-r1", "200", 3}, {judge.Stable, "safe-driver-r1", "gone", 1},
		{judge.Candidate, "safe-driver-r2", "200", 1}, {judge.Candidate, "safe-driver-r2", "500", 1}, {judge.Candidate, "safe-driver-r2", "none", 2},
	}}
	if diff := cmp.Diff(want, h.Counts(key)); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if got := h.Counts(Key{"abtesting", "other"}); len(got.Requests) > 0 {
		t.Errorf("counts of an endpoint that is not watched: %+v", got)
	}
}

// However many versions there ever were, the counts stay bounded.
func TestCountsForgetOldRevisions(t *testing.T) {
	var c counts
	for i := range 3 * mostRevisions {
		for status := range 2000 {
			c.add(judge.Candidate, fmt.Sprintf("r%d", i), &observe.Event{Status: status})
		}
	}
	if most := mostRevisions * (statusMost - statusLeast + 2); len(c.requests) > most || len(c.order) != mostRevisions {
		t.Errorf("%d lines of %d revisions, want at most %d of %d", len(c.requests), len(c.order), most, mostRevisions)
	}
	if _, kept := c.requests[counted{judge.Candidate, fmt.Sprintf("r%d", 3*mostRevisions-1), "200"}]; !kept {
		t.Error("the newest revision is not counted")
	}
}
