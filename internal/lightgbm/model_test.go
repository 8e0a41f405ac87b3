package lightgbm

import (
	"errors"
	"math"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDescription(t *testing.T) {
	m, _ := readFixture(t, "multiclassova")
	got := []any{m.NumFeatures(), m.NumOutputs(), m.NumTrees(), m.Objective(), m.FeatureNames()}
	names := []string{"Column_0", "Column_1", "Column_2", "Column_3", "Column_4", "Column_5"}
	if diff := cmp.Diff([]any{6, 3, 15, "multiclassova", names}, got); diff != "" {
		t.Errorf("description (-want +got):\n%s", diff)
	}
	m.FeatureNames()[0] = "changed"
	if m.FeatureNames()[0] != "Column_0" {
		t.Error("FeatureNames handed out the model's own slice")
	}
	if custom, _ := readFixture(t, "custom"); custom.Objective() != "" {
		t.Errorf("objective of a custom model is %q, want none", custom.Objective())
	}
}

func TestWrongWidthIsNeverANumber(t *testing.T) {
	m, g := readFixture(t, "multiclass")
	row := floats(g.Rows[0])
	tests := []struct {
		name     string
		row, out int
		want     WidthError
	}{
		{"no row", 0, 3, WidthError{"row", 0, 6}},
		{"row too short", 5, 3, WidthError{"row", 5, 6}},
		{"row too long", 7, 3, WidthError{"row", 7, 6}},
		{"no out", 6, 0, WidthError{"out", 0, 3}},
		{"out too short", 6, 2, WidthError{"out", 2, 3}},
		{"out too long", 6, 4, WidthError{"out", 4, 3}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, predict := range []func(row, out []float64) error{m.Predict, m.PredictRaw} {
				out := make([]float64, tt.out)
				for i := range out {
					out[i] = -7
				}
				var got *WidthError
				if err := predict(append(row, 0)[:tt.row], out); !errors.As(err, &got) {
					t.Fatalf("got error %v, want a *WidthError", err)
				}
				if diff := cmp.Diff(tt.want, *got); diff != "" {
					t.Errorf("error (-want +got):\n%s", diff)
				}
				for _, v := range out {
					if v != -7 {
						t.Errorf("out is %v, want it untouched", out)
					}
				}
			}
		})
	}
	want := "row has 5 numbers, the model needs exactly 6"
	if got := m.Predict(row[:5], make([]float64, 3)).Error(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPredictDoesNotAllocate(t *testing.T) {
	for _, name := range fixtureNames(t) {
		m, g := readFixture(t, name)
		row, out := floats(g.Rows[0]), make([]float64, m.NumOutputs())
		allocations := testing.AllocsPerRun(20, func() {
			if m.Predict(row, out) != nil || m.PredictRaw(row, out) != nil {
				t.Error("predicting failed")
			}
		})
		if allocations != 0 {
			t.Errorf("%s: %v allocations, want 0", name, allocations)
		}
	}
}

// TestOneModelManyGoroutines is for the race detector, and for scratch that is shared by mistake.
func TestOneModelManyGoroutines(t *testing.T) {
	m, g := readFixture(t, "multiclassova")
	var wait sync.WaitGroup
	for w := range 8 {
		wait.Go(func() {
			out := make([]float64, m.NumOutputs())
			for n := range 200 {
				i := (n + w*5) % len(g.Rows)
				if err := m.Predict(floats(g.Rows[i]), out); err != nil {
					t.Error(err)
				}
				compare(t, "predict", i, nil, out, floats(g.Predict[i]))
			}
		})
	}
	wait.Wait()
}

func TestTransform(t *testing.T) {
	inf := math.Inf(1)
	tests := []struct {
		objective string
		classes   int
		in, want  []float64
	}{
		{"regression", 1, []float64{-2}, []float64{-2}},
		{"regression sqrt", 1, []float64{-2}, []float64{-4}},
		{"poisson", 1, []float64{0}, []float64{1}},
		{"poisson", 1, []float64{1e6}, []float64{inf}},
		{"binary sigmoid:1", 1, []float64{0}, []float64{0.5}},
		{"binary sigmoid:3", 1, []float64{-1e6}, []float64{0}},
		{"binary sigmoid:3", 1, []float64{1e6}, []float64{1}},
		{"cross_entropy", 1, []float64{0}, []float64{0.5}},
		{"xentropy", 1, []float64{0}, []float64{0.5}},
		{"cross_entropy_lambda", 1, []float64{0}, []float64{math.Ln2}},
		{"xentlambda", 1, []float64{1e6}, []float64{1e6}},
		{"cross_entropy_lambda", 1, []float64{-1e6}, []float64{0}},
		{"multiclass num_class:2", 2, []float64{1e6, 1e6}, []float64{0.5, 0.5}},
		{"multiclass num_class:2", 2, []float64{1e6, -1e6}, []float64{1, 0}},
		{"multiclassova num_class:2 sigmoid:1", 2, []float64{0, -1e6}, []float64{0.5, 0}},
		{"quantile alpha:0.3", 1, []float64{3}, []float64{3}},
		{"custom", 1, []float64{3}, []float64{3}},
		{"custom", 2, []float64{3, 4}, []float64{3, 4}},
		{"", 1, []float64{3}, []float64{3}},
	}
	for _, tt := range tests {
		t.Run(tt.objective, func(t *testing.T) {
			o, err := parseObjective(tt.objective, tt.classes)
			if err != nil {
				t.Fatal(err)
			}
			o.transform(tt.in)
			if diff := cmp.Diff(tt.want, tt.in); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}
