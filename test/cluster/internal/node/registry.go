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

// LoopbackFile is the descriptor that a full node inherits: a socket that the machine opened at Config.Loopback. A socket
// stays in the network where it was opened, so the node answers on the machine's loopback address by it.
const LoopbackFile = 4

// serveRegistry answers the registry protocol over plain HTTP, to the node and to the machine; layers are kept on disk,
// not in memory.
func serveRegistry(c Config) error {
	inside, err := net.Listen("tcp", c.Registry())
	if err != nil {
		return fmt.Errorf("serving the image registry: %w", err)
	}
	socket := os.NewFile(LoopbackFile, "loopback")
	outside, err := net.FileListener(socket)
	if err != nil {
		return fmt.Errorf("serving the image registry at %s of the machine: %w", c.Loopback, err)
	}
	if err := socket.Close(); err != nil { // or the programs would inherit it
		return err
	}
	handler := registry.New(registry.WithBlobHandler(registry.NewDiskBlobHandler(c.path("registry"))), registry.Logger(log.New(io.Discard, "", 0)))
	for _, l := range []net.Listener{inside, outside} {
		go func() {
			fmt.Fprintln(os.Stderr, "image registry:", http.Serve(l, handler))
			os.Exit(1)
		}()
	}
	return nil
}
