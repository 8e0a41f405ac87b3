package wire

import (
	"encoding/json"
	"math"
	"testing"
)

func TestFloatKeepsEveryNumber(t *testing.T) {
	for _, v := range []float64{0, -0.5, 1e-300, math.MaxFloat64, 0.1, math.NaN(), math.Inf(1), math.Inf(-1)} {
		text, err := json.Marshal(Float(v))
		if err != nil {
			t.Fatal(err)
		}
		var got Float
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		if math.Float64bits(float64(got)) != math.Float64bits(v) && !(math.IsNaN(v) && math.IsNaN(float64(got))) {
			t.Errorf("%v became %v by way of %s", v, got, text)
		}
	}
	var got Float
	for _, bad := range []string{`"nan"`, `"1"`, `{}`, `""`} {
		if json.Unmarshal([]byte(bad), &got) == nil {
			t.Errorf("%s is taken for a score", bad)
		}
	}
}
