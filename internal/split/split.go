// Package split decides which arm a request goes to. It is pure: the same salt, key and weight always give the same arm,
// on every machine and in every version of Serin (golden_test.go holds the proof).
//
// Shares are basis points: 0 is nobody, 10,000 is everybody. A key falls into one of 10,000 buckets and belongs to the
// candidate while its bucket lies below the candidate's weight, so raising the weight never moves a candidate's key back.
package split

import "math/bits"

// Buckets is the number of buckets that keys fall into, and the weight (in basis points) that means everybody.
const Buckets = 10_000

// Arm is the revision that a request went to: production or the one on trial.
type Arm uint8

// The two arms. There are never more.
const (
	Stable    Arm = 0
	Candidate Arm = 1
)

// String is the word for the arm that screens and logs use: "stable" or "candidate".
func (a Arm) String() string {
	switch a {
	case Stable:
		return "stable"
	case Candidate:
		return "candidate"
	}
	return "unknown"
}

// Hash is the 64-bit hash of key under salt. The salt is the identity of the rollout: without it the same people would
// be first in every rollout. FNV-1a does the walking, MurmurHash3's finaliser the mixing; both are public domain.
// A nil key is hashed like an empty one.
func Hash(salt string, key []byte) uint64 {
	h := uint64(fnvOffset)
	for i := 0; i < len(salt); i++ {
		h = (h ^ uint64(salt[i])) * fnvPrime
	}
	h = mix(h ^ uint64(len(salt)))
	for _, b := range key {
		h = (h ^ uint64(b)) * fnvPrime
	}
	return mix(h ^ uint64(len(key)))
}

// Bucket is the bucket of key under salt, in [0, 10000).
func Bucket(salt string, key []byte) int {
	return below(Hash(salt, key))
}

// BucketOf is the bucket of a key whose hash is known.
func BucketOf(hash uint64) int {
	return below(hash)
}

// ByKey is the arm of a key when the candidate's share is weightBP basis points. A weight of 0 or less is nobody, of
// 10,000 or more everybody.
func ByKey(weightBP int, salt string, key []byte) Arm {
	if Bucket(salt, key) < weightBP {
		return Candidate
	}
	return Stable
}

// ByCoin is the arm of a request without a key. draw is uniform over all 64-bit numbers; the bias of the split is below
// 10,000 / 2^64. A weight of 0 or less is nobody, of 10,000 or more everybody.
func ByCoin(weightBP int, draw uint64) Arm {
	if below(draw) < weightBP {
		return Candidate
	}
	return Stable
}

// below maps a uniform 64-bit number to [0, Buckets) by the high half of a product, which needs no division.
func below(u uint64) int {
	hi, _ := bits.Mul64(u, Buckets)
	return int(hi)
}

const (
	fnvOffset = 0xcbf29ce484222325
	fnvPrime  = 0x100000001b3
)

// mix is fmix64 of MurmurHash3 (Austin Appleby, public domain): every input bit changes every output bit with
// probability one half.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return h
}
