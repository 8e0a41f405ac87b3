package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/serin-dev/serin/internal/scorer"
)

// scorerOptions are the flags of `serin scorer`, which `serin image` checks too.
type scorerOptions struct {
	scorer.Options
	model string
}

func (o *scorerOptions) addTo(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.model, "model", "", "LightGBM text model")
	f.StringVar(&o.Dummy, "dummy", "", "answer this string to every request instead")
	f.StringVar(&o.Listen, "listen", listenDefault(), "address (default with PORT set: 127.0.0.1:$PORT)")
	f.Int64Var(&o.MaxBodyBytes, "max-body-bytes", 4<<20, "larger requests get 413")
	f.DurationVar(&o.Timeout, "timeout", time.Minute, "of one request")
	f.DurationVar(&o.DrainTimeout, "drain-timeout", 10*time.Second, "for requests under way at SIGTERM")
	f.DurationVar(&o.Linger, "linger", 0, "stay reachable, not ready, this long at SIGTERM before draining")
	f.DurationVar(&o.Delay, "delay", 0, "rehearsal: add this to every answer")
	f.StringVar(&o.FailOnMissing, "fail-on-missing", "", "rehearsal: fail with 500 when this column is -1")
	f.BoolVar(&o.FailAll, "fail-all", false, "rehearsal: fail every request with 500")
	f.Float64Var(&o.Noise, "noise", 0, "rehearsal: add anything from minus to plus this to each score, anew each time")
	c.MarkFlagsMutuallyExclusive("model", "dummy")
	c.MarkFlagsOneRequired("model", "dummy")
}

// read loads the model that the flags name.
func (o *scorerOptions) read() error {
	if o.model == "" {
		return nil
	}
	text, err := os.ReadFile(filepath.Clean(o.model))
	if err != nil {
		return usageError("--model: %w", err)
	}
	if len(text) == 0 {
		return usageError("--model %q: is empty; must be a LightGBM model saved as text", o.model)
	}
	o.Model, o.ModelName = text, filepath.Base(o.model)
	return nil
}

// check refuses what the scorer would take for a default, and an address that is none.
func (o *scorerOptions) check() error {
	switch {
	case o.model == "" && o.Dummy == "":
		return usageError("--model and --dummy are empty: name a model, or give the dummy's answer")
	case o.MaxBodyBytes == 0:
		return usageError("--max-body-bytes 0: must be at least 1")
	case o.Timeout == 0:
		return usageError("--timeout 0s: must be more than 0s")
	case o.DrainTimeout == 0:
		return usageError("--drain-timeout 0s: must be more than 0s")
	}
	_, port, err := net.SplitHostPort(o.Listen)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return usageError("--listen %q: must look like 127.0.0.1:5001: %w", o.Listen, err)
	}
	return nil
}

// flagged names the flag where the scorer refuses an option.
func flagged(err error) error {
	var refused *scorer.OptionError
	if !errors.As(err, &refused) {
		return err
	}
	var flag strings.Builder
	for i, r := range refused.Option {
		if unicode.IsUpper(r) && i > 0 {
			flag.WriteByte('-')
		}
		flag.WriteRune(unicode.ToLower(r))
	}
	return usageError("--%s %s: %s", flag.String(), refused.Value, refused.Allowed)
}

func newScorer(stdio IO) *cobra.Command {
	var o scorerOptions
	c := &cobra.Command{
		Use: "scorer", Short: "Serve a LightGBM text model (or a dummy) over HTTP", Args: cobra.NoArgs,
		Long:    "Serve a LightGBM text model: POST /score with {\"data\": [[…]]} answers {\"result\": […]}. Errors, headers and health are\nthose of Azure ML's inference server. The rehearsal flags make a version that is slow, fails\nor does not repeat itself, to see what becomes of it.\n\n" + exitTable,
		Example: "  serin scorer --model models/v1.txt\n  serin scorer --dummy 'New Model A' --listen 127.0.0.1:5002",
		RunE:    func(c *cobra.Command, _ []string) error { return runScorer(c.Context(), o, stdio) },
	}
	o.addTo(c)
	return c
}

func listenDefault() string {
	if port := os.Getenv("PORT"); port != "" {
		return "127.0.0.1:" + port
	}
	return "127.0.0.1:5001"
}

func runScorer(ctx context.Context, o scorerOptions, stdio IO) error {
	o.Logger = slog.New(slog.NewTextHandler(stdio.Err, nil))
	if err := errors.Join(o.check(), o.read()); err != nil {
		return err
	}
	return flagged(scorer.Run(ctx, o.Options, func(addr string) {
		fmt.Fprintf(stdio.Err, "scoring on http://%s/score\n", addr)
	}))
}
