package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/serin-dev/serin/internal/image"
	"github.com/serin-dev/serin/internal/scorer"
)

// scorerPort is where a packed scorer listens: the default of spec.scorer.port.
const scorerPort = "5001"

type imageOptions struct {
	out                                output
	tag, model, dummy, binary, archive string
	labels                             map[string]string
	insecure                           bool
	script                             scriptOptions
	scorer                             []string // more arguments of the packed scorer
}

func newImage(stdio IO) *cobra.Command {
	var o imageOptions
	c := &cobra.Command{
		Use: "image --tag REGISTRY/NAME:TAG [flags] [-- SCORER-FLAG...]", Short: "Pack Serin or a scorer as a container image and push it, without Docker",
		Long:    "Pack an OCI image and push it to a registry. Without --model or --dummy it is Serin's own image; with one of them it\nis a scoring image: Serin, the model, and the command that serves it on port " + scorerPort + ". What follows -- goes to serin scorer.\n\nWith --scoring-script it is a scoring image in the style of Azure ML: Debian's Python, the wheels of --requirements, the script\n(init() and run()), and the model, on azmlinfsrv at port " + scorerPort + "; what follows -- goes to azmlinfsrv. It needs Debian or its kin (Ubuntu),\napt-get and pip, and root or the right to make user namespaces. The script's init() is called first. What was packed is kept in\nthe user's cache: the next image of the same versions takes seconds.\n\nThe same input gives the same digest (the time is SOURCE_DATE_EPOCH, else 1970). Prints REGISTRY/NAME@DIGEST, which is\nwhat spec.scorer.image wants. Credentials are those of docker login (~/.docker/config.json, DOCKER_CONFIG).\n\n" + exitTable,
		Example: "  serin image --tag registry.example/serin:1.0\n  serin image --model models/v2.txt --tag registry.example/safe-driver:2 --label dev.serin.run=train-17\n  serin image --dummy 'New Model B' --tag 127.0.0.1:5000/dummy:b --insecure -- --delay 50ms\n  serin image --scoring-script score.py --requirements requirements.txt --model models/driver.pkl --tag registry.example/safe-driver:2\n  serin image --model models/v2.txt --tag safe-driver.example/model:2 --archive model.tar",
		Args: func(c *cobra.Command, args []string) error {
			if dash := c.ArgsLenAtDash(); dash > 0 || dash < 0 && len(args) > 0 {
				return usageError("%q: serin image takes flags only; flags of the packed scorer follow --", args[0])
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			o.scorer = args
			return runImage(c.Context(), o, stdio)
		},
	}
	o.out.addTo(c)
	f := c.Flags()
	f.StringVar(&o.tag, "tag", "", "`REGISTRY/NAME:TAG` of the image")
	f.StringVar(&o.model, "model", "", "`FILE` with a LightGBM text model: a scoring image; with --scoring-script any file or folder")
	f.StringVar(&o.dummy, "dummy", "", "a scoring image that answers this `TEXT` to every request")
	f.StringVar(&o.binary, "binary", "", "static serin for Linux to pack (default: the one that runs)")
	f.StringVar(&o.archive, "archive", "", "write the image into this `FILE.tar` instead of pushing it; docker load, podman load and kind read it")
	f.StringToStringVar(&o.labels, "label", nil, "`NAME=VALUE` on the image, such as the training run; may be repeated")
	f.BoolVar(&o.insecure, "insecure", false, "plain HTTP, for a registry on this machine only")
	o.script.addTo(f)
	c.MarkFlagsMutuallyExclusive("model", "dummy")
	c.MarkFlagsMutuallyExclusive("scoring-script", "dummy")
	c.MarkFlagsMutuallyExclusive("scoring-script", "binary")
	_ = c.MarkFlagRequired("tag")
	return c
}

// imageJSON is what -o json prints.
type imageJSON struct {
	Reference    string `json:"reference"` // by digest
	Tag          string `json:"tag"`
	Digest       string `json:"digest"`
	Platform     string `json:"platform"`
	Bytes        int64  `json:"bytes"`
	SerinVersion string `json:"serinVersion,omitempty"` // of the serin in the image
	Archive      string `json:"archive,omitempty"`
}

func runImage(ctx context.Context, o imageOptions, stdio IO) error {
	asJSON, err := o.out.json()
	if err != nil {
		return err
	}
	ref, err := image.ParseReference(o.tag, o.insecure)
	if err != nil {
		return usageError("--tag: %w", err)
	}
	s, err := o.spec(ctx, ref, stdio.Err)
	if err != nil {
		return err
	}
	img, err := image.Pack(s)
	if err != nil {
		return err
	}
	say, done := progressOn(stdio.Err)
	if o.archive != "" {
		err = img.WriteFile(o.archive, ref, say)
	} else {
		err = img.Push(ctx, ref, say)
	}
	done()
	if err != nil {
		return imageError(err)
	}
	result := imageJSON{ref.Pinned(img.Digest), ref.String(), img.Digest, "linux/" + img.Architecture, img.Size, s.Labels[serinVersion], o.archive}
	if asJSON {
		return printJSON(stdio.Out, result)
	}
	fmt.Fprintln(stdio.Out, result.Reference)
	return nil
}

func imageError(err error) error {
	switch {
	case errors.Is(err, image.ErrForbidden):
		return exit{ExitForbidden, err}
	case errors.Is(err, image.ErrNotFound):
		return exit{ExitNotFound, err}
	}
	return err
}

// serinVersion is the label that says which serin is in the image.
const serinVersion = "dev.serin.version"

// spec is what the flags ask for.
func (o *imageOptions) spec(ctx context.Context, ref image.Reference, progress io.Writer) (image.Spec, error) {
	created, err := sourceDate()
	if err != nil {
		return image.Spec{}, err
	}
	s := image.Spec{Created: created, Labels: map[string]string{}}
	if err := o.script.check(o.scorer); err != nil {
		return s, err
	}
	if o.script.script != "" {
		err = o.scriptSpec(ctx, &s, progress)
	} else {
		err = o.serinSpec(&s)
	}
	if o.model != "" || o.dummy != "" || o.script.script != "" { // it scores
		s.Ports = []string{scorerPort + "/tcp"}
		s.Labels["org.opencontainers.image.title"], s.Labels["org.opencontainers.image.version"] = path.Base(ref.Name()), ref.Tag()
	}
	maps.Copy(s.Labels, o.labels)
	return s, err
}

// serinSpec is an image of Serin, alone or as a scorer.
func (o *imageOptions) serinSpec(s *image.Spec) error {
	if o.binary == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("finding the running binary: %w", err)
		}
		o.binary = self
	}
	b, err := image.ReadBinary(o.binary)
	if err != nil {
		return exit{ExitUsage, err}
	}
	s.Architecture, s.Layers, s.Entrypoint = b.Architecture, []image.Layer{image.ProgramLayer(b)}, []string{image.ProgramPath}
	maps.Copy(s.Labels, map[string]string{"org.opencontainers.image.licenses": "Apache-2.0", serinVersion: b.Version})
	if o.model != "" || o.dummy != "" {
		return o.scoring(s)
	}
	if len(o.scorer) > 0 {
		return usageError("what follows -- goes to the packed scorer: give --model or --dummy")
	}
	maps.Copy(s.Labels, map[string]string{"org.opencontainers.image.title": "serin", "org.opencontainers.image.version": b.Version, "org.opencontainers.image.revision": b.Revision})
	return nil
}

