package scorer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

func columns(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = "f" + strconv.Itoa(i)
	}
	return names
}

// readAll collects what rowParser hands out row by row.
func readAll(body []byte, width int) ([][]float64, error) {
	p := rowParser{b: body, names: columns(width)}
	if err := p.open(); err != nil {
		return nil, err
	}
	var rows [][]float64
	for {
		row := make([]float64, width)
		more, err := p.next(row)
		if err != nil {
			return nil, err
		}
		if !more {
			return rows, p.close()
		}
		rows = append(rows, row)
	}
}

// twin reads the same document with encoding/json, the slow and obvious way.
func twin(body []byte, width int) ([][]float64, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("no object")
	}
	if t, err := dec.Token(); err != nil || t != "data" {
		return nil, errors.New("no data key first")
	}
	var data [][]*float64
	if err := dec.Decode(&data); err != nil {
		return nil, err
	}
	if t, err := dec.Token(); err != nil || t != json.Delim('}') {
		return nil, errors.New("no end")
	}
	if !json.Valid(body) { // also what stands behind the object
		return nil, errors.New("not valid")
	}
	if len(data) == 0 {
		return nil, errors.New("no rows")
	}
	rows := make([][]float64, len(data))
	for i, row := range data {
		if len(row) != width {
			return nil, errors.New("width")
		}
		for _, v := range row {
			if v == nil {
				return nil, errors.New("null")
			}
			rows[i] = append(rows[i], *v)
		}
	}
	return rows, nil
}

func sameBits(a, b [][]float64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if len(a[i]) != len(b[i]) {
			return false
		}
		for j := range a[i] {
			if math.Float64bits(a[i][j]) != math.Float64bits(b[i][j]) {
				return false
			}
		}
	}
	return true
}

func checkTwin(t *testing.T, body []byte, width int) {
	t.Helper()
	got, err := readAll(body, width)
	want, wantErr := twin(body, width)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%q: parser says %v, encoding/json says %v", body, err, wantErr)
	}
	if err == nil && !sameBits(got, want) {
		t.Fatalf("%q: parser read %v, encoding/json %v", body, got, want)
	}
	var bad *inputError
	if err != nil && !errors.As(err, &bad) {
		t.Fatalf("%q: %v is not an input error", body, err)
	}
}

var oddNumbers = []string{
	"0", "-0", "0.0", "-0.0", "1", "-1", "0.1", "0.610327781", "3.464101615", "9007199254740992", "9007199254740993", "-9007199254740993",
	"123456789012345678", "1234567890123456789", "18446744073709551616", "0.30000000000000004", "5e-324", "2.4703282292062327e-324",
	"2.4703282292062328e-324", "1.7976931348623157e308", "1e22", "1e23", "1E5", "1e+5", "1e-5", "0.0000000000000000000001",
	"0.00000000000000000000001", "1e-400", "0e999999999999", "8.5e0", "72057594037927945", "900719925474099.3", "0.1234567890123456789012345",
	"1" + strings.Repeat("0", 300), "0." + strings.Repeat("0", 300) + "1", "179769313486231580793" + strings.Repeat("0", 280),
}

func TestNumbersAsParseFloat(t *testing.T) {
	check := func(text string) {
		t.Helper()
		want, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatalf("ParseFloat(%q): %v", text, err)
		}
		got, end, err := parseNumber([]byte(text+","), 0)
		if err != nil || end != len(text) || math.Float64bits(got) != math.Float64bits(want) {
			t.Fatalf("parseNumber(%q) = %v, %d, %v; want %v", text, got, end, err, want)
		}
	}
	for _, text := range oddNumbers {
		check(text)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		v := math.Float64frombits(r.Uint64())
		if math.IsNaN(v) || math.IsInf(v, 0) {
			continue
		}
		check(strconv.FormatFloat(v, 'g', -1, 64))
		check(strconv.FormatFloat(r.NormFloat64(), 'f', r.IntN(25), 64))
		check(strconv.FormatInt(r.Int64()>>r.IntN(63), 10))
	}
	for _, text := range []string{"", "-", "+1", ".5", "1.", "1.e5", "01", "-01", "00", "1e", "1e+", "0x10", "NaN", "Infinity", "-Infinity", "--1", "٣"} {
		v, end, err := parseNumber([]byte(text), 0)
		if err == nil && end == len(text) {
			t.Errorf("parseNumber(%q) = %v, want an error", text, v)
		}
	}
	for _, text := range []string{"1e309", "-1e309", "1" + strings.Repeat("0", 400)} {
		if _, _, err := parseNumber([]byte(text), 0); !errors.Is(err, errRange) {
			t.Errorf("parseNumber(%q): got %v, want %v", text, err, errRange)
		}
	}
}

