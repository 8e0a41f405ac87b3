//go:build unix

package azureml_test

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/serin-dev/serin/internal/lightgbm"
)

// pickler trains a model as the challenge's notebook does, with early stopping, pickles
// it in several ways, and says what it predicts.
const pickler = `
import json, pickle, sys
import joblib, lightgbm, numpy
folder = sys.argv[1]
rng = numpy.random.default_rng(1)
x = rng.normal(size=(3000, 6)); x[rng.random(x.shape) < .1] = numpy.nan
y = (numpy.nan_to_num(x[:, 0]) + numpy.nan_to_num(x[:, 1]) * numpy.nan_to_num(x[:, 2]) + rng.normal(size=3000) > 0).astype(float)
fit, held = lightgbm.Dataset(x[:2000], y[:2000]), lightgbm.Dataset(x[2000:], y[2000:])
booster = lightgbm.train({"objective": "binary", "learning_rate": .3, "num_leaves": 15, "verbose": -1, "seed": 0}, fit, num_boost_round=500, valid_sets=[held], callbacks=[lightgbm.early_stopping(5, verbose=False)])
assert 0 < booster.best_iteration < 500
with open(folder + "/pickled.pkl", "wb") as f: pickle.dump(booster, f)
joblib.dump(booster, folder + "/joblib.pkl")
joblib.dump(booster, folder + "/compressed.pkl", compress=3)
with open(folder + "/list.pkl", "wb") as f: pickle.dump([1], f)
rows = x[2000:2200]
print(json.dumps({"rows": [[None if numpy.isnan(v) else v for v in r] for r in rows.tolist()], "want": booster.predict(rows).tolist()}))
`

// TestPickledBoosterIsConverted: a pickle of the real LightGBM becomes a text from which
// Serin predicts what LightGBM does.
func TestPickledBoosterIsConverted(t *testing.T) {
	if testing.Short() && os.Getenv("CI") != "true" {
		t.Skip("skipped because of -short: it makes a Python environment from PyPI")
	}
	bin, folder := azureEnvironment(t), t.TempDir()
	mustRead(t, "../safe-driver/convert.py")
	ctx, cancel := context.WithTimeout(t.Context(), setupMost)
	defer cancel()
	setUp(ctx, t, "PyPI, or a mirror named in pip's configuration, must be reachable", filepath.Join(bin, "pip"), "install", "--quiet", "--disable-pip-version-check", "--target", folder+"/packages", "joblib==1.5.2")
	python := func(args ...string) *exec.Cmd {
		c := exec.CommandContext(ctx, filepath.Join(bin, "python"), args...)
		c.Env = append(os.Environ(), "PYTHONPATH="+folder+"/packages")
		return c
	}
	out, err := python("-c", pickler, folder).Output()
	if err != nil {
		t.Fatalf("making pickles: %v", err)
	}
	var sample struct {
		Rows [][]*float64
		Want []float64
	}
	if err := json.Unmarshal(out, &sample); err != nil || len(sample.Rows) != 200 {
		t.Fatalf("%d rows: %v", len(sample.Rows), err)
	}
	for _, name := range []string{"pickled", "joblib", "compressed"} {
		text := filepath.Join(folder, name+".txt")
		if out, err := python("../safe-driver/convert.py", filepath.Join(folder, name+".pkl"), "--out", text).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
			continue
		}
		predictsAlike(t, name, mustRead(t, text), sample.Rows, sample.Want)
	}
	for file, says := range map[string]string{"list.pkl": "builtins.list", "none.pkl": "no such file", "packages/joblib/__init__.py": "cannot be read as a pickle"} {
		out, err := python("../safe-driver/convert.py", filepath.Join(folder, file), "--out", folder+"/no.txt").CombinedOutput()
		if _, wrote := os.Stat(folder + "/no.txt"); err == nil || wrote == nil || !strings.Contains(string(out), says) || strings.Contains(string(out), "Traceback") {
			t.Errorf("%s: %v, want a refusal that says %q:\n%s", file, err, says, out)
		}
	}
}

func predictsAlike(t *testing.T, name string, text []byte, rows [][]*float64, want []float64) {
	t.Helper()
	m, err := lightgbm.Parse(text)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	for i, r := range rows {
		row, got := make([]float64, len(r)), make([]float64, 1)
		for j, v := range r {
			if row[j] = math.NaN(); v != nil {
				row[j] = *v
			}
		}
		if err := m.Predict(row, got); err != nil || math.Abs(got[0]-want[i]) > 1e-12 {
			t.Errorf("%s: row %d: %g, LightGBM says %g (%v)", name, i, got[0], want[i], err)
			return
		}
	}
}
