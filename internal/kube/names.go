// Package kube runs scoring endpoints on Kubernetes and Istio: the same engine
// as on one machine, with revisions as Deployments, routes as a VirtualService
// and the record in the endpoint's status. It decides nothing. It is the only
// package that sees client-go or Istio. docs/adr/0005-cluster.md fixes what its
// parts say to each other.
package kube

import (
	"fmt"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/observe/mesh"
	"github.com/serin-dev/serin/internal/rollout"
)

// FieldManager owns what Serin writes.
const FieldManager = "serin"

// Labels that Serin sets. app and version are what the mesh console groups by.
const (
	LabelApp       = "app"
	LabelVersion   = "version"
	LabelManagedBy = "app.kubernetes.io/managed-by"
	LabelEndpoint  = "serin.dev/endpoint"
	LabelRevision  = "serin.dev/revision"
	LabelLeader    = "serin.dev/leader"
)

// Annotations that Serin sets.
const (
	// AnnotationDigest is of what means a new version.
	AnnotationDigest = "serin.dev/digest"
	// AnnotationVersion is the version shown to people; a label could not hold every one.
	AnnotationVersion = "serin.dev/version"
	// AnnotationStopAfter is the weight epoch after which a revision may go.
	AnnotationStopAfter = "serin.dev/stop-after-epoch"
	// AnnotationStopAsked is when that was asked, RFC 3339.
	AnnotationStopAsked = "serin.dev/stop-asked"
)

// Ports of a scorer pod. The scorer's own port comes from the document.
const (
	recorderPort       = 8080
	recorderHealthPort = 8081
	servicePort        = 80
	portName           = "http" // Istio reads the protocol from it
	defaultScorerPort  = 5001
)

// HeaderRoute is the stamp that each destination sets (docs/adr/0005-cluster.md).
const (
	stampHeader    = "x-serin-route"
	fallbackHeader = "x-serin-fallback"
	directEpoch    = "direct"
)

// Key names an endpoint in a cluster.
type Key = mesh.Key

// selectorLabels never change for a revision: a Deployment's selector is immutable.
func selectorLabels(endpoint string, r rollout.Revision) map[string]string {
	return map[string]string{LabelApp: endpoint, LabelVersion: shortName(r), LabelEndpoint: endpoint, LabelRevision: r.Name}
}

func revisionLabels(endpoint string, r rollout.Revision) map[string]string {
	l := selectorLabels(endpoint, r)
	l[LabelManagedBy] = FieldManager
	return l
}

// shortName is rN: what the mesh console shows as the version.
func shortName(r rollout.Revision) string { return fmt.Sprintf("r%d", r.Number) }

// serviceHost is a revision's address inside the cluster.
func serviceHost(namespace, revision string) string {
	return revision + "." + namespace + ".svc.cluster.local"
}

func scorerPort(s v1alpha1.Scorer) int32 {
	if s.Port == 0 {
		return defaultScorerPort
	}
	return s.Port
}
