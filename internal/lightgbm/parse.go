package lightgbm

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Parse reads a LightGBM model text as Booster.save_model writes it. The whole model is checked here, so that Predict
// cannot fail on it: every tree is a tree, every index is in range, every leaf value is finite. Memory is bounded by a
// small multiple of len(text), whatever sizes the text declares. Errors name the line, the tree and the field.
//
// Refused by name: versions other than v2, v3 and v4, linear trees, unknown objectives, models without trees, and
// texts that end before their last tree.
func Parse(text []byte) (*Model, error) {
	s := &scanner{rest: string(text)}
	h, err := readHeader(s)
	if err != nil {
		return nil, fmt.Errorf("reading model header: %w", err)
	}
	m := &Model{}
	if err := m.setHeader(h); err != nil {
		return nil, fmt.Errorf("reading model header: %w", err)
	}
	if err := m.readTrees(s, h); err != nil {
		return nil, err
	}
	if err := m.checkTreeCount(h); err != nil {
		return nil, err
	}
	m.compile()
	return m, nil
}

// scanner hands out the lines of a text.
type scanner struct {
	rest string
	line int // number of the line that next returned last
}

func (s *scanner) next() (string, bool) {
	if s.rest == "" {
		return "", false
	}
	line, rest, _ := strings.Cut(s.rest, "\n")
	s.rest, s.line = rest, s.line+1
	return strings.TrimSuffix(line, "\r"), true
}

// fields are the key=value lines of the header or of one tree.
type fields map[string]field

type field struct {
	value string
	line  int
}

func (f fields) add(line string, number int) error {
	key, value, _ := strings.Cut(line, "=")
	if old, ok := f[key]; ok {
		return fmt.Errorf("line %d: field %q was already given in line %d", number, shorten(key), old.line)
	}
	f[key] = field{value: value, line: number}
	return nil
}

// readHeader reads up to the first tree, whose line it takes.
func readHeader(s *scanner) (fields, error) {
	line, _ := s.next()
	switch {
	case line == "tree":
	case strings.HasPrefix(line, "\x80"): // the first byte of a pickle, protocol 2 and later; joblib writes the same
		return nil, errors.New("it is a Python pickle, not a LightGBM text model: booster.save_model(\"model.txt\") writes one (of a scikit-learn model: model.booster_)")
	default:
		return nil, fmt.Errorf("line 1: got %q, a LightGBM text model begins with %q", shorten(line), "tree")
	}
	h := fields{}
	for {
		line, ok := s.next()
		if !ok {
			return nil, fmt.Errorf("line %d: the text ends before the first tree", s.line)
		}
		if strings.HasPrefix(line, "Tree=") {
			h["Tree"] = field{value: line[len("Tree="):], line: s.line}
			return h, nil
		}
		if line == "end of trees" {
			return nil, fmt.Errorf("line %d: the model holds no tree", s.line)
		}
		if line == "" {
			continue
		}
		if err := h.add(line, s.line); err != nil {
			return nil, err
		}
	}
}

func (m *Model) setHeader(h fields) error {
	switch v := h["version"]; v.value {
	case "v2", "v3", "v4":
	default:
		return fmt.Errorf("line %d: field %q: %q is not known; known are v2, v3, v4", v.line, "version", shorten(v.value))
	}
	classes, err := h.count("num_class", 1, math.MaxInt32)
	if err != nil {
		return err
	}
	m.outputs = classes
	if _, ok := h["num_tree_per_iteration"]; ok {
		if _, err := h.count("num_tree_per_iteration", classes, classes); err != nil {
			return err
		}
	}
	last, err := h.count("max_feature_idx", 0, math.MaxInt32-1)
	if err != nil {
		return err
	}
	names := h["feature_names"]
	m.featureNames = strings.Fields(names.value)
	if len(m.featureNames) != last+1 {
		return fmt.Errorf("line %d: field %q holds %d names, max_feature_idx=%d wants %d",
			names.line, "feature_names", len(m.featureNames), last, last+1)
	}
	_, m.average = h["average_output"]
	if m.objective, err = parseObjective(h["objective"].value, classes); err != nil {
		return fmt.Errorf("line %d: field %q: %w", h["objective"].line, "objective", err)
	}
	return nil
}

// count reads a whole number from least to most.
func (f fields) count(name string, least, most int) (int, error) {
	got, ok := f[name]
	if !ok {
		return 0, fmt.Errorf("field %q is missing", name)
	}
	n, err := strconv.Atoi(strings.TrimSpace(got.value))
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("line %d: field %q is %q, want a whole number from %d to %d", got.line, name, shorten(got.value), least, most)
	}
	return n, nil
}

// readTrees reads all trees; the line of the first one has been taken by readHeader.
func (m *Model) readTrees(s *scanner, h fields) error {
	start := h["Tree"]
	for {
		want := len(m.trees)
		if start.value != strconv.Itoa(want) {
			return fmt.Errorf("line %d: got Tree=%s, want Tree=%d", start.line, shorten(start.value), want)
		}
		f, err := readFields(s)
		if err == nil {
			err = m.addTree(f)
		}
		if err != nil {
			return fmt.Errorf("reading tree %d (line %d): %w", want, start.line, err)
		}
		line, ok := skipBlank(s)
		switch {
		case strings.HasPrefix(line, "Tree="):
			start = field{value: line[len("Tree="):], line: s.line}
		case line == "end of trees":
			return nil
		case h["version"].value == "v2" && line == "feature importances:":
			return nil // early v2 texts have no other end mark
		case !ok:
			return fmt.Errorf("line %d: the text ends without \"end of trees\" after %d trees: is it cut off?", s.line, want+1)
		default:
			return fmt.Errorf("line %d: got %q, want Tree=%d or \"end of trees\"", s.line, shorten(line), want+1)
		}
	}
}

// readFields reads key=value lines up to an empty line.
func readFields(s *scanner) (fields, error) {
	f := fields{}
	for {
		line, ok := s.next()
		if !ok || line == "" {
			return f, nil
		}
		if err := f.add(line, s.line); err != nil {
			return nil, err
		}
	}
}

func skipBlank(s *scanner) (string, bool) {
	for {
		line, ok := s.next()
		if !ok || line != "" {
			return line, ok
		}
	}
}

func (m *Model) checkTreeCount(h fields) error {
	if len(m.trees)%m.outputs != 0 {
		return fmt.Errorf("checking the model: it holds %d trees, want a multiple of num_class=%d", len(m.trees), m.outputs)
	}
	if sizes, ok := h["tree_sizes"]; ok {
		if n := countWords(sizes.value); n != len(m.trees) {
			return fmt.Errorf("checking the model: field %q in line %d announces %d trees, the text holds %d: is it cut off?",
				"tree_sizes", sizes.line, n, len(m.trees))
		}
	}
	return nil
}

// shorten keeps error messages short, whatever the text holds.
func shorten(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
