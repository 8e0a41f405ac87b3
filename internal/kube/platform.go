package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/observe/mesh"
	"github.com/serin-dev/serin/internal/observe/wire"
	"github.com/serin-dev/serin/internal/rollout"
	"github.com/serin-dev/serin/internal/spec"
)

// Mesh is what the platform needs of the data plane: which epoch the gateway was
// seen to use, and a way to tell recorders at once.
type Mesh interface {
	// InForce returns the last weight epoch of a rollout that the gateway's access
	// log has shown, 0 before the first.
	InForce(k Key, rollout string) uint32
	// Arms says which revisions an epoch routes to, and whether requests are copied,
	// before it is routed.
	Arms(k Key, epoch uint32, stable, candidate string, shadow bool)
	// Order replaces what the recorders of a revision are told.
	Order(k Key, revision string, o wire.Order)
	// Losses says what is missing of the evidence, and when the gateway last told of
	// a request.
	Losses(k Key) mesh.Losses
}

// Config names what is the same for all endpoints of a controller.
type Config struct {
	RecorderImage string // Serin's own image
	ControllerURL string // where recorders report to
	// GatewaySelector is of the ingress gateway, for Gateways that Serin makes.
	GatewaySelector map[string]string
	Logger          *slog.Logger
	Clock           func() time.Time
	// ForbiddenReceivers are addresses that notifications never go to; nil: this pod's and its node's.
	ForbiddenReceivers func(netip.Addr) bool
}

// platform runs the revisions of one endpoint.
type platform struct {
	key  Key
	cfg  Config
	api  client.Client // reads come from the informers' cache
	mesh Mesh
	// direct reads what is not Serin's, and in no cache.
	direct client.Reader

	mu       sync.Mutex
	owner    metav1.OwnerReference
	resolved spec.Resolved
	scorers  map[string]v1alpha1.Scorer // by digest: how each revision is run
	routing  rollout.Routing
	// routesWritten is the generation of the VirtualService after our last write,
	// routesSeen that the cache has shown it since.
	routesWritten int64
	routesSeen    bool
	routesAt      time.Time // when the present epoch's were first written
	stablePods    int       // ready, when last looked
	previousDown  bool      // the version before stable was not ready, when last looked
	// unwritten: the last try to write the routes failed.
	unwritten  bool
	refused    refusal
	notAdopted refusal
	adoptedAt  time.Time           // when a Deployment became a revision here; zero: before
	mine       map[string]identity // as last written, by kind and name
	scaled     map[string]int32    // replicas that were told of, by Deployment
	publishing map[string]bool     // whether a Service was last written to publish what is not ready, by revision
	// tell says what somebody else did, as an Event of the endpoint; nil: in the log alone.
	tell func(reason, message string)
}

func newPlatform(k Key, cfg Config, api client.Client, direct client.Reader, mesh Mesh) *platform {
	return &platform{key: k, cfg: cfg, api: api, direct: direct, mesh: mesh, scorers: map[string]v1alpha1.Scorer{}, mine: map[string]identity{}, scaled: map[string]int32{}, publishing: map[string]bool{}}
}

// set takes a new document: traffic and scaling change at the next apply.
func (p *platform) set(owner metav1.OwnerReference, r spec.Resolved) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owner, p.resolved = owner, r
	p.scorers[r.Digest] = r.Endpoint.Spec.Scorer
}

// recall tells how the revisions of a record are run, and what was routed.
func (p *platform) recall(revisions map[string]string, routing rollout.Routing) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for digest, text := range revisions {
		var s v1alpha1.Scorer
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return fmt.Errorf("reading how version %s is run: %w", digest, err)
		}
		p.scorers[digest] = s
	}
	p.routing = routing
	return nil
}

