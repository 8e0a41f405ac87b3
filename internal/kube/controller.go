package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	istio "istio.io/client-go/pkg/apis/networking/v1"
	admission "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kuberecord "k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/rollout"
)

// finalizer lets the leader bring routes to stable before an endpoint goes.
const finalizer = "serin.dev/routes"

// PolicyActions is the ValidatingAdmissionPolicy, and its binding, without which
// nobody's name in an action can be believed.
const PolicyActions = "serin-actions"

// Controller runs every ScoringEndpoint of a cluster, on the leader.
type Controller struct {
	cfg    Config
	api    client.Client
	direct client.Reader
	hub    Hub
	life   context.Context // ends with the leadership
	events kuberecord.EventRecorder
	// telling are those who still pass on what engines said, endEvents ends the writing of Events.
	telling   sync.WaitGroup
	endEvents func()

	mu        sync.Mutex
	endpoints map[Key]*endpoint
	leaving   map[Key]*leaving // deleted, and brought to stable
}

// NewController makes one; Setup adds it to a manager.
func NewController(cfg Config, hub Hub) *Controller {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	return &Controller{cfg: cfg, hub: hub, endpoints: map[Key]*endpoint{}, leaving: map[Key]*leaving{}, life: context.Background()}
}

// Setup registers the reconcilers. life ends when the leadership does.
func (c *Controller) Setup(life context.Context, mgr ctrl.Manager) error {
	c.api, c.direct, c.life = mgr.GetClient(), mgr.GetAPIReader(), life
	var err error
	if c.events, c.endEvents, err = newEvents(mgr); err != nil {
		return err
	}
	toEndpoint := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		name := o.GetLabels()[LabelEndpoint]
		if name == "" {
			return nil
		}
		return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: o.GetNamespace(), Name: name}}}
	})
	err = ctrl.NewControllerManagedBy(mgr).Named("scoringendpoint").For(&v1alpha1.ScoringEndpoint{}).
		Watches(&appsv1.Deployment{}, toEndpoint).Watches(&corev1.Pod{}, toEndpoint).Watches(&corev1.Service{}, toEndpoint).Watches(&istio.Gateway{}, toEndpoint).
		Watches(&istio.VirtualService{}, handler.EnqueueRequestsFromMapFunc(endpointsOf)).
		Watches(&autoscalingv2.HorizontalPodAutoscaler{}, toEndpoint, builder.WithPredicates(taken)). // it is Kubernetes' own that writes them all the time
		Complete(reconcile.Func(c.reconcileEndpoint))
	if err != nil {
		return fmt.Errorf("setting up the endpoint controller: %w", err)
	}
	err = ctrl.NewControllerManagedBy(mgr).Named("rolloutaction").For(&v1alpha1.RolloutAction{}).Complete(reconcile.Func(c.reconcileAction))
	if err != nil {
		return fmt.Errorf("setting up the action controller: %w", err)
	}
	return nil
}

// taken passes on only that an object is gone.
var taken = predicate.Funcs{CreateFunc: func(event.CreateEvent) bool { return false }, UpdateFunc: func(event.UpdateEvent) bool { return false }}

func (c *Controller) get(k Key) *endpoint {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.endpoints[k]
}

