package kube

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/serin-dev/serin/internal/observe/mesh"
	"github.com/serin-dev/serin/internal/observe/wire"
	"github.com/serin-dev/serin/internal/rollout"
	"github.com/serin-dev/serin/internal/spec"
)

// wholeBP is 100 %; Istio's weights are relative, so basis points serve as they are.
const wholeBP = 10000

// RouteInput is all that the routes of an endpoint are made of.
type RouteInput struct {
	Key     Key
	Owner   metav1.OwnerReference
	Hosts   []string
	Gateway string
	Header  HeaderRoute
	Cookie  string // sticky; empty: a coin per request
	Timeout time.Duration
	Routing rollout.Routing
	// BeforeBP is the weight of the step before: clients that drew stable then
	// draw again, so that the candidate's share of clients becomes the new weight.
	BeforeBP int
	// Match narrows every route, where they stand in somebody else's VirtualService:
	// what the route matched that they took the place of.
	Match []*networking.HTTPMatchRequest
}

// Kinds of routes, as their names end.
const (
	directStable    = "direct-stable"
	directCandidate = "direct-candidate"
	weightedRoute   = "weighted"
)

// HeaderRoute reaches either arm directly.
type HeaderRoute struct{ Name, Stable, Candidate string }

func routeInput(k Key, owner metav1.OwnerReference, r spec.Resolved, routing rollout.Routing) RouteInput {
	t := r.Endpoint.Spec.Traffic
	return RouteInput{
		Key: k, Owner: owner, Hosts: t.Hosts, Gateway: t.Gateway, Header: HeaderRoute{t.Header.Name, t.Header.Stable, t.Header.Candidate},
		Cookie: t.Sticky.Cookie, Timeout: r.Traffic.Timeout, Routing: routing, BeforeBP: routing.BeforeBP,
	}
}

// MakeVirtualService returns the routes of an endpoint: header routes first,
// then cookies, then the weighted route.
func MakeVirtualService(in RouteInput) *istio.VirtualService {
	vs := &istio.VirtualService{
		TypeMeta: metav1.TypeMeta{APIVersion: "networking.istio.io/v1", Kind: "VirtualService"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: in.Key.Namespace, Name: in.Key.Name, OwnerReferences: []metav1.OwnerReference{in.Owner},
			Labels: map[string]string{LabelApp: in.Key.Name, LabelEndpoint: in.Key.Name, LabelManagedBy: FieldManager},
		},
	}
	vs.Spec.Hosts = in.Hosts
	if in.Gateway != "" {
		vs.Spec.Gateways = []string{in.Gateway}
	}
	vs.Spec.Http = in.routes()
	return vs
}

func (in RouteInput) routes() []*networking.HTTPRoute {
	var out []*networking.HTTPRoute
	r := in.Routing
	if in.Header.Name != "" {
		out = append(out, in.direct(directStable, in.Header.Stable, r.Stable))
		if r.Candidate != "" {
			out = append(out, in.direct(directCandidate, in.Header.Candidate, r.Candidate))
		}
	}
	if in.sticky() {
		out = append(out, in.cookies()...)
	}
	return append(out, in.weighted())
}

// within narrows what the routes match anyway to requests with this header.
func (in RouteInput) within(header string, is *networking.StringMatch) (out []*networking.HTTPMatchRequest) {
	for _, m := range in.Match {
		m = m.DeepCopy()
		if m.Headers == nil {
			m.Headers = map[string]*networking.StringMatch{}
		}
		m.Headers[header] = is
		out = append(out, m)
	}
	if out == nil {
		out = append(out, &networking.HTTPMatchRequest{Headers: map[string]*networking.StringMatch{header: is}})
	}
	return out
}

func exactly(v string) *networking.StringMatch {
	return &networking.StringMatch{MatchType: &networking.StringMatch_Exact{Exact: v}}
}

// direct is a header route: served, never judged, whatever the weights.
func (in RouteInput) direct(kind, value, revision string) *networking.HTTPRoute {
	h := in.route(kind)
	h.Match = in.within(in.Header.Name, exactly(value))
	h.Route = []*networking.HTTPRouteDestination{in.destination(revision, directEpoch, wholeBP)}
	return h
}

// weighted splits what asked for no arm, and copies it in a shadow step.
func (in RouteInput) weighted() *networking.HTTPRoute {
	r := in.Routing
	h, epoch := in.route(weightedRoute), fmt.Sprint(r.Epoch)
	h.Match = in.Match
	if in.sticky() && in.BeforeBP > 0 {
		epoch = stickyEpoch
	}
	weight := r.WeightBP
	if r.Candidate == "" || r.HandOver {
		weight = 0
	}
	h.Route = in.split(epoch, weight)
	if r.ShadowBP > 0 && r.Candidate != "" && !r.HandOver {
		h.Mirrors = []*networking.HTTPMirrorPolicy{{
			Destination: in.address(r.Candidate), Percentage: &networking.Percent{Value: float64(r.ShadowBP) / 100},
		}}
	}
	return h
}

// split sends weight to the candidate and the rest to stable.
func (in RouteInput) split(epoch string, weight int) (out []*networking.HTTPRouteDestination) {
	if weight < wholeBP {
		out = append(out, in.destination(in.Routing.Stable, epoch, wholeBP-weight))
	}
	if weight > 0 {
		out = append(out, in.destination(in.Routing.Candidate, epoch, weight))
	}
	if in.sticky() {
		for _, d := range out {
			in.bake(d)
		}
	}
	return out
}

func (in RouteInput) route(kind string) *networking.HTTPRoute {
	h := &networking.HTTPRoute{Name: mesh.RouteName(in.Key, kind), Retries: &networking.HTTPRetry{Attempts: 0}}
	if in.Timeout > 0 {
		h.Timeout = durationpb.New(in.Timeout)
	}
	return h
}

func (in RouteInput) address(revision string) *networking.Destination {
	return &networking.Destination{Host: serviceHost(in.Key.Namespace, revision), Port: &networking.PortSelector{Number: servicePort}}
}

// destination carries the stamp, so that every request says which rollout, which
// weight epoch and which revision it was routed by.
func (in RouteInput) destination(revision, epoch string, weightBP int) *networking.HTTPRouteDestination {
	stamp := map[string]string{stampHeader: fmt.Sprintf("%s.%s.%s", in.Routing.Rollout, epoch, revision)}
	// What recorders say to each other is not for clients to say.
	ours := []string{wire.HandedByHeader, wire.FallbackHeader}
	return &networking.HTTPRouteDestination{
		Destination: in.address(revision), Weight: int32(weightBP),
		Headers: &networking.Headers{Request: &networking.Headers_HeaderOperations{Set: stamp, Remove: ours}, Response: &networking.Headers_HeaderOperations{Set: stamp}},
	}
}
