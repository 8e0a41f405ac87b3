package lightgbm

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
)

const tiny = `tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=1
objective=binary sigmoid:1
feature_names=a=b b
feature_infos=none none
tree_sizes=100 100

Tree=0
num_leaves=3
num_cat=1
split_feature=0 1
threshold=0.5 0
decision_type=2 1
left_child=1 -1
right_child=-3 -2
leaf_value=1 2 4
cat_boundaries=0 1
cat_threshold=6
is_linear=0
shrinkage=1


Tree=1
num_leaves=1
num_cat=0
leaf_value=8
is_linear=0

end of trees

feature_importances:
`

func TestParseTiny(t *testing.T) {
	edits := map[string]func(string) string{
		"as is": func(s string) string { return s },
		"CRLF":  func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") },
		"no optional lines": func(s string) string {
			return dropLines(s, "num_tree_per_iteration", "tree_sizes", "feature_infos", "is_linear")
		},
		"no num_cat in the constant tree": func(s string) string { return strings.Replace(s, "num_cat=0\n", "", 1) },
		"v2 with the early end mark": func(s string) string {
			return strings.NewReplacer("v4", "v2", "end of trees\n\nfeature_importances:", "feature importances:").Replace(s)
		},
	}
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			m, err := Parse([]byte(edit(tiny)))
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct{ a, b, want float64 }{{0.5, 1, 9}, {0.5, 2.9, 9}, {0.5, 3, 10}, {0.6, 1, 12}} {
				out := []float64{0}
				if err := m.PredictRaw([]float64{c.a, c.b}, out); err != nil || out[0] != c.want {
					t.Errorf("raw of %v, %v is %v (%v), want %v", c.a, c.b, out[0], err, c.want)
				}
			}
		})
	}
}

func dropLines(s string, keys ...string) string {
	for _, k := range keys {
		for {
			a := strings.Index(s, "\n"+k+"=")
			if a < 0 {
				break
			}
			s = s[:a] + s[a+1+strings.Index(s[a+1:], "\n"):]
		}
	}
	return s
}

