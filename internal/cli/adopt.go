package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/serin-dev/serin/internal/kube"
)

type adoptOptions struct {
	conn                   connection
	out                    output
	plan                   kube.AdoptOptions
	file                   string
	apply, dryRun, restart bool
}

func newAdopt(stdio IO) *cobra.Command {
	var o adoptOptions
	c := &cobra.Command{
		Use: "adopt deployment/NAME", Short: "Take over a Deployment and Service that run already, without a restart", Args: cobra.MaximumNArgs(1),
		Long: "Read a Deployment, its Service and the routes to it, and print the document that makes it an endpoint's first version.\n" +
			"Nothing is changed; what would be stands on stderr. With --apply it is done: the routes to the Service become place\n" +
			"holders for Serin's, and the document is applied. No pod restarts; serin delete gives everything back.\ndocs/adopt.md has the details.\n\n" + exitTable,
		Example: "  serin adopt deployment/model-green -n abtesting > endpoint.yaml\n  serin adopt deployment/model-green -n abtesting -f endpoint.yaml --apply\n" +
			"  serin adopt --restart -n abtesting --endpoint model-green",
		RunE: func(c *cobra.Command, args []string) error { return runAdopt(c.Context(), o, args, stdio) },
	}
	o.conn.addTo(c, stdio)
	o.out.addTo(c)
	f := c.Flags()
	f.StringVar(&o.plan.Service, "service", "", "the `NAME` of the Service by which it is reached (default: the only one that selects its pods)")
	f.StringVar(&o.plan.VirtualService, "virtual-service", "", "the `NAME` of the VirtualService with routes to it (default: the only one)")
	f.StringVar(&o.plan.Gateway, "gateway", "", "leave existing routes alone: requests come by this Gateway, through routes of Serin's own")
	f.StringSliceVar(&o.plan.Hosts, "host", nil, "hosts of Serin's own routes (default: all)")
	f.StringVar(&o.plan.Afterwards, "afterwards", kube.Keep, "what becomes of the Deployment after the next version: Keep, ScaleToZero or Delete")
	f.StringVarP(&o.file, "file", "f", "", "with --apply: the document to apply instead of the one that would be printed")
	f.BoolVar(&o.apply, "apply", false, "do it, instead of printing the document")
	f.BoolVar(&o.dryRun, "dry-run", false, "with --apply or --restart: let the API server say what it would refuse, and change nothing")
	f.BoolVar(&o.restart, "restart", false, "start a rollout of the adopted version with a recorder beside it, so that its scores are judged")
	return c
}

func runAdopt(ctx context.Context, o adoptOptions, args []string, stdio IO) error {
	asJSON, err := o.out.json()
	if err != nil {
		return err
	}
	if err := o.check(args); err != nil {
		return err
	}
	cl, err := kube.Connect(o.conn.context, o.conn.namespace, o.conn.endpoint)
	if err != nil {
		return clusterError(err)
	}
	if o.restart {
		result, err := cl.Restart(ctx, o.dryRun)
		if err != nil {
			return clusterError(err)
		}
		return printApply(stdio, result, asJSON)
	}
	o.plan.Deployment = strings.TrimPrefix(args[0], "deployment/")
	plan, err := cl.PlanAdoption(ctx, o.plan)
	if err != nil {
		return clusterError(err)
	}
	if !o.apply {
		return printAdoption(stdio, plan, asJSON)
	}
	document := []byte(plan.Document)
	if o.file != "" {
		if document, err = readDocument(o.file, stdio.In); err != nil {
			return err
		}
	}
	result, err := cl.Adopt(ctx, plan, document, o.dryRun)
	if err != nil {
		return clusterError(err)
	}
	result.Notes = append(plan.Notes, result.Notes...)
	return printApply(stdio, result, asJSON)
}

func (o adoptOptions) check(args []string) error {
	kind := ""
	if len(args) == 1 {
		kind, _, _ = strings.Cut(args[0], "/")
	}
	switch {
	case o.conn.given("state", "server", "token-file") != "":
		return usageError("adopt is for a cluster: leave --%s out", o.conn.given("state", "server", "token-file"))
	case o.restart && len(args) > 0:
		return usageError("--restart is of an endpoint: name it with --endpoint")
	case o.restart && (o.apply || o.file != ""):
		return usageError("--restart stands alone: leave --apply and --file out")
	case !o.restart && (len(args) == 0 || kind != "deployment" && kind != "deploy" && kind != args[0]):
		return usageError("name what to adopt: deployment/NAME")
	case !o.apply && !o.restart && (o.dryRun || o.file != ""):
		return usageError("--dry-run and --file go with --apply: without it nothing is changed anyway")
	}
	return nil
}

func printAdoption(stdio IO, p kube.Adoption, asJSON bool) error {
	if asJSON {
		return printJSON(stdio.Out, p)
	}
	for _, r := range p.Renames {
		was := "without a name"
		if r.Old != "" {
			was = "named " + r.Old
		}
		fmt.Fprintf(stdio.Err, "VirtualService %s: http[%d], %s, becomes the place holder %s\n", r.VirtualService, r.Index, was, r.New)
	}
	if len(p.Renames) == 0 {
		fmt.Fprintln(stdio.Err, "No route is touched: the endpoint has routes of its own.")
	}
	fmt.Fprintf(stdio.Err, "No pod restarts. This document makes endpoint %s; --apply does all this:\n", p.Endpoint)
	for _, n := range p.Notes {
		fmt.Fprintf(stdio.Err, "note: %s\n", n)
	}
	_, err := fmt.Fprint(stdio.Out, p.Document)
	return err
}
