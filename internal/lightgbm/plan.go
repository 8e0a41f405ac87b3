package lightgbm

// plan is how sum gets through the trees.
type plan struct{}

func (m *Model) compile() {}

// sum writes the sums of leaf values, in tree order, to out.
func (m *Model) sum(row, out []float64) {
	clear(out)
	k := 0
	for i := range m.trees {
		t := &m.trees[i]
		out[k] += t.leaves[m.leafOf(t, row)]
		if k++; k == len(out) {
			k = 0
		}
	}
}
