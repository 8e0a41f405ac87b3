package e2e_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// tellFailures says which requests failed, when, and by which routes.
func (w *world) tellFailures() {
	type span struct {
		n           int
		first, last time.Time
	}
	kinds := map[string]span{}
	for _, a := range failures(w.answers()) {
		kind := fmt.Sprintf("%d %s %s", a.status, a.stamp, a.err)
		s := kinds[kind]
		if s.n == 0 {
			s.first = a.at
		}
		s.n, s.last = s.n+1, a.at
		kinds[kind] = s
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		s := kinds[kind]
		w.notes("%d requests failed from %s to %s: %s", s.n, s.first.Format(clock), s.last.Format(clock), kind)
	}
}

const clock = "15:04:05.000"

// tellEvents says what Kubernetes did with the endpoint's pods.
func (w *world) tellEvents(ctx context.Context) {
	var events corev1.EventList
	if err := mesh.api.List(ctx, &events, client.InNamespace(w.key().Namespace)); err != nil {
		w.notes("listing events: %v", err)
		return
	}
	for _, e := range events.Items {
		if strings.HasPrefix(e.InvolvedObject.Name, w.name+"-") {
			w.notes("event %s ×%d %s %s: %s", e.LastTimestamp.Format(clock), e.Count, e.InvolvedObject.Name, e.Reason, e.Message)
		}
	}
}
