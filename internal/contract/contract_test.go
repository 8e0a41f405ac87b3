package contract

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var inf, nan = math.Inf(1), math.NaN()

const jsonCT = "application/json"

type want struct {
	Kind        Kind
	Scores      []float64
	Rows, Width int
	Labels      []string
	NonFinite   int
	Message     string
	Detail      string
}

func of(a *Answer) want {
	return want{a.Kind, a.Scores, a.Rows, a.Width, a.Labels, a.NonFinite, a.Message, a.Detail}
}

func extractor(t testing.TB, p Protocol, path string) *Extractor {
	t.Helper()
	e, err := New(p, path)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func check(t *testing.T, a *Answer, w want) {
	t.Helper()
	if d := cmp.Diff(w, of(a), cmpopts.EquateNaNs(), cmpopts.EquateEmpty()); d != "" {
		t.Errorf("answer (-want +got):\n%s", d)
	}
}

func TestExtract(t *testing.T) {
	tests := []struct {
		name string
		p    Protocol
		path string
		body string
		want want
	}{
		{"azure result", Auto, "", `{"result": [0.0349, 0.0271]}`, want{Kind: Scores, Scores: []float64{.0349, .0271}, Rows: 2, Width: 1}},
		{"azure tuple", Auto, "", `[[0.1, 0.2], ["no claim", "claim"]]`, want{Kind: Scores, Scores: []float64{.1, .2}, Rows: 2, Width: 1, Labels: []string{"no claim", "claim"}}},
		{"azure tuple of one", Auto, "", `[[0.1], ["no claim"]]`, want{Kind: Scores, Scores: []float64{.1}, Rows: 1, Width: 1, Labels: []string{"no claim"}}},
		{"azure tuple, wide", AzureML, "", `{"result":[[[0.9,0.1],[0.2,0.8],[0.5,0.5]], ["a","b","c"]]}`, want{Kind: Scores, Scores: []float64{.9, .1, .2, .8, .5, .5}, Rows: 3, Width: 2, Labels: []string{"a", "b", "c"}}},
		{"azure tuple, labels first", Auto, "", `[["a","b"],[1,2]]`, want{Kind: Scores, Scores: []float64{1, 2}, Rows: 2, Width: 1, Labels: []string{"a", "b"}}},
		{"azure bare list", AzureML, "", `[0.5, 0.25]`, want{Kind: Scores, Scores: []float64{.5, .25}, Rows: 2, Width: 1}},
		{"dummy", Auto, "", `"New Model A"`, want{Kind: Labels, Rows: 1, Labels: []string{"New Model A"}}},
		{"double encoded", Auto, "", `"{\"result\": [0.125, 1e-3]}"`, want{Kind: Scores, Scores: []float64{.125, .001}, Rows: 2, Width: 1}},
		{"json.dumps in result", Auto, "", `{"result": "[0.125, 0.5]"}`, want{Kind: Scores, Scores: []float64{.125, .5}, Rows: 2, Width: 1}},
		{"result in result in result", Auto, "", `{"result": "{\"result\": \"{\\\"result\\\": \\\"[1]\\\"}\"}"}`, want{Kind: Labels, Rows: 1, Labels: []string{"[1]"}}},
		{"error is true", Auto, "", `{"error": true, "message": "m"}`, want{Kind: Error, Message: "m", Detail: detailErrorKey}},
		{"error is false", Auto, "", `{"error": false, "result": 1}`, want{Kind: Scores, Scores: []float64{1}, Rows: 1, Width: 1}},
		{"error is empty", Auto, "", `{"error": {}, "result": 1}`, want{Kind: Scores, Scores: []float64{1}, Rows: 1, Width: 1}},
		{"thrice encoded", Auto, "", `"\"\\\"0.5\\\"\""`, want{Kind: Labels, Rows: 1, Labels: []string{`"\"0.5\""`}}},
		{"number in a string", Auto, "", `"0.5"`, want{Kind: Scores, Scores: []float64{.5}, Rows: 1, Width: 1}},
		{"NaN in a string", Auto, "", `"NaN"`, want{Kind: Scores, Scores: []float64{nan}, Rows: 1, Width: 1, NonFinite: 1}},
		{"numpy text is text", Auto, "", `"[0.1 0.2]"`, want{Kind: Labels, Rows: 1, Labels: []string{"[0.1 0.2]"}}},
		{"null string is text", Auto, "", `"null"`, want{Kind: Labels, Rows: 1, Labels: []string{"null"}}},
		{"caught exception", Auto, "", `{"error": "could not convert string to float"}`, want{Kind: Error, Message: "could not convert string to float", Detail: detailErrorKey}},
		{"caught exception, encoded", AzureML, "", `"{\"error\": \"boom\"}"`, want{Kind: Error, Message: "boom", Detail: detailErrorKey}},
		{"error beside result", Auto, "", `{"result": [0], "error": "boom"}`, want{Kind: Error, Message: "boom", Detail: detailErrorKey}},
		{"no error beside result", Auto, "", `{"error": null, "result": [0.5]}`, want{Kind: Scores, Scores: []float64{.5}, Rows: 1, Width: 1}},
		{"empty error beside result", Auto, "", `{"error": "", "result": [0.5]}`, want{Kind: Scores, Scores: []float64{.5}, Rows: 1, Width: 1}},
		{"standard error beside result", Auto, "", `{"error": 0.03, "result": [0.5]}`, want{Kind: Scores, Scores: []float64{.5}, Rows: 1, Width: 1}},
		{"numeric error alone", Auto, "", `{"error": 500}`, want{Kind: Error, Message: "500", Detail: detailErrorKey}},
		{"escaped key", Auto, "", `{"res\u0075lt": [0.5]}`, want{Kind: Scores, Scores: []float64{.5}, Rows: 1, Width: 1}},
		{"key twice", Auto, "", `{"result": [1], "result": [2]}`, want{Kind: Scores, Scores: []float64{2}, Rows: 1, Width: 1}},
		{"result before predictions", Auto, "", `{"predictions": [1], "result": [2]}`, want{Kind: Scores, Scores: []float64{2}, Rows: 1, Width: 1}},
		{"non-finite tokens", Auto, "", `{"result": [NaN, Infinity, -Infinity, null, 0.5]}`, want{Kind: Scores, Scores: []float64{nan, inf, -inf, nan, .5}, Rows: 5, Width: 1, NonFinite: 4}},
		{"overflow", Auto, "", `[1e999, -1e999, 1e-999]`, want{Kind: Scores, Scores: []float64{inf, -inf, 0}, Rows: 3, Width: 1, NonFinite: 2}},
		{"result null", Auto, "", `{"result": null}`, want{Kind: Invalid, Detail: detailNothing}},
		{"result empty", Auto, "", `{"result": []}`, want{Kind: Invalid, Detail: detailNothing}},
		{"result {}", Auto, "", `{"result": {}}`, want{Kind: Invalid, Detail: detailNothing}},
		{"ragged", Auto, "", `[[1,2],[3]]`, want{Kind: Scores, Scores: []float64{1, 2, 3}, Rows: 2}},
		{"booleans", Auto, "", `{"result": [true, false]}`, want{Kind: Labels, Rows: 2, Labels: []string{"true", "false"}}},
		{"tf classify", Auto, "", `{"result":[[["cat",0.9],["dog",0.1]]]}`, want{Kind: Scores, Scores: []float64{.9, .1}, Rows: 1, Width: 2, Labels: []string{"cat", "dog"}}},
		{"tf regress", Auto, "", `{"result":[1.5, -2]}`, want{Kind: Scores, Scores: []float64{1.5, -2}, Rows: 2, Width: 1}},

		{"mlflow scalars", MLflow, "", `{"predictions": [0.1, 0.9]}`, want{Kind: Scores, Scores: []float64{.1, .9}, Rows: 2, Width: 1}},
		{"mlflow lists", Auto, "", `{"predictions": [[0.1, 0.9], [1, 0]]}`, want{Kind: Scores, Scores: []float64{.1, .9, 1, 0}, Rows: 2, Width: 2}},
		{"mlflow records", Auto, "", `{"predictions": [{"p": 0.1, "c": "no"}, {"p": 0.9, "c": "yes"}]}`, want{Kind: Scores, Scores: []float64{.1, .9}, Rows: 2, Width: 1, Labels: []string{"no", "yes"}}},
		{"mlflow columns", Auto, "", `{"predictions": {"p": [0.1, 0.9], "q": [1, 2]}}`, want{Kind: Scores, Scores: []float64{.1, 1, .9, 2}, Rows: 2, Width: 2}},
		{"mlflow bare", MLflow, "", `["hello"]`, want{Kind: Labels, Rows: 1, Labels: []string{"hello"}}},
		{"mlflow object", MLflow, "", `{"choices": [{"index": 0}]}`, want{Kind: Opaque, Detail: detailUnknown}},

		{"records by name", Auto, "", `[{"b":1,"a":{"d":"x","c":2}},{"a":{"c":4},"b":3}]`, want{Kind: Scores, Scores: []float64{2, 1, 4, 3}, Rows: 2, Width: 2, Labels: []string{"x"}}},
		{"columns by name", Auto, "", `{"predictions": {"q":[1,2],"\u0061":[3,4]}}`, want{Kind: Scores, Scores: []float64{3, 1, 4, 2}, Rows: 2, Width: 2}},
		{"no columns", Auto, "", `{"predictions": {"q":[1,2],"p":[3]}}`, want{Kind: Scores, Scores: []float64{3, 1, 2}, Rows: 1, Width: 3}},

		{"kserve v1", KServeV1, "", `{"predictions": [0.1]}`, want{Kind: Scores, Scores: []float64{.1}, Rows: 1, Width: 1}},
		{"kserve v1 without", KServeV1, "", `{"result": [0.1]}`, want{Kind: Invalid, Detail: detailMissing}},
		{"kserve v1 bare", KServeV1, "", `[0.1]`, want{Kind: Invalid, Detail: detailMissing}},
		{"tf columnar one", KServeV1, "", `{"outputs": [[0.1],[0.2]]}`, want{Kind: Scores, Scores: []float64{.1, .2}, Rows: 2, Width: 1}},
		{"tf columnar many", Auto, "", `{"outputs": {"a": [[0.1,0.2],[0.3,0.4]], "n": ["x","y"], "b": [5,6]}}`, want{Kind: Scores, Scores: []float64{.1, .2, 5, .3, .4, 6}, Rows: 2, Width: 3, Labels: []string{"x", "y"}}},
		{"one record", Auto, "", `{"result": {"p": 0.5, "q": 0.25}}`, want{Kind: Scores, Scores: []float64{.5, .25}, Rows: 1, Width: 2}},

		{"v2 flat", Auto, "", `{"model_name":"m","outputs":[{"name":"predict","shape":[2,2],"datatype":"FP64","data":[1,2,3,4]}]}`, want{Kind: Scores, Scores: []float64{1, 2, 3, 4}, Rows: 2, Width: 2}},
		{"v2 nested", OpenInferenceV2, "", `{"outputs":[{"name":"predict","shape":[2,2],"datatype":"FP64","data":[[1,2],[3,4]]}]}`, want{Kind: Scores, Scores: []float64{1, 2, 3, 4}, Rows: 2, Width: 2}},
		{"v2 two tensors", OpenInferenceV2, "", `{"outputs":[{"shape":[2,1],"data":[1,2]},{"shape":[2],"datatype":"BYTES","data":["a","b"]},{"shape":[2,2],"data":[3,4,5,6]}]}`, want{Kind: Scores, Scores: []float64{1, 3, 4, 2, 5, 6}, Rows: 2, Width: 3, Labels: []string{"a", "b"}}},
		{"v2 uneven tensors", OpenInferenceV2, "", `{"outputs":[{"shape":[2],"data":[1,2]},{"shape":[3],"data":[4,5,6]}]}`, want{Kind: Scores, Scores: []float64{1, 2, 4, 5, 6}, Rows: 3}},
		{"v2 bytes", Auto, "", `{"outputs":[{"shape":[1],"datatype":"BYTES","data":["7"]}]}`, want{Kind: Labels, Rows: 1, Labels: []string{"7"}}},
		{"v2 bool", Auto, "", `{"outputs":[{"shape":[2],"datatype":"BOOL","data":[true,false]}]}`, want{Kind: Labels, Rows: 2, Labels: []string{"true", "false"}}},
		{"v2 scalar", Auto, "", `{"outputs":[{"shape":[],"datatype":"FP32","data":[0.5]}]}`, want{Kind: Scores, Scores: []float64{.5}, Rows: 1, Width: 1}},
		{"v2 no shape", Auto, "", `{"outputs":[{"data":[[1,2],[3,4]]}]}`, want{Kind: Scores, Scores: []float64{1, 2, 3, 4}, Rows: 2, Width: 2}},
		{"v2 wrong shape", Auto, "", `{"outputs":[{"shape":[3],"data":[1,2]}]}`, want{Kind: Invalid, Detail: detailShape}},
		{"v2 bad shape", Auto, "", `{"outputs":[{"shape":[-1],"data":[1]}]}`, want{Kind: Invalid, Detail: detailShape}},
		{"v2 huge shape", Auto, "", `{"outputs":[{"shape":[2147483647,2147483647,4],"data":[1]}]}`, want{Kind: Invalid, Detail: detailShape}},
		{"v2 no rows", Auto, "", `{"outputs":[{"shape":[0,2],"data":[]}]}`, want{Kind: Invalid, Detail: detailNothing}},
		{"v2 no data", OpenInferenceV2, "", `{"outputs":[{"shape":[3]}]}`, want{Kind: Invalid, Detail: detailNoData}},
		{"v2 binary", Auto, "", `{"outputs":[{"shape":[3],"datatype":"FP32","parameters":{"binary_data_size":12}}]}`, want{Kind: Unparsed, Detail: detailBinary}},
		{"v2 binary, no datatype", Auto, "", `{"outputs":[{"shape":[3],"parameters":{"binary_data_size":12}}]}`, want{Kind: Unparsed, Detail: detailBinary}},
		{"tf records", Auto, "", `{"outputs":[{"p":1},{"p":2}]}`, want{Kind: Scores, Scores: []float64{1, 2}, Rows: 2, Width: 1}},
		{"v2 not tensors", OpenInferenceV2, "", `{"outputs":[1]}`, want{Kind: Invalid, Detail: detailNotTensors}},
		{"v2 an object", OpenInferenceV2, "", `{"outputs":{"a":[1]}}`, want{Kind: Invalid, Detail: detailNotTensors}},
		{"v2 missing", OpenInferenceV2, "", `{"predictions":[1]}`, want{Kind: Invalid, Detail: detailMissing}},

		{"embeddings", Auto, "", `{"object":"list","data":[{"index":0,"embedding":[0.1,0.2]},{"index":1,"embedding":[0.3,0.4]}],"usage":{"total_tokens":8}}`, want{Kind: Scores, Scores: []float64{.1, .2, .3, .4}, Rows: 2, Width: 2}},
		{"embeddings, ragged", Auto, "", `{"data":[{"x":0,"\u0065mbedding":[0.1,0.2]},{"embedding":[0.3]}]}`, want{Kind: Scores, Scores: []float64{.1, .2, .3}, Rows: 2}},
		{"embeddings base64", Auto, "", `{"data":[{"embedding":"AAAA"}]}`, want{Kind: Unparsed, Detail: detailBase64}},
		{"embedding missing", Auto, "", `{"data":[{"embedding":[1]},{"index":1}]}`, want{Kind: Invalid, Detail: detailNothing}},
		{"chat is opaque", Auto, "", `{"choices":[{"index":0}],"usage":{"total_tokens":8}}`, want{Kind: Opaque, Detail: detailUnknown}},

		{"number", Auto, "", ` 0.5 `, want{Kind: Scores, Scores: []float64{.5}, Rows: 1, Width: 1}},
		{"null", Auto, "", `null`, want{Kind: Invalid, Detail: detailNothing}},
		{"nothing", Auto, "", ` `, want{Kind: Invalid, Detail: detailEmpty}},
		{"cut off", Auto, "", `{"result": [0.5`, want{Kind: Invalid, Detail: detailNotJSON}},
		{"two values", Auto, "", `[1] [2]`, want{Kind: Invalid, Detail: detailNotJSON}},
		{"html", AzureML, "", `<html>200</html>`, want{Kind: Invalid, Detail: detailNotJSON}},
		{"leading zero", Auto, "", `[01]`, want{Kind: Invalid, Detail: detailNotJSON}},
		{"hex", Auto, "", `[0x10]`, want{Kind: Invalid, Detail: detailNotJSON}},
		{"underscore", Auto, "", `[1_0]`, want{Kind: Invalid, Detail: detailNotJSON}},
		{"bare nan", Auto, "", `[nan]`, want{Kind: Invalid, Detail: detailNotJSON}},
		{"control character", Auto, "", "\"a\x01\"", want{Kind: Invalid, Detail: detailNotJSON}},
		{"deep", Auto, "", strings.Repeat("[", 100) + strings.Repeat("]", 100), want{Kind: Unparsed, Detail: detailTooDeep}},
		{"deep and endless", Auto, "", strings.Repeat("[", 1<<20), want{Kind: Unparsed, Detail: detailTooDeep}},

		{"path rows", JSONPath, "$.scores[*].p", `{"scores":[{"p":0.1,"t":9},{"p":0.2,"t":9}]}`, want{Kind: Scores, Scores: []float64{.1, .2}, Rows: 2, Width: 1}},
		{"path two wilds", JSONPath, "$[*].p[*].v", `[{"p":[{"v":1},{"v":2}]},{"p":[{"v":3},{"v":4}]}]`, want{Kind: Scores, Scores: []float64{1, 2, 3, 4}, Rows: 2, Width: 2}},
		{"path to list", JSONPath, `$["a b"][1]`, `{"a b":[0,[1,2]]}`, want{Kind: Scores, Scores: []float64{1, 2}, Rows: 2, Width: 1}},
		{"path wild over object", JSONPath, `$.m.*`, `{"m":{"a":1,"b":2}}`, want{Kind: Scores, Scores: []float64{1, 2}, Rows: 2, Width: 1}},
		{"path overrides", JSONPath, `$.x`, `{"result":[1],"x":2}`, want{Kind: Scores, Scores: []float64{2}, Rows: 1, Width: 1}},
		{"path in a string", JSONPath, `$.x`, `"{\"x\": 2}"`, want{Kind: Scores, Scores: []float64{2}, Rows: 1, Width: 1}},
		{"path misses", JSONPath, `$.x`, `{"y":2}`, want{Kind: Invalid, Detail: detailPath}},
		{"path beyond end", JSONPath, `$[3]`, `[1,2]`, want{Kind: Invalid, Detail: detailPath}},
		{"path misses a row", JSONPath, `$[*].p`, `[{"p":1},{"q":2}]`, want{Kind: Invalid, Detail: detailPathRow}},
		{"path to null", JSONPath, `$.x`, `{"x":null}`, want{Kind: Invalid, Detail: detailNothing}},
		{"path to no rows", JSONPath, `$.x[*]`, `{"x":[]}`, want{Kind: Invalid, Detail: detailPath}},
		{"path into a number", JSONPath, `$.x[0]`, `{"x":1}`, want{Kind: Invalid, Detail: detailPath}},
		{"path over a number", JSONPath, `$.x[*]`, `{"x":1}`, want{Kind: Invalid, Detail: detailPath}},
		{"path over a number, below", JSONPath, `$[*].x[*]`, `[{"x":1}]`, want{Kind: Invalid, Detail: detailPathRow}},
		{"path below an object", JSONPath, `$[*].*.v`, `[{"x":{"v":1},"y":{"v":2}}]`, want{Kind: Scores, Scores: []float64{1, 2}, Rows: 1, Width: 2}},
		{"path misses below", JSONPath, `$[*].*.v`, `[{"x":{"v":1},"y":{}}]`, want{Kind: Invalid, Detail: detailPathRow}},
		{"path, ragged", JSONPath, `$[*]`, `[[1],[2,3]]`, want{Kind: Scores, Scores: []float64{1, 2, 3}, Rows: 2}},
		{"path beside error", JSONPath, `$.x`, `{"error":"boom"}`, want{Kind: Error, Message: "boom", Detail: detailErrorKey}},
	}
	var a Answer // reused on purpose: nothing may leak from one answer into the next
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			extractor(t, tt.p, tt.path).Extract(&a, Meta{Status: 200, ContentType: jsonCT}, []byte(tt.body))
			check(t, &a, tt.want)
		})
	}
}

