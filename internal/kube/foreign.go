package kube

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/serin-dev/serin/internal/observe/mesh"
)

// Somebody else's VirtualService: of its HTTP routes those are Serin's whose names
// begin with serin/NAMESPACE/NAME/, in one block; nothing else is touched. Where no
// route has such a name the block comes last. A route that its owner named so is a
// place holder: Serin's routes take its place and its match, and it comes back when
// the endpoint goes.

// routePrefix begins the names of an endpoint's routes.
func routePrefix(k Key) string { return mesh.RouteName(k, "") }

// toMend is why routes cannot be put in force until a person has mended something.
type toMend string

func (e toMend) Error() string { return string(e) }

func mend(format string, args ...any) error { return toMend(fmt.Sprintf(format, args...)) }

// block is where an endpoint's routes stand in a list of routes, and how many they are.
type block struct{ at, n int }

func parseRoutes(raw []any) ([]*networking.HTTPRoute, error) {
	out := make([]*networking.HTTPRoute, 0, len(raw))
	for i := range raw {
		text, err := json.Marshal(raw[i])
		if err != nil {
			return nil, fmt.Errorf("reading spec.http[%d]: %w", i, err)
		}
		h := &networking.HTTPRoute{}
		if err := h.UnmarshalJSON(text); err != nil {
			return nil, fmt.Errorf("reading spec.http[%d]: %w", i, err)
		}
		out = append(out, h)
	}
	return out, nil
}

func rawRoutes(routes []*networking.HTTPRoute) ([]any, error) {
	out := make([]any, 0, len(routes))
	for _, h := range routes {
		text, err := h.MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("writing route %q: %w", h.Name, err)
		}
		var v map[string]any
		if err := json.Unmarshal(text, &v); err != nil {
			return nil, fmt.Errorf("writing route %q: %w", h.Name, err)
		}
		out = append(out, v)
	}
	return out, nil
}

// find looks for an endpoint's routes. They must stand together: a block that is
// drawn together would jump over what its owner put between.
func find(routes []*networking.HTTPRoute, k Key) (block, error) {
	b := block{at: len(routes)}
	for i, h := range routes {
		if !strings.HasPrefix(h.Name, routePrefix(k)) {
			continue
		}
		if b.n > 0 && i != b.at+b.n {
			return b, mend("route %q does not stand beside %q: let routes whose names begin with %s follow each other, with none between", h.Name, routes[b.at].Name, routePrefix(k))
		}
		if b.n == 0 {
			b.at = i
		}
		b.n++
	}
	return b, nil
}

// stamped reports that Serin wrote a route.
func stamped(h *networking.HTTPRoute) bool {
	return slices.ContainsFunc(h.Route, func(d *networking.HTTPRouteDestination) bool {
		return d.GetHeaders().GetRequest().GetSet()[stampHeader] != ""
	})
}

// ofSerin reports that a route is one that Serin wrote for an endpoint.
func ofSerin(h *networking.HTTPRoute, k Key) bool {
	return strings.HasPrefix(h.Name, routePrefix(k)) && stamped(h)
}

// holders returns the place holders among routes.
func holders(routes []*networking.HTTPRoute, raw []any, k Key) (out []any, err error) {
	seen := map[string]bool{}
	for i, h := range routes {
		kind := strings.TrimPrefix(h.Name, routePrefix(k))
		switch {
		case stamped(h):
			continue
		case kind != weightedRoute && kind != directStable && kind != directCandidate:
			return nil, mend("route %q: names that begin with %s are Serin's: give it another name, or one of %s%s, %s, %s to let Serin's routes take its place", h.Name, routePrefix(k), routePrefix(k), weightedRoute, directStable, directCandidate)
		case seen[kind]:
			return nil, mend("route %q is there twice: keep one of them", h.Name)
		}
		seen[kind] = true
		out = append(out, raw[i])
	}
	return out, nil
}

// matchOf is what the weighted route among routes matches.
func matchOf(routes []*networking.HTTPRoute, k Key) []*networking.HTTPMatchRequest {
	for _, h := range routes {
		if h.Name == mesh.RouteName(k, weightedRoute) {
			return h.Match
		}
	}
	return nil
}

// planted is what somebody else's routes become: next, and what Serin's took the
// place of. kept is what they took the place of so far.
type planted struct {
	next, before []any
	was          block
}

func plant(http, kept []any, in RouteInput) (p planted, err error) {
	routes, err := parseRoutes(http)
	if err != nil {
		return p, err
	}
	if p.was, err = find(routes, in.Key); err != nil {
		return p, err
	}
	end := p.was.at + p.was.n
	mine := routes[p.was.at:end]
	if p.before, err = holders(mine, http[p.was.at:end], in.Key); err != nil {
		return p, err
	}
	if p.before == nil {
		p.before = kept
	}
	if in.Match = matchOf(mine, in.Key); p.was.n == 0 {
		taken, err := parseRoutes(kept)
		if err != nil {
			return p, err
		}
		in.Match = matchOf(taken, in.Key)
	}
	ours, err := rawRoutes(in.routes())
	p.next = slices.Concat(http[:p.was.at], ours, http[end:])
	return p, err
}

// uproot gives back what Serin's routes took the place of. Place holders that are there
// are back already. Istio refuses a VirtualService without any route: then they stay.
func uproot(http, before []any, others bool, k Key) ([]any, error) {
	routes, err := parseRoutes(http)
	if err != nil {
		return nil, err
	}
	at, rest := -1, []any{}
	for i, h := range routes {
		switch mine := strings.HasPrefix(h.Name, routePrefix(k)); {
		case !mine || !stamped(h):
			if mine {
				before = nil
			}
			rest = append(rest, http[i])
		case at < 0:
			at = len(rest)
		}
	}
	if at < 0 {
		return http, nil
	}
	if len(rest)+len(before) == 0 && !others {
		return http, nil
	}
	return slices.Insert(rest, at, before...), nil
}

// shadowedBy says which route before an endpoint's takes every request, so that none
// would reach Serin's; empty: none does.
func shadowedBy(routes []*networking.HTTPRoute, k Key) string {
	for i, h := range routes {
		if strings.HasPrefix(h.Name, routePrefix(k)) {
			return ""
		}
		if takesAll(h) {
			return fmt.Sprintf("spec.http[%d]%s takes every request before Serin's routes: move it below them, or name it %s to let them take its place", i, named(h), mesh.RouteName(k, weightedRoute))
		}
	}
	return ""
}

func named(h *networking.HTTPRoute) string {
	if h.Name == "" {
		return ""
	}
	return fmt.Sprintf(" (%q)", h.Name)
}

// takesAll reports whether a route matches whatever comes.
func takesAll(h *networking.HTTPRoute) bool {
	return len(h.Match) == 0 || slices.ContainsFunc(h.Match, func(m *networking.HTTPMatchRequest) bool {
		m = m.DeepCopy()
		m.Name, m.StatPrefix, m.IgnoreUriCase = "", "", false
		if m.Uri.GetPrefix() == "/" {
			m.Uri = nil
		}
		text, err := m.MarshalJSON()
		return err == nil && string(text) == "{}"
	})
}

// uncovered returns the first host of the document that a VirtualService does not
// serve. * in the document means whatever it serves.
func uncovered(want, have []string) string {
	for _, w := range want {
		if w != "*" && !slices.ContainsFunc(have, func(h string) bool {
			suffix, wild := strings.CutPrefix(h, "*")
			return h == w || wild && strings.HasSuffix(w, suffix) && len(w) > len(suffix)
		}) {
			return w
		}
	}
	return ""
}
