package cluster

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A new Istio or new values fail here in seconds, without a node.
func TestIstioIsAccepted(t *testing.T) {
	if os.Getenv("SERIN_E2E") != "1" {
		t.Skip("starts a real API server: set SERIN_E2E=1, or run `make e2e`")
	}
	c, err := Start(t.Context(), Options{Kind: APIOnly, Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	c.Registry = "registry.invalid"
	parts, err := programs(true)
	if err != nil {
		t.Fatal(err)
	}
	source, err := istioSource(t.Context(), filepath.Dir(parts[1].dir))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := c.applyDefinitions(t.Context(), source); err != nil {
		t.Fatal(err)
	}
	for _, r := range releases {
		if err := c.applyRelease(t.Context(), source, r); err != nil {
			t.Error(err)
		}
	}
	t.Logf("applied: %.1f s", time.Since(began).Seconds())
}
