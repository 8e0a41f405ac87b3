package kube

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/observe/mesh"
)

// sidecarName is the mesh's own container, where a template names it.
const sidecarName = "istio-proxy"

// scorerOf reads from a Deployment how its scorer runs, as a document says it, and what
// a document cannot say.
func scorerOf(d *appsv1.Deployment, port int32) (s v1alpha1.Scorer, notes []string) {
	pod := d.Spec.Template.Spec
	main := mainContainer(pod, port)
	s = v1alpha1.Scorer{Version: "1", Image: main.Image, Port: port}
	t := v1alpha1.Template{
		Resources: main.Resources, EnvFrom: main.EnvFrom, VolumeMounts: main.VolumeMounts, ReadinessProbe: main.ReadinessProbe, LivenessProbe: main.LivenessProbe,
		ImagePullSecrets: pod.ImagePullSecrets, Volumes: pod.Volumes, NodeSelector: pod.NodeSelector, Tolerations: pod.Tolerations, Affinity: pod.Affinity,
	}
	if pod.ServiceAccountName != "default" {
		t.ServiceAccountName = pod.ServiceAccountName
	}
	for _, e := range main.Env {
		switch {
		case e.Name == "PORT":
			notes = append(notes, "env PORT is set by Serin for the versions to come")
		case e.ValueFrom != nil:
			t.Env = append(t.Env, e)
		default:
			s.Env = append(s.Env, v1alpha1.EnvVar{Name: e.Name, Value: e.Value})
		}
	}
	s.Template = &t
	if len(main.Command)+len(main.Args) > 0 {
		notes = append(notes, "command and args are not part of a document: put them into the image of the next version")
	}
	if len(pod.InitContainers) > 0 {
		notes = append(notes, "init containers are not part of a document: the next version runs without them")
	}
	for _, c := range pod.Containers {
		if c.Name != main.Name && c.Name != sidecarName {
			notes = append(notes, fmt.Sprintf("container %s is not part of a document: the next version runs without it", c.Name))
		}
	}
	return s, append(notes, "the pods of the next version run as a user that is not root, without added rights: see that its image can")
}

// mainContainer is the one that names the port, else the first that is not the mesh's.
func mainContainer(pod corev1.PodSpec, port int32) corev1.Container {
	all := slices.DeleteFunc(slices.Clone(pod.Containers), func(c corev1.Container) bool { return c.Name == sidecarName })
	for _, c := range all {
		if slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.ContainerPort == port }) {
			return c
		}
	}
	if len(all) == 0 {
		return corev1.Container{}
	}
	return all[0]
}

// portOf is where pods of a Deployment answer, as its Service says.
func portOf(d *appsv1.Deployment, s *corev1.Service) (int32, error) {
	ports := s.Spec.Ports
	i := slices.IndexFunc(ports, func(p corev1.ServicePort) bool { return strings.HasPrefix(p.Name, portName) })
	if i < 0 && len(ports) != 1 {
		return 0, fail(ErrInvalid, "service %q has %d ports and none is named %s: write the document by hand, with spec.scorer.port", s.Name, len(ports), portName)
	}
	p := ports[max(i, 0)]
	if name := p.TargetPort.StrVal; name != "" {
		for _, c := range d.Spec.Template.Spec.Containers {
			for _, have := range c.Ports {
				if have.Name == name {
					return have.ContainerPort, nil
				}
			}
		}
		return 0, fail(ErrInvalid, "service %q goes to port %q, which no container of deployment %q names", s.Name, name, d.Name)
	}
	return cmp.Or(p.TargetPort.IntVal, p.Port), nil
}

// goesTo reports whether a host in a route means a Service of the namespace.
func goesTo(host, namespace, service string) bool {
	return host == service || host == service+"."+namespace || strings.HasPrefix(host, service+"."+namespace+".svc")
}

// Rename is a route that becomes a place holder.
type Rename struct {
	VirtualService string `json:"virtualService"`
	Index          int    `json:"index"`
	Old            string `json:"old,omitempty"`
	New            string `json:"new"`
}

// renames finds the routes that Serin's are to take the place of: the last one to the
// Service, and those by the header that choose an arm.
func renames(routes []*networking.HTTPRoute, k Key, vs, service string, header HeaderRoute) (out []Rename, err error) {
	add := func(i int, kind string) {
		if !slices.ContainsFunc(out, func(r Rename) bool { return r.New == mesh.RouteName(k, kind) }) {
			out = append(out, Rename{vs, i, routes[i].Name, mesh.RouteName(k, kind)})
		}
	}
	last := -1
	for i, h := range routes {
		switch value, all := chosen(h, header.Name); {
		case all && value == header.Stable:
			add(i, directStable)
		case all && value == header.Candidate:
			add(i, directCandidate)
		case slices.ContainsFunc(h.Route, func(d *networking.HTTPRouteDestination) bool {
			return goesTo(d.Destination.GetHost(), k.Namespace, service)
		}):
			last = i
		}
	}
	if last < 0 {
		return nil, nil
	}
	for _, d := range routes[last].Route {
		if !goesTo(d.Destination.GetHost(), k.Namespace, service) && (d.Weight > 0 || len(routes[last].Route) == 1) {
			return nil, fail(ErrInvalid, "spec.http[%d] of VirtualService %q sends requests to %s besides %s: end that split first, so that what runs there is one version", last, vs, d.Destination.GetHost(), service)
		}
	}
	add(last, weightedRoute)
	slices.SortFunc(out, func(a, b Rename) int { return a.Index - b.Index })
	return out, nil
}

// chosen is the value of the header that a route asks for in each of its matches.
func chosen(h *networking.HTTPRoute, header string) (value string, all bool) {
	for _, m := range h.Match {
		v := m.Headers[header].GetExact()
		if v == "" || value != "" && v != value {
			return "", false
		}
		value = v
	}
	return value, value != ""
}

// renamed are the routes with the names of place holders, and what they become.
func renamed(http []any, list []Rename, in RouteInput) ([]any, error) {
	next := slices.Clone(http)
	for _, r := range list {
		h := map[string]any{}
		old, _ := http[r.Index].(map[string]any)
		for name, v := range old {
			h[name] = v
		}
		h["name"] = r.New
		next[r.Index] = h
	}
	p, err := plant(next, nil, in)
	if err != nil {
		return nil, fail(ErrInvalid, "%v", err)
	}
	routes, err := parseRoutes(p.next)
	if err != nil {
		return nil, err
	}
	if by := shadowedBy(routes, in.Key); by != "" {
		return nil, fail(ErrInvalid, "%s", by)
	}
	return next, nil
}

// adoptionText writes the document.
func adoptionText(k Key, spec v1alpha1.ScoringEndpointSpec) ([]byte, error) {
	text, err := yaml.Marshal(struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        map[string]string            `json:"metadata"`
		Spec            v1alpha1.ScoringEndpointSpec `json:"spec"`
	}{metav1.TypeMeta{APIVersion: v1alpha1.APIVersion, Kind: v1alpha1.Kind}, map[string]string{"name": k.Name, "namespace": k.Namespace}, spec})
	if err != nil {
		return nil, fmt.Errorf("writing the document: %w", err)
	}
	return text, nil
}
