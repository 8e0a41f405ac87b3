package safedriver

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"testing"

	"github.com/serin-dev/serin/internal/lightgbm"
)

func TestModelsScoreTheSample(t *testing.T) {
	var sample struct{ Data [][]float64 }
	if err := json.Unmarshal(SampleRequest, &sample); err != nil {
		t.Fatal(err)
	}
	if len(sample.Data) != 2 || len(sample.Data[0]) != len(Columns) {
		t.Fatalf("the sample has %d rows, want 2 of %d columns", len(sample.Data), len(Columns))
	}
	for _, name := range ModelNames() {
		text, err := Model(name)
		if err != nil {
			t.Fatal(err)
		}
		m, err := lightgbm.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out := make([]float64, 1)
		for _, row := range sample.Data {
			if err := m.Predict(row, out); err != nil || !(out[0] > 0 && out[0] < 1) {
				t.Errorf("%s: scored %v, %v; want a probability", name, out[0], err)
			}
		}
	}
}

func TestGeneratorFollowsTheSchema(t *testing.T) {
	const n = 20000
	g := NewGenerator(3)
	var sums, present, missing [57]float64
	claims := 0
	for range n {
		row, claim := g.Labelled(nil)
		if claim {
			claims++
		}
		for i, v := range row {
			if shapes[i].missing > 0 && v == -1 {
				missing[i]++
				continue
			}
			present[i]++
			sums[i] += v
		}
	}
	if share := float64(claims) / n; math.Abs(share-.037) > .006 {
		t.Errorf("%.4f of the rows have a claim, want about 0.037", share)
	}
	for i, s := range shapes {
		if math.Abs(missing[i]/n-s.missing) > .02 {
			t.Errorf("%s: %.3f missing, want %.3f", Columns[i], missing[i]/n, s.missing)
		}
		if mean := sums[i] / present[i]; i != car15 && math.Abs(mean-s.mean) > .03*(s.high-s.low) {
			t.Errorf("%s: mean %.3f, want %.3f", Columns[i], mean, s.mean)
		}
	}
}

func TestGeneratorIsDeterministic(t *testing.T) {
	a, b := NewGenerator(9).RequestBody(nil, 3), NewGenerator(9).RequestBody(nil, 3)
	if string(a) != string(b) {
		t.Error("two generators with one seed differ")
	}
}

// auc is the chance that a row with a claim scores above one without.
func auc(scores []float64, claims []bool) float64 {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(scores[a], scores[b]) })
	positives, ranks := 0., 0.
	for rank, i := range order {
		if claims[i] {
			positives++
			ranks += float64(rank + 1)
		}
	}
	return (ranks - positives*(positives+1)/2) / (positives * (float64(len(scores)) - positives))
}

// TestModelsAreWhatTheyAreSaidToBe scores fresh rows: version 2 ranks better than
// version 1, each broken one worse than version 2.
func TestModelsAreWhatTheyAreSaidToBe(t *testing.T) {
	const n = 30000
	got := map[string]float64{}
	for _, name := range ModelNames() {
		text, err := Model(name)
		if err != nil {
			t.Fatal(err)
		}
		m, err := lightgbm.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		g := NewGenerator(99)
		scores, claims, out := make([]float64, n), make([]bool, n), make([]float64, 1)
		for i := range n {
			row, claim := g.Labelled(nil)
			if err := m.Predict(row, out); err != nil {
				t.Fatal(err)
			}
			scores[i], claims[i] = out[0], claim
		}
		got[name] = auc(scores, claims)
	}
	if got["v2"] < got["v1"]+.005 {
		t.Errorf("AUC of v2 %.4f, of v1 %.4f: want v2 better by at least 0.005", got["v2"], got["v1"])
	}
	for _, broken := range []string{"swapped", "zero-filled", "constant"} {
		if got[broken] > got["v2"]-.01 {
			t.Errorf("AUC of %s %.4f, of v2 %.4f: want it worse by at least 0.01", broken, got[broken], got["v2"])
		}
	}
}
