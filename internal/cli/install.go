package cli

import (
	"context"
	"fmt"
	"regexp"
	"slices"

	"github.com/spf13/cobra"

	"github.com/serin-dev/serin/internal/install"
	"github.com/serin-dev/serin/internal/kube"
)

type installOptions struct {
	out            output
	render         install.Options
	image, context string
	apply, dryRun  bool
}

func newInstall(stdio IO) *cobra.Command {
	var o installOptions
	c := &cobra.Command{
		Use: "install --image NAME@sha256:DIGEST", Short: "Print Serin's manifests for Kubernetes and Istio, or apply them", Args: cobra.NoArgs,
		Long: "Render Serin's Helm chart, for people without Helm: to stdout, or with --apply into the cluster by server-side apply\n(kinds first). Values are those of charts/serin/README.md. The mesh must know Serin as a receiver of access logs: the\nsame page says how.\n\n" + exitTable,
		Example: "  serin install --image registry.example/serin@sha256:… > serin.yaml\n  serin install --image registry.example/serin@sha256:… --apply --dry-run\n" +
			"  serin install --image registry.example/serin@sha256:… --set mesh.aksAddon=true --set mesh.revision=asm-1-30 --apply",
		RunE: func(c *cobra.Command, _ []string) error { return runInstall(c.Context(), o, stdio) },
	}
	o.out.addTo(c)
	f := c.Flags()
	f.StringVar(&o.image, "image", "", "Serin's own image as `NAME@sha256:DIGEST` (serin image prints it) or NAME:TAG")
	f.StringVarP(&o.render.Namespace, "namespace", "n", "serin-system", "where Serin itself runs; made if it is not there")
	f.StringArrayVar(&o.render.Set, "set", nil, "a value of the chart as `PATH=VALUE`; may be repeated")
	f.BoolVar(&o.apply, "apply", false, "apply the manifests instead of printing them")
	f.BoolVar(&o.dryRun, "dry-run", false, "with --apply: let the API server say what it would refuse, and change nothing")
	f.StringVar(&o.context, "context", "", "context of the kubeconfig (default: the current one)")
	return c
}

var imageName = regexp.MustCompile(`^([^@\s]+?)(?:@(sha256:[0-9a-f]{64})|:([A-Za-z0-9_][A-Za-z0-9_.-]*))?$`)

// installed is the JSON of serin install --apply.
type installed struct {
	DryRun  bool           `json:"dryRun"`
	Applied []kube.Applied `json:"applied"`
}

func runInstall(ctx context.Context, o installOptions, stdio IO) error {
	asJSON, err := o.out.json()
	if err != nil {
		return err
	}
	if o.dryRun && !o.apply {
		return usageError("--dry-run goes with --apply: without it nothing is changed anyway")
	}
	if o.image != "" {
		m := imageName.FindStringSubmatch(o.image)
		if m == nil {
			return usageError("--image %q: write NAME@sha256:DIGEST, or NAME:TAG", o.image)
		}
		o.render.Set = append([]string{"image.repository=" + m[1], "image.digest=" + m[2], "image.tag=" + m[3]}, o.render.Set...)
	}
	m, err := install.Render(o.render)
	if err != nil {
		return usageError("%w", err)
	}
	text := slices.Concat(m.Kinds, fmt.Appendf(nil, "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: %s\n", o.render.Namespace), m.Rest)
	if !o.apply {
		_, err := stdio.Out.Write(text)
		return err
	}
	rc, err := kube.ClientConfig(o.context)
	if err != nil {
		return err
	}
	done, err := kube.ApplyManifests(ctx, rc, text, o.dryRun)
	if asJSON {
		if err == nil {
			return printJSON(stdio.Out, installed{o.dryRun, done})
		}
		return err
	}
	for _, a := range done {
		fmt.Fprintf(stdio.Out, "%s %s\n", a.Kind, a.Name)
	}
	return err
}
