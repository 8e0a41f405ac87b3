// Package v1alpha1 holds the wire shape of Serin's kinds, group serin.dev.
// +kubebuilder:object:generate=true
// +groupName=serin.dev
package v1alpha1
