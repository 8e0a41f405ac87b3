package kube

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/serin-dev/serin/internal/engine"
)

// What the API server takes of a status (api/v1alpha1): a text that is longer would
// make the whole write fail, so it is cut, and says so.
const (
	mostMessage  = 32768
	mostReason   = 1024
	mostImage    = 1024
	mostSelector = 1024
	mostName     = 512
	mostVersion  = 253
	mostDigest   = 128
	mostStep     = 63
	mostWeight   = 16
	mostLines    = 500
	mostRecord   = 1_000_000
)

// cut returns s, or what fits of it with a note. The API server counts characters.
func cut(s string, most int) string {
	n := utf8.RuneCountInString(s)
	if n <= most {
		return s
	}
	note := fmt.Sprintf("… (%d more characters; all of it: serin status)", n-most)
	if 4*len(note) > most {
		note = "…"
	}
	keep := most - utf8.RuneCountInString(note)
	for i := range s {
		if keep == 0 {
			return s[:i] + note
		}
		keep--
	}
	return s
}

// ofRollout are the conditions that a ScoringRollout has too.
var ofRollout = []string{engine.WeightsOverwritten, engine.EvidenceLimited, engine.RouteNotInForce}

// setConditions copies what the engine says, all of it or the types that are named.
func setConditions(to *[]metav1.Condition, from []engine.Condition, generation int64, types ...string) {
	for _, c := range from {
		if len(types) > 0 && !slices.Contains(types, c.Type) {
			continue
		}
		meta.SetStatusCondition(to, metav1.Condition{
			Type: c.Type, Status: metav1.ConditionStatus(c.Status), Reason: reasonWord(c.Reason), Message: cut(c.Message, mostMessage), ObservedGeneration: generation,
		})
	}
}

// over takes back what was wrong with a rollout that has ended: an alert on it would
// never stop.
func over(conditions *[]metav1.Condition) {
	for _, kind := range ofRollout {
		if c := meta.FindStatusCondition(*conditions, kind); c != nil {
			meta.SetStatusCondition(conditions, metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: "Ended", Message: "the rollout has ended", ObservedGeneration: c.ObservedGeneration})
		}
	}
}