func TestRefused(t *testing.T) {
	tests := []struct{ name, old, new, want string }{
		{"not a model", "tree\nversion", "{\"a\":\nversion", `line 1: got "{\"a\":", a LightGBM text model begins with "tree"`},
		{"pickle", "tree\nversion", "\x80\x04\x95\nversion", `it is a Python pickle, not a LightGBM text model: booster.save_model("model.txt") writes one`},
		{"no version", "version=v4\n", "", `field "version": "" is not known; known are v2, v3, v4`},
		{"version of the future", "version=v4", "version=v5", `line 2: field "version": "v5" is not known; known are v2, v3, v4`},
		{"long junk", "version=v4", "version=" + strings.Repeat("v", 100), "\"" + strings.Repeat("v", 40) + "…\" is not known"},
		{"header twice", "label_index=0", "num_class=1", `line 5: field "num_class" was already given in line 3`},
		{"no num_class", "num_class=1\n", "", `field "num_class" is missing`},
		{"huge num_class", "num_class=1\nnum_tree_per_iteration=1", "num_class=1000000000\nnum_tree_per_iteration=1000000000", `objective "binary" has num_class=1000000000, want 1`},
		{"huge num_class, custom", "num_class=1\nnum_tree_per_iteration=1", "num_class=1000000000\nobjective=custom\n", `was already given`},
		{"trees do not fit classes", "num_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=1\nobjective=binary sigmoid:1", "num_class=1000000000\nmax_feature_idx=1", "it holds 2 trees, want a multiple of num_class=1000000000"},
		{"trees per iteration", "num_tree_per_iteration=1", "num_tree_per_iteration=2", `field "num_tree_per_iteration" is "2", want a whole number from 1 to 1`},
		{"huge max_feature_idx", "max_feature_idx=1", "max_feature_idx=1000000000", `field "feature_names" holds 2 names, max_feature_idx=1000000000 wants 1000000001`},
		{"negative max_feature_idx", "max_feature_idx=1", "max_feature_idx=-1", `field "max_feature_idx" is "-1"`},
		{"no feature names", "feature_names=a=b b\n", "", `field "feature_names" holds 0 names`},
		{"unknown objective", "binary sigmoid:1", "survival_cox", `line 7: field "objective": objective "survival_cox" is not known; known are regression,`},
		{"sigmoid 0", "sigmoid:1", "sigmoid:0", `sigmoid is "0", want a finite number greater than 0`},
		{"sigmoid NaN", "sigmoid:1", "sigmoid:nan", `sigmoid is "nan", want a finite number greater than 0`},
		{"sigmoid without value", "sigmoid:1", "sigmoid", `sigmoid is "", want a finite number greater than 0`},
		{"two num_class", "binary sigmoid:1", "multiclass num_class:3", `num_class is "3" here and 1 in the header`},
		{"no tree", tiny[strings.Index(tiny, "Tree=0"):strings.Index(tiny, "end of")], "", "the model holds no tree"},
		{"header only", tiny[strings.Index(tiny, "Tree=0"):], "", "the text ends before the first tree"},
		{"trees out of order", "Tree=1", "Tree=2", "line 27: got Tree=2, want Tree=1"},
		{"not a tree number", "Tree=0", "Tree=x", "got Tree=x, want Tree=0"},
		{"junk between trees", "Tree=1", "tree=1", `got "tree=1", want Tree=1 or "end of trees"`},
		{"cut off after a tree", "end of trees\n\nfeature_importances:\n", "", `the text ends without "end of trees" after 2 trees: is it cut off?`},
		{"cut off inside a tree", "is_linear=0\n\nend of trees\n\nfeature_importances:\n", "", `the text ends without "end of trees"`},
		{"a tree lost", tiny[strings.Index(tiny, "Tree=1"):strings.Index(tiny, "end of")], "", `field "tree_sizes" in line 10 announces 2 trees, the text holds 1: is it cut off?`},
		{"field twice", "shrinkage=1", "num_leaves=3", `reading tree 0 (line 12): line 24: field "num_leaves" was already given in line 13`},
		{"linear tree", "is_linear=0\nshrinkage", "is_linear=1\nshrinkage", `field "is_linear" is "1": linear trees (linear_tree=true) are not supported`},
		{"no num_leaves", "num_leaves=3\n", "", `field "num_leaves" is missing`},
		{"no leaves", "num_leaves=3", "num_leaves=0", `field "num_leaves" is "0", want a whole number from 1 to 2147483647`},
		{"huge num_leaves", "num_leaves=3", "num_leaves=1000000000", `line 20: field "leaf_value" holds 3 numbers, want 1000000000`},
		{"overflowing num_leaves", "num_leaves=3", "num_leaves=99999999999999999999", `field "num_leaves" is "99999999999999999999"`},
		{"leaf missing", "leaf_value=1 2 4", "leaf_value=1 2", `field "leaf_value" holds 2 numbers, want 3`},
		{"leaf NaN", "leaf_value=1 2 4", "leaf_value=1 nan 4", `field "leaf_value": number 1 is NaN, want a finite one`},
		{"leaf infinite", "leaf_value=8", "leaf_value=inf", `reading tree 1 (line 27): line 30: field "leaf_value": number 0 is +Inf, want a finite one`},
		{"leaf too large", "leaf_value=8", "leaf_value=1e999", `field "leaf_value": number 0 is "1e999", want a number`},
		{"leaf is a word", "leaf_value=8", "leaf_value=eight", `field "leaf_value": number 0 is "eight", want a number`},
		{"no thresholds", "threshold=0.5 0\n", "", `field "threshold" is missing`},
		{"threshold NaN", "threshold=0.5 0", "threshold=nan 0", `field "threshold": number 0 is NaN`},
		{"feature out of range", "split_feature=0 1", "split_feature=0 2", `field "split_feature": number 1 is "2", want a whole number from 0 to 1`},
		{"feature negative", "split_feature=0 1", "split_feature=-1 1", `field "split_feature": number 0 is "-1"`},
		{"decision type unknown", "decision_type=2 1", "decision_type=12 1", `field "decision_type": number 0 is "12", want a whole number from 0 to 11`},
		{"child out of range", "left_child=1 -1", "left_child=2 -1", `field "left_child": number 0 is "2", want a whole number from -3 to 1`},
		{"leaf out of range", "right_child=-3 -2", "right_child=-4 -2", `field "right_child": number 0 is "-4"`},
		{"cycle", "left_child=1 -1", "left_child=1 0", "do not form a tree"},
		{"own child", "left_child=1 -1", "left_child=0 -1", "do not form a tree"},
		{"leaf shared", "left_child=1 -1", "left_child=1 -2", "do not form a tree"},
		{"node unreached", "left_child=1 -1", "left_child=-2 -1", "do not form a tree"},
		{"category split without sets", "num_cat=1", "num_cat=0", `field "threshold": number 1 is 0, a categorical split wants a whole number from 0 to num_cat-1=-1`},
		{"category set out of range", "threshold=0.5 0", "threshold=0.5 1", "number 1 is 1, a categorical split wants"},
		{"category set not whole", "threshold=0.5 0", "threshold=0.5 0.5", "number 1 is 0.5, a categorical split wants"},
		{"huge num_cat", "num_cat=1", "num_cat=2000000000", `field "cat_boundaries" holds 2 numbers, want 2000000001`},
		{"num_cat is a word", "num_cat=1", "num_cat=x", `field "num_cat" is "x"`},
		{"no boundaries", "cat_boundaries=0 1\n", "", `field "cat_boundaries" is missing`},
		{"huge boundary", "cat_boundaries=0 1", "cat_boundaries=0 2000000000", `field "cat_threshold" holds 1 numbers, want 2000000000`},
		{"falling boundaries", "cat_boundaries=0 1", "cat_boundaries=1 0", `field "cat_boundaries": number 0 is 1, want numbers that start at 0 and never fall`},
		{"category word too large", "cat_threshold=6", "cat_threshold=4294967296", `field "cat_threshold": number 0 is "4294967296", want a whole number from 0 to 4294967295`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(tiny, tt.old) {
				t.Fatalf("nothing to edit: %q is not in the text", tt.old)
			}
			_, err := Parse([]byte(strings.Replace(tiny, tt.old, tt.new, 1)))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v\nwant one with %s", err, tt.want)
			}
		})
	}
}

