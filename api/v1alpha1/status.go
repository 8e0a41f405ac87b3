package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// ScoringEndpointStatus is what is, as the controller last saw it.
type ScoringEndpointStatus struct {
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions are Ready, Progressing, Degraded, EvidenceLimited and RouteInForce.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	Stable     *RevisionStatus    `json:"stable,omitempty"`
	Candidate  *RevisionStatus    `json:"candidate,omitempty"`
	// Previous is kept ready for a rollback.
	Previous *RevisionStatus `json:"previous,omitempty"`
	// Rollout names the running ScoringRollout, or the last.
	Rollout string `json:"rollout,omitempty"`
	Step    string `json:"step,omitempty"`
	// Weight and Shadow are the candidate's shares as planned, such as 10%.
	Weight string `json:"weight,omitempty"`
	Shadow string `json:"shadow,omitempty"`
	// WeightInForce is the weight that the gateway was last seen to use.
	WeightInForce string `json:"weightInForce,omitempty"`
	// Reason and Message are the last decision in words.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Replicas and Selector are stable's: what /scale shows.
	Replicas int32  `json:"replicas,omitempty"`
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
	Name          string `json:"name"`
	Version       string `json:"version"`
	Image         string `json:"image,omitempty"`
	Ready         bool   `json:"ready"`
	ReadyReplicas int32  `json:"readyReplicas,omitempty"`
	Restarts      int32  `json:"restarts,omitempty"`
	Failure       string `json:"failure,omitempty"`
}
