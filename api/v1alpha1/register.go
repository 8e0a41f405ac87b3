package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion of all kinds.
var GroupVersion = schema.GroupVersion{Group: "serin.dev", Version: "v1alpha1"}

// AddToScheme makes the kinds known to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&ScoringEndpoint{}, &ScoringEndpointList{},
		&ScoringRollout{}, &ScoringRolloutList{},
		&RolloutAction{}, &RolloutActionList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
