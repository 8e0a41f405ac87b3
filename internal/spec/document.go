package spec

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/rollout"
)

// Document is a valid document with its defaults filled in.
type Document struct {
	endpoint v1alpha1.ScoringEndpoint
	written  []byte
	plan     rollout.Plan
	policy   judge.Policy
	traffic  Traffic
	ready    Readiness
	lines    map[string][2]int
}

// Name returns metadata.name.
func (d *Document) Name() string { return d.endpoint.Name }

// Endpoint returns the document with its defaults.
func (d *Document) Endpoint() v1alpha1.ScoringEndpoint { return d.endpoint }

// Written returns the document as JSON, with nothing in it that was not written.
func (d *Document) Written() []byte { return bytes.Clone(d.written) }

// Traffic is what the document says of requests, as plain values.
type Traffic struct {
	Listen                    string
	Header                    v1alpha1.Header
	Sticky                    v1alpha1.Sticky
	Fallback                  bool
	CandidateTimeout, Timeout time.Duration
	MaxBodyBytes              int64
}

// Readiness is the probe of a scorer.
type Readiness struct {
	Path    string
	Timeout time.Duration
}

// Scorer says how a version runs on one machine: by Model or by Command.
type Scorer struct {
	Model   string
	Command []string
	Env     []string // NAME=value
}

// Contract says what requests and answers look like.
type Contract struct{ Path, Protocol, JSONPath string }

// Resolved is a document as one mode uses it.
type Resolved struct {
	Name, Namespace string
	Endpoint        v1alpha1.ScoringEndpoint
	Plan            rollout.Plan
	Policy          judge.Policy
	Digest          string // of what means a new version
	Version         string // shown to people
	Scorer          Scorer
	Traffic         Traffic
	Contract        Contract
	Readiness       Readiness
	Notify          []v1alpha1.Notify
}

// Load reads a document: every problem at once, each with its place and remedy.
func Load(text []byte) (*Document, Report, error) {
	d, c := loaded(text)
	if err := c.err(); err != nil {
		return nil, Report{}, err
	}
	return d, Report{Notes: c.notes}, nil
}

// Read is Load and For in one: who mends a document is told at once what is wrong with
// it, and what the mode does not take.
func Read(text []byte, m Mode) (*Document, Resolved, Report, error) {
	d, c := loaded(text)
	if d == nil {
		return nil, Resolved{}, Report{}, c.err()
	}
	r := d.as(m, c)
	if err := c.err(); err != nil {
		return nil, Resolved{}, Report{}, err
	}
	return d, d.finished(m, r), Report{Notes: c.notes}, nil
}

// mostBroken bounds what is looked at beside fields that cannot be read.
const mostBroken = 100

// loaded reads as much as can be read; no document: nothing can.
func loaded(text []byte) (*Document, *checker) {
	p := &parser{}
	tree := p.parse(text, reflect.TypeFor[v1alpha1.ScoringEndpoint]())
	c := &checker{lines: p.lines, problems: p.problems, broken: p.problems}
	if tree == nil || p.nodes > maxNodes || len(p.problems) > mostBroken {
		if len(p.problems) == 0 {
			c.bad("document", "is empty", "it must be one YAML document; serin init writes one to begin with")
		}
		return nil, c
	}
	d := &Document{lines: p.lines}
	raw, err := json.Marshal(tree)
	if err == nil {
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.DisallowUnknownFields()
		err = dec.Decode(&d.endpoint)
		d.written = raw
	}
	if err != nil {
		c.bad("spec", err.Error(), "see serin validate --help")
		return nil, c
	}
	setDefaults(&d.endpoint.Spec)
	if !c.written("spec.scorer.port") { // a 0 that is written is refused
		d.endpoint.Spec.Scorer.Port = defaultPort
	}
	d.check(c)
	return d, c
}

