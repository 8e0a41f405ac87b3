package cli

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/local"
	"github.com/serin-dev/serin/internal/report"
	"github.com/serin-dev/serin/internal/spec"
)

// api is what the verbs need of an endpoint, on this machine or in a cluster.
type api interface {
	Status(ctx context.Context) (engine.Status, error)
	// Next returns the status when it may have changed, not sooner than after a second.
	Next(ctx context.Context) (engine.Status, error)
	// Apply takes a document; force takes over what others own, in a cluster.
	Apply(ctx context.Context, document []byte, dryRun, force bool) (engine.ApplyResult, error)
	Act(ctx context.Context, a engine.ActionRequest) (engine.ActionResult, error)
	Delete(ctx context.Context, dryRun bool) (engine.ApplyResult, error)
	// Rollouts that ended and lines of the audit, latest first.
	Rollouts(ctx context.Context, limit int) ([]engine.RolloutRecord, error)
	Audit(ctx context.Context, limit int) ([]engine.Entry, error)
	// Hint says what to look at when nobody answers.
	Hint() string
}

// connection says where the API is and as whom to speak.
type connection struct {
	state, url, tokenFile string
	endpoint              string
	context, namespace    string
	plugin                bool           // called as kubectl serin
	flags                 *pflag.FlagSet // nil: none were read
}

// whereHelp is how it is decided whom a verb speaks to.
const whereHelp = `Whom it speaks to: a cluster with --context or --namespace (-n), as kubectl does (KUBECONFIG, else ~/.kube/config), and
always when it is called as kubectl serin; else serin serve on this machine, by the socket in --state or by --server.`

func (c *connection) addTo(cmd *cobra.Command, stdio IO) {
	f := cmd.Flags()
	f.StringVar(&c.state, "state", envOr("SERIN_STATE", local.DefaultState), "state `FOLDER` of serin serve, which holds its socket (SERIN_STATE)")
	f.StringVar(&c.url, "server", os.Getenv("SERIN_SERVER"), "`ADDRESS` of the API, such as http://127.0.0.1:8081, instead of the socket (SERIN_SERVER)")
	f.StringVar(&c.tokenFile, "token-file", os.Getenv("SERIN_TOKEN_FILE"), "`FILE` with the bearer token for --server (SERIN_TOKEN_FILE)")
	f.StringVar(&c.endpoint, "endpoint", "", "`NAME` of the endpoint (default: the only one there)")
	f.StringVar(&c.context, "context", "", "cluster: `NAME` of the kubeconfig's context (default: the current one)")
	f.StringVarP(&c.namespace, "namespace", "n", "", "cluster: `NAMESPACE` (default: the context's)")
	c.plugin, c.flags = stdio.Plugin, f
	cmd.Long = strings.Replace(cmd.Long, exitTable, whereHelp+"\n\n"+exitTable, 1)
}

func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

func (c *connection) given(names ...string) string {
	for _, n := range names {
		if c.flags != nil && c.flags.Changed(n) {
			return n
		}
	}
	return ""
}

// words are the flags that lead to the same endpoint again, for a command line that
// somebody is told to type.
func (c *connection) words() string {
	var out []string
	for _, name := range []string{"state", "server", "token-file", "context", "namespace", "endpoint"} {
		if c.given(name) != "" {
			out = append(out, "--"+name+" "+report.Quoted(c.flags.Lookup(name).Value.String()))
		}
	}
	return strings.Join(out, " ")
}

// open decides whom to speak to.
func (c *connection) open() (api, error) {
	here, there := c.given("state", "server", "token-file"), c.given("context", "namespace")
	switch {
	case here != "" && there != "":
		return nil, usageError("--%s means serin serve on this machine, --%s a cluster: give one of them", here, there)
	case c.mode() == spec.Cluster:
		return c.openCluster()
	}
	return c.openHTTP()
}

// mode is how a document is read where it goes to.
func (c *connection) mode() spec.Mode {
	if c.given("context", "namespace") != "" || c.plugin && c.given("state", "server", "token-file") == "" {
		return spec.Cluster
	}
	return spec.Local
}

// away is an error that says nothing of the endpoint: the API did not answer, or
// had a fault of its own. Whoever waits may ask again.
type away struct{ error }

func (a away) Unwrap() error { return a.error }

func isAway(err error) bool {
	var a away
	return errors.As(err, &a)
}
