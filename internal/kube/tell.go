package kube

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	kuberecord "k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/notify"
	"github.com/serin-dev/serin/internal/rollout"
	"github.com/serin-dev/serin/internal/spec"
)

const (
	// What repeats must not flood: so many Events of one reason on one object at once,
	// then one every refill. Same texts are counted up in one Event; similar ones are
	// drawn together from mostSimilar on.
	eventBurst  = 20
	eventRefill = time.Minute
	mostSimilar = 20
	// mostNote is what an Event's text may hold in Kubernetes' newer API.
	mostNote = 1024
	// A rollout's own object is made a moment after its first decision.
	findEvery, findWithin = 250 * time.Millisecond, 10 * time.Second
)

// newEvents makes what writes Events, and its end.
func newEvents(mgr ctrl.Manager) (kuberecord.EventRecorder, func(), error) {
	core, err := typedcorev1.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, nil, fmt.Errorf("preparing to write events: %w", err)
	}
	b := kuberecord.NewBroadcaster(kuberecord.WithCorrelatorOptions(correlation()))
	b.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: core.Events("")})
	return b.NewRecorder(mgr.GetScheme(), corev1.EventSource{Component: "serin-controller"}), b.Shutdown, nil
}

// correlation bounds Events by object and reason, so that a fault that comes and
// goes does not use up what a revert needs.
func correlation() kuberecord.CorrelatorOptions {
	return kuberecord.CorrelatorOptions{
		BurstSize: eventBurst, QPS: float32(1 / eventRefill.Seconds()), MaxEvents: mostSimilar,
		SpamKeyFunc: func(e *corev1.Event) string {
			o := e.InvolvedObject
			return strings.Join([]string{o.Kind, o.Namespace, o.Name, string(o.UID), e.Reason}, "/")
		},
	}
}

// teller says what an engine did where people look: in Events of the endpoint and
// of its rollout, and to the receivers of spec.notify.
type teller struct {
	endpoint corev1.ObjectReference
	events   kuberecord.EventRecorder
	notifier *notify.Notifier
	direct   client.Reader
	heard    <-chan engine.Event
	rollout  corev1.ObjectReference // the last that was found
}

// listen subscribes to an engine before it runs, so that nothing is missed.
func (c *Controller) listen(e *v1alpha1.ScoringEndpoint, eng *engine.Engine) *teller {
	forbidden := c.cfg.ForbiddenReceivers
	if forbidden == nil {
		forbidden = ownAddress
	}
	logger := c.cfg.Logger.With("endpoint", e.Namespace+"/"+e.Name)
	heard, _ := eng.Subscribe() // for as long as the engine is there
	return &teller{
		endpoint: referenceOf(e), events: c.events, direct: c.direct, heard: heard,
		notifier: notify.New(notify.Config{Endpoint: e.Name, Namespace: e.Namespace, Logger: logger, Forbidden: forbidden}),
	}
}

func referenceOf(e *v1alpha1.ScoringEndpoint) corev1.ObjectReference {
	return corev1.ObjectReference{APIVersion: v1alpha1.APIVersion, Kind: v1alpha1.Kind, Namespace: e.Namespace, Name: e.Name, UID: e.UID}
}

// eventsOf makes Events of what somebody else did to an endpoint's objects.
func (c *Controller) eventsOf(e *v1alpha1.ScoringEndpoint) func(reason, message string) {
	o := referenceOf(e)
	return func(reason, message string) {
		c.events.Event(&o, corev1.EventTypeWarning, reason, bounded(message, ""))
	}
}

// tell passes on what the engine says until the context ends and the engine is
// done, then gives notifications that wait a last chance.
func (c *Controller) tell(ctx context.Context, x *endpoint) {
	c.telling.Go(func() {
		defer x.teller.notifier.Close()
		for {
			select {
			case ev := <-x.teller.heard:
				x.teller.say(ctx, ev.Entry)
			case <-x.done:
				for len(x.teller.heard) > 0 {
					x.teller.say(ctx, (<-x.teller.heard).Entry)
				}
				return
			}
		}
	})
}

// ended waits until everything that was decided is told, for as long as the
// notifiers give it, and ends the writing of Events.
func (c *Controller) ended() {
	c.telling.Wait()
	c.endEvents()
}

