package lightgbm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// answerSlowly is the obvious twin of PredictRaw: LightGBM's Tree::Predict by recursion, node by node, tree by tree. It
// shares no code with the package but the parsed nodes.
func answerSlowly(m *Model, row []float64) []float64 {
	out := make([]float64, m.outputs)
	for i, t := range m.trees {
		leaf := 0
		if len(t.nodes) > 0 {
			leaf = descendSlowly(m, t, 0, row)
		}
		out[i%m.outputs] += t.leaves[leaf]
	}
	return out
}

func descendSlowly(m *Model, t tree, i int32, row []float64) int {
	if i < 0 {
		return int(-i - 1)
	}
	n := t.nodes[i]
	v := row[n.feature]
	if math.Abs(v) <= float64(float32(1e-35)) { // left out of the row by LightGBM's predictors
		v = 0
	}
	left := false
	if n.category >= 0 {
		if !math.IsNaN(v) && math.Trunc(v) >= 0 && math.Trunc(v) < 1<<31 {
			c := int(math.Trunc(v))
			set := m.categories[n.category]
			left = c/32 < len(set) && set[c/32]&(1<<(c%32)) != 0
		}
	} else {
		if math.IsNaN(v) && n.missing != missingNaN {
			v = 0
		}
		if n.missing == missingZero && v == 0 || n.missing == missingNaN && math.IsNaN(v) {
			left = n.defaultLeft
		} else {
			left = v <= n.threshold
		}
	}
	if left {
		return descendSlowly(m, t, n.left, row)
	}
	return descendSlowly(m, t, n.right, row)
}

// forest says what randomModel writes.
type forest struct {
	features, classes, iterations, maxLeaves, distinct int
	chain                                              bool
}

// randomModel writes a model text with splits of every kind; thresholds come from `distinct` values, edge cases first.
func randomModel(r *rand.Rand, f forest) string {
	values := []float64{0, math.Copysign(0, -1), 1e-35, -1e-35, float64(float32(1e-35)), -float64(float32(1e-35)), 1, -1, 1e300, math.Inf(1), math.Inf(-1)}
	for len(values) < f.distinct {
		values = append(values, r.NormFloat64())
	}
	var b strings.Builder
	fmt.Fprintf(&b, "tree\nversion=v4\nnum_class=%d\nnum_tree_per_iteration=%d\nlabel_index=0\nmax_feature_idx=%d\nobjective=", f.classes, f.classes, f.features-1)
	if f.classes > 1 {
		fmt.Fprintf(&b, "multiclass num_class:%d\n", f.classes)
	} else {
		b.WriteString("binary sigmoid:1\n")
	}
	b.WriteString("feature_names=")
	for i := range f.features {
		fmt.Fprintf(&b, "Column_%d ", i)
	}
	b.WriteString("\n\n")
	for i := range f.iterations * f.classes {
		fmt.Fprintf(&b, "Tree=%d\n%s\n", i, randomTree(r, f, values))
	}
	b.WriteString("end of trees\n")
	return b.String()
}

func randomTree(r *rand.Rand, f forest, values []float64) string {
	leaves := 1 + r.IntN(f.maxLeaves)
	if f.chain {
		leaves = f.maxLeaves
	}
	n := leaves - 1
	kids, leafParents := make([][2]int, n), []*int{new(int)}
	for i := range n { // as LightGBM grows: node i takes the place of a leaf
		at := r.IntN(len(leafParents))
		if f.chain {
			at = len(leafParents) - 1
		}
		*leafParents[at] = i
		leafParents[at] = leafParents[len(leafParents)-1]
		leafParents = append(leafParents[:len(leafParents)-1], &kids[i][0], &kids[i][1])
	}
	for leaf, p := range leafParents {
		*p = ^leaf
	}
	var feature, threshold, kind, left, right, value, bounds, sets []string
	bounds = append(bounds, "0")
	for i := range n {
		k := []int{0, 2, 4, 6, 8, 10, 1, 9}[r.IntN(8)]
		t := fmt.Sprint(values[r.IntN(len(values))])
		if k&1 == 1 {
			t = fmt.Sprint(len(bounds) - 1)
			for range r.IntN(4) {
				sets = append(sets, fmt.Sprint(r.Uint32()))
			}
			bounds = append(bounds, fmt.Sprint(len(sets)))
		}
		feature, threshold, kind = append(feature, fmt.Sprint(r.IntN(f.features))), append(threshold, t), append(kind, fmt.Sprint(k))
		left, right = append(left, fmt.Sprint(kids[i][0])), append(right, fmt.Sprint(kids[i][1]))
	}
	for range leaves {
		value = append(value, fmt.Sprint(r.NormFloat64()))
	}
	text := fmt.Sprintf("num_leaves=%d\nnum_cat=%d\nsplit_feature=%s\nthreshold=%s\ndecision_type=%s\nleft_child=%s\nright_child=%s\nleaf_value=%s\n",
		leaves, len(bounds)-1, strings.Join(feature, " "), strings.Join(threshold, " "), strings.Join(kind, " "),
		strings.Join(left, " "), strings.Join(right, " "), strings.Join(value, " "))
	if len(bounds) > 1 {
		text += fmt.Sprintf("cat_boundaries=%s\ncat_threshold=%s\n", strings.Join(bounds, " "), strings.Join(sets, " "))
	}
	return text + "is_linear=0\nshrinkage=1\n\n"
}

