package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	service "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/go-logr/logr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/metrics"
	"github.com/serin-dev/serin/internal/observe/mesh"
)

// Options are what `serin controller` is told.
type Options struct {
	RecorderImage, ControllerURL string
	GatewaySelector              map[string]string // of the ingress gateway, for Gateways that Serin makes
	AccessLogs, Recorders        string            // addresses of the two streams
	Health                       string            // address of health and metrics; "0": none
	PodName, PodNamespace        string
	Build                        metrics.Build
	Logger                       *slog.Logger
	ForbiddenReceivers           func(netip.Addr) bool // as in Config
}

// How long a leader that went away is believed: its standby takes over within
// lease, and a leader that cannot renew stops before.
const (
	lease = 15 * time.Second
	renew = 10 * time.Second
	retry = 2 * time.Second
	// mostLogMessage bounds one message of the access log.
	mostLogMessage = 16 << 20
	// drain bounds how long streams may take to end.
	drain = 5 * time.Second
)

// Scheme knows every kind that the controller reads or writes.
func Scheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, istio.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(s); err != nil {
			return nil, fmt.Errorf("making the scheme: %w", err)
		}
	}
	return s, nil
}

// Run is the controller: once it leads it collects, and drives every endpoint,
// until the context ends or the leadership is lost.
func Run(ctx context.Context, rc *rest.Config, o Options) error {
	ctrl.SetLogger(logr.FromSlogHandler(o.Logger.Handler()))
	mgr, err := newManager(rc, o)
	if err != nil {
		return err
	}
	hub := mesh.NewHub(o.Logger, time.Now)
	c := NewController(Config{RecorderImage: o.RecorderImage, ControllerURL: o.ControllerURL, GatewaySelector: o.GatewaySelector, Logger: o.Logger, Clock: time.Now, ForbiddenReceivers: o.ForbiddenReceivers}, hub)
	life, end := context.WithCancel(ctx)
	defer end()
	if err := c.Setup(life, mgr); err != nil {
		return err
	}
	for _, add := range []error{
		mgr.Add(leading{func(ctx context.Context) error { return lead(ctx, mgr.GetAPIReader(), mgr.GetClient(), o) }}),
		// A gateway's stream lives as long as whoever took it: one that a standby took, in the moment in which
		// nobody led, would never come to the leader.
		mgr.Add(leading{func(ctx context.Context) error { return serveAccessLogs(ctx, o.AccessLogs, hub) }}),
		mgr.Add(leading{func(ctx context.Context) error {
			return serveRecorders(ctx, o.Recorders, hub.Handler(authenticator(mgr.GetClient())))
		}}),
		addHealth(mgr, c, o),
	} {
		if add != nil {
			return fmt.Errorf("setting up the controller: %w", add)
		}
	}
	err = mgr.Start(ctx)
	end()     // whatever ended the manager
	c.ended() // what was decided is still told
	if err != nil {
		return fmt.Errorf("running the controller: %w", err)
	}
	return nil
}

func addHealth(mgr ctrl.Manager, c *Controller, o Options) error {
	if o.Health == "0" {
		return nil
	}
	s, err := healthServer(c, o, mgr.Elected())
	if err != nil {
		return err
	}
	return mgr.Add(s)
}

func newManager(rc *rest.Config, o Options) (ctrl.Manager, error) {
	scheme, err := Scheme()
	if err != nil {
		return nil, err
	}
	ours, err := labels.NewRequirement(LabelEndpoint, selection.Exists, nil)
	if err != nil {
		return nil, fmt.Errorf("selecting our objects: %w", err)
	}
	mine := cache.ByObject{Label: labels.NewSelector().Add(*ours)}
	rc.UserAgent = "serin-controller"
	mgr, err := ctrl.NewManager(rc, ctrl.Options{
		Scheme: scheme, HealthProbeBindAddress: "0", Metrics: server.Options{BindAddress: "0"}, // both are in healthServer, on one port

		LeaderElection: true, LeaderElectionID: "serin-controller", LeaderElectionNamespace: o.PodNamespace, LeaderElectionReleaseOnCancel: true,
		LeaseDuration: new(lease), RenewDeadline: new(renew), RetryPeriod: new(retry),
		// Names are unique; the check is of the process, and tests run several managers in one.
		Controller: config.Controller{SkipNameValidation: new(true)},
		// The caches hold what is Serin's, however many pods a cluster has.
		Cache: cache.Options{ByObject: map[client.Object]cache.ByObject{&corev1.Pod{}: mine, &appsv1.Deployment{}: mine, &corev1.Service{}: mine, &autoscalingv2.HorizontalPodAutoscaler{}: mine, &istio.Gateway{}: mine}},
	})
	if err != nil {
		return nil, fmt.Errorf("making the manager: %w", err)
	}
	return mgr, nil
}

// leading runs on the leader only.
type leading struct{ run func(context.Context) error }

func (r leading) Start(ctx context.Context) error { return r.run(ctx) }
func (leading) NeedLeaderElection() bool          { return true }

// lead marks this pod as the one that evidence goes to, and takes the mark from
// whoever led before.
func lead(ctx context.Context, read client.Reader, api client.Client, o Options) error {
	if o.PodName == "" {
		return nil // outside a cluster: nobody selects by it
	}
	var pods corev1.PodList
	if err := read.List(ctx, &pods, client.InNamespace(o.PodNamespace), client.MatchingLabels{LabelLeader: "true"}); err != nil {
		return fmt.Errorf("looking for the last leader: %w", err)
	}
	for i := range pods.Items {
		if pods.Items[i].Name != o.PodName {
			if err := mark(ctx, api, o.PodNamespace, pods.Items[i].Name, "null"); err != nil {
				return err
			}
		}
	}
	if err := mark(ctx, api, o.PodNamespace, o.PodName, `"true"`); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func mark(ctx context.Context, api client.Client, namespace, name, value string) error {
	pod := &corev1.Pod{}
	pod.Namespace, pod.Name = namespace, name
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%s}}}`, LabelLeader, value)
	if err := api.Patch(ctx, pod, client.RawPatch("application/merge-patch+json", patch)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("marking the leader: %w", err)
	}
	return nil
}

func serveAccessLogs(ctx context.Context, addr string, hub *mesh.Hub) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listening for access logs: %w", err)
	}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(mostLogMessage), grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}))
	service.RegisterAccessLogServiceServer(s, &mesh.AccessLog{Hub: hub})
	go func() { <-ctx.Done(); s.Stop() }()
	if err := s.Serve(ln); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serving access logs: %w", err)
	}
	return nil
}

func serveRecorders(ctx context.Context, addr string, h http.Handler) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listening for recorders: %w", err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10, BaseContext: func(net.Listener) context.Context { return ctx }}
	go func() {
		<-ctx.Done()
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
		defer cancel()
		if s.Shutdown(late) != nil {
			_ = s.Close()
		}
	}()
	if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving recorders: %w", err)
	}
	return nil
}
