package lightgbm

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// golden is what testdata/make_fixtures.py wrote: rows, and LightGBM's own answers to them.
type golden struct {
	LightGBM           string
	Rows, Predict, Raw [][]number
}

// number reads a JSON number, null for NaN, or a string for an infinity.
type number float64

func (n *number) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		*n = number(math.NaN())
		return nil
	}
	v, err := strconv.ParseFloat(strings.Trim(string(text), `"`), 64)
	*n = number(v)
	return err
}

func floats(numbers []number) []float64 {
	out := make([]float64, len(numbers))
	for i, n := range numbers {
		out[i] = float64(n)
	}
	return out
}

func readFixture(t testing.TB, name string) (*Model, golden) {
	t.Helper()
	m := parseFile(t, name+".txt")
	text, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatalf("reading %s.json: %v", name, err)
	}
	return m, g
}

func parseFile(t testing.TB, name string) *Model {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	m, err := Parse(text)
	if err != nil {
		t.Fatalf("parsing %s: %v", name, err)
	}
	return m
}

func fixtureNames(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) < 30 {
		t.Fatalf("found %d fixtures, want at least 30", len(paths))
	}
	names := make([]string, len(paths))
	for i, p := range paths {
		names[i] = strings.TrimSuffix(filepath.Base(p), ".json")
	}
	return names
}

func TestAnswersOfLightGBM(t *testing.T) {
	for _, name := range fixtureNames(t) {
		t.Run(name, func(t *testing.T) {
			m, g := readFixture(t, name)
			if len(g.Rows) < 40 {
				t.Fatalf("fixture holds %d rows, want at least 40", len(g.Rows))
			}
			out := make([]float64, m.NumOutputs())
			for i, r := range g.Rows {
				row := floats(r)
				if err := m.PredictRaw(row, out); err != nil {
					t.Fatal(err)
				}
				compare(t, "raw", i, row, out, floats(g.Raw[i]))
				if err := m.Predict(row, out); err != nil {
					t.Fatal(err)
				}
				compare(t, "predict", i, row, out, floats(g.Predict[i]))
			}
		})
	}
}

func compare(t *testing.T, what string, i int, row, got, want []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s of row %d has %d numbers, LightGBM gave %d", what, i, len(got), len(want))
	}
	for k := range got {
		if !(math.Abs(got[k]-want[k]) <= 1e-12*math.Abs(want[k])) {
			t.Errorf("%s of row %d %v, output %d: got %v, LightGBM gave %v", what, i, row, k, got[k], want[k])
		}
	}
}

// TestGoldenRowsTellTreesApart guards the test above: rows on which every model answers the same would prove nothing.
func TestGoldenRowsTellTreesApart(t *testing.T) {
	for _, name := range fixtureNames(t) {
		_, g := readFixture(t, name)
		answers := map[number]bool{}
		for _, p := range g.Predict {
			answers[p[0]] = true
		}
		if len(answers) < 10 && name != "binary_constant" && name != "binary_stump" {
			t.Errorf("%s has %d distinct answers on %d rows, want at least 10", name, len(answers), len(g.Rows))
		}
	}
}