func TestRefusedLinearModelOfLightGBM(t *testing.T) {
	text, err := os.ReadFile("testdata/refused_linear.txt")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), "linear trees (linear_tree=true) are not supported") {
		t.Errorf("got error %v, want one about linear trees", err)
	}
}

// TestCutAnywhere cuts texts at every byte up to their end mark: none of the stumps may pass for a model.
func TestCutAnywhere(t *testing.T) {
	early := strings.NewReplacer("v4", "v2", "end of trees\n\nfeature_importances:", "feature importances:").Replace(tiny)
	for text, mark := range map[string]string{tiny: "end of trees", dropLines(early, "tree_sizes"): "feature importances:"} {
		for i := range strings.Index(text, mark) + len(mark) {
			if _, err := Parse([]byte(text[:i])); err == nil {
				t.Errorf("the first %d bytes of the text pass for a model: …%q", i, text[max(0, i-20):i])
			}
		}
	}
}

func TestMemoryIsBoundedByTheText(t *testing.T) {
	hostile := []string{
		strings.NewReplacer("num_leaves=3", "num_leaves=2000000000").Replace(tiny),
		strings.NewReplacer("num_cat=1", "num_cat=2000000000").Replace(tiny),
		strings.NewReplacer("cat_boundaries=0 1", "cat_boundaries=0 2000000000").Replace(tiny),
		strings.NewReplacer("max_feature_idx=1", "max_feature_idx=2000000000").Replace(tiny),
		"tree\nversion=v4\n" + strings.Repeat("\n", 1<<20),
		"tree\nversion=v4\nfeature_names=" + strings.Repeat("a ", 1<<19) + "\n",
		strings.Replace(tiny, "leaf_value=1 2 4", "leaf_value="+strings.Repeat("1 ", 1<<19), 1),
	}
	for i, text := range hostile {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Parse([]byte(text))
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("text %d: accepted", i)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > uint64(32*len(text)+1<<16) {
			t.Errorf("text %d of %d bytes: reading it took %d bytes", i, len(text), used)
		}
		if err != nil && len(err.Error()) > 1000 {
			t.Errorf("text %d: the error has %d bytes: %.80s", i, len(err.Error()), fmt.Sprint(err))
		}
	}
}
