package kube

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	authentication "k8s.io/api/authentication/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/internal/observe/mesh"
	"github.com/serin-dev/serin/internal/observe/wire"
)

const (
	// tokenBelieved is how long an answer of the API server is believed.
	tokenBelieved = time.Minute
	mostTokens    = 10_000
)

// podNameKey is where the API server says which pod a bound token belongs to.
const podNameKey = "authentication.kubernetes.io/pod-name"

// authenticator asks the API server whose token it is, and remembers the answer
// for a minute.
func authenticator(api client.Client) mesh.Authenticate {
	type known struct {
		peer  mesh.Peer
		until time.Time
	}
	var mu sync.Mutex
	seen := map[[sha256.Size]byte]known{}
	return func(ctx context.Context, token string) (mesh.Peer, error) {
		sum, now := sha256.Sum256([]byte(token)), time.Now()
		mu.Lock()
		k, ok := seen[sum]
		mu.Unlock()
		if ok && now.Before(k.until) {
			return k.peer, nil
		}
		peer, err := review(ctx, api, token)
		if err != nil {
			return mesh.Peer{}, err
		}
		mu.Lock()
		defer mu.Unlock()
		if len(seen) >= mostTokens {
			clear(seen)
		}
		seen[sum] = known{peer, now.Add(tokenBelieved)}
		return peer, nil
	}
}

func review(ctx context.Context, api client.Client, token string) (mesh.Peer, error) {
	t := &authentication.TokenReview{Spec: authentication.TokenReviewSpec{Token: token, Audiences: []string{wire.Audience}}}
	if err := api.Create(ctx, t); err != nil {
		return mesh.Peer{}, fmt.Errorf("asking the API server whose token it is: %w", err)
	}
	if !t.Status.Authenticated || !slices.Contains(t.Status.Audiences, wire.Audience) {
		return mesh.Peer{}, errors.New("it is no valid token for audience " + wire.Audience)
	}
	parts := strings.Split(t.Status.User.Username, ":") // system:serviceaccount:NAMESPACE:NAME
	if len(parts) != 4 || parts[0] != "system" || parts[1] != "serviceaccount" {
		return mesh.Peer{}, errors.New("it is no service account's token")
	}
	p := mesh.Peer{Namespace: parts[2]}
	if pod := t.Status.User.Extra[podNameKey]; len(pod) == 1 {
		p.Pod = pod[0]
	}
	return p, nil
}
