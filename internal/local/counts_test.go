package local

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/proxy"
	"github.com/serin-dev/serin/internal/split"
)

func TestRequestCounts(t *testing.T) {
	var c requestCounts
	if got := c.counted(); got != nil {
		t.Errorf("before any request: %v, want nothing", got)
	}
	for _, x := range []proxy.Exchange{
		{Revision: "m-r1", Arm: split.Stable, Status: 200},
		{Revision: "m-r1", Arm: split.Stable, Status: 200},
		{Revision: "m-r2", Arm: split.Candidate, Status: 500, FellBack: true},
		{Revision: "m-r2", Arm: split.Candidate, Failure: proxy.Reset, FellBack: true},
		{Revision: "m-r2", Arm: split.Candidate, Status: 200, Failure: proxy.ClientGone},
		{Revision: "m-r2", Arm: split.Candidate, Status: 99999},
	} {
		c.add(&x)
	}
	want := []engine.RequestCount{
		{Arm: "candidate", Revision: "m-r2", Code: "500", N: 1}, {Arm: "candidate", Revision: "m-r2", Code: "gone", N: 1},
		{Arm: "candidate", Revision: "m-r2", Code: "none", N: 2}, {Arm: "stable", Revision: "m-r1", Code: "200", N: 2},
	}
	less := func(a, b engine.RequestCount) bool { return fmt.Sprint(a) < fmt.Sprint(b) }
	if diff := cmp.Diff(want, c.counted(), cmpopts.SortSlices(less)); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if n := c.fellBack.Load(); n != 2 {
		t.Errorf("%d fell back, want 2", n)
	}
}

// TestRequestCountsAreBounded: however many revisions there were, the newest are
// counted, and no count is lost when several are new at once.
func TestRequestCountsAreBounded(t *testing.T) {
	var c requestCounts
	for i := range 3 * revisions {
		c.add(&proxy.Exchange{Revision: fmt.Sprint("m-r", i), Status: 200})
	}
	if n := len(c.counted()); n != revisions {
		t.Errorf("%d revisions are kept, want %d", n, revisions)
	}
	const many = 8
	var together sync.WaitGroup
	for range many {
		together.Go(func() { c.add(&proxy.Exchange{Revision: "new", Status: 200}) })
	}
	together.Wait()
	for _, r := range c.counted() {
		if r.Revision == "new" && r.N == many {
			return
		}
	}
	t.Errorf("the newest revision is not counted whole: %v", c.counted())
}
