// Command clusternode is the cluster: see package node. The harness starts it; a person has no reason to.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"github.com/serin-dev/serin/test/cluster/internal/node"
)

// The programs are tied to the life of the thread that started them, so that thread must live as long as the process.
func init() { runtime.LockOSThread() }

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: clusternode CONFIG")
		os.Exit(2)
	}
	c, err := node.ReadConfig(os.Args[1])
	if err == nil {
		err = node.Run(context.Background(), c)
	}
	fmt.Fprintln(os.Stderr, "clusternode:", err)
	os.Exit(1)
}
