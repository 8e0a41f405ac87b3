// Command actor is a scorer that plays what a test asks of it, and asks others from within its pod. It stands before a
// real scorer: PUT /actor?mode=MODE changes the part, GET /actor/fetch?url=URL answers what another address said.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/serin-dev/serin/internal/scorer"
)

// Parts. MODE is the first one.
const (
	good    = ""
	fail    = "fail"    // every answer is a 500
	half    = "half"    // every second one
	wrong   = "wrong"   // other scores, in good form
	schema  = "schema"  // right scores, in another form
	huge    = "huge"    // right scores, and many of them
	unready = "unready" // not ready, though it answers
)

const (
	inner = "127.0.0.1:5002"
	many  = 500 // times that a huge answer says each score
)

type actor struct {
	mode  atomic.Value // string
	asked atomic.Uint64
	proxy *httputil.ReverseProxy
}

func main() {
	model, err := os.ReadFile("/model.txt")
	if err != nil {
		log.Fatal("reading the model: ", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	a := &actor{proxy: httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: inner})}
	a.mode.Store(os.Getenv("MODE"))
	a.proxy.Transport = &http.Transport{MaxIdleConnsPerHost: 64}
	a.proxy.ModifyResponse = a.play
	s := &http.Server{Addr: ":5001", Handler: a, ReadHeaderTimeout: 5 * time.Second}
	go func() { log.Fatal(s.ListenAndServe()) }()
	if err := scorer.Run(ctx, scorer.Options{Model: model, Listen: inner}, nil); err != nil {
		log.Print(err)
	}
}

func (a *actor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mode := a.mode.Load().(string)
	switch {
	case r.URL.Path == "/actor":
		a.mode.Store(r.URL.Query().Get("mode"))
	case r.URL.Path == "/actor/fetch":
		fetch(w, r)
	case r.URL.Path == "/readyz" && mode == unready:
		http.Error(w, "not ready: it was told so", http.StatusServiceUnavailable)
	case r.URL.Path == "/score" && (mode == fail || mode == half && a.asked.Add(1)%2 == 0):
		http.Error(w, `{"message": "it was told to fail"}`, http.StatusInternalServerError)
	default:
		r.Header.Del("Accept-Encoding")
		a.proxy.ServeHTTP(w, r)
	}
}

// play changes what the real scorer answered.
func (a *actor) play(resp *http.Response) error {
	mode := a.mode.Load().(string)
	if resp.Request.URL.Path != "/score" || resp.StatusCode != http.StatusOK || mode == good || mode == unready {
		return nil
	}
	var got struct {
		Result []float64 `json:"result"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		return fmt.Errorf("reading the real answer: %w", err)
	}
	resp.Body.Close()
	var next any = got
	switch mode {
	case wrong:
		for i := range got.Result {
			got.Result[i] = 1 - got.Result[i]
		}
	case schema:
		next = map[string]any{"answers": []map[string]string{{"verdict": "claim"}}}
	case huge:
		got.Result = slices.Repeat(got.Result, many)
		next = got
	}
	text, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	resp.Header.Set("Content-Length", strconv.Itoa(len(text)))
	return nil
}

// fetch asks another address as this pod does, with the pod's token if there is one.
func fetch(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	q := r.URL.Query()
	req, err := http.NewRequestWithContext(ctx, q.Get("method"), q.Get("url"), strings.NewReader(q.Get("body")))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if token, err := os.ReadFile("/token/token"); err == nil && q.Get("token") != "" {
		req.Header.Set("Authorization", "Bearer "+string(token))
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	out := map[string]any{}
	resp, err := client.Do(req)
	if err != nil {
		out["error"] = err.Error()
	} else {
		defer resp.Body.Close()
		text := make([]byte, 300)
		n, _ := io.ReadFull(resp.Body, text) // a stream may say less, and not end
		out["status"], out["body"] = resp.StatusCode, string(text[:n])
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out) // a test that went away reads nothing
}
