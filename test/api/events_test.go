package api_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// events waits until an Event of the endpoint, and one of its rollout, says a decision.
func (d drive) events(reason, kind string, parts ...string) {
	d.t.Helper()
	for _, of := range []string{"ScoringEndpoint", "ScoringRollout"} {
		var last any
		d.await("an Event of the "+of+" says "+reason, func(ctx context.Context) bool {
			list, err := d.core.CoreV1().Events("driven").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=" + of + ",reason=" + reason})
			if err != nil && ctx.Err() == nil {
				last = err
			}
			if err != nil {
				return false
			}
			for _, e := range list.Items {
				last = e.Type + " " + e.Message
				if e.Type == kind && tells(e, parts) && e.InvolvedObject.UID != "" && e.Source.Component == "serin-controller" {
					return true
				}
			}
			return false
		}, &last)
	}
}

func tells(e corev1.Event, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(e.Message, p) {
			return false
		}
	}
	return true
}

// hook is a receiver of spec.notify.
type hook struct {
	url string
	mu  sync.Mutex
	got map[string]string // type of a CloudEvent → its source
}

func newHook(t *testing.T) *hook {
	h := &hook{got: map[string]string{}}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var e struct{ Type, Source string }
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil || r.URL.Path != "/secret-path" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.got[e.Type] = e.Source
	}))
	server.Listener.Close()
	ln, err := net.Listen("tcp", net.JoinHostPort(outward(t), "0"))
	if err != nil {
		t.Fatal(err)
	}
	server.Listener = ln
	server.Start()
	t.Cleanup(server.Close)
	h.url = server.URL
	return h
}

// outward is an address of this machine that is not loopback: those are refused in a document.
func outward(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
			return p.Addr().String()
		}
	}
	t.Fatal("this machine has no IPv4 address but loopback: a receiver of notifications cannot be tried")
	return ""
}

// told waits until the receiver heard of a decision.
func (h *hook) told(d drive, reason string) {
	d.t.Helper()
	d.await("the receiver is told "+reason, func(context.Context) bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.got["dev.serin.rollout."+reason] == "/namespaces/driven/endpoints/driver"
	}, nil)
}