func TestRowsAsEncodingJSON(t *testing.T) {
	for _, body := range corpus() {
		for width := 1; width <= 3; width++ {
			checkTwin(t, []byte(body), width)
		}
	}
}

// TestRowsMutated breaks good documents in one or two places: parser and twin must agree on each.
func TestRowsMutated(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const bytesToTry = "0123456789-+.eE,[]{}:\" \n\tnNaAtrueI\\u\x00\xff/"
	seeds := corpus()
	for range 60_000 {
		b := []byte(seeds[r.IntN(len(seeds))])
		for range 1 + r.IntN(2) {
			at := r.IntN(len(b) + 1)
			c := bytesToTry[r.IntN(len(bytesToTry))]
			switch r.IntN(3) {
			case 0:
				b = append(b[:at], append([]byte{c}, b[at:]...)...)
			case 1:
				b = append(b[:at], b[min(at+1, len(b)):]...)
			default:
				if at < len(b) {
					b[at] = c
				}
			}
		}
		checkTwin(t, b, 2)
	}
}

func corpus() []string {
	bodies := []string{
		`{"data":[[1,2]]}`, ` { "data" : [ [ 1 , 2 ] , [ 3 , 4 ] ] } `, "{\"data\":\r\n\t[[1,2]]}\n", `{"data":[[1,2],[3]]}`, `{"data":[[1,2,3]]}`,
		`{"data":[]}`, `{"data":[[]]}`, `{"data":[[1,null]]}`, `{"data":[[1,NaN]]}`, `{"data":[[1,"2"]]}`, `{"data":[[1,[2]]]}`, `{"data":null}`,
		`{"data":[1,2]}`, `{"data":{"a":1}}`, `{"data":[[1,2],]}`, `{"data":[[1,2,]]}`, `{"data":[,[1,2]]}`, `{"data":[[1 2]]}`, `{"data":[[1,2]]`,
		`{"data":[[1,2]}`, `{"data":[[1,2]]}}`, `{"data":[[1,2]]} x`, `{"d\u0061ta":[[1,2]]}`, `{"Data":[[1,2]]}`, `{"data":[[1,2]],"method":"predict"}`,
		`{}`, `[]`, ``, ` `, `null`, `"data"`, `1`, `[[1,2]]`, `{"data"}`, `{"data":}`, `{data:[[1,2]]}`, `{'data':[[1,2]]}`, "\ufeff" + `{"data":[[1,2]]}`,
		`{"data":[[true,false]]}`, `{"data":[[1,1e999]]}`, `{"data":[[-1,- 1]]}`,
	}
	for _, n := range oddNumbers {
		bodies = append(bodies, fmt.Sprintf(`{"data":[[%s,-1]]}`, n))
	}
	return bodies
}

func FuzzRows(f *testing.F) {
	for _, body := range corpus() {
		f.Add([]byte(body), uint8(2))
	}
	f.Fuzz(func(t *testing.T, body []byte, width uint8) {
		w := int(width%5) + 1
		rows, err := readAll(body, w)
		for _, row := range rows {
			if !finite(row) {
				t.Fatalf("%q: read %v", body, row)
			}
		}
		if err == nil && len(rows) == 0 {
			t.Fatalf("%q: accepted without rows", body)
		}
		checkTwin(t, body, w)
	})
}

func BenchmarkRows(b *testing.B) {
	body := []byte(sampleBody)
	p := rowParser{names: columns(57)}
	row := make([]float64, 57)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		p.b, p.i, p.row = body, 0, 0
		if err := p.open(); err != nil {
			b.Fatal(err)
		}
		for {
			more, err := p.next(row)
			if err != nil {
				b.Fatal(err)
			}
			if !more {
				break
			}
		}
	}
}

// sampleBody is the official sample request: two rows of 57 numbers.
const sampleBody = `{"data":[[0,1,8,1,0,0,1,0,0,0,0,0,0,0,12,1,0,0,0.5,0.3,0.610327781,7,1,-1,0,-1,1,1,1,2,1,65,1,0.316227766,0.669556409,0.352136337,3.464101615,0.1,0.8,0.6,1,1,6,3,6,2,9,1,1,1,12,0,1,1,0,0,1],[4,2,5,1,0,0,0,0,1,0,0,0,0,0,5,1,0,0,0.9,0.5,0.771362431,4,1,-1,0,0,11,1,1,0,1,103,1,0.316227766,0.60632002,0.358329457,2.828427125,0.4,0.5,0.4,3,3,8,4,10,2,7,2,0,3,10,0,0,1,1,0,1]]}`
