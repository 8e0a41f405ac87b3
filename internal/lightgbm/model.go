// Package lightgbm reads LightGBM text models (version=v2, v3 and v4) and answers rows with the numbers that
// LightGBM's own Tree::Predict gives: same decisions on missing values and categories, leaf values summed in tree
// order. It is pure: bytes in, predictor out. What it cannot honour it refuses by name when it reads the model.
//
// Source of the semantics: LightGBM, include/LightGBM/tree.h (decisions), src/boosting/gbdt_prediction.cpp (sums and
// averages), src/objective/*.hpp (ConvertOutput).
package lightgbm

import "fmt"

// Model is a parsed LightGBM model. It never changes after Parse and may be used from any number of goroutines.
type Model struct {
	featureNames []string
	outputs      int // trees per iteration = numbers per row
	objective    objective
	average      bool // random forest: the answer is the mean over iterations
	trees        []tree
	categories   [][]uint32 // one bit set per categorical split; bit c set = category c goes left
	plan         plan
}

// WidthError reports a row or an output of the wrong length. No prediction was made.
type WidthError struct {
	Name string // "row" or "out"
	Got  int    // its length
	Want int    // the length that the model needs
}

// Error names the slice, its length and the length that the model needs.
func (e *WidthError) Error() string {
	return fmt.Sprintf("%s has %d numbers, the model needs exactly %d", e.Name, e.Got, e.Want)
}

// NumFeatures is the number of values in a row.
func (m *Model) NumFeatures() int { return len(m.featureNames) }

// NumOutputs is the number of values in an answer: the number of classes of a multi-class model, else 1.
func (m *Model) NumOutputs() int { return m.outputs }

// NumTrees is the number of trees of all iterations and classes together.
func (m *Model) NumTrees() int { return len(m.trees) }

// FeatureNames is a copy of the feature names in row order.
func (m *Model) FeatureNames() []string { return append([]string(nil), m.featureNames...) }

// Objective is the objective's name as the model text has it, such as "binary"; empty when the model was trained
// with a custom objective, whose answers LightGBM leaves raw.
func (m *Model) Objective() string { return m.objective.name }

// Predict writes what LightGBM's predict answers for one row: probabilities for binary, cross-entropy and multi-class
// models, the target's own unit for the regression family, raw scores for ranking and custom objectives. NaN in row
// means missing. A row or out of any other length than NumFeatures or NumOutputs is a *WidthError and leaves out
// untouched. It does not allocate.
func (m *Model) Predict(row, out []float64) error {
	if err := m.checkWidths(row, out); err != nil {
		return err
	}
	m.sum(row, out)
	if m.average {
		iterations := float64(len(m.trees) / m.outputs)
		for i := range out {
			out[i] /= iterations
		}
	}
	m.objective.transform(out)
	return nil
}

// PredictRaw writes the sums of leaf values in tree order, as LightGBM's predict with raw_score does: for a binary
// model the log-odds divided by sigmoid, for a random forest the sum and not the mean. Errors are those of Predict.
// It does not allocate.
func (m *Model) PredictRaw(row, out []float64) error {
	if err := m.checkWidths(row, out); err != nil {
		return err
	}
	m.sum(row, out)
	return nil
}

func (m *Model) checkWidths(row, out []float64) error {
	if len(row) != len(m.featureNames) {
		return &WidthError{Name: "row", Got: len(row), Want: len(m.featureNames)}
	}
	if len(out) != m.outputs {
		return &WidthError{Name: "out", Got: len(out), Want: m.outputs}
	}
	return nil
}
