package cli

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/serin-dev/serin/internal/kube"
)

type controllerOptions struct {
	kube      kube.Options
	logFormat string
	verbose   bool
}

func newController(stdio IO) *cobra.Command {
	o := controllerOptions{kube: kube.Options{PodName: os.Getenv("POD_NAME"), PodNamespace: os.Getenv("POD_NAMESPACE")}}
	c := &cobra.Command{
		Use: "controller", Short: "Drive every ScoringEndpoint of a cluster (Kubernetes and Istio)", Args: cobra.NoArgs,
		Long: "The cluster's part that decides: it runs revisions, writes routes, collects evidence from the ingress gateway's\naccess log and from the recorders, judges, promotes and reverts. One of several replicas leads. The chart starts it.\n\n" + exitTable,
		RunE: func(c *cobra.Command, _ []string) error { return runController(c.Context(), o, stdio) },
	}
	f := c.Flags()
	f.StringVar(&o.kube.RecorderImage, "recorder-image", "", "Serin's own image, by digest, for the recorders beside the scorers")
	f.StringVar(&o.kube.ControllerURL, "controller-url", "http://serin-recorder.serin-system.svc:9002", "where recorders reach this controller")
	f.StringToStringVar(&o.kube.GatewaySelector, "gateway-selector", map[string]string{"istio": "ingressgateway"}, "labels of the ingress gateway's pods, for the Gateways that Serin makes")
	f.StringVar(&o.kube.AccessLogs, "als", ":9001", "address for the gateway's access log (gRPC)")
	f.StringVar(&o.kube.Recorders, "recorders", ":9002", "address for the recorders (HTTP)")
	f.StringVar(&o.kube.Health, "health", ":9003", "address for health (/healthz, /readyz) and metrics (/metrics); 0: none")
	f.StringVar(&o.kube.PodNamespace, "namespace", o.kube.PodNamespace, "the controller's own namespace (POD_NAMESPACE)")
	f.StringVar(&o.logFormat, "log", "json", "log format: text or json")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "log more")
	return c
}

func runController(ctx context.Context, o controllerOptions, stdio IO) error {
	logger, err := (&serveOptions{logFormat: o.logFormat, verbose: o.verbose}).logger(stdio)
	if err != nil {
		return err
	}
	o.kube.Logger, o.kube.Build = logger, buildInfo()
	switch {
	case o.kube.RecorderImage == "":
		return usageError("--recorder-image must name Serin's own image: recorders run it beside the scorers")
	case o.kube.PodNamespace == "":
		return usageError("--namespace must name the controller's own namespace: its lease lives there")
	}
	rc, err := kube.ClientConfig("")
	if err != nil {
		return fmt.Errorf("finding the cluster: %w", err)
	}
	return kube.Run(ctx, rc, o.kube)
}