func randomRow(r *rand.Rand, features int) []float64 {
	odd := []float64{math.NaN(), 0, math.Copysign(0, -1), 1e-36, -1e-36, 1e-35, -1e-35, float64(float32(1e-35)), -float64(float32(1e-35)),
		math.Inf(1), math.Inf(-1), -0.5, -1, 1, 31, 32.7, 95, 96, 1e9, math.MaxInt32, math.MaxInt32 + 0.5, math.MaxInt32 + 1, -math.MaxFloat64, math.MaxFloat64}
	row := make([]float64, features)
	for i := range row {
		switch r.IntN(3) {
		case 0:
			row[i] = odd[r.IntN(len(odd))]
		case 1:
			row[i] = r.NormFloat64()
		default:
			row[i] = float64(r.IntN(100))
		}
	}
	return row
}

func TestTwin(t *testing.T) {
	tests := []struct {
		name    string
		forest  forest
		scratch [2]int // conditions in [from, to]: which way through sum this case takes
	}{
		{"one tree", forest{features: 3, classes: 1, iterations: 1, maxLeaves: 8, distinct: 20}, [2]int{1, smallScratch}},
		{"small", forest{features: 7, classes: 1, iterations: 21, maxLeaves: 40, distinct: 30}, [2]int{100, smallScratch}},
		{"small, classes", forest{features: 7, classes: 3, iterations: 7, maxLeaves: 31, distinct: 30}, [2]int{100, smallScratch}},
		{"large", forest{features: 30, classes: 1, iterations: 300, maxLeaves: 90, distinct: 200}, [2]int{smallScratch + 1, largeScratch}},
		{"large, classes across chunks", forest{features: 20, classes: 7, iterations: 80, maxLeaves: 20, distinct: 100}, [2]int{smallScratch + 1, largeScratch}},
		{"too large for scratch", forest{features: 40, classes: 1, iterations: 300, maxLeaves: 300, distinct: 100_000}, [2]int{largeScratch + 1, math.MaxInt}},
		{"too large, classes", forest{features: 40, classes: 3, iterations: 90, maxLeaves: 300, distinct: 100_000}, [2]int{largeScratch + 1, math.MaxInt}},
		{"chain", forest{features: 4, classes: 1, iterations: 3, maxLeaves: 1500, distinct: 100, chain: true}, [2]int{smallScratch + 1, largeScratch}},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			m, err := Parse([]byte(randomModel(r, tt.forest)))
			if err != nil {
				t.Fatal(err)
			}
			if c := m.plan.conditions; c < tt.scratch[0] || c > tt.scratch[1] {
				t.Fatalf("model has %d conditions, this case wants %v", c, tt.scratch)
			}
			sameAsTwin(t, m, func(int) []float64 { return randomRow(r, tt.forest.features) }, 400)
		})
	}
}

func TestTwinOnFixtures(t *testing.T) {
	for _, name := range fixtureNames(t) {
		t.Run(name, func(t *testing.T) {
			m, g := readFixture(t, name)
			sameAsTwin(t, m, func(i int) []float64 { return floats(g.Rows[i]) }, len(g.Rows))
		})
	}
}

func sameAsTwin(t *testing.T, m *Model, row func(int) []float64, rows int) {
	t.Helper()
	out := make([]float64, m.NumOutputs())
	for i := range rows {
		x := row(i)
		if err := m.PredictRaw(x, out); err != nil {
			t.Fatal(err)
		}
		for k, want := range answerSlowly(m, x) {
			if math.Float64bits(out[k]) != math.Float64bits(want) {
				t.Fatalf("row %v, output %d: got %v, the twin says %v", x, k, out[k], want)
			}
		}
	}
}
