package kube

import (
	"fmt"
	"regexp"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

// Istio has no weighted routing that remembers a client, so cookies do: who drew
// the candidate keeps it for the whole rollout, who drew stable keeps it for one
// step and then draws again with the chance (w2-w1)/(1-w1), so that the
// candidate's share of clients becomes w2. Only draws are judged, and of those only
// the ones with the odds that the judge takes for the epoch: at the first weight
// clients without a cookie, at later ones those that draw again.
const (
	stickyEpoch   = "sticky" // in the stamp: served, not judged
	cookieSeconds = 7 * 24 * 3600
)

// sticky reports whether clients are remembered: only under weights.
func (in RouteInput) sticky() bool {
	r := in.Routing
	return in.Cookie != "" && r.Candidate != "" && r.WeightBP > 0 && r.WeightBP < wholeBP && !r.HandOver
}

// value is what the cookie says of a client.
func (in RouteInput) value(revision string) string {
	if revision == in.Routing.Candidate {
		return in.Routing.Rollout + ".candidate"
	}
	return fmt.Sprintf("%s.stable.%d", in.Routing.Rollout, in.Routing.Step)
}

// bake makes a destination set the cookie.
func (in RouteInput) bake(d *networking.HTTPRouteDestination) {
	revision, _, _ := strings.Cut(d.Destination.Host, ".")
	d.Headers.Response.Add = map[string]string{"set-cookie": fmt.Sprintf("%s=%s; Path=/; Max-Age=%d; HttpOnly; SameSite=Lax", in.Cookie, in.value(revision), cookieSeconds)}
}

// cookies are the routes of clients that drew before.
func (in RouteInput) cookies() []*networking.HTTPRoute {
	r := in.Routing
	candidate, stable, redraw := in.route("sticky-candidate"), in.route("sticky-stable"), in.route("sticky-redraw")
	candidate.Match = in.holds(regexp.QuoteMeta(in.value(r.Candidate)))
	candidate.Route = []*networking.HTTPRouteDestination{in.destination(r.Candidate, stickyEpoch, wholeBP)}
	stable.Match = in.holds(regexp.QuoteMeta(in.value(r.Stable)))
	stable.Route = []*networking.HTTPRouteDestination{in.destination(r.Stable, stickyEpoch, wholeBP)}
	redraw.Match = in.holds(regexp.QuoteMeta(r.Rollout+".stable.") + "[0-9]+")
	redraw.Route = in.split(fmt.Sprint(r.Epoch), (r.WeightBP-in.BeforeBP)*wholeBP/(wholeBP-in.BeforeBP))
	return []*networking.HTTPRoute{candidate, stable, redraw}
}

// holds matches a client whose cookie has this value. Istio's patterns are RE2 and
// match the whole header.
func (in RouteInput) holds(pattern string) []*networking.HTTPMatchRequest {
	return in.within("cookie", &networking.StringMatch{MatchType: &networking.StringMatch_Regex{Regex: "(.*; *)?" + regexp.QuoteMeta(in.Cookie) + "=" + pattern + "(;.*)?"}})
}
