package split_test

const (
	goldenHash0, goldenBucket0 = 0xc70b7d317e33bf45, 7775
	goldenHash1, goldenBucket1 = 0x9b950f0d80191fce, 6077
	goldenHash2, goldenBucket2 = 0xaf6f706e9e8985b9, 6852
	goldenHash3, goldenBucket3 = 0x27b98910b8791ad4, 1551
)
