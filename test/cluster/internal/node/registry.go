package node

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/registry"
)

// serveRegistry answers the registry protocol over plain HTTP; layers are kept on disk, not in memory.
func serveRegistry(c Config) error {
	l, err := net.Listen("tcp", c.Registry())
	if err != nil {
		return fmt.Errorf("serving the image registry: %w", err)
	}
	handler := registry.New(registry.WithBlobHandler(registry.NewDiskBlobHandler(c.path("registry"))), registry.Logger(log.New(io.Discard, "", 0)))
	go func() {
		fmt.Fprintln(os.Stderr, "image registry:", http.Serve(l, handler))
		os.Exit(1)
	}()
	return nil
}
