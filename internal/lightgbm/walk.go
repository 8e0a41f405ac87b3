package lightgbm

import "math"

// missingType says which values of a split's feature take the default direction.
type missingType uint8

const (
	missingNone missingType = iota // none; NaN is read as 0
	missingZero                    // zeros, and NaN, which is read as 0
	missingNaN                     // NaN
)

// zeroThreshold is LightGBM's kZeroThreshold: the float32 nearest to 1e-35, widened.
const zeroThreshold = float64(float32(1e-35))

// tree is one decision tree. Children of a node are node indexes, or ^leaf for a leaf. A tree of a single leaf has no
// nodes.
type tree struct {
	nodes  []node
	leaves []float64
}

type node struct {
	threshold   float64 // numerical split: value <= threshold goes left
	feature     int32
	left, right int32
	category    int32 // categorical split: index into Model.categories; else -1
	missing     missingType
	defaultLeft bool
}

// leafOf walks t from the root and returns the index of the leaf that row reaches.
func (m *Model) leafOf(t *tree, row []float64) int {
	if len(t.nodes) == 0 {
		return 0
	}
	for i := int32(0); ; {
		n := &t.nodes[i]
		if m.goesLeft(n, row[n.feature]) {
			i = n.left
		} else {
			i = n.right
		}
		if i < 0 {
			return int(^i)
		}
	}
}

func (m *Model) goesLeft(n *node, value float64) bool {
	if n.category >= 0 {
		return inCategories(m.categories[n.category], value)
	}
	value, missing := n.missing.read(value)
	if missing {
		return n.defaultLeft
	}
	return value <= n.threshold
}

// read returns the number that a split with this missing type compares, and whether it takes the default direction
// instead. Numbers within zeroThreshold are 0: LightGBM's predictors leave them out of the row that its trees see.
func (kind missingType) read(value float64) (float64, bool) {
	if value != value {
		return 0, kind != missingNone
	}
	if value >= -zeroThreshold && value <= zeroThreshold {
		return 0, kind == missingZero
	}
	return value, false
}

// inCategories reports whether the category that value names is in set. LightGBM cuts value to an int; NaN, negative
// categories and what an int32 cannot hold go right. (-1, 0) is category 0.
func inCategories(set []uint32, value float64) bool {
	if !(value > -1 && value <= math.MaxInt32) {
		return false
	}
	category := uint32(int32(value))
	word := category / 32
	return word < uint32(len(set)) && set[word]>>(category%32)&1 == 1
}
