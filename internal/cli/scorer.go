package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/serin-dev/serin/internal/scorer"
)

func newScorer(stdio IO) *cobra.Command {
	var o scorer.Options
	var model string
	c := &cobra.Command{
		Use: "scorer", Short: "Serve a LightGBM text model (or a dummy) over HTTP", Args: cobra.NoArgs,
		Long:    "Serve a LightGBM text model: POST /score with {\"data\": [[…]]} answers {\"result\": […]}. Errors, headers and health are\nthose of Azure ML's inference server. The rehearsal flags make a version that is slow or fails, to see it reverted.\n\n" + exitTable,
		Example: "  serin scorer --model models/v1.txt\n  serin scorer --dummy 'New Model A' --listen 127.0.0.1:5002",
		RunE: func(c *cobra.Command, _ []string) error {
			return runScorer(c.Context(), o, model, stdio)
		},
	}
	f := c.Flags()
	f.StringVar(&model, "model", "", "LightGBM text model")
	f.StringVar(&o.Dummy, "dummy", "", "answer this string to every request instead")
	f.StringVar(&o.Listen, "listen", listenDefault(), "address (default with PORT set: 127.0.0.1:$PORT)")
	f.Int64Var(&o.MaxBodyBytes, "max-body-bytes", 4<<20, "larger requests get 413")
	f.DurationVar(&o.Timeout, "timeout", time.Minute, "of one request")
	f.DurationVar(&o.DrainTimeout, "drain-timeout", 10*time.Second, "for requests under way at SIGTERM")
	f.DurationVar(&o.Linger, "linger", 0, "stay reachable, not ready, this long at SIGTERM before draining")
	f.DurationVar(&o.Delay, "delay", 0, "rehearsal: add this to every answer")
	f.StringVar(&o.FailOnMissing, "fail-on-missing", "", "rehearsal: fail with 500 when this column is -1")
	f.BoolVar(&o.FailAll, "fail-all", false, "rehearsal: fail every request with 500")
	c.MarkFlagsMutuallyExclusive("model", "dummy")
	c.MarkFlagsOneRequired("model", "dummy")
	return c
}

func listenDefault() string {
	if port := os.Getenv("PORT"); port != "" {
		return "127.0.0.1:" + port
	}
	return "127.0.0.1:5001"
}

func runScorer(ctx context.Context, o scorer.Options, model string, stdio IO) error {
	o.Logger = slog.New(slog.NewTextHandler(stdio.Err, nil))
	if model != "" {
		text, err := os.ReadFile(filepath.Clean(model))
		if err != nil {
			return usageError("--model: %w", err)
		}
		o.Model, o.ModelName = text, filepath.Base(model)
	}
	return scorer.Run(ctx, o, func(addr string) {
		fmt.Fprintf(stdio.Err, "scoring on http://%s/score\n", addr)
	})
}
