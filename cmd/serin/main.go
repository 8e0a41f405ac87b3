// Command serin rolls out new versions of machine-learning models safely.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/serin-dev/serin/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, os.Args[1:], cli.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Plugin: cli.IsPlugin(os.Args[0])})
	stop()
	os.Exit(code)
}