func (t *teller) say(ctx context.Context, e engine.Entry) {
	t.notifier.Tell(e)
	kind, note := eventType(e), noteOf(e)
	t.events.Event(&t.endpoint, kind, reasonWord(e.Reason), note)
	if e.Rollout != "" && t.find(ctx, e.Rollout) {
		t.events.Event(&t.rollout, kind, reasonWord(e.Reason), note)
	}
}

// find looks for the object of a rollout: an Event without its uid would not be
// shown by kubectl describe.
func (t *teller) find(ctx context.Context, id string) bool {
	if t.rollout.Name == id {
		return true
	}
	var s v1alpha1.ScoringRollout
	err := wait.PollUntilContextTimeout(ctx, findEvery, findWithin, true, func(ctx context.Context) (bool, error) {
		err := t.direct.Get(ctx, client.ObjectKey{Namespace: t.endpoint.Namespace, Name: id}, &s)
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return false // the endpoint's Event says it
	}
	t.rollout = corev1.ObjectReference{APIVersion: v1alpha1.APIVersion, Kind: "ScoringRollout", Namespace: s.Namespace, Name: s.Name, UID: s.UID}
	return true
}

// eventType is Warning where a person should look.
func eventType(e engine.Entry) string {
	calm := e.Reason == string(rollout.Starting) || e.Reason == string(rollout.WaitingForApproval) || e.Reason == string(rollout.SupersededByVersion)
	switch {
	case e.Kind == engine.EntryFault,
		e.Kind == engine.EntryAction && e.Accepted != nil && !*e.Accepted,
		e.Kind == engine.EntryTransition && e.Action != "Advance" && !calm:
		return corev1.EventTypeWarning
	}
	return corev1.EventTypeNormal
}

// noteOf is what an Event says: what happened and why, what it stood on, what next.
func noteOf(e engine.Entry) string {
	out := e.Message
	if e.By != "" {
		out += " (by " + e.By + ")"
	}
	if e.Judged != nil {
		if m := e.Judged.Verdict.Message; m != "" && !strings.Contains(out, m) {
			out += ". Evidence: " + m
		}
	}
	return bounded(out, whatNext(e))
}

// whatNext is what follows, or what one can do.
func whatNext(e engine.Entry) string {
	switch {
	case e.Kind == engine.EntryFault:
		return "the last weights hold, and it is tried again"
	case e.Kind != engine.EntryTransition:
		return ""
	case e.Action == "Revert":
		return "production serves all; push another version, or serin retry"
	case e.Reason == string(rollout.WaitingForApproval):
		return "serin approve or serin reject"
	case e.Reason == string(rollout.StepEntered):
		return "the next step opens by its duration, requests and verdict: serin status says how much is missing"
	case e.Reason == string(rollout.AllRequiredPass), e.Reason == string(rollout.PromotedByPerson):
		return "the old version stays ready for serin rollback, for spec.rollout.keepOld"
	}
	return ""
}

// bounded joins a text and what comes next within mostNote bytes; the text gives way.
func bounded(text, next string) string {
	if next != "" {
		next = ". Next: " + next
	}
	if most := mostNote - len(next); len(text) > most {
		const cut = " …"
		text = text[:most-len(cut)]
		for !utf8.ValidString(text) {
			text = text[:len(text)-1]
		}
		text += cut
	}
	return text + next
}

// receivers are those of spec.notify.
func receivers(r spec.Resolved) (out []notify.Receiver) {
	for _, n := range r.Notify {
		out = append(out, notify.Receiver{URL: n.URL, Format: n.Format})
	}
	return out
}

// ownAddress reports whether an address is the controller's own, or its node's: whoever
// may write a document must not make the controller speak to its sidecar's
// administration or to a cloud's metadata service.
func ownAddress(a netip.Addr) bool {
	if a = a.Unmap(); a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() || a.IsMulticast() {
		return true
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return true // not known: refuse
	}
	for _, o := range own {
		if p, err := netip.ParsePrefix(o.String()); err == nil && p.Addr().Unmap() == a {
			return true
		}
	}
	return false
}
