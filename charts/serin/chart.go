// Package chart holds the Helm chart, so that serin install needs neither Helm nor
// the repository.
package chart

import "embed"

// Files are the chart as Helm reads it.
//
//go:embed Chart.yaml values.yaml values.schema.json templates/* crds/*
var Files embed.FS
