package split_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/serin-dev/serin/internal/split"
)

// Golden: a change of any of these numbers moves real clients between the arms of a running rollout.
func TestBucketStaysTheSameAcrossVersions(t *testing.T) {
	for _, c := range []struct {
		salt, key string
		hash      uint64
		bucket    int
	}{
		{"", "", goldenHash0, goldenBucket0},
		{"safe-driver-7", "client-1", goldenHash1, goldenBucket1},
		{"safe-driver-7", "client-2", goldenHash2, goldenBucket2},
		{"safe-driver-8", "client-1", goldenHash3, goldenBucket3},
	} {
		if got := split.Hash(c.salt, []byte(c.key)); got != c.hash {
			t.Errorf("Hash(%q, %q) = %#x, want %#x", c.salt, c.key, got, c.hash)
		}
		if got := split.Bucket(c.salt, []byte(c.key)); got != c.bucket {
			t.Errorf("Bucket(%q, %q) = %d, want %d", c.salt, c.key, got, c.bucket)
		}
	}
}

func TestEdgesOfTheWeight(t *testing.T) {
	for i := range 20_000 {
		key := fmt.Appendf(nil, "k%d", i)
		for _, w := range []int{-1, 0} {
			if split.ByKey(w, "s", key) != split.Stable {
				t.Fatalf("ByKey(%d, %q) went to the candidate: 0 must be nobody", w, key)
			}
		}
		for _, w := range []int{10_000, 10_001} {
			if split.ByKey(w, "s", key) != split.Candidate {
				t.Fatalf("ByKey(%d, %q) went to stable: 10000 must be everybody", w, key)
			}
		}
	}
	for _, draw := range []uint64{0, 1, math.MaxUint64 / 2, math.MaxUint64} {
		if split.ByCoin(0, draw) != split.Stable || split.ByCoin(10_000, draw) != split.Candidate {
			t.Errorf("draw %d: 0 must be nobody and 10000 everybody", draw)
		}
	}
	if split.ByCoin(1, 0) != split.Candidate || split.ByCoin(9_999, math.MaxUint64) != split.Stable {
		t.Error("the first and the last draw must be on their sides of the smallest and largest shares")
	}
}

func TestRaisingTheWeightNeverMovesAKeyBack(t *testing.T) {
	for i := range 300 {
		key := fmt.Appendf(nil, "client-%d", i)
		was := split.Stable
		for w := 0; w <= split.Buckets; w += 7 {
			is := split.ByKey(w, "rollout-1", key)
			if was == split.Candidate && is == split.Stable {
				t.Fatalf("key %q left the candidate when the weight rose to %d", key, w)
			}
			was = is
		}
	}
}

// The chi-square statistic of a fair die with many sides is nearly normal: mean df, variance 2·df. Six sigmas on either
// side fail a fair hash about once in 10^9 runs; keys are fixed, so it either always passes or always fails.
func chiSquareZ(counts []int) float64 {
	n := 0
	for _, c := range counts {
		n += c
	}
	want, sum := float64(n)/float64(len(counts)), 0.0
	for _, c := range counts {
		sum += (float64(c) - want) * (float64(c) - want) / want
	}
	df := float64(len(counts) - 1)
	return (sum - df) / math.Sqrt(2*df)
}

func TestBucketsAreUniform(t *testing.T) {
	for name, key := range map[string]func(i int) []byte{
		"counted":   func(i int) []byte { return fmt.Appendf(nil, "%d", i) },
		"padded":    func(i int) []byte { return fmt.Appendf(nil, "user-%012d@example.com", i) },
		"binary":    func(i int) []byte { return []byte{byte(i), byte(i >> 8), byte(i >> 16), 0, 0, 0, 0, 0} },
		"last byte": func(i int) []byte { return []byte{0, 0, byte(i >> 16), byte(i >> 8), byte(i)} },
	} {
		counts := make([]int, split.Buckets)
		for i := range 400_000 {
			counts[split.Bucket("safe-driver-r2", key(i))]++
		}
		if z := chiSquareZ(counts); math.Abs(z) > 6 {
			t.Errorf("%s keys: chi-square is %.1f sigmas from uniform", name, z)
		}
	}
}

func TestCoinIsUniform(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const n = 400_000
	for _, w := range []int{1, 100, 1_000, 5_000, 9_999} {
		got := 0
		for range n {
			if split.ByCoin(w, rng.Uint64()) == split.Candidate {
				got++
			}
		}
		p := float64(w) / split.Buckets
		if z := (float64(got) - n*p) / math.Sqrt(n*p*(1-p)); math.Abs(z) > 5 {
			t.Errorf("weight %d: %d of %d, %.1f sigmas off", w, got, n, z)
		}
	}
}

// Two rollouts must not favour the same people: the joint table of deciles under two salts has to be flat.
func TestSaltsAreIndependent(t *testing.T) {
	for _, salts := range [][2]string{{"safe-driver-1", "safe-driver-2"}, {"a", "b"}, {"", "x"}, {"r1", "r11"}} {
		joint := make([]int, 100)
		for i := range 200_000 {
			key := fmt.Appendf(nil, "client-%d", i)
			a, b := split.Bucket(salts[0], key)/1000, split.Bucket(salts[1], key)/1000
			joint[a*10+b]++
		}
		if z := chiSquareZ(joint); math.Abs(z) > 6 {
			t.Errorf("salts %q: the joint table is %.1f sigmas from flat", salts, z)
		}
	}
}

func TestBoundaryBetweenSaltAndKeyCounts(t *testing.T) {
	if split.Hash("ab", []byte("c")) == split.Hash("a", []byte("bc")) {
		t.Error("moving a byte from the key to the salt must change the hash")
	}
}

func TestArmString(t *testing.T) {
	for arm, want := range map[split.Arm]string{split.Stable: "stable", split.Candidate: "candidate", 7: "unknown"} {
		if got := arm.String(); got != want {
			t.Errorf("Arm(%d).String() = %q, want %q", arm, got, want)
		}
	}
}