func (d *Document) check(c *checker) {
	s := &d.endpoint.Spec
	c.head(d.endpoint)
	c.scorer(s.Scorer)
	c.adopt(s.Adopt)
	c.scaling(&s.Scaling)
	c.contract(s.Contract)
	d.ready = c.readiness(s.Scorer.Readiness)
	d.traffic = c.traffic(s.Traffic)
	d.plan = c.plan(s.Rollout)
	d.policy = c.policy(s.Judge)
	d.policy.Sticky = d.traffic.Sticky.Cookie+d.traffic.Sticky.Header != ""
	d.policy.HarmBudget = d.plan.HarmBudget
	c.labels(s.Judge.Labels, d.plan.MaxDuration)
	if len(c.broken) == 0 { // else half of what belongs together may be missing
		c.together(*s, d.plan)
	}
	c.notify(s.Notify)
}

// For returns the document as a mode uses it, and what it does not use.
func (d *Document) For(m Mode) (Resolved, Report, error) {
	c := &checker{lines: d.lines}
	r := d.as(m, c)
	if err := c.err(); err != nil {
		return Resolved{}, Report{}, err
	}
	return d.finished(m, r), Report{Notes: c.notes}, nil
}

// as checks what the mode asks for.
func (d *Document) as(m Mode, c *checker) Resolved {
	s := d.endpoint.Spec
	r := Resolved{
		Name: d.endpoint.Name, Namespace: d.endpoint.Namespace, Endpoint: d.endpoint, Plan: d.plan, Policy: d.policy, Traffic: d.traffic, Readiness: d.ready, Notify: s.Notify,
		Contract: Contract{s.Contract.Path, s.Contract.Protocol, s.Contract.JSONPath},
	}
	if m == Cluster {
		d.cluster(c)
	} else {
		d.local(c, &r)
	}
	if m == Cluster && c.written("spec.scorer.readiness.timeout") {
		c.note("spec.scorer.readiness.timeout has no effect on Kubernetes yet: spec.rollout.progressDeadline bounds how long a version may take to be ready")
	}
	return r
}

func (d *Document) finished(m Mode, r Resolved) Resolved {
	s := d.endpoint.Spec.Scorer
	r.Digest = digest(m, s, "")
	r.Version = versionOf(s, r.Digest)
	return r
}

func (d *Document) local(c *checker, r *Resolved) {
	s := d.endpoint.Spec
	l := s.Scorer.Local
	if l == nil {
		c.bad("spec.scorer.local", "is missing: on one machine Serin starts the scorer itself", "write local: {model: FILE} or local: {command: [PROGRAM, …]}")
		return
	}
	r.Scorer = Scorer{Model: l.Model, Command: l.Command}
	for _, e := range s.Scorer.Env {
		r.Scorer.Env = append(r.Scorer.Env, e.Name+"="+e.Value)
	}
	unused := func(set bool, path string) {
		if set {
			c.note(path + " is not used on one machine")
		}
	}
	unused(s.Scorer.Image != "", "spec.scorer.image")
	unused(s.Scorer.Template != nil, "spec.scorer.template")
	unused(c.written("spec.scorer.port"), "spec.scorer.port")
	unused(len(c.below("spec.scaling")) > 0, "spec.scaling")
	unused(c.written("spec.traffic.hosts"), "spec.traffic.hosts")
	unused(s.Traffic.Gateway != "", "spec.traffic.gateway")
	unused(s.Traffic.VirtualService != "", "spec.traffic.virtualService")
	unused(s.Adopt != nil, "spec.adopt")
}

func (d *Document) cluster(c *checker) {
	s := d.endpoint.Spec
	if s.Scorer.Image == "" {
		c.bad("spec.scorer.image", "is missing: in a cluster the scorer is an image", "write image: REGISTRY/NAME@sha256:DIGEST")
	}
	if s.Traffic.Sticky.Header != "" {
		c.bad("spec.traffic.sticky.header", "Istio has no weighted routing by header", "use sticky.cookie")
	}
	for i, n := range s.Notify {
		if controllersOwn(n.URL) {
			c.bad(fmt.Sprintf("spec.notify[%d].url", i), "is an address of the controller's own pod or node", "write one that others reach too, such as https://example.com/hook")
		}
	}
	if s.Scorer.Image != "" && !strings.Contains(s.Scorer.Image, "@sha256:") {
		c.note("spec.scorer.image is named by a tag: what it means can change under a running revision; write NAME@sha256:DIGEST")
	}
	if s.Scorer.Local != nil {
		c.note("spec.scorer.local is not used in a cluster")
	}
	if c.written("spec.traffic.listen") {
		c.note("spec.traffic.listen is not used in a cluster")
	}
}