// Observe says what is, from the informers.
func (p *platform) Observe(ctx context.Context) (rollout.Observed, error) {
	all, err := deployments(ctx, p.api, p.key)
	if err != nil {
		return rollout.Observed{}, err
	}
	var pods corev1.PodList
	if err := p.api.List(ctx, &pods, client.InNamespace(p.key.Namespace), client.MatchingLabels{LabelEndpoint: p.key.Name}); err != nil {
		return rollout.Observed{}, fmt.Errorf("listing pods of %q: %w", p.key, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	o := rollout.Observed{Revisions: map[string]rollout.RevisionStatus{}}
	for i := range all {
		d := &all[i]
		name := d.Labels[LabelRevision]
		if name == "" {
			continue
		}
		st := revisionStatus(d, podsOf(name, pods.Items))
		if adopted(d) {
			st = p.introduced(adoptedStatus(d))
		}
		if name == p.routing.Candidate {
			heed(&st, name, pods.Items)
		}
		o.Revisions[name] = st
	}
	err = p.dataPlane(ctx, &o)
	p.stablePods = o.Revisions[p.routing.Stable].ReadyReplicas
	p.lookBehind(o)
	return o, err
}

// lookBehind tells the recorders when the version before stable, which is kept, ceases to be ready or is so again.
func (p *platform) lookBehind(o rollout.Observed) {
	if previous := p.routing.Previous; previous != "" && p.previousDown == o.Revisions[previous].Ready {
		p.previousDown = !p.previousDown
		p.orderAll(p.routing)
	}
}

func podsOf(revision string, all []corev1.Pod) (out []*corev1.Pod) {
	for i := range all {
		if all[i].Labels[LabelRevision] == revision && all[i].DeletionTimestamp == nil {
			out = append(out, &all[i])
		}
	}
	return out
}

// Apply carries out one action; all may be repeated.
func (p *platform) Apply(ctx context.Context, a rollout.Action) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch a := a.(type) {
	case rollout.SetRouting:
		return p.setRouting(ctx, a.Routing)
	case rollout.StartRevision:
		return p.start(ctx, a.Revision)
	case rollout.StopRevision:
		return p.askToStop(ctx, a.Revision)
	case rollout.PromoteRevision:
		return p.promote(ctx, a.Revision)
	}
	return fmt.Errorf("applying %T: unknown action", a)
}

func (p *platform) setRouting(ctx context.Context, r rollout.Routing) error {
	if p.inPlace(ctx, r) {
		return nil
	}
	if err := p.exists(ctx, r); err != nil {
		return err
	}
	return p.putRouting(ctx, r)
}

// putRouting acts first where the candidate is: its recorders hear at once, then
// the routes are written.
func (p *platform) putRouting(ctx context.Context, r rollout.Routing) error {
	was := p.routing
	p.routing = r
	p.previousDown = p.previousDown && r.Previous == was.Previous
	if r.Epoch != was.Epoch || p.routesAt.IsZero() {
		p.routesAt = p.cfg.Clock()
	}
	p.mesh.Arms(p.key, r.Epoch, r.Stable, r.Candidate, r.ShadowBP > 0)
	p.orderAll(was)
	if err := p.holdStable(ctx); err != nil {
		return err
	}
	return p.writeRoutes(ctx)
}

func (p *platform) routes() RouteInput {
	in := routeInput(p.key, p.owner, p.resolved, p.routing)
	if p.ownGateway() {
		in.Gateway = p.key.Name
	}
	return in
}

// orderAll tells every revision that the routes name, or named, what it is now.
func (p *platform) orderAll(was rollout.Routing) {
	for _, name := range []string{was.Stable, was.Candidate, was.Previous, p.routing.Stable, p.routing.Candidate, p.routing.Previous} {
		if name != "" {
			p.mesh.Order(p.key, name, p.order(name))
		}
	}
}

func (p *platform) order(revision string) wire.Order {
	r, t := p.routing, p.resolved.Traffic
	o := wire.Order{
		Role: wire.None, Rollout: r.Rollout, Epoch: r.Epoch, Fallback: t.Fallback,
		CandidateTimeout: t.CandidateTimeout.String(), Timeout: t.Timeout.String(), MaxBodyBytes: t.MaxBodyBytes,
		Protocol: p.resolved.Contract.Protocol, JSONPath: p.resolved.Contract.JSONPath,
	}
	if revision != r.Stable {
		o.StableURL = p.serviceURL(r.Stable)
	}
	switch revision {
	case r.Stable:
		o.Role = wire.Stable
		if !p.previousDown {
			o.PreviousURL = p.serviceURL(r.Previous)
		}
		p.askTwice(&o)
	case r.Candidate:
		o.Role, o.HandOver = wire.Candidate, r.HandOver || r.WeightBP == 0 && r.ShadowBP == 0
	case r.Previous:
		o.HandOver = p.previousDown // what still arrives was routed before, when it answered for itself
	default:
		o.HandOver = true // no route should name it: what still arrives was routed before
	}
	return o
}

func (p *platform) serviceURL(revision string) string {
	if revision == "" {
		return ""
	}
	return fmt.Sprintf("http://%s:%d", serviceHost(p.key.Namespace, revision), servicePort)
}

// askTwice tells stable's recorders how often to ask their scorer again in a shadow step, if agreement is judged. The
// first of a rollout are divided by the pods that are ready: each sees its part of the requests.
func (p *platform) askTwice(o *wire.Order) {
	a := p.resolved.Policy.Agreement
	if a == nil || p.routing.ShadowBP == 0 {
		return
	}
	o.ShadowBP, o.RepeatBP = p.routing.ShadowBP, a.RepeatBP
	if pods := max(p.stablePods, 1); a.RepeatBP > 0 && !p.routing.Warmup {
		o.RepeatFirst = (spec.RepeatFirst + pods - 1) / pods
	}
}

func (p *platform) start(ctx context.Context, r rollout.Revision) error {
	if d, err := p.toAdopt(ctx, r); err != nil {
		return fmt.Errorf("starting revision %q: %w", r.Name, err)
	} else if d != nil {
		return p.adopt(ctx, d, r)
	}
	in, err := p.input(r)
	if err != nil {
		return err
	}
	d, want, err := p.deployment(ctx, in)
	if err == nil && in.Candidate {
		in.Candidate, err = p.publishes(ctx, r.Name, want)
	}
	if err != nil {
		return fmt.Errorf("starting revision %q: %w", r.Name, err)
	}
	objects := []client.Object{d}
	if in.Scaling.Max != nil {
		if err := p.letGo(ctx, r.Name); err != nil {
			return err
		}
		if r.Name != p.routing.Stable { // else holdStable writes it with the routes, and knows its floor
			objects = append(objects, MakeAutoscaler(in, cpuPercent(in.Scaling), 0))
		}
	}
	lost := p.lost(d, r)
	for _, o := range objects {
		if err := p.write(ctx, o); err != nil {
			return fmt.Errorf("starting revision %q: %w", r.Name, err)
		}
	}
	if lost {
		p.warn(reasonPutBack, "Deployment %q, which is production, was gone when this controller began to lead: it is made again", r.Name)
	}
	if err := p.writeService(ctx, in); err != nil {
		return fmt.Errorf("starting revision %q: %w", r.Name, err)
	}
	p.mesh.Order(p.key, r.Name, p.order(r.Name))
	return nil
}

func (p *platform) input(r rollout.Revision) (RevisionInput, error) {
	s, ok := p.scorers[r.Digest]
	if !ok {
		return RevisionInput{}, fmt.Errorf("starting revision %q: the record does not say how it is run", r.Name)
	}
	return RevisionInput{
		Key: p.key, Owner: p.owner, Revision: r, Scorer: s, Scaling: p.resolved.Endpoint.Spec.Scaling,
		Recorder: p.cfg.RecorderImage, ControllerURL: p.cfg.ControllerURL, Candidate: r.Name != p.routing.Stable,
	}, nil
}

// promote stops publishing addresses that are not ready: pods of production end in
// ordinary ways, and the version before it is not kept for ever.
func (p *platform) promote(ctx context.Context, r rollout.Revision) error {
	if d, err := p.toAdopt(ctx, r); err != nil || d != nil {
		return err // an adopted one's Service is as it must be
	}
	in, err := p.input(r)
	if err != nil {
		return err
	}
	in.Candidate = false
	if err := p.writeService(ctx, in); err != nil {
		return fmt.Errorf("promoting revision %q: %w", r.Name, err)
	}
	return nil
}

const defaultCPUPercent = 70

func cpuPercent(s v1alpha1.Scaling) int32 {
	n, err := strconv.Atoi(strings.TrimSuffix(s.CPU, "%"))
	if err != nil || n < 1 {
		return defaultCPUPercent
	}
	return int32(n)
}
