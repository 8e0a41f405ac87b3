package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// ScoringEndpointStatus is what is, as the controller last saw it.
type ScoringEndpointStatus struct {
	// ObservedGeneration is the generation that this is about.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions are Accepted and Ready, which should be True, and Degraded,
	// WeightsOverwritten, EvidenceLimited, RouteNotInForce and FallingBack, which should not.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Stable is the revision in production.
	Stable *RevisionStatus `json:"stable,omitempty"`
	// Candidate is the revision on trial.
	Candidate *RevisionStatus `json:"candidate,omitempty"`
	// Previous is kept ready for a rollback.
	Previous *RevisionStatus `json:"previous,omitempty"`
	// Rollout names the running ScoringRollout, or the last.
	// +kubebuilder:validation:MaxLength=253
	Rollout string `json:"rollout,omitempty"`
	// Step that the rollout is in.
	// +kubebuilder:validation:MaxLength=63
	Step string `json:"step,omitempty"`
	// Weight is the candidate's share of requests as planned, such as 10%.
	// +kubebuilder:validation:MaxLength=16
	Weight string `json:"weight,omitempty"`
	// Shadow is the share of requests of which the candidate gets a copy, as planned.
	// +kubebuilder:validation:MaxLength=16
	Shadow string `json:"shadow,omitempty"`
	// WeightInForce is the weight that the gateway was last seen to use.
	// +kubebuilder:validation:MaxLength=16
	WeightInForce string `json:"weightInForce,omitempty"`
	// Reason is one word for the last decision.
	// +kubebuilder:validation:MaxLength=1024
	Reason string `json:"reason,omitempty"`
	// Message says it in words.
	// +kubebuilder:validation:MaxLength=32768
	Message string `json:"message,omitempty"`
	// Replicas are stable's: what /scale shows.
	Replicas int32 `json:"replicas,omitempty"`
	// Selector is of stable's pods: what /scale shows.
	// +kubebuilder:validation:MaxLength=1024
	Selector string `json:"selector,omitempty"`
	// View is the whole status as the command line shows it.
	// +kubebuilder:pruning:PreserveUnknownFields
	View *runtime.RawExtension `json:"view,omitempty"`
	// Record is all that the controller must not forget, as JSON: written in one
	// piece, so that it is never half old and half new. Not for editing.
	// +kubebuilder:validation:MaxLength=1000000
	Record string `json:"record,omitempty"`
}

// RevisionStatus is one immutable version as it is now.
type RevisionStatus struct {
	// Name of the revision, its Deployment and its Service.
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Version as people call it.
	// +kubebuilder:validation:MaxLength=253
	Version string `json:"version"`
	// Image that it runs.
	// +kubebuilder:validation:MaxLength=1024
	Image string `json:"image,omitempty"`
	// Ready says that it has the capacity it should have.
	Ready bool `json:"ready"`
	// ReadyReplicas are the pods that can answer.
	ReadyReplicas int32 `json:"readyReplicas,omitempty"`
	// Restarts of its containers.
	Restarts int32 `json:"restarts,omitempty"`
	// Failure says why it cannot become ready.
	// +kubebuilder:validation:MaxLength=32768
	Failure string `json:"failure,omitempty"`
}
