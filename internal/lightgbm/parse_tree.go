package lightgbm

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

const (
	maskCategorical = 1
	maskDefaultLeft = 2
)

// addTree reads one tree from its fields, checks it and appends it to m.
func (m *Model) addTree(f fields) error {
	if linear, ok := f["is_linear"]; ok && strings.TrimSpace(linear.value) != "0" {
		return fmt.Errorf("line %d: field %q is %q: linear trees (linear_tree=true) are not supported", linear.line, "is_linear", shorten(linear.value))
	}
	leaves, err := f.count("num_leaves", 1, math.MaxInt32)
	if err != nil {
		return err
	}
	var t tree
	if t.leaves, err = f.floats("leaf_value", leaves); err != nil {
		return err
	}
	for i, v := range t.leaves {
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return fmt.Errorf("line %d: field %q: number %d is %v, want a finite one", f["leaf_value"].line, "leaf_value", i, v)
		}
	}
	if leaves > 1 {
		if t.nodes, err = m.readNodes(f, leaves-1); err != nil {
			return err
		}
		if err := checkShape(t.nodes); err != nil {
			return err
		}
	}
	m.trees = append(m.trees, t)
	return nil
}

// readNodes reads the n splits of a tree that has n+1 leaves.
func (m *Model) readNodes(f fields, n int) ([]node, error) {
	features, err1 := f.ints("split_feature", n, 0, len(m.featureNames)-1)
	thresholds, err2 := f.floats("threshold", n)
	left, err3 := f.ints("left_child", n, -n-1, n-1)
	right, err4 := f.ints("right_child", n, -n-1, n-1)
	sets, err5 := m.readCategories(f)
	var kinds []int32
	var err6 error
	if _, ok := f["decision_type"]; ok { // LightGBM reads a missing line as zeros
		kinds, err6 = f.ints("decision_type", n, 0, 11)
	}
	if err := firstError(err1, err2, err3, err4, err5, err6); err != nil {
		return nil, err
	}
	if kinds == nil {
		kinds = make([]int32, n)
	}
	nodes := make([]node, n)
	for i := range nodes {
		nodes[i] = node{
			threshold: thresholds[i], feature: features[i], left: left[i], right: right[i], category: -1,
			missing: missingType(kinds[i] >> 2), defaultLeft: kinds[i]&maskDefaultLeft != 0,
		}
		if math.IsNaN(thresholds[i]) {
			return nil, fmt.Errorf("line %d: field %q: number %d is NaN", f["threshold"].line, "threshold", i)
		}
		if kinds[i]&maskCategorical != 0 {
			c := thresholds[i]
			if !(c >= 0 && c < float64(sets)) || c != math.Trunc(c) {
				return nil, fmt.Errorf("line %d: field %q: number %d is %v, a categorical split wants a whole number from 0 to num_cat-1=%d",
					f["threshold"].line, "threshold", i, c, sets-1)
			}
			nodes[i].category = int32(len(m.categories) - sets + int(c))
		}
	}
	return nodes, nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// readCategories appends the tree's category sets to m and returns how many there are.
func (m *Model) readCategories(f fields) (int, error) {
	if _, ok := f["num_cat"]; !ok {
		return 0, nil
	}
	sets, err := f.count("num_cat", 0, math.MaxInt32-1)
	if err != nil || sets == 0 {
		return 0, err
	}
	bounds, err := f.ints("cat_boundaries", sets+1, 0, math.MaxInt32)
	if err != nil {
		return 0, err
	}
	for i, b := range bounds {
		if i == 0 && b != 0 || i > 0 && b < bounds[i-1] {
			return 0, fmt.Errorf("line %d: field %q: number %d is %d, want numbers that start at 0 and never fall", f["cat_boundaries"].line, "cat_boundaries", i, b)
		}
	}
	words, err := f.words("cat_threshold", int(bounds[sets]))
	if err != nil {
		return 0, err
	}
	for i := range sets {
		m.categories = append(m.categories, words[bounds[i]:bounds[i+1]])
	}
	return sets, nil
}

var errNotATree = errors.New("fields \"left_child\" and \"right_child\" do not form a tree: every node and leaf must be reached exactly once from node 0")

// checkShape refuses children that form cycles, share a node or leave one out, so that every walk ends in a leaf.
func checkShape(nodes []node) error {
	seen := make([]bool, len(nodes))
	reached := make([]bool, len(nodes)+1)
	stack := []int32{0}
	count := 0
	for len(stack) > 0 {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		mark, at := seen, i
		if i < 0 {
			mark, at = reached, ^i
		}
		if mark[at] {
			return errNotATree
		}
		mark[at] = true
		count++
		if i >= 0 {
			stack = append(stack, nodes[i].right, nodes[i].left)
		}
	}
	if count != 2*len(nodes)+1 {
		return errNotATree
	}
	return nil
}

// floats reads exactly n numbers. The words are counted before memory is asked for.
func (f fields) floats(name string, n int) ([]float64, error) {
	return parseWords(f, name, n, "a number", func(word string) (float64, bool) {
		v, err := strconv.ParseFloat(word, 64)
		return v, err == nil
	})
}

func (f fields) ints(name string, n, least, most int) ([]int32, error) {
	want := fmt.Sprintf("a whole number from %d to %d", least, most)
	return parseWords(f, name, n, want, func(word string) (int32, bool) {
		v, err := strconv.ParseInt(word, 10, 32)
		return int32(v), err == nil && int(v) >= least && int(v) <= most
	})
}

func (f fields) words(name string, n int) ([]uint32, error) {
	return parseWords(f, name, n, "a whole number from 0 to 4294967295", func(word string) (uint32, bool) {
		v, err := strconv.ParseUint(word, 10, 32)
		return uint32(v), err == nil
	})
}

func parseWords[T any](f fields, name string, n int, want string, parse func(string) (T, bool)) ([]T, error) {
	got, ok := f[name]
	if !ok {
		return nil, fmt.Errorf("field %q is missing", name)
	}
	if words := countWords(got.value); words != n {
		return nil, fmt.Errorf("line %d: field %q holds %d numbers, want %d", got.line, name, words, n)
	}
	values := make([]T, 0, n)
	for word := range strings.FieldsSeq(got.value) {
		v, ok := parse(word)
		if !ok {
			return nil, fmt.Errorf("line %d: field %q: number %d is %q, want %s", got.line, name, len(values), shorten(word), want)
		}
		values = append(values, v)
	}
	return values, nil
}

func countWords(s string) int {
	n := 0
	for range strings.FieldsSeq(s) {
		n++
	}
	return n
}
