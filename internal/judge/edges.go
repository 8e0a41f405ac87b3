package judge

import (
	"fmt"
	"math"
)

// The edge of a quantile is frozen at calibration. Where production's latency is
// another one afterwards, with another load on the machine, all of its requests may
// be beyond that edge, or none: nothing is told from there. So the frozen edge has most
// of a quantile's chance of a wrong pass, and all buckets' edges together the rest, in
// equal shares: whichever of them is production's quantile now may be used.
const (
	frozenShare = .9
	otherShare  = (1 - frozenShare) / HistogramBuckets
	// movedOdds is how far the odds that production is beyond the frozen edge may be
	// from those of its quantile.
	movedOdds = 4
	// knownEvents is the number of slow requests expected before production's present
	// quantile counts as known.
	knownEvents = 5
)

// quantileTest is the test of one quantile for promotion.
type quantileTest struct {
	q        float64
	edge     int     // on which it stands now
	share    float64 // of the chance of a wrong pass
	moved    bool    // the edge is not the frozen one
	evidence float64
}

// quantileTest tests at the frozen edge and, where production's quantile has moved
// away from it, at the edge where it is. The choice may depend on the data: each edge
// has its own share.
func (s *sums) quantileTest(stable *Histogram, q float64, frozen, down int) quantileTest {
	t := quantileTest{q: q, edge: frozen, share: frozenShare}
	t.evidence = t.logEvidence(s, down)
	n := float64(stable.Total())
	odds := func(share float64) float64 { return share / (1 - share) }
	is, want := odds(float64(stable.AtLeast(frozen))/n), odds(1-q)
	edge := nearestEdge(stable, q)
	if !t.known(stable) || edge == frozen || is <= movedOdds*want && is >= want/movedOdds {
		return t
	}
	now := quantileTest{q: q, edge: edge, share: otherShare, moved: true}
	now.evidence = now.logEvidence(s, down)
	return now
}

func (t quantileTest) logEvidence(s *sums, down int) float64 {
	return logRatio(s.slower(t.edge, down), 1, promoteGrid) + math.Log(t.share)
}

// least is the number of production's requests from which its quantile is known.
func (t quantileTest) least() float64 { return knownEvents / (1 - t.q) }

func (t quantileTest) known(stable *Histogram) bool { return float64(stable.Total()) >= t.least() }

// fewRequests of the candidate say nothing of how often it is slow: until then it is
// taken to be like production.
const fewRequests = 20

// left estimates the candidate's further requests until the test passes, if both arms
// go on as they are: infinite if it never would. It stands on the growth of the best
// bet of the grid at the greatest weight.
func (t quantileTest) left(s *sums, h *[2]Histogram, down int, bar float64) float64 {
	if len(s.strata) == 0 {
		return math.Inf(1)
	}
	w := s.strata[len(s.strata)-1].w
	stable, candidate := t.exceedances(h, down)
	best := math.Inf(1)
	for _, g := range promoteGrid {
		grows := candidate*math.Log(g) - (w*candidate+(1-w)*stable)/w*math.Log(w*g+1-w)
		if !(grows > 1e-9) {
			continue
		}
		has := logRatio(s.slower(t.edge, down), 1, []float64{g}) - math.Log(float64(len(promoteGrid))) + math.Log(t.share)
		best = math.Min(best, math.Max(bar-has, 0)/grows)
	}
	return best
}

// exceedances are the shares of production's requests beyond the edge, and of the
// candidate's beyond the edge shifted by the margin.
func (t quantileTest) exceedances(h *[2]Histogram, down int) (stable, candidate float64) {
	like := &h[Candidate]
	if like.Total() < fewRequests {
		like = &h[Stable]
	}
	return part(h[Stable].AtLeast(t.edge), h[Stable].Total()), part(like.AtLeast(t.edge+down), like.Total())
}

// stuck says why further requests would not decide the test.
func (t quantileTest) stuck(h *[2]Histogram, down int) string {
	stable, candidate := t.exceedances(h, down)
	own := part(h[Stable].AtLeast(t.edge+down), h[Stable].Total())
	edge, far := short(EdgeOf(t.edge)), short(EdgeOf(t.edge+down))
	if own >= stable*promoteGrid[0] {
		return fmt.Sprintf("%.3g %% of production's own requests are beyond %s and %.3g %% beyond %s, so that nothing is told apart there", 100*stable, edge, 100*own, far)
	}
	return fmt.Sprintf("%.3g %% of the candidate's requests are beyond %s, which is not less than the %.3g %% of production's beyond %s", 100*candidate, far, 100*stable, edge)
}
