// Package lightgbm times single-row predictions of Serin beside those of github.com/dmitryikh/leaves. run.sh makes the
// model and rows, and times LightGBM and compiled trees beside them.
package lightgbm

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dmitryikh/leaves"

	"github.com/serin-dev/serin/internal/lightgbm"
)

const features = 57

// data reads FILE from the folder that run.sh names in SERIN_BENCH_DATA.
func data(b *testing.B, file string) []byte {
	b.Helper()
	folder := os.Getenv("SERIN_BENCH_DATA")
	if folder == "" {
		b.Skip("SERIN_BENCH_DATA is not set: run run.sh, which makes the model and the rows")
	}
	content, err := os.ReadFile(filepath.Join(folder, file))
	if err != nil {
		b.Fatal(err)
	}
	return content
}

// numbers cuts little-endian doubles into rows of the given width.
func numbers(content []byte, width int) [][]float64 {
	out := make([][]float64, 0, len(content)/8/width)
	for len(content) > 0 {
		row := make([]float64, width)
		for i := range row {
			row[i] = math.Float64frombits(binary.LittleEndian.Uint64(content[8*i:]))
		}
		out, content = append(out, row), content[8*width:]
	}
	return out
}

// check compares every answer with LightGBM's before anything is timed.
func check(b *testing.B, rows [][]float64, predict func(row, out []float64) error) {
	b.Helper()
	out := []float64{0}
	for i, want := range numbers(data(b, "expected.f64"), 1) {
		if err := predict(rows[i], out); err != nil {
			b.Fatal(err)
		}
		if !(math.Abs(out[0]-want[0]) <= 1e-12*want[0]) {
			b.Fatalf("row %d: got %v, LightGBM answers %v", i, out[0], want[0])
		}
	}
}

// passes times passes over all rows and reports the best one: the machine may be busy with other things.
func passes(b *testing.B, predict func(row, out []float64) error) {
	rows := numbers(data(b, "rows.f64"), features)
	check(b, rows, predict)
	b.ReportAllocs()
	out := []float64{0}
	best := time.Duration(math.MaxInt64)
	for b.Loop() {
		start := time.Now()
		for _, row := range rows {
			if err := predict(row, out); err != nil {
				b.Fatal(err)
			}
		}
		best = min(best, time.Since(start))
	}
	b.ReportMetric(float64(best.Nanoseconds())/float64(len(rows)), "best-ns/row")
}

func BenchmarkSerin(b *testing.B) {
	m, err := lightgbm.Parse(data(b, "model.txt"))
	if err != nil {
		b.Fatal(err)
	}
	passes(b, m.Predict)
}

// BenchmarkLeaves reads the same trees under a v3 header, because leaves refuses v4.
func BenchmarkLeaves(b *testing.B) {
	text := bytes.Replace(data(b, "model.txt"), []byte("version=v4"), []byte("version=v3"), 1)
	folder := b.TempDir()
	path := filepath.Join(folder, "model-v3.txt")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		b.Fatal(err)
	}
	m, err := leaves.LGEnsembleFromFile(path, true)
	if err != nil {
		b.Fatal(err)
	}
	passes(b, func(row, out []float64) error { return m.Predict(row, 0, out) })
}
