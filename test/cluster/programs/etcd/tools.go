//go:build tools

// Package etcd pins what the harness builds.
package etcd

import (
	_ "go.etcd.io/etcd/server/v3"
)