// reconcileEndpoint keeps one engine running for each endpoint and tells it what
// changed.
func (c *Controller) reconcileEndpoint(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	k := Key{Namespace: req.Namespace, Name: req.Name}
	var e v1alpha1.ScoringEndpoint
	if err := c.api.Get(ctx, req.NamespacedName, &e); err != nil {
		if apierrors.IsNotFound(err) {
			c.forget(k)
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("reading endpoint %q: %w", k, err)
	}
	if e.DeletionTimestamp != nil {
		again, err := c.finish(ctx, &e)
		return reconcile.Result{RequeueAfter: again}, err
	}
	if controllerutil.AddFinalizer(&e, finalizer) {
		if err := c.api.Update(ctx, &e); err != nil {
			return reconcile.Result{}, fmt.Errorf("adding the finalizer of %q: %w", k, err)
		}
	}
	x, err := c.ensure(ctx, &e)
	if err != nil {
		return reconcile.Result{}, err
	}
	if x == nil {
		return reconcile.Result{}, nil
	}
	x.engine.Wake()
	again, err := x.platform.tidy(ctx)
	return reconcile.Result{RequeueAfter: again}, err
}

// ensure opens the endpoint if it does not run, and hands it the present spec. A
// spec that is refused changes nothing: what runs goes on, and the status says why.
func (c *Controller) ensure(ctx context.Context, e *v1alpha1.ScoringEndpoint) (*endpoint, error) {
	k := Key{Namespace: e.Namespace, Name: e.Name}
	r, text, refused := resolve(e)
	x := c.get(k)
	if refused != nil {
		if x != nil {
			x.refused.Store(true)
		}
		return x, c.refuse(ctx, e, refused)
	}
	if x == nil {
		var err error
		if x, err = c.open(ctx, e, r, text); err != nil {
			return nil, err
		}
		c.mu.Lock()
		c.endpoints[k] = x
		c.mu.Unlock()
	}
	x.refused.Store(false)
	return x, c.take(ctx, x, e, r, text)
}

func (c *Controller) drop(k Key) {
	c.mu.Lock()
	x := c.endpoints[k]
	delete(c.endpoints, k)
	c.mu.Unlock()
	if x != nil {
		x.close()
		c.hub.Forget(k)
	}
}

// reconcileAction answers an action once.
func (c *Controller) reconcileAction(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var a v1alpha1.RolloutAction
	if err := c.api.Get(ctx, req.NamespacedName, &a); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if a.Status.Answered || a.DeletionTimestamp != nil {
		return reconcile.Result{}, nil
	}
	if err := c.guarded(ctx); err != nil {
		return reconcile.Result{}, c.answer(ctx, &a, engine.ActionResult{Reason: "NoAdmissionPolicy", Message: err.Error()})
	}
	x := c.get(Key{Namespace: a.Namespace, Name: a.Spec.Endpoint})
	if x == nil {
		return c.withoutEndpoint(ctx, &a)
	}
	err := c.act(ctx, x, &a)
	if errors.Is(err, context.DeadlineExceeded) {
		return reconcile.Result{RequeueAfter: time.Second}, nil
	}
	return reconcile.Result{}, err
}

// withoutEndpoint refuses an action for an endpoint that is not there, and waits
// for one that is about to be opened.
func (c *Controller) withoutEndpoint(ctx context.Context, a *v1alpha1.RolloutAction) (reconcile.Result, error) {
	var e v1alpha1.ScoringEndpoint
	err := c.api.Get(ctx, client.ObjectKey{Namespace: a.Namespace, Name: a.Spec.Endpoint}, &e)
	switch {
	case apierrors.IsNotFound(err):
		return reconcile.Result{}, c.answer(ctx, a, engine.ActionResult{Reason: "NotFound", Message: fmt.Sprintf("there is no ScoringEndpoint %q in namespace %q", a.Spec.Endpoint, a.Namespace)})
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("reading endpoint %q: %w", a.Spec.Endpoint, err)
	case e.DeletionTimestamp != nil:
		return reconcile.Result{}, c.answer(ctx, a, engine.ActionResult{Reason: string(rollout.NotPossibleNow), Message: fmt.Sprintf("ScoringEndpoint %q is being deleted: all traffic goes to stable until its routes go", a.Spec.Endpoint)})
	}
	return reconcile.Result{RequeueAfter: time.Second}, nil
}

// guarded says whether the admission policy is in force that proves who asks.
func (c *Controller) guarded(ctx context.Context) error {
	var p admission.ValidatingAdmissionPolicy
	var b admission.ValidatingAdmissionPolicyBinding
	for _, o := range []client.Object{&p, &b} {
		if err := c.api.Get(ctx, client.ObjectKey{Name: PolicyActions}, o); err != nil {
			return fmt.Errorf("the ValidatingAdmissionPolicy %q and its binding must be there, or nobody's name in spec.by can be believed: install them again (%w)", PolicyActions, err)
		}
	}
	return nil
}

func (c *Controller) answer(ctx context.Context, a *v1alpha1.RolloutAction, r engine.ActionResult) error {
	now := metav1.NewTime(c.cfg.Clock())
	a.Status = v1alpha1.RolloutActionStatus{Answered: true, Accepted: r.Accepted, Reason: cut(r.Reason, mostReason), Message: cut(r.Message, mostMessage), At: &now}
	if err := c.api.Status().Update(ctx, a); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("answering action %q: %w", a.Name, err)
	}
	return nil
}