// controllersOwn reports whether a receiver is, by its literal address, what the
// controller speaks to as itself: a sidecar's administration, a cloud's metadata.
// Names are looked at when they are called.
func controllersOwn(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	if strings.EqualFold(u.Hostname(), "localhost") {
		return true
	}
	a, err := netip.ParseAddr(u.Hostname())
	return err == nil && (a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified())
}

// WithModelDigest makes the content of the model file part of the version.
func (r Resolved) WithModelDigest(sum string) Resolved {
	r.Digest = digest(Local, r.Endpoint.Spec.Scorer, sum)
	r.Version = versionOf(r.Endpoint.Spec.Scorer, r.Digest)
	return r
}

func versionOf(s v1alpha1.Scorer, digest string) string {
	if s.Version != "" {
		return s.Version
	}
	return digest[:8]
}

// digest names what means a new version: all of spec.scorer, and of it the fields
// that the mode uses. A default that is written out means the same as one that is
// not, and a default that is new in a later Serin starts no rollout.
func digest(m Mode, s v1alpha1.Scorer, model string) string {
	if s.Readiness.Path == defaultReadinessPath {
		s.Readiness.Path = ""
	}
	if s.Readiness.Timeout == defaultReadinessTimeout {
		s.Readiness.Timeout = ""
	}
	if s.Port == defaultPort {
		s.Port = 0
	}
	if m == Local {
		s.Image, s.Template, s.Port = "", nil, 0
		if model != "" {
			s.Local = &v1alpha1.LocalScorer{Model: model}
		}
	} else {
		s.Local = nil
	}
	text, err := json.Marshal(s)
	if err != nil {
		text = fmt.Append(nil, s)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Change is one field that differs between two documents.
type Change struct {
	Path, Old, New string
	NewVersion     bool
}

// Diff lists what differs, by path.
func Diff(old, new *Document) []Change {
	if old == nil || new == nil {
		return nil
	}
	a, b := map[string]string{}, map[string]string{}
	flatten(a, "spec", old.endpoint.Spec)
	flatten(b, "spec", new.endpoint.Spec)
	var paths []string
	for p := range a {
		paths = append(paths, p)
	}
	for p := range b {
		if _, both := a[p]; !both {
			paths = append(paths, p)
		}
	}
	sortStrings(paths)
	var out []Change
	for _, p := range paths {
		if a[p] != b[p] {
			out = append(out, Change{Path: p, Old: shown(p, a[p]), New: shown(p, b[p]), NewVersion: NewVersion(p)})
		}
	}
	return out
}

// shown leaves out what must not be seen: the address of a receiver is often a
// secret, all but its host.
func shown(path, value string) string {
	if !strings.HasPrefix(path, "spec.notify[") || !strings.HasSuffix(path, ".url") || value == "" {
		return value
	}
	u, err := url.Parse(value)
	if err != nil {
		return "…"
	}
	return u.Scheme + "://" + u.Host + "/…"
}

// NewVersion reports whether a change of the field starts a rollout.
func NewVersion(path string) bool {
	return strings.HasPrefix(path, "spec.scorer.")
}

func flatten(out map[string]string, path string, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		return
	}
	var tree any
	if json.Unmarshal(raw, &tree) == nil {
		flattenTree(out, path, tree)
	}
}

func flattenTree(out map[string]string, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			out[path] = "{}"
		}
		for k, x := range v {
			flattenTree(out, path+"."+k, x)
		}
	case []any:
		for i, x := range v {
			flattenTree(out, fmt.Sprintf("%s[%d]", path, i), x)
		}
	case nil:
	default:
		out[path] = fmt.Sprint(v)
	}
}
