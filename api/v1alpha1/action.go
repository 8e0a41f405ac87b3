package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// RolloutAction is what a person or a pipeline asks of a rollout. It never
// changes; the status says what became of it. Who may ask for what is decided by
// the verbs approve, abort and operate on scoringrollouts.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=sact,categories={serin}
// +kubebuilder:printcolumn:name="Rollout",type=string,JSONPath=`.spec.rollout`
// +kubebuilder:printcolumn:name="Action",type=string,JSONPath=`.spec.action`
// +kubebuilder:printcolumn:name="Step",type=string,JSONPath=`.spec.step`
// +kubebuilder:printcolumn:name="By",type=string,JSONPath=`.spec.by`
// +kubebuilder:printcolumn:name="Accepted",type=boolean,JSONPath=`.status.accepted`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type RolloutAction struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// Spec is the action.
	Spec RolloutActionSpec `json:"spec"`
	// Status is what became of it.
	Status RolloutActionStatus `json:"status,omitzero"`
}

// RolloutActionSpec is the action.
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="an action never changes; create another one"
// +kubebuilder:validation:XValidation:rule=`self.rollout == "" || self.rollout.startsWith(self.endpoint + '-')`,fieldPath=".rollout",message="is not a rollout of spec.endpoint: write ENDPOINT-NUMBER, as status.rollout of the endpoint shows it"
type RolloutActionSpec struct {
	// Endpoint that is meant.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Endpoint string `json:"endpoint"`
	// Rollout that is meant; the name of a ScoringRollout. Empty: whichever is the
	// present one, which takes the right to act on every rollout of the namespace.
	// +kubebuilder:validation:MaxLength=253
	Rollout string `json:"rollout"`
	// RolloutUID guards against a later rollout of the same name.
	// +kubebuilder:validation:MaxLength=64
	RolloutUID string `json:"rolloutUID,omitempty"`
	// Action that is asked for.
	// +kubebuilder:validation:Enum=Approve;Reject;Pause;Resume;Promote;Abort;Rollback;Retry
	Action string `json:"action"`
	// Step that an approval lets the rollout enter.
	// +kubebuilder:validation:MaxLength=63
	Step string `json:"step,omitempty"`
	// By is the authenticated user; admission refuses another name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	By string `json:"by"`
	// OnBehalfOf is the person that a pipeline states.
	// +kubebuilder:validation:MaxLength=512
	OnBehalfOf string `json:"onBehalfOf,omitempty"`
	// Reason in the words of whoever asks.
	// +kubebuilder:validation:MaxLength=1024
	Reason string `json:"reason,omitempty"`
	// EvidenceDigest names the evidence that was seen.
	// +kubebuilder:validation:MaxLength=128
	EvidenceDigest string `json:"evidenceDigest,omitempty"`
}

// RolloutActionStatus is what became of it; empty until it is answered.
type RolloutActionStatus struct {
	// Answered says that the controller has dealt with it.
	Answered bool `json:"answered,omitempty"`
	// Accepted says that it was done.
	Accepted bool `json:"accepted,omitempty"`
	// Reason is one word for why, or why not.
	// +kubebuilder:validation:MaxLength=1024
	Reason string `json:"reason,omitempty"`
	// Message says it in words.
	// +kubebuilder:validation:MaxLength=32768
	Message string `json:"message,omitempty"`
	// At is when.
	At *metav1.Time `json:"at,omitempty"`
}

// RolloutActionList is a list of actions.
// +kubebuilder:object:root=true
type RolloutActionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []RolloutAction `json:"items"`
}
