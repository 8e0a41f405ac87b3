package cli

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/serin-dev/serin/internal/recorder"
)

func newRecorder(stdio IO) *cobra.Command {
	o := recorder.Options{Pod: os.Getenv("POD_NAME"), Namespace: os.Getenv("POD_NAMESPACE")}
	var logs serveOptions
	c := &cobra.Command{
		Use: "recorder", Short: "Stand beside a scorer of a cluster: forward, fall back to stable, report", Args: cobra.NoArgs,
		Long: "The container that Serin puts beside each scorer of a cluster. It forwards requests to the scorer, asks stable in its\nplace when a candidate fails, and tells the controller what was answered. POD_NAME and POD_NAMESPACE say where it runs.\n\n" + exitTable,
		RunE: func(c *cobra.Command, _ []string) error { return runRecorder(c.Context(), o, logs, stdio) },
	}
	f := c.Flags()
	f.StringVar(&o.Listen, "listen", ":8080", "address for scoring requests")
	f.StringVar(&o.Health, "health", ":8081", "address for health and metrics")
	f.StringVar(&o.Scorer, "scorer", "127.0.0.1:5001", "where the scorer listens")
	f.StringVar(&o.Readiness, "readiness", "/", "path by which the scorer says that it is ready")
	f.StringVar(&o.Endpoint, "endpoint", "", "name of the ScoringEndpoint")
	f.StringVar(&o.Revision, "revision", "", "name of the scorer's revision")
	f.StringVar(&o.Controller, "controller", "http://serin-recorder.serin-system.svc:9002", "where to report to, and to hear orders from")
	f.StringVar(&o.TokenFile, "token-file", "/var/run/serin/token", "the pod's token for audience serin-controller")
	f.DurationVar(&o.LameDuck, "lame-duck", 5*time.Second, "go on answering for so long at SIGTERM, not ready, before draining")
	f.StringVar(&logs.logFormat, "log", "json", "log format: text or json")
	f.BoolVarP(&logs.verbose, "verbose", "v", false, "log more")
	return c
}

func runRecorder(ctx context.Context, o recorder.Options, logs serveOptions, stdio IO) error {
	logger, err := logs.logger(stdio)
	if err != nil {
		return err
	}
	o.Logger = logger
	r, err := recorder.New(o)
	if err != nil {
		return usageError("%w", err)
	}
	return r.Run(ctx)
}
