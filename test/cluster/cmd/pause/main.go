// Command pause holds a pod's namespaces open and reaps its orphans, as Kubernetes' own pause program does.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ended, stop := make(chan os.Signal, 16), make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	for {
		select {
		case <-stop:
			return
		case <-ended:
			for pid := 1; pid > 0; {
				pid, _ = syscall.Wait4(-1, nil, syscall.WNOHANG, nil) // an error means: no child is left
			}
		}
	}
}
