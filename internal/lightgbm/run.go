package lightgbm

import (
	"math/bits"
	"strings"
)

// Scratch lives on the stack, so that Predict neither allocates nor shares. A model with more conditions than the larger
// one holds is walked node by node instead.
const (
	smallScratch = 1 << 10
	largeScratch = 1 << 14
	chunk        = 256 // trees that are walked together; their places fit a byte
	lanes        = 8
	firstLevels  = 5 // levels that all trees of a chunk take in step before finish takes the open ones; best of 2 to 8
)

var ones = strings.Repeat("\x01", largeScratch)

// sum writes the sums of leaf values, in tree order, to out.
func (m *Model) sum(row, out []float64) {
	switch n := m.plan.conditions; {
	case n <= smallScratch:
		var scratch [smallScratch]uint8
		m.plan.run(row, out, scratch[:n])
	case n <= largeScratch:
		var scratch [largeScratch]uint8
		m.plan.run(row, out, scratch[:n])
	default:
		m.walk(row, out)
	}
}

// walk is sum without a plan.
func (m *Model) walk(row, out []float64) {
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

// run is sum by plan. right is scratch of p.conditions zeros.
func (p *plan) run(row, out []float64, right []uint8) {
	p.decide(row, right)
	clear(out)
	var places [chunk]uint32 // the step that each tree of the chunk has reached
	k := 0
	for first := 0; first < len(p.roots); first += chunk {
		n := copy(places[:], p.roots[first:])
		p.descend(&places, n, right)
		p.finish(&places, n, right)
		k = p.addUp(out, places[:n], k)
	}
}

// addUp adds the leaf values at places to out in order, beginning with output k, and returns the output that is next.
func (p *plan) addUp(out []float64, places []uint32, k int) int {
	if len(out) == 1 {
		total := out[0]
		for _, i := range places {
			total += p.values[i]
		}
		out[0] = total
		return 0
	}
	for _, i := range places {
		out[k] += p.values[i]
		if k++; k == len(out) {
			k = 0
		}
	}
	return k
}

// decide sets right to 1 for every condition on which row goes right.
func (p *plan) decide(row []float64, right []uint8) {
	for i := range p.columns {
		c := &p.columns[i]
		value, missing := c.missing.read(row[c.feature])
		n := 0
		if !missing {
			n = countBelow(c.thresholds, orderedKey(value))
		} else if !c.defaultLeft {
			n = len(c.thresholds)
		}
		copy(right[c.first:], ones[:n])
	}
	for i := range p.sets {
		s := &p.sets[i]
		if !inCategories(s.set, row[s.feature]) {
			right[s.condition] = 1
		}
	}
}

// countBelow returns how many of the sorted keys are less than key, with no branch that depends on them.
func countBelow(sorted []uint64, key uint64) int {
	low, n := 0, len(sorted)
	for n > 1 {
		half := n / 2
		_, less := bits.Sub64(sorted[low+half-1], key, 0)
		low += half & -int(less)
		n -= half
	}
	_, less := bits.Sub64(sorted[low], key, 0)
	return low + int(less)
}

// descend takes the first n places firstLevels down, some lanes at a time. Leaves stay where they are. Places after n,
// up to a full lane, are steps of other trees and do no harm.
func (p *plan) descend(places *[chunk]uint32, n int, right []uint8) {
	steps := p.steps
	for first := 0; first < n; first += lanes {
		at := (*[lanes]uint32)(places[first : first+lanes])
		i0, i1, i2, i3, i4, i5, i6, i7 := at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7]
		for range firstLevels {
			s0, s1, s2, s3 := steps[i0], steps[i1], steps[i2], steps[i3]
			i0 = uint32(s0) + uint32(right[s0>>32])
			i1 = uint32(s1) + uint32(right[s1>>32])
			i2 = uint32(s2) + uint32(right[s2>>32])
			i3 = uint32(s3) + uint32(right[s3>>32])
			s4, s5, s6, s7 := steps[i4], steps[i5], steps[i6], steps[i7]
			i4 = uint32(s4) + uint32(right[s4>>32])
			i5 = uint32(s5) + uint32(right[s5>>32])
			i6 = uint32(s6) + uint32(right[s6>>32])
			i7 = uint32(s7) + uint32(right[s7>>32])
		}
		*at = [lanes]uint32{i0, i1, i2, i3, i4, i5, i6, i7}
	}
}

// finish takes the first n places to their leaves, one level a round, keeping a list of those that are not there yet.
func (p *plan) finish(places *[chunk]uint32, n int, right []uint8) {
	steps := p.steps
	var open [chunk]uint8
	left := 0
	for t, i := range places[:n] {
		open[uint8(left)] = uint8(t)
		left += innerBit(steps[i])
	}
	for left > 0 {
		round := open[:left]
		left = 0
		for _, t := range round {
			s := steps[places[t]]
			i := uint32(s) + uint32(right[s>>32])
			places[t] = i
			open[uint8(left)] = t
			left += innerBit(steps[i])
		}
	}
}

// innerBit is 1 for an inner node and 0 for a leaf, without a branch.
func innerBit(s step) int {
	_, bit := bits.Sub64(0, uint64(s>>32), 0)
	return int(bit)
}
