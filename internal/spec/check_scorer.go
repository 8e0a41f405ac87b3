package spec

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/serin-dev/serin/api/v1alpha1"
)

var (
	dnsLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,48}[a-z0-9])?$`)
	token    = regexp.MustCompile("^[-!#$%&'*+.^_`|~0-9A-Za-z]+$") // RFC 9110: names of headers and cookies
)

// plain refuses what a screen, a log or a header cannot hold.
func (c *checker) plain(path, v string) {
	if i := strings.IndexFunc(v, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
		c.bad(path, fmt.Sprintf("%q has a character that cannot be shown", v), "use letters, digits and punctuation")
	}
}

// word refuses spaces too.
func (c *checker) word(path, v string) {
	if strings.ContainsFunc(v, unicode.IsSpace) {
		c.bad(path, fmt.Sprintf("%q has a space in it", v), "take it out")
		return
	}
	c.plain(path, v)
}

func (c *checker) head(e v1alpha1.ScoringEndpoint) {
	if e.APIVersion != v1alpha1.APIVersion {
		c.bad("apiVersion", fmt.Sprintf("%q is not known", e.APIVersion), "write apiVersion: "+v1alpha1.APIVersion)
	}
	if e.Kind != v1alpha1.Kind {
		c.bad("kind", fmt.Sprintf("%q is not known", e.Kind), "write kind: "+v1alpha1.Kind)
	}
	if !dnsLabel.MatchString(e.Name) {
		c.bad("metadata.name", fmt.Sprintf("%q is no name", e.Name), "use up to 50 lower-case letters, digits and -, for example safe-driver")
	}
	if e.Namespace != "" && !dnsLabel.MatchString(e.Namespace) {
		c.bad("metadata.namespace", fmt.Sprintf("%q is no name", e.Namespace), "use up to 50 lower-case letters, digits and -")
	}
	for _, path := range c.below("metadata") {
		if path != "metadata.name" && path != "metadata.namespace" {
			c.note(path + " is not read: an endpoint is known by its name and namespace")
		}
	}
	if c.written("status") {
		c.note("status is written by Serin, and not read from a document")
	}
}

func (c *checker) scorer(s v1alpha1.Scorer) {
	if s.Image == "" && s.Local == nil {
		c.bad("spec.scorer", "says neither image nor local", "write image (Kubernetes), local (one machine), or both")
	}
	if l := s.Local; l != nil && (l.Model == "") == (len(l.Command) == 0) {
		c.bad("spec.scorer.local", "must have either model or command", "write local: {model: FILE} or local: {command: [PROGRAM, …]}")
	}
	if s.Local != nil && len(s.Local.Command) > 0 && s.Local.Command[0] == "" {
		c.bad("spec.scorer.local.command[0]", "is empty", "write the program to run")
	}
	if c.written("spec.scorer.port") && s.Port < 1 || s.Port > 65535 {
		c.bad("spec.scorer.port", fmt.Sprintf("%d is no port", s.Port), "must be from 1 to 65535")
	}
	seen := map[string]bool{}
	for i, e := range s.Env {
		path := fmt.Sprintf("spec.scorer.env[%d].name", i)
		switch {
		case e.Name == "" || strings.ContainsAny(e.Name, "= \x00"):
			c.bad(path, fmt.Sprintf("%q is no name of a variable", e.Name), "use letters, digits and _")
		case e.Name == "PORT":
			c.bad(path, "PORT is set by Serin", "take it out")
		case seen[e.Name]:
			c.bad(path, fmt.Sprintf("%q is set twice", e.Name), "keep one of them")
		}
		seen[e.Name] = true
		if strings.Contains(e.Value, "\x00") {
			c.bad(fmt.Sprintf("spec.scorer.env[%d].value", i), "holds a zero byte", "take it out")
		}
	}
	if len(s.Version) > 63 {
		c.bad("spec.scorer.version", "is longer than 63 characters", "shorten it")
	}
	c.plain("spec.scorer.version", s.Version)
	c.word("spec.scorer.image", s.Image)
}

func autoscaler(s v1alpha1.Scaling) bool { return s.Min != nil || s.Max != nil || s.CPU != "" }

// scaling takes the 1 that the API server fills in beside an autoscaler for what it is:
// nothing that anybody wrote.
func (c *checker) scaling(s *v1alpha1.Scaling) {
	switch {
	case s.Replicas == nil || !autoscaler(*s):
	case *s.Replicas == 1:
		s.Replicas = nil
		c.note("spec.scaling.replicas: 1 has no effect beside an autoscaler's min, max and cpu")
	default:
		c.bad("spec.scaling", "has both replicas and min, max or cpu", "write either replicas, or min, max and cpu")
	}
	for _, n := range []struct {
		path  string
		value *int32
	}{{"spec.scaling.replicas", s.Replicas}, {"spec.scaling.min", s.Min}, {"spec.scaling.max", s.Max}} {
		if n.value != nil && *n.value < 1 {
			c.bad(n.path, fmt.Sprintf("%d is too few", *n.value), "must be at least 1")
		}
	}
	if s.Max == nil && (s.Min != nil || s.CPU != "") {
		c.bad("spec.scaling.max", "is missing: min and cpu are an autoscaler's", "write max as well, or replicas instead")
	}
	if s.Min != nil && s.Max != nil && *s.Min > *s.Max {
		c.bad("spec.scaling.min", "is greater than max", "write min at most max")
	}
	if s.CPU != "" {
		if share := read(c, "spec.scaling.cpu", s.CPU, percentOf, "write for example 70%"); share == 0 && !c.has("spec.scaling.cpu") {
			c.bad("spec.scaling.cpu", "0% would never be met", "write for example 70%")
		}
	}
}

