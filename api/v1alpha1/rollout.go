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
	Spec              ScoringRolloutSpec   `json:"spec"`
	Status            ScoringRolloutStatus `json:"status,omitzero"`
}

// ScoringRolloutSpec is fixed when the rollout begins.
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a rollout's plan is frozen when it begins; change the ScoringEndpoint, and the next rollout takes it"
type ScoringRolloutSpec struct {
	// +kubebuilder:validation:MaxLength=63
	Endpoint string `json:"endpoint"`
	Number   int32  `json:"number"`
	From     string `json:"from,omitempty"`
	To       string `json:"to"`
	// Plan and Policy are frozen.
	// +kubebuilder:pruning:PreserveUnknownFields
	Plan *runtime.RawExtension `json:"plan,omitempty"`
	// +kubebuilder:pruning:PreserveUnknownFields
	Policy *runtime.RawExtension `json:"policy,omitempty"`
}

// ScoringRolloutStatus is how it goes, or went.
type ScoringRolloutStatus struct {
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	Step       string             `json:"step,omitempty"`
	Weight     string             `json:"weight,omitempty"`
	// Outcome is empty while it runs.
	// +kubebuilder:validation:Enum="";Promoted;Reverted;Rejected;Aborted;Superseded;RolledBack
	Outcome   string       `json:"outcome,omitempty"`
	Reason    string       `json:"reason,omitempty"`
	Message   string       `json:"message,omitempty"`
	EndedAt   *metav1.Time `json:"endedAt,omitempty"`
	Approvals []Approval   `json:"approvals,omitempty"`
	// EvidenceDigest names the evidence that the last decision stood on.
	EvidenceDigest string `json:"evidenceDigest,omitempty"`
	// Audit are the last lines: what people asked, and what moved.
	// +kubebuilder:validation:MaxItems=500
	Audit []AuditLine `json:"audit,omitempty"`
	// Record is enough to compute the last decision again, bit for bit.
	// +kubebuilder:pruning:PreserveUnknownFields
	Record *runtime.RawExtension `json:"record,omitempty"`
}

// Approval is who let the rollout enter a step, on what evidence.
type Approval struct {
	Step           string      `json:"step"`
	By             string      `json:"by"`
	OnBehalfOf     string      `json:"onBehalfOf,omitempty"`
	At             metav1.Time `json:"at"`
	EvidenceDigest string      `json:"evidenceDigest,omitempty"`
}

// AuditLine is one thing that was asked or that moved.
type AuditLine struct {
	At         metav1.Time `json:"at"`
	Kind       string      `json:"kind"`
	By         string      `json:"by,omitempty"`
	OnBehalfOf string      `json:"onBehalfOf,omitempty"`
	Reason     string      `json:"reason,omitempty"`
	Message    string      `json:"message"`
}

// ScoringRolloutList is a list of rollouts.
// +kubebuilder:object:root=true
type ScoringRolloutList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ScoringRollout `json:"items"`
}
