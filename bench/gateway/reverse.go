//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"
)

// serveReverse is what a Go programmer would write first: httputil.ReverseProxy and
// a coin. It records nothing.
func serveReverse(scorers, port string) error {
	stable, candidate, ok := strings.Cut(scorers, ",")
	if !ok {
		return fmt.Errorf("-reverse %q: must be STABLE,CANDIDATE", scorers)
	}
	arms := [2]*url.URL{{Scheme: "http", Host: stable}, {Scheme: "http", Host: candidate}}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			arm := 0
			if rand.IntN(10) == 0 {
				arm = 1
			}
			r.SetURL(arms[arm])
		},
		Transport: &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute, DisableCompression: true},
	}
	server := &http.Server{Addr: "127.0.0.1:" + port, Handler: proxy, ReadHeaderTimeout: 10 * time.Second}
	return server.ListenAndServe()
}