func (c *checker) contract(k v1alpha1.Contract) {
	if !strings.HasPrefix(k.Path, "/") {
		c.bad("spec.contract.path", fmt.Sprintf("%q is no path", k.Path), "write for example /score")
	}
	c.word("spec.contract.path", k.Path)
	c.oneOf("spec.contract.protocol", k.Protocol, "Auto", "AzureML", "MLflow", "KServeV1", "OpenInferenceV2", "JSONPath")
	if (k.Protocol == "JSONPath") != (k.JSONPath != "") {
		c.bad("spec.contract.jsonPath", "goes with protocol JSONPath, and only with it", "write protocol: JSONPath and jsonPath: $.scores[*]")
	}
	if k.JSONPath != "" && !strings.HasPrefix(k.JSONPath, "$") {
		c.bad("spec.contract.jsonPath", fmt.Sprintf("%q does not begin with $", k.JSONPath), "write for example $.scores[*]")
	}
}

func (c *checker) readiness(r v1alpha1.Readiness) Readiness {
	if !strings.HasPrefix(r.Path, "/") {
		c.bad("spec.scorer.readiness.path", fmt.Sprintf("%q is no path", r.Path), "write for example /")
	}
	c.word("spec.scorer.readiness.path", r.Path)
	return Readiness{Path: r.Path, Timeout: c.positive("spec.scorer.readiness.timeout", r.Timeout)}
}

func (c *checker) traffic(t v1alpha1.Traffic) Traffic {
	colon := strings.LastIndexByte(t.Listen, ':')
	if n, err := strconv.Atoi(t.Listen[colon+1:]); colon < 1 || err != nil || n < 0 || n > 65535 {
		c.bad("spec.traffic.listen", fmt.Sprintf("%q is no address", t.Listen), "write for example 127.0.0.1:8080, or 0.0.0.0:8080 for all interfaces")
	}
	c.names(t)
	c.oneOf("spec.traffic.fallback", t.Fallback, "Stable", "None")
	out := Traffic{
		Listen: t.Listen, Header: t.Header, Sticky: t.Sticky, Fallback: t.Fallback == "Stable",
		CandidateTimeout: c.positive("spec.traffic.candidateTimeout", t.CandidateTimeout), Timeout: c.positive("spec.traffic.timeout", t.Timeout),
		MaxBodyBytes: read(c, "spec.traffic.maxBodyBytes", t.MaxBodyBytes, sizeOf, "write for example 4Mi"),
	}
	if out.Fallback && out.CandidateTimeout >= out.Timeout && out.Timeout > 0 {
		c.bad("spec.traffic.candidateTimeout", fmt.Sprintf("%s leaves stable no time within timeout %s", out.CandidateTimeout, out.Timeout), "make it shorter than spec.traffic.timeout, or write fallback: None")
	}
	if !out.Fallback && c.written("spec.traffic.candidateTimeout") {
		c.note("spec.traffic.candidateTimeout has no effect with fallback: None: spec.traffic.timeout bounds the candidate too")
	}
	return out
}

// names checks hosts, gateway, headers and cookies.
func (c *checker) names(t v1alpha1.Traffic) {
	if len(t.Hosts) == 0 {
		c.bad("spec.traffic.hosts", "is empty", `write ["*"] for every host, or leave it out`)
	}
	for i, h := range t.Hosts {
		path := fmt.Sprintf("spec.traffic.hosts[%d]", i)
		if h == "" || strings.ContainsAny(h, "/:") {
			c.bad(path, fmt.Sprintf("%q is no host name", h), "write for example scoring.example.com, or *")
		}
		c.word(path, h)
	}
	c.word("spec.traffic.gateway", t.Gateway)
	c.objectName("spec.traffic.virtualService", t.VirtualService)
	if t.VirtualService != "" && t.Gateway != "" {
		c.bad("spec.traffic.gateway", "stands beside virtualService, which has gateways of its own", "keep one of the two")
	}
	if t.Header.Stable == t.Header.Candidate {
		c.bad("spec.traffic.header.candidate", "is the same as stable", "use two different values")
	}
	c.word("spec.traffic.header.stable", t.Header.Stable)
	c.word("spec.traffic.header.candidate", t.Header.Candidate)
	for _, n := range []struct{ path, what, value, example string }{
		{"spec.traffic.header.name", "header", t.Header.Name, "x-api-version"}, {"spec.traffic.sticky.header", "header", t.Sticky.Header, "x-client-id"}, {"spec.traffic.sticky.cookie", "cookie", t.Sticky.Cookie, "serin"},
	} {
		if n.value != "" && !token.MatchString(n.value) {
			c.bad(n.path, fmt.Sprintf("%q is no %s name", n.value, n.what), "write for example "+n.example)
		}
	}
	if t.Sticky.Cookie != "" && t.Sticky.Header != "" {
		c.bad("spec.traffic.sticky", "has both cookie and header", "keep one of them")
	}
}

func (c *checker) notify(list []v1alpha1.Notify) {
	for i, n := range list {
		path := fmt.Sprintf("spec.notify[%d]", i)
		if u, err := url.Parse(n.URL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			c.bad(path+".url", "is no http or https address", "write for example https://example.com/hook")
		}
		if n.Format != "" {
			c.oneOf(path+".format", n.Format, "CloudEvents", "Slack", "Teams")
		}
	}
}
