package local

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/serin-dev/serin/internal/engine/enginetest"
	"github.com/serin-dev/serin/internal/proxy"
	"github.com/serin-dev/serin/internal/rollout"
	"github.com/serin-dev/serin/internal/spec"
)

// TestPlatform runs the suite of every platform with real processes behind a real
// gateway.
func TestPlatform(t *testing.T) { enginetest.Run(t, onThisMachine) }

func onThisMachine(t *testing.T) enginetest.Place {
	t.Helper()
	gateway := proxy.New(proxy.Config{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = gateway.Serve(ln) }()
	p := newPlatform(testBinary(t), gateway, logger(t), func() {})
	if err := p.setTraffic(Traffic{Header: proxy.HeaderRoute{Name: "x-api-version", Stable: "green", Candidate: "blue"}, Timeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	for n := 1; n < 10; n++ {
		p.prepare(fmt.Sprint(n), stubOf("", "serves", fmt.Sprint(n)))
	}
	p.prepare("broken", stubOf("", "dies"))
	t.Cleanup(func() {
		_ = gateway.Shutdown(t.Context())
		p.close()
	})
	client := &http.Client{Timeout: time.Minute}
	t.Cleanup(client.CloseIdleConnections)
	return enginetest.Place{
		Platform: p, HeaderStable: "green", HeaderCandidate: "blue",
		Revision: func(n int) rollout.Revision {
			return rollout.Revision{Name: fmt.Sprintf("ep-r%d", n), Number: n, Digest: fmt.Sprint(n), Version: fmt.Sprint(n)}
		},
		Broken:    func() rollout.Revision { return rollout.Revision{Name: "ep-r8", Number: 8, Digest: "broken"} },
		Ask:       func(t *testing.T, header string) string { return ask(t, client, ln.Addr().String(), header) },
		Overwrite: func(t *testing.T) { overwrite(t, gateway) },
		Crash:     func(t *testing.T, name string) { crash(t, p, name) },
		Restart: func(t *testing.T) enginetest.Place {
			p.close() // when we are killed, the leashes do it: TestPromise6NoScorerWithoutOwner
			return onThisMachine(t)
		},
	}
}

// TestRepeatsBeginAfterWarmup: what stable says twice in a warm-up is not judged.
func TestRepeatsBeginAfterWarmup(t *testing.T) {
	p := newPlatform(testBinary(t), proxy.New(proxy.Config{}), logger(t), func() {})
	for _, c := range []struct {
		repeatBP int
		warmup   bool
		want     int
	}{{100, true, 0}, {100, false, spec.RepeatFirst}, {0, false, 0}} {
		if err := p.setTraffic(Traffic{RepeatBP: c.repeatBP}); err != nil {
			t.Fatal(err)
		}
		if err := p.Apply(t.Context(), rollout.SetRouting{Routing: rollout.Routing{Epoch: 1, Rollout: "ep-1", Stable: "ep-r1", Warmup: c.warmup}}); err != nil {
			t.Fatal(err)
		}
		if got := p.table.RepeatFirst; got != c.want {
			t.Errorf("%+v: %d requests are repeated first", c, got)
		}
	}
}

// ask returns the revision whose stamp an answer carries.
func ask(t *testing.T, client *http.Client, addr, header string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/score", strings.NewReader(`{"data": [[1]]}`))
	if err != nil {
		t.Fatal(err)
	}
	if header != "" {
		req.Header.Set("x-api-version", header)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("asking the gateway: %v", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return ""
	}
	stamp := resp.Header.Get("X-Serin-Route")
	return stamp[strings.LastIndex(stamp, ".")+1:]
}

func overwrite(t *testing.T, g *proxy.Gateway) {
	t.Helper()
	changed := *g.Table()
	changed.WeightBP = 9000
	if err := g.Swap(&changed); err != nil {
		t.Fatal(err)
	}
}

// crash ends a scorer from within and waits until it is seen to be down.
func crash(t *testing.T, p *platform, name string) {
	t.Helper()
	p.mu.Lock()
	proc := p.running[name]
	p.mu.Unlock()
	before := proc.Status()
	if resp, err := http.Get("http://" + before.Addr + "/die"); err == nil { //nolint:noctx // it never answers
		resp.Body.Close()
		t.Fatal("the scorer answered instead of ending")
	}
	until(t, name+" down", func() bool { return proc.Status().Restarts > before.Restarts })
}

// TestPromise2StoppedCandidateGetsNoShare: a share for a scorer that does not run
// is never in force.
func TestPromise2StoppedCandidateGetsNoShare(t *testing.T) {
	place := onThisMachine(t)
	a, b := place.Revision(1), place.Revision(2)
	p := place.Platform.(*platform)
	for _, action := range []rollout.Action{rollout.StartRevision{Revision: a}, rollout.SetRouting{Routing: rollout.Routing{Epoch: 4, Stable: a.Name, Candidate: b.Name, WeightBP: 5000, ShadowBP: 5000}}} {
		if err := p.Apply(t.Context(), action); err != nil {
			t.Fatal(err)
		}
	}
	if table := p.gateway.Table(); table.Epoch != 0 || table.WeightBP != 0 || table.ShadowBP != 0 {
		t.Errorf("table %+v; want no share, and no epoch that evidence could count for", table)
	}
}

func TestStartOfAnUnknownVersionSaysSo(t *testing.T) {
	place := onThisMachine(t)
	err := place.Platform.Apply(t.Context(), rollout.StartRevision{Revision: rollout.Revision{Name: "ep-r7", Digest: "never prepared"}})
	if err == nil || !strings.Contains(err.Error(), "ep-r7") {
		t.Errorf("error %v, want one that names ep-r7", err)
	}
}
