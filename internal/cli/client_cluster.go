package cli

import (
	"context"
	"errors"

	"github.com/serin-dev/serin/internal/engine"
	"github.com/serin-dev/serin/internal/kube"
)

// openCluster speaks to the API server of a cluster.
func (c *connection) openCluster() (api, error) {
	cl, err := kube.Connect(c.context, c.namespace, c.endpoint)
	if err != nil {
		return nil, clusterError(err)
	}
	return inCluster{cl}, nil
}

// inCluster gives the errors of a cluster the exit codes of the command line.
type inCluster struct{ cl *kube.Client }

// meanings are the exit codes of what a cluster answers.
var meanings = []struct {
	err  error
	code int
}{{kube.ErrNotFound, ExitNotFound}, {kube.ErrForbidden, ExitForbidden}, {kube.ErrConflict, ExitForbidden}, {kube.ErrInvalid, ExitUsage}, {kube.ErrUnanswered, ExitTimeout}}

func clusterError(err error) error {
	for _, m := range meanings {
		if errors.Is(err, m.err) {
			return exit{m.code, err}
		}
	}
	if errors.Is(err, kube.ErrAway) {
		return exit{ExitError, away{err}}
	}
	return err
}

func (c inCluster) Hint() string { return c.cl.Hint() }

func (c inCluster) Status(ctx context.Context) (engine.Status, error) {
	st, err := c.cl.Status(ctx)
	return st, clusterError(err)
}

func (c inCluster) Next(ctx context.Context) (engine.Status, error) {
	st, err := c.cl.Next(ctx)
	return st, clusterError(err)
}

func (c inCluster) Apply(ctx context.Context, document []byte, dryRun, force bool) (engine.ApplyResult, error) {
	r, err := c.cl.Apply(ctx, document, dryRun, force)
	return r, clusterError(err)
}

func (c inCluster) Act(ctx context.Context, a engine.ActionRequest) (engine.ActionResult, error) {
	r, err := c.cl.Act(ctx, a)
	return r, clusterError(err)
}

func (c inCluster) Delete(ctx context.Context, dryRun bool) (engine.ApplyResult, error) {
	r, err := c.cl.Delete(ctx, dryRun)
	return r, clusterError(err)
}

func (c inCluster) Rollouts(ctx context.Context, limit int) ([]engine.RolloutRecord, error) {
	if err := checkLimit(limit); err != nil {
		return nil, err
	}
	list, err := c.cl.Rollouts(ctx, limit)
	return list, clusterError(err)
}

func (c inCluster) Audit(ctx context.Context, limit int) ([]engine.Entry, error) {
	if err := checkLimit(limit); err != nil {
		return nil, err
	}
	list, err := c.cl.Audit(ctx, limit)
	return list, clusterError(err)
}

func checkLimit(limit int) error {
	if limit < 1 || limit > mostListed {
		return usageError("--limit %d: must be 1 to %d", limit, mostListed)
	}
	return nil
}
