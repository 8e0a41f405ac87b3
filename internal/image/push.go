package image

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Failures that a caller tells apart.
var (
	ErrReference = errors.New("the reference is not one that can be pushed to")
	ErrForbidden = errors.New("the registry refuses")
	ErrNotFound  = errors.New("the registry knows no such repository")
)

// Reference is REGISTRY/NAME:TAG.
type Reference struct {
	tag      name.Tag
	insecure bool
}

// ParseReference reads REGISTRY/NAME:TAG. Both are asked for: "latest" and
// somebody else's registry are nobody's wish. Plain HTTP is for loopback only.
func ParseReference(text string, insecure bool) (Reference, error) {
	options := []name.Option{name.StrictValidation}
	if insecure {
		options = append(options, name.Insecure)
	}
	tag, err := name.NewTag(text, options...)
	switch {
	case err != nil:
		return Reference{}, fmt.Errorf("%w: %q: must be REGISTRY/NAME:TAG (%w)", ErrReference, text, err)
	case insecure && !loopback(tag.RegistryStr()):
		return Reference{}, fmt.Errorf("%w: %q: plain HTTP is for registries on this machine (127.0.0.1, [::1], localhost) only; %s needs TLS", ErrReference, text, tag.RegistryStr())
	}
	return Reference{tag, insecure}, nil
}

func loopback(registry string) bool {
	host := registry
	if h, _, err := net.SplitHostPort(registry); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}

// String is REGISTRY/NAME:TAG.
func (r Reference) String() string { return r.tag.String() }

// Name is NAME alone.
func (r Reference) Name() string { return r.tag.RepositoryStr() }

// Tag is what follows the colon.
func (r Reference) Tag() string { return r.tag.TagStr() }

// Pinned is REGISTRY/NAME@DIGEST, which never means another image.
func (r Reference) Pinned(digest string) string { return r.tag.Context().Digest(digest).String() }

// Progress is told how many bytes of how many are there.
type Progress func(done, total int64)

// Push brings the image to its registry, as the user's docker configuration
// allows: blobs that are there already are not sent, the tag comes last.
func (i Image) Push(ctx context.Context, r Reference, say Progress) error {
	updates := make(chan v1.Update, 64)
	said := make(chan struct{})
	go func() {
		defer close(said)
		for u := range updates {
			if say != nil && u.Error == nil {
				say(u.Complete, u.Total)
			}
		}
	}()
	err := remote.Write(r.tag, i.image, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithUserAgent("serin"),
		remote.WithTransport(guarded{remote.DefaultTransport, r.insecure}), remote.WithProgress(updates))
	<-said
	if err != nil {
		return fmt.Errorf("pushing %s: %w", r, explained(err))
	}
	return nil
}

// guarded keeps credentials and images off the wire in clear: the library would
// try plain HTTP with every private address by itself.
type guarded struct {
	next     http.RoundTripper
	insecure bool
}

func (g guarded) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !(g.insecure && loopback(req.URL.Host)) {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, fmt.Errorf("%s speaks plain HTTP: %w", req.URL.Host, errPlain)
	}
	return g.next.RoundTrip(req)
}

var errPlain = errors.New("use a registry with TLS, or --insecure for one on this machine")

// explained sorts what a registry answers.
func explained(err error) error {
	var t *transport.Error
	if !errors.As(err, &t) {
		return err
	}
	switch t.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w (%w); log in first (docker login, az acr login, …): the credentials are those of the docker configuration", ErrForbidden, err)
	case http.StatusNotFound:
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return err
}