// scoring makes it a scoring image, after the model and the flags were tried.
func (o *imageOptions) scoring(s *image.Spec) error {
	packed := []string{"--model", image.ModelPath}
	if o.dummy != "" {
		packed = []string{"--dummy", o.dummy}
	}
	digest, err := o.tryScorer()
	if err != nil {
		return err
	}
	s.Entrypoint = append(append([]string{image.ProgramPath, "scorer"}, packed...), "--listen", ":"+scorerPort)
	s.Entrypoint = append(s.Entrypoint, o.scorer...)
	s.Labels["dev.serin.model"] = o.dummy
	if o.model != "" {
		s.Layers = append(s.Layers, image.ModelLayer(o.model))
		s.Labels["dev.serin.model"], s.Labels["dev.serin.model.digest"] = filepath.Base(o.model), digest
	}
	return nil
}

// tryScorer makes the scorer here, so that an image that cannot score is never
// pushed. It returns the digest of the model.
func (o *imageOptions) tryScorer() (string, error) {
	var t scorerOptions
	c := &cobra.Command{}
	t.addTo(c)
	if err := c.ParseFlags(o.scorer); err != nil {
		return "", usageError("what follows -- must be flags of serin scorer: %w", err)
	}
	if rest := c.Flags().Args(); len(rest) > 0 {
		return "", usageError("what follows -- must be flags of serin scorer: %q is none", rest[0])
	}
	for _, set := range []string{"model", "dummy", "listen"} {
		if c.Flags().Changed(set) {
			return "", setByImage("--" + set)
		}
	}
	t.model, t.Dummy = o.model, o.dummy
	if err := errors.Join(t.check(), t.read()); err != nil {
		return "", err
	}
	if _, err := scorer.New(t.Options); err != nil {
		return "", exit{ExitUsage, fmt.Errorf("the image would not score, nothing was pushed: %w", flagged(err))}
	}
	sum := sha256.Sum256(t.Model)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// setByImage refuses a flag of the scorer that the image sets itself.
func setByImage(flag string) error {
	return usageError("what follows -- must not hold %s: the image sets it", flag)
}

// sourceDate is the time that the image carries: reproducible builds' own way.
func sourceDate() (time.Time, error) {
	text := envOr("SOURCE_DATE_EPOCH", "0")
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, usageError("SOURCE_DATE_EPOCH %q: must be seconds since 1970", text)
	}
	return time.Unix(seconds, 0), nil
}

// progressOn draws on a terminal, and says nothing elsewhere.
func progressOn(w io.Writer) (say image.Progress, done func()) {
	if !isTerminal(w) {
		return nil, func() {}
	}
	drawn := time.Time{}
	say = func(part, whole int64) {
		if time.Since(drawn) > 100*time.Millisecond {
			drawn = time.Now()
			fmt.Fprintf(w, "\r%.1f of %.1f MB ", float64(part)/1e6, float64(whole)/1e6)
		}
	}
	return say, func() { fmt.Fprint(w, "\r"+strings.Repeat(" ", 32)+"\r") }
}