// TestPromise11MalformedIsNeverScored: what cannot be parsed is reported as such.
func TestPromise11MalformedIsNeverScored(t *testing.T) {
	var a Answer
	for _, body := range []string{
		`[1`, `[1,`, `[1,]`, `[1 2]`, `[,1]`, `{`, `{1:2}`, `{"a`, `{"a"}`, `{"a" 1}`, `{"a":}`, `{"a":1,}`, `{"a":1]`, `"a`, `"\`, `"\x"`, `"\u12g4"`, `"\u12`, `"\uD8`,
		`tru`, `nul`, `-`, `-x`, `+1`, `.5`, `1.`, `1e`, `1e+`, `--1`, `Na`, `Infinit`, `-Inf`, `00`, `1x`, `}`, "\xef\xbb\xbf1",
	} {
		extractor(t, Auto, "").Extract(&a, Meta{ContentType: jsonCT}, []byte(body))
		check(t, &a, want{Kind: Invalid, Detail: detailNotJSON})
		extractor(t, Auto, "").Extract(&a, Meta{}, []byte(body))
		check(t, &a, want{Kind: Opaque, Detail: detailType})
	}
}

func TestExtractErrors(t *testing.T) {
	long := strings.Repeat("x", 1000)
	tests := []struct{ name, body, want string }{
		{"azure", `{"message": "An unexpected error occurred in scoring script."}`, "An unexpected error occurred in scoring script."},
		{"mlflow", `{"error_code": "BAD_REQUEST", "message": "no", "stack_trace": "…"}`, "no"},
		{"kserve", `{"error": "Model with name N is not ready."}`, "Model with name N is not ready."},
		{"openai", `{"error": {"message": "m", "type": "t", "param": null, "code": 3}}`, "m"},
		{"error object", `{"error": {"code": 3}}`, `{"code": 3}`},
		{"bento", `[{"error": "e"}]`, "e"},
		{"array of text", `["e"]`, "e"},
		{"empty array", `[]`, "[]"},
		{"fastapi", `{"detail": "Not Found"}`, "Not Found"},
		{"escapes", `{"message": "a\n\u00e9\ud83d\ude00\ud800\"\t\b\f\r\/"}`, "a\né😀\ufffd\"\t\b\f\r/"},
		{"unknown object", `{"x": 1}`, `{"x": 1}`},
		{"null message", `{"message": null, "error": "e"}`, "e"},
		{"string", `"oops"`, "oops"},
		{"text", "Bad Gateway\n", "Bad Gateway"},
		{"empty", "", ""},
		{"long", `{"message": "` + long + `"}`, long[:MaxText]},
		{"scores do not count", `{"result": [0.5]}`, `{"result": [0.5]}`},
	}
	var a Answer
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			extractor(t, Auto, "").Extract(&a, Meta{Status: 500, ContentType: jsonCT, Truncated: tt.name == "text"}, []byte(tt.body))
			check(t, &a, want{Kind: Error, Message: tt.want, Detail: detailStatus})
		})
	}
}

func TestExtractMeta(t *testing.T) {
	body := `{"result":[0.5]}`
	score := want{Kind: Scores, Scores: []float64{.5}, Rows: 1, Width: 1}
	tests := []struct {
		name string
		m    Meta
		body string
		want want
	}{
		{"no status", Meta{ContentType: jsonCT}, body, score},
		{"charset", Meta{ContentType: "Application/JSON; charset=utf-8"}, body, score},
		{"suffix", Meta{ContentType: "application/vnd.x+json"}, body, score},
		{"no type", Meta{}, body, score},
		{"plain text that is JSON", Meta{ContentType: "text/plain; charset=utf-8"}, body, score},
		{"html that is JSON", Meta{ContentType: "text/html"}, body, score},
		{"plain text", Meta{ContentType: "text/plain"}, "New Model A", want{Kind: Opaque, Detail: detailType}},
		{"csv", Meta{ContentType: "text/csv"}, "0.5", want{Kind: Opaque, Detail: detailType}},
		{"image", Meta{ContentType: "image/png"}, "0.5", want{Kind: Opaque, Detail: detailType}},
		{"redirect", Meta{Status: 302}, body, want{Kind: Opaque, Detail: detailRedirect}},
		{"no content", Meta{Status: 204}, "", want{Kind: Invalid, Detail: detailEmpty}},
		{"truncated", Meta{Truncated: true, ContentType: jsonCT}, body, want{Kind: Unparsed, Detail: detailTruncated}},
		{"binary header", Meta{InferenceHeaderLength: 10, ContentType: "application/octet-stream"}, body, want{Kind: Unparsed, Detail: detailBinary}},
		{"binary header, no tensors", Meta{InferenceHeaderLength: len(body)}, body, score},
		{"brotli", Meta{ContentEncoding: "br", ContentType: jsonCT}, body, want{Kind: Unparsed, Detail: detailEncoding}},
		{"two encodings", Meta{ContentEncoding: "gzip, gzip"}, body, want{Kind: Unparsed, Detail: detailEncoding}},
		{"identity", Meta{ContentEncoding: "identity"}, body, score},
		{"gzip that is none", Meta{ContentEncoding: "gzip"}, body, want{Kind: Invalid, Detail: detailDecode}},
		{"too large", Meta{}, strings.Repeat(" ", 1001), want{Kind: Unparsed, Detail: detailTooLarge}},
	}
	var a Answer
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			extractor(t, Auto, "").WithMaxBody(1000).Extract(&a, tt.m, []byte(tt.body))
			check(t, &a, tt.want)
		})
	}
}

func packed(t testing.TB, how string, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch how {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zlib":
		w = zlib.NewWriter(&b)
	default:
		w, _ = flate.NewWriter(&b, 6)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestExtractCompressed(t *testing.T) {
	plain := []byte(`{"result":[0.5,0.25]}`)
	score := want{Kind: Scores, Scores: []float64{.5, .25}, Rows: 2, Width: 1}
	bomb := packed(t, "gzip", make([]byte, DefaultMaxBody+4<<20))
	var a Answer
	e := extractor(t, Auto, "")
	for range 2 {
		for how, encoding := range map[string]string{"gzip": "gzip", "zlib": "deflate", "raw": "Deflate"} {
			e.Extract(&a, Meta{Status: 200, ContentType: jsonCT, ContentEncoding: encoding}, packed(t, how, plain))
			check(t, &a, score)
		}
		cut := packed(t, "gzip", plain)
		e.Extract(&a, Meta{ContentType: jsonCT, ContentEncoding: "gzip"}, cut[:len(cut)-9])
		check(t, &a, want{Kind: Invalid, Detail: detailDecode})
		e.Extract(&a, Meta{ContentType: jsonCT, ContentEncoding: "gzip"}, bomb)
		check(t, &a, want{Kind: Unparsed, Detail: detailTooLarge})
		if cap(a.plain) > 4*DefaultMaxBody {
			t.Errorf("a bomb made %d bytes of buffer", cap(a.plain))
		}
		e.Extract(&a, Meta{Status: 500, ContentEncoding: "gzip"}, packed(t, "gzip", []byte(`{"error":"e"}`)))
		check(t, &a, want{Kind: Error, Message: "e", Detail: detailStatus})
		e.Extract(&a, Meta{Status: 500, ContentEncoding: "gzip"}, plain)
		check(t, &a, want{Kind: Error, Detail: detailStatus})
	}
}

func TestExtractBounds(t *testing.T) {
	var a Answer
	e := extractor(t, Auto, "")
	for _, body := range []string{
		"[0" + strings.Repeat(",0", MaxScores) + "]",
		`{"data":[{"embedding":[0` + strings.Repeat(",0", MaxScores) + "]}]}",
		`{"outputs":[{"shape":[1048577],"data":[0` + strings.Repeat(",0", MaxScores) + "]}]}",
	} {
		e.Extract(&a, Meta{ContentType: jsonCT}, []byte(body))
		check(t, &a, want{Kind: Unparsed, Detail: detailTooMany})
	}
	extractor(t, JSONPath, "$[*]").Extract(&a, Meta{}, []byte("[0"+strings.Repeat(",0", MaxScores)+"]"))
	check(t, &a, want{Kind: Unparsed, Detail: detailTooMany})
	record := `{"z":[1]` + strings.Repeat(`,"a":[2]`, maxSorted) + "}"
	e.Extract(&a, Meta{ContentType: jsonCT}, []byte(`{"result":`+record+`}`))
	check(t, &a, want{Kind: Unparsed, Detail: detailTooMany})
	e.Extract(&a, Meta{ContentType: jsonCT}, []byte(`[`+record+`]`))
	if len(a.Scores) != maxSorted+1 || a.Scores[0] != 1 || a.Rows != 1 || cap(a.fields) > 2*maxSorted {
		t.Errorf("a wide record: %d scores, first %v, %d rows, %d fields kept", len(a.Scores), a.Scores[0], a.Rows, cap(a.fields))
	}
	e.Extract(&a, Meta{ContentType: jsonCT}, []byte(`["`+strings.Repeat("y", 500)+`"`+strings.Repeat(`,"x"`, MaxLabels)+"]"))
	if len(a.Labels) != MaxLabels || len(a.Labels[0]) != MaxText || a.Rows != MaxLabels+1 || a.Length != 500+MaxLabels {
		t.Errorf("got %d labels, first of %d bytes, %d rows, length %d", len(a.Labels), len(a.Labels[0]), a.Rows, a.Length)
	}
}

func TestHashTellsAnswersApart(t *testing.T) {
	e, seen := extractor(t, Auto, ""), map[uint64]string{}
	for _, body := range []string{`["a","b"]`, `["ab",""]`, `["","ab"]`, `"ab"`, `{"x":1}`, `{"x":2}`} {
		var a, b Answer
		e.Extract(&a, Meta{ContentType: jsonCT}, []byte(body))
		e.Extract(&b, Meta{ContentType: jsonCT}, []byte(body))
		if old, ok := seen[a.Hash]; ok || a.Hash != b.Hash || a.Hash == 0 {
			t.Errorf("%s: hash %x (again %x), the hash of %q", body, a.Hash, b.Hash, old)
		}
		seen[a.Hash] = body
	}
}

func TestNew(t *testing.T) {
	bad := []struct {
		p          Protocol
		path, want string
	}{
		{"KServe", "", "AzureML"},
		{Auto, "$.x", "needs protocol JSONPath"},
		{JSONPath, "", "it is empty"},
		{JSONPath, "x", "start with $"},
		{JSONPath, "$x", "position 1"},
		{JSONPath, "$..x", "recursive descent"},
		{JSONPath, "$.", "name is missing"},
		{JSONPath, "$.a b", "needs brackets"},
		{JSONPath, "$[", "] is missing"},
		{JSONPath, "$[-1]", "whole number"},
		{JSONPath, "$[1:2]", "whole number"},
		{JSONPath, "$[99999999999]", "whole number"},
		{JSONPath, `$["a]`, "quoted name"},
		{JSONPath, `$["a"`, "quoted name"},
		{JSONPath, "$" + strings.Repeat(".a", 33), "more than 32"},
	}
	for _, tt := range bad {
		if _, err := New(tt.p, tt.path); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("New(%q, %q) = %v, want an error with %q", tt.p, tt.path, err, tt.want)
		}
	}
	if e, err := New("", ""); err != nil || e.protocol != Auto {
		t.Errorf("empty protocol: %v, %v", e, err)
	}
	if e := extractor(t, Auto, "").WithMaxBody(5).WithMaxBody(0); e.maxBody != DefaultMaxBody {
		t.Errorf("WithMaxBody(0) = %d", e.maxBody)
	}
	if s := Kind(9).String() + Scores.String() + Kind(0).String(); s != "Kind(9)ScoresNone" {
		t.Errorf("kind names: %s", s)
	}
}

func TestExtractAllocatesNothing(t *testing.T) {
	var a Answer
	e := extractor(t, Auto, "")
	for _, body := range []string{
		`{"predictions": [{"q": 1, "p": 0.5, "c": "no"}, {"q": 1, "p": 0.25, "c": "yes"}]}`,
		`{"result": [0.03489151951, 0.02710000000001]}`,
		`[[0.1, 0.2], ["no claim", "claim"]]`,
		`"{\"result\": [0.125, 1e-3]}"`,
		`{"outputs":[{"name":"p","shape":[2,1],"datatype":"FP64","data":[1.5,2.5]},{"name":"q","shape":[2,1],"datatype":"FP64","data":[1.5,2.5]}]}`,
	} {
		b := []byte(body)
		e.Extract(&a, Meta{Status: 200, ContentType: jsonCT}, b)
		if n := testing.AllocsPerRun(100, func() { e.Extract(&a, Meta{Status: 200, ContentType: jsonCT}, b) }); n != 0 {
			t.Errorf("%s: %v allocations", body, n)
		}
	}
}

func BenchmarkExtract(b *testing.B) {
	rows := "[" + strings.TrimSuffix(strings.Repeat("0.034891519510000123,", 1000), ",") + "]"
	for name, body := range map[string]string{
		"azure2":     `{"result": [0.03489151951000012, 0.02710000000001323]}`,
		"azure1000":  `{"result": ` + rows + `}`,
		"v2":         `{"model_name":"m","id":"1","outputs":[{"name":"p","shape":[2,1],"datatype":"FP64","data":[0.03489151951000012,0.02710000000001323]}]}`,
		"embeddings": `{"data":[{"embedding":` + rows + `}]}`,
	} {
		b.Run(name, func(b *testing.B) {
			var a Answer
			e, body := extractor(b, Auto, ""), []byte(body)
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				e.Extract(&a, Meta{Status: 200, ContentType: jsonCT}, body)
			}
			if a.Kind != Scores {
				b.Fatal(a.Kind)
			}
		})
	}
}
