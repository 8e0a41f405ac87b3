package lightgbm

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

// FuzzParse: no text makes the parser panic, and what it accepts answers every row as the twin does.
func FuzzParse(f *testing.F) {
	f.Add([]byte(tiny))
	for _, name := range []string{"binary_stump", "binary_constant", "binary_category_nan", "multiclass_rf", "custom", "binary_v2"} {
		text, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Parse(text)
		if err != nil {
			if len(err.Error()) > 2000 {
				t.Fatalf("the error has %d bytes", len(err.Error()))
			}
			return
		}
		row, out := make([]float64, m.NumFeatures()), make([]float64, m.NumOutputs())
		for _, v := range []float64{0, 1, -1, 0.3, math.NaN(), math.Inf(1), math.Inf(-1), 1e-35, 40} {
			for i := range row {
				row[i] = v
			}
			if err := m.PredictRaw(row, out); err != nil {
				t.Fatal(err)
			}
			for k, want := range answerSlowly(m, row) {
				if math.Float64bits(out[k]) != math.Float64bits(want) {
					t.Fatalf("rows of %v, output %d: got %v, the twin says %v", v, k, out[k], want)
				}
			}
			if err := m.Predict(row, out); err != nil {
				t.Fatal(err)
			}
		}
	})
}
