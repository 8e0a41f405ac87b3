package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/serin-dev/serin/internal/observe/wire"
)

const (
	mostBatch = 8 << 20 // bytes of one batch
	heartbeat = 5 * time.Second
)

// Peer is who shows a token: a pod, as the API server says.
type Peer struct{ Namespace, Pod string }

// Authenticate asks the API server whose token it is.
type Authenticate func(ctx context.Context, token string) (Peer, error)

// Handler serves recorders: orders and frames.
func (h *Hub) Handler(auth Authenticate) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.OrdersPath, func(w http.ResponseWriter, r *http.Request) { h.serveOrders(w, r, auth) })
	mux.HandleFunc("POST "+wire.FramesPath, func(w http.ResponseWriter, r *http.Request) { h.serveFrames(w, r, auth) })
	return mux
}

// peer proves that the caller runs in a pod of this namespace.
func peer(r *http.Request, auth Authenticate, namespace, pod string) (status int, err error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return http.StatusUnauthorized, errors.New("send the pod's token for audience " + wire.Audience + " as Authorization: Bearer TOKEN")
	}
	p, err := auth(r.Context(), token)
	if err != nil {
		return http.StatusUnauthorized, fmt.Errorf("the token is not accepted: %w", err)
	}
	if p.Namespace != namespace || p.Pod != "" && p.Pod != pod {
		return http.StatusForbidden, fmt.Errorf("the token is of pod %q in namespace %q, the call speaks for pod %q in %q", p.Pod, p.Namespace, pod, namespace)
	}
	return 0, nil
}

// serveOrders sends the present order, then each new one, as server-sent events.
func (h *Hub) serveOrders(w http.ResponseWriter, r *http.Request, auth Authenticate) {
	q := r.URL.Query()
	k, revision := Key{q.Get("namespace"), q.Get("endpoint")}, q.Get("revision")
	if k.Namespace == "" || k.Name == "" || revision == "" {
		http.Error(w, "namespace, endpoint and revision must be given", http.StatusBadRequest)
		return
	}
	if status, err := peer(r, auth, k.Namespace, q.Get("pod")); err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	if h.endpoint(k) == nil {
		http.Error(w, "no such endpoint is watched here", http.StatusNotFound)
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	if err := stream(r.Context(), w, h.channel(revisionKey{k, revision})); err != nil {
		h.logger.Debug("an order stream ended", "revision", revision, "error", err)
	}
}

// stream sends orders until the listener goes or there will be none.
func stream(ctx context.Context, w http.ResponseWriter, c *channel) error {
	rc := http.NewResponseController(w)
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	sent := uint64(0)
	for {
		order, change, open := c.now()
		if !open {
			return nil
		}
		line := ": still here\n\n"
		if order != nil && order.Seq != sent {
			text, err := json.Marshal(order)
			if err != nil {
				return fmt.Errorf("writing an order: %w", err)
			}
			line, sent = fmt.Sprintf("event: order\ndata: %s\n\n", text), order.Seq
		}
		if _, err := io.WriteString(w, line); err != nil {
			return fmt.Errorf("sending an order: %w", err)
		}
		if err := rc.Flush(); err != nil {
			return fmt.Errorf("sending an order: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-change:
		case <-tick.C:
		}
	}
}

// serveFrames takes one batch.
func (h *Hub) serveFrames(w http.ResponseWriter, r *http.Request, auth Authenticate) {
	var b wire.Batch
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, mostBatch))
	if err := dec.Decode(&b); err != nil {
		http.Error(w, "the body is not a batch: "+err.Error(), http.StatusBadRequest)
		return
	}
	if status, err := peer(r, auth, b.Namespace, b.Pod); err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	if !h.Take(&b) {
		http.Error(w, "no such endpoint is watched here", http.StatusNotFound)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
