package kube

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/api/v1alpha1"
)

// Platform is the platform of one endpoint without its controller, so that it can be
// held to what every platform must do, against a real API server.
type Platform struct{ *platform }

// NewPlatform makes one; scorers says how each version is run, by digest.
func NewPlatform(cfg Config, api client.Client, mesh Mesh, e *v1alpha1.ScoringEndpoint, scorers map[string]v1alpha1.Scorer) (*Platform, error) {
	r, _, err := resolve(e)
	if err != nil {
		return nil, err
	}
	p := newPlatform(Key{Namespace: e.Namespace, Name: e.Name}, cfg, api, api, mesh)
	p.set(ownerOf(e), r)
	for digest, s := range scorers {
		p.scorers[digest] = s
	}
	return &Platform{p}, nil
}

// Tidy removes revisions that may go; it returns when to look again, 0: never.
func (p *Platform) Tidy(ctx context.Context) (time.Duration, error) { return p.tidy(ctx) }
