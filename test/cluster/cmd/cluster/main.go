// Command cluster keeps the test cluster running between test runs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/serin-dev/serin/test/cluster"
)

const usage = `usage: cluster [-dir FOLDER] VERB
  build       make the programs of a full cluster, start nothing
  build-api   make those of an API-only one
  up          start a full cluster that stays; tests then use it
  status      say what runs
  logs        the last lines of its logs, also of one that ended
  down        end it, and remove what a crash left
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("cluster", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(flags.Output(), usage) }
	o := cluster.Options{Kind: cluster.Full, Keep: true}
	flags.StringVar(&o.Dir, "dir", "", "folder of programs and state")
	flags.DurationVar(&o.Wait, "wait", 0, "up: how long to wait for another test run that has the cluster")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch flags.Arg(0) {
	case "build-api":
		o.Kind = cluster.APIOnly
		return cluster.Build(ctx, o)
	case "build":
		return cluster.Build(ctx, o)
	case "up":
		c, err := cluster.Start(ctx, o)
		if err != nil {
			return err
		}
		return show(c)
	case "status":
		c, err := cluster.Running(o)
		if err != nil {
			return err
		}
		return show(c)
	case "logs":
		return cluster.Logs(o, os.Stdout)
	case "down":
		return cluster.Down(o)
	}
	flags.Usage()
	return errors.New("which verb?")
}

func show(c *cluster.Cluster) error {
	fmt.Printf("export KUBECONFIG=%s\ngateway:  %s\nregistry: %s\nlogs:     %s/log\n", c.KubeConfig, c.Gateway, c.Registry, c.Dir)
	processes, err := c.Processes()
	if err != nil {
		return err
	}
	for name, id := range processes {
		fmt.Printf("process %7d  %s\n", id, name)
	}
	return nil
}
