package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// ScoringRollout is one attempt to replace stable by a candidate, kept as the
// record. The controller writes it; people read it.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=srol,categories={serin}
// +kubebuilder:printcolumn:name="Endpoint",type=string,JSONPath=`.spec.endpoint`
// +kubebuilder:printcolumn:name="From",type=string,JSONPath=`.spec.from`
// +kubebuilder:printcolumn:name="To",type=string,JSONPath=`.spec.to`
// +kubebuilder:printcolumn:name="Step",type=string,JSONPath=`.status.step`
// +kubebuilder:printcolumn:name="Weight",type=string,JSONPath=`.status.weight`
// +kubebuilder:printcolumn:name="Outcome",type=string,JSONPath=`.status.outcome`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ScoringRollout struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// Spec is the frozen plan.
	Spec ScoringRolloutSpec `json:"spec"`
	// Status is how it goes, or went.
	Status ScoringRolloutStatus `json:"status,omitzero"`
}

// ScoringRolloutSpec is fixed when the rollout begins.
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a rollout's plan is frozen when it begins; change the ScoringEndpoint, and the next rollout takes it"
type ScoringRolloutSpec struct {
	// Endpoint whose rollout it is.
	// +kubebuilder:validation:MaxLength=63
	Endpoint string `json:"endpoint"`
	// Number of the attempt.
	Number int32 `json:"number"`
	// From is the version that was stable; empty for the first.
	// +kubebuilder:validation:MaxLength=253
	From string `json:"from,omitempty"`
	// To is the version on trial.
	// +kubebuilder:validation:MaxLength=253
	To string `json:"to"`
	// Plan is frozen: the steps and their conditions.
	// +kubebuilder:pruning:PreserveUnknownFields
	Plan *runtime.RawExtension `json:"plan,omitempty"`
	// Policy is frozen: what the judge goes by.
	// +kubebuilder:pruning:PreserveUnknownFields
	Policy *runtime.RawExtension `json:"policy,omitempty"`
}

// ScoringRolloutStatus is how it goes, or went.
type ScoringRolloutStatus struct {
	// ObservedGeneration is the generation of the endpoint that this is about.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions are WeightsOverwritten, EvidenceLimited and RouteNotInForce; False
	// when it has ended.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Step that it is in.
	// +kubebuilder:validation:MaxLength=63
	Step string `json:"step,omitempty"`
	// Weight is the candidate's share as planned, such as 10%.
	// +kubebuilder:validation:MaxLength=16
	Weight string `json:"weight,omitempty"`
	// Outcome is empty while it runs.
	// +kubebuilder:validation:Enum="";Promoted;Reverted;Rejected;Aborted;Superseded;RolledBack
	Outcome string `json:"outcome,omitempty"`
	// Reason is one word for the last decision.
	// +kubebuilder:validation:MaxLength=1024
	Reason string `json:"reason,omitempty"`
	// Message says it in words.
	// +kubebuilder:validation:MaxLength=32768
	Message string `json:"message,omitempty"`
	// EndedAt is when it ended.
	EndedAt *metav1.Time `json:"endedAt,omitempty"`
	// Approvals are who let it enter which step.
	// +kubebuilder:validation:MaxItems=500
	// +listType=atomic
	Approvals []Approval `json:"approvals,omitempty"`
	// EvidenceDigest names the evidence that the last decision stood on.
	// +kubebuilder:validation:MaxLength=128
	EvidenceDigest string `json:"evidenceDigest,omitempty"`
	// Audit are the last lines: what people asked, and what moved.
	// +kubebuilder:validation:MaxItems=500
	// +listType=atomic
	Audit []AuditLine `json:"audit,omitempty"`
	// Record is enough to compute the last decision again, bit for bit.
	// +kubebuilder:pruning:PreserveUnknownFields
	Record *runtime.RawExtension `json:"record,omitempty"`
}

// Approval is who let the rollout enter a step, on what evidence.
type Approval struct {
	// Step that it may enter.
	// +kubebuilder:validation:MaxLength=63
	Step string `json:"step"`
	// By is who approved.
	// +kubebuilder:validation:MaxLength=512
	By string `json:"by"`
	// OnBehalfOf is the person that a pipeline states.
	// +kubebuilder:validation:MaxLength=512
	OnBehalfOf string `json:"onBehalfOf,omitempty"`
	// At is when.
	At metav1.Time `json:"at"`
	// EvidenceDigest names the evidence that was seen.
	// +kubebuilder:validation:MaxLength=128
	EvidenceDigest string `json:"evidenceDigest,omitempty"`
}

// AuditLine is one thing that was asked or that moved.
type AuditLine struct {
	// At is when.
	At metav1.Time `json:"at"`
	// Kind of line: an action, a decision, a document.
	// +kubebuilder:validation:MaxLength=253
	Kind string `json:"kind"`
	// By is who asked, if a person did.
	// +kubebuilder:validation:MaxLength=512
	By string `json:"by,omitempty"`
	// OnBehalfOf is the person that a pipeline states.
	// +kubebuilder:validation:MaxLength=512
	OnBehalfOf string `json:"onBehalfOf,omitempty"`
	// Reason is one word for why.
	// +kubebuilder:validation:MaxLength=1024
	Reason string `json:"reason,omitempty"`
	// Message says it in words.
	// +kubebuilder:validation:MaxLength=32768
	Message string `json:"message"`
}

// ScoringRolloutList is a list of rollouts.
// +kubebuilder:object:root=true
type ScoringRolloutList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ScoringRollout `json:"items"`
}
