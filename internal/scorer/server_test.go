package scorer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const deadline = 20 * time.Second

func model(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("../lightgbm/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// serve starts a server on a free loopback port and stops it with the test.
func serve(t testing.TB, o Options) (s *Server, addr string) {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s, start(t, s)
}

func start(t testing.TB, s *Server) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutting down: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	return ln.Addr().String()
}

type answer struct {
	status int
	body   string
	header http.Header
	closes bool // the server ends the connection with this answer
}

// ask sends one request on a connection of its own. header is "Name: value" pairs.
func ask(t testing.TB, method, url, body string, header ...string) answer {
	t.Helper()
	a, err := tryAsk(method, url, body, header...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func tryAsk(method, url, body string, header ...string) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, string(text), resp.Header, resp.Close}, err
}

func message(t testing.TB, a answer) string {
	t.Helper()
	var got map[string]string
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || len(got) != 1 || got["message"] == "" {
		t.Fatalf("status %d body %q: want exactly {\"message\": …} (%v)", a.status, a.body, err)
	}
	if ct := a.header.Get("Content-Type"); ct != "application/json" {
		t.Fatalf("error with content type %q", ct)
	}
	return got["message"]
}

const good6 = `{"data":[[0.346,0,0.33,4,6.11,0.446]]}`

// TestScoresAsLightGBM compares whole answers with what LightGBM itself predicted.
func TestScoresAsLightGBM(t *testing.T) {
	for _, name := range []string{"binary", "multiclass", "regression"} {
		var golden struct {
			Rows    []json.RawMessage `json:"rows"`
			Predict [][]float64       `json:"predict"`
		}
		if err := json.Unmarshal(model(t, name+".json"), &golden); err != nil {
			t.Fatal(err)
		}
		var finiteRows, want = []string{}, [][]float64{}
		for i, row := range golden.Rows {
			if !bytes.ContainsAny(row, `n"`) { // missing values have no JSON number
				finiteRows, want = append(finiteRows, string(row)), append(want, golden.Predict[i])
			}
		}
		if len(want) < 10 {
			t.Fatalf("%s: only %d rows to compare", name, len(want))
		}
		_, addr := serve(t, Options{Model: model(t, name+".txt"), ModelName: name})
		a := ask(t, "POST", "http://"+addr+"/score", `{"data":[`+strings.Join(finiteRows, ",")+`]}`)
		if a.status != 200 {
			t.Fatalf("%s: status %d: %s", name, a.status, a.body)
		}
		if name == "multiclass" {
			var got struct{ Result [][]float64 }
			mustRead(t, a.body, &got)
			compareScores(t, name, got.Result, want)
			continue
		}
		var got struct{ Result []float64 }
		mustRead(t, a.body, &got)
		var rows [][]float64
		for _, v := range got.Result {
			rows = append(rows, []float64{v})
		}
		compareScores(t, name, rows, want)
	}
}

func mustRead(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
}

func compareScores(t *testing.T, name string, got, want [][]float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d scores for %d rows", name, len(got), len(want))
	}
	for i := range want {
		if len(got[i]) != len(want[i]) {
			t.Fatalf("%s: row %d has %d outputs, want %d", name, i, len(got[i]), len(want[i]))
		}
		for j := range want[i] {
			if math.Abs(got[i][j]-want[i][j]) > 1e-12*max(1e-9, math.Abs(want[i][j])) {
				t.Fatalf("%s: row %d: got %v, LightGBM says %v", name, i, got[i], want[i])
			}
		}
	}
}

// TestBadInput: each is refused with a text that says where and what, and carries no score.
func TestBadInput(t *testing.T) {
	_, addr := serve(t, Options{Model: model(t, "binary.txt")})
	row := `[0,1,2,3,4,5]`
	tests := []struct {
		name, body string
		header     []string
		status     int
		says       []string
	}{
		{"empty", "", nil, 400, []string{"POST body is empty. Expecting a JSON dictionary."}},
		{"only space", " \n\t", nil, 400, []string{"POST body is empty"}},
		{"bare list", `[` + row + `]`, nil, 400, []string{"POST body should be a JSON dictionary.", "a list"}},
		{"bare number", `1`, nil, 400, []string{"JSON dictionary", "a number"}},
		{"bare string", `"data"`, nil, 400, []string{"JSON dictionary", "a string"}},
		{"null", `null`, nil, 400, []string{"JSON dictionary", "null"}},
		{"not JSON", `data=1`, nil, 400, []string{"could not be decoded as JSON", "byte 0"}},
		{"form", `data=1`, []string{"Content-Type: application/x-www-form-urlencoded"}, 400, []string{"could not be decoded as JSON", "byte 0"}},
		{"multipart", "--x\r\n\r\n1\r\n--x--", []string{"Content-Type: multipart/form-data; boundary=x"}, 400, []string{"could not be decoded as JSON"}},
		{"no data", `{}`, nil, 400, []string{"A value is not provided for the 'data' parameter."}},
		{"other key", `{"dat":[` + row + `]}`, nil, 400, []string{`"dat"`, `allowed is "data"`}},
		{"extra key", `{"data":[` + row + `],"method":"predict"}`, nil, 400, []string{`"method"`, `allowed is "data"`}},
		{"key twice", `{"data":[` + row + `],"data":[` + row + `]}`, nil, 400, []string{`"data"`, "twice"}},
		{"data null", `{"data":null}`, nil, 400, []string{"data", "null", "a list of rows"}},
		{"data string", `{"data":"x"}`, nil, 400, []string{"data", "a string", "a list of rows"}},
		{"data object", `{"data":{"Column_0":[1]}}`, nil, 400, []string{"an object", "a list of rows"}},
		{"no rows", `{"data":[]}`, nil, 400, []string{"no rows", "6 numbers"}},
		{"flat row", `{"data":` + row + `}`, nil, 400, []string{"data[0] (row 1)", "a number", "a list of 6 numbers"}},
		{"empty row", `{"data":[[]]}`, nil, 400, []string{"data[0] (row 1)", "0 numbers", "exactly 6"}},
		{"short row", `{"data":[[1,2,3,4,5]]}`, nil, 400, []string{"data[0] (row 1)", "5 numbers", "exactly 6"}},
		{"long row", `{"data":[[1,2,3,4,5,6,7,8]]}`, nil, 400, []string{"data[0] (row 1)", "8 numbers", "exactly 6"}},
		{"ragged", `{"data":[` + row + `,[1,2]]}`, nil, 400, []string{"data[1] (row 2)", "2 numbers", "exactly 6"}},
		{"object row", `{"data":[{"Column_0":1}]}`, nil, 400, []string{"data[0] (row 1)", "an object"}},
		{"string number", `{"data":[[0,1,"2",3,4,5]]}`, nil, 400, []string{"data[0][2] (row 1, column 3, \"Column_2\")", "a string"}},
		{"null number", `{"data":[` + row + `,[0,null,2,3,4,5]]}`, nil, 400, []string{"data[1][1] (row 2, column 2, \"Column_1\")", "null", "-1"}},
		{"NaN", `{"data":[[NaN,1,2,3,4,5]]}`, nil, 400, []string{"row 1, column 1", "NaN"}},
		{"Infinity", `{"data":[[0,1,2,3,4,Infinity]]}`, nil, 400, []string{"row 1, column 6", "Infinity"}},
		{"-Infinity", `{"data":[[0,1,2,3,-Infinity,5]]}`, nil, 400, []string{"row 1, column 5", "-Infinity"}},
		{"true", `{"data":[[0,1,2,true,4,5]]}`, nil, 400, []string{"row 1, column 4", "true"}},
		{"nested list", `{"data":[[0,[1],2,3,4,5]]}`, nil, 400, []string{"row 1, column 2", "a list"}},
		{"deep nest", `{"data":` + strings.Repeat("[", 100_000), nil, 400, []string{"data[0][0]", "a list"}},
		{"out of range", `{"data":[[0,1,2,3,4,1e999]]}`, nil, 400, []string{"row 1, column 6", "out of range"}},
		{"leading zero", `{"data":[[01,1,2,3,4,5]]}`, nil, 400, []string{"decoded as JSON", "row 1, column 1"}},
		{"hex", `{"data":[[0x1,1,2,3,4,5]]}`, nil, 400, []string{"decoded as JSON", "byte 11"}},
		{"cut", `{"data":[[0,1,2`, nil, 400, []string{"ends at byte 15"}},
		{"trailing", `{"data":[` + row + `]} {}`, nil, 400, []string{"behind the document"}},
		{"trailing comma", `{"data":[[0,1,2,3,4,5,]]}`, nil, 400, []string{"decoded as JSON"}},
		{"binary", "\x00\x01\x02", nil, 400, []string{"decoded as JSON"}},
		{"BOM", "\ufeff" + good6, nil, 400, []string{"decoded as JSON", "byte 0"}},
		{"gzip header", "\x1f\x8b\x08", []string{"Content-Encoding: gzip"}, 415, []string{"gzip", "uncompressed"}},
		{"gzip without header", "\x1f\x8b\x08\x00", nil, 400, []string{"gzip", "uncompressed"}},
		{"brotli", "x", []string{"Content-Encoding: br"}, 415, []string{"br", "uncompressed"}},
		{"10 MB", `{"data":[` + strings.Repeat(row+",", 10<<20/len(row)) + row + `]}`, nil, 413, []string{"4194304 bytes", "fewer rows"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := ask(t, "POST", "http://"+addr+"/score", tt.body, tt.header...)
			if a.status != tt.status {
				t.Fatalf("status %d, want %d: %s", a.status, tt.status, a.body)
			}
			text := message(t, a)
			for _, part := range tt.says {
				if !strings.Contains(text, part) {
					t.Errorf("message %q does not say %q", text, part)
				}
			}
			if strings.Contains(a.body, "result") || a.header.Get("x-ms-run-fn-exec-ms") != "" || len(text) > 400 {
				t.Errorf("a refused request got %q", a.body)
			}
		})
	}
}

var uuid4 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// TestAzureMLContract: statuses, bodies and headers of azureml-inference-server-http 1.5.1 (server/routes.py).
func TestAzureMLContract(t *testing.T) {
	const made, absent = "(a new UUID)", "(absent)"
	long := strings.Repeat("x", 101)
	ids := func(request, ms, client string) map[string]string {
		return map[string]string{"x-request-id": request, "x-ms-request-id": ms, "x-ms-client-request-id": client}
	}
	tests := []struct {
		name, method, path, body string
		header                   []string
		status                   int
		want                     string // exact body; "" is not compared
		headers                  map[string]string
	}{
		{"health", "GET", "/", "", nil, 200, "Healthy", ids(made, made, absent)},
		{"liveness", "GET", "/healthz", "", nil, 200, "Healthy", nil},
		{"readiness", "GET", "/readyz", "", nil, 200, "Ready", nil},
		{"health posted", "POST", "/", "{}", nil, 405, `{"message": "The method is not allowed for the requested URL."}`, nil},
		{"unknown", "GET", "/nope", "", nil, 404, "", map[string]string{"x-ms-run-function-failed": "False"}},
		{"score", "POST", "/score", good6, nil, 200, "", map[string]string{"x-ms-run-function-failed": "False", "Content-Type": "application/json"}},
		{"vendor JSON", "POST", "/score", good6, []string{"Content-Type: application/vnd.api+json; charset=utf-8"}, 200, "", nil},
		{"curl -d", "POST", "/score", good6, []string{"Content-Type: application/x-www-form-urlencoded"}, 200, "", map[string]string{"x-ms-run-function-failed": "False", "Content-Type": "application/json"}},
		{"text", "POST", "/score", good6, []string{"Content-Type: text/plain"}, 200, "", nil},
		{"multipart that is JSON", "POST", "/score", good6, []string{"Content-Type: multipart/form-data; boundary=x"}, 200, "", nil},
		{"score by GET", "GET", "/score?data=" + url.QueryEscape(`[[0.346,0,0.33,4,6.11,0.446]]`), "", nil, 200, "", nil},
		{"rows by GET", "GET", "/score?data=[0,1,2,3,4,5]&data=[5,4,3,2,1,0]", "", nil, 200, "", nil},
		{"GET without data", "GET", "/score", "", nil, 400, `{"message": "A value is not provided for the 'data' parameter."}`, nil},
		{"GET other", "GET", "/score?x=1", "", nil, 400, "", nil},
		{"GET string", "GET", "/score?data=abc", "", nil, 400, "", nil},
		{"GET strings", "GET", "/score?data=[1]&data=abc", "", nil, 400, "", nil},
		{"GET injection", "GET", "/score?data=" + url.QueryEscape(`[[0,1,2,3,4,5]]}`), "", nil, 400, "", nil},
		{"GET bad escape", "GET", "/score?data=%zz", "", nil, 400, "", nil},
		{"options", "OPTIONS", "/score", "", nil, 200, "", map[string]string{"Allow": "GET, POST, OPTIONS", "x-ms-run-function-failed": "False"}},
		{"put", "PUT", "/score", good6, nil, 405, `{"message": "The method is not allowed for the requested URL."}`, map[string]string{"x-ms-run-function-failed": "False", "x-ms-run-fn-exec-ms": absent}},
		{"head", "HEAD", "/score", "", nil, 405, "", map[string]string{"x-ms-run-function-failed": "False", "Content-Length": "33"}},
		{"id kept", "POST", "/score", good6, []string{"x-request-id: abc"}, 200, "", ids("abc", "abc", absent)},
		{"id made", "POST", "/score", good6, nil, 200, "", ids(made, made, absent)},
		{"client id", "POST", "/score", good6, []string{"x-request-id: abc", "x-ms-client-request-id: c"}, 200, "", ids("abc", "c", "c")},
		{"legacy id", "POST", "/score", good6, []string{"x-request-id: abc", "x-ms-request-id: m"}, 200, "", ids("abc", "m", "m")},
		{"both ids", "POST", "/score", good6, []string{"x-request-id: abc", "x-ms-request-id: m", "x-ms-client-request-id: c"}, 200, "", ids("abc", "m", "c")},
		{"trace id", "POST", "/score", good6, []string{"TraceId: t1"}, 200, "", map[string]string{"TraceId": "t1"}},
		{"long id", "POST", "/score", good6, []string{"x-request-id: " + long}, 431, `{"message": "x-request-id must not exceed 100 characters"}`, ids(absent, absent, absent)},
		{"longest id", "POST", "/score", good6, []string{"x-request-id: " + long[1:]}, 200, "", ids(long[1:], long[1:], absent)},
		{"long client id", "POST", "/score", good6, []string{"x-request-id: abc", "x-ms-client-request-id: " + long}, 431, `{"message": "x-ms-request-id and x-ms-client-request-id must not exceed 100 characters"}`, ids("abc", absent, absent)},
		{"long legacy id", "POST", "/score", good6, []string{"x-ms-request-id: " + long}, 431, "", nil},
		{"large header", "POST", "/score", good6, []string{"Cookie: " + strings.Repeat("x", 9000)}, 431, `{"message": "The request line and headers must not exceed 8192 bytes"}`, nil},
		{"ids on errors", "POST", "/score", "", []string{"x-request-id: abc"}, 400, "", ids("abc", "abc", absent)},
	}
	_, addr := serve(t, Options{Model: model(t, "binary.txt")})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := ask(t, tt.method, "http://"+addr+tt.path, tt.body, tt.header...)
			if a.status != tt.status || tt.want != "" && a.body != tt.want {
				t.Fatalf("got %d %q, want %d %q", a.status, a.body, tt.status, tt.want)
			}
			if a.status >= 400 && tt.method != "HEAD" {
				message(t, a)
			}
			for name, want := range tt.headers {
				got := a.header.Get(name)
				switch {
				case want == made && uuid4.MatchString(got), want == absent && got == "", want == got:
				default:
					t.Errorf("header %s is %q, want %q", name, got, want)
				}
			}
			if tt.status == 200 && strings.HasPrefix(tt.path, "/score") && tt.method != "OPTIONS" &&
				!regexp.MustCompile(`^\d+\.\d{3}$`).MatchString(a.header.Get("x-ms-run-fn-exec-ms")) {
				t.Errorf("x-ms-run-fn-exec-ms is %q", a.header.Get("x-ms-run-fn-exec-ms"))
			}
		})
	}
}

func TestGETScoresAsPOST(t *testing.T) {
	_, addr := serve(t, Options{Model: model(t, "binary.txt")})
	rows := []string{`[0.346,0,0.33,4,6.11,0.446]`, `[1,2,3,4,5,6]`}
	posted := ask(t, "POST", "http://"+addr+"/score", `{"data":[`+strings.Join(rows, ",")+`]}`).body
	for _, query := range []string{"data=[" + strings.Join(rows, ",") + "]", "data=" + rows[0] + "&data=" + rows[1]} {
		if got := ask(t, "GET", "http://"+addr+"/score?"+query, ""); got.body != posted {
			t.Errorf("GET %s: got %q, POST says %q", query, got.body, posted)
		}
	}
}

func TestDummy(t *testing.T) {
	_, addr := serve(t, Options{Dummy: "New Model A"})
	for _, a := range []answer{
		ask(t, "GET", "http://"+addr+"/score", ""), ask(t, "POST", "http://"+addr+"/score", ""), ask(t, "POST", "http://"+addr+"/score", `{"data":[[1]]}`),
		ask(t, "POST", "http://"+addr+"/score", "a=b", "Content-Type: application/x-www-form-urlencoded"),
	} {
		if a.status != 200 || a.body != `"New Model A"` || a.header.Get("Content-Type") != "application/json" {
			t.Errorf("got %d %q %v", a.status, a.body, a.header)
		}
	}
}

func TestRehearsalFaults(t *testing.T) {
	text := model(t, "binary.txt")
	failed := `{"message": "` + msgScript + `"}`
	tests := []struct {
		name   string
		o      Options
		body   string
		status int
		want   string
	}{
		{"fails on all", Options{Model: text, FailAll: true}, good6, 500, failed},
		{"dummy fails", Options{Dummy: "x", FailAll: true}, good6, 500, failed},
		{"missing", Options{Model: text, FailOnMissing: "Column_2"}, `{"data":[[0,1,2,3,4,5],[0,1,-1,3,4,5]]}`, 500, failed},
		{"other column missing", Options{Model: text, FailOnMissing: "Column_2"}, `{"data":[[0,-1,2,3,4,5]]}`, 200, ""},
		{"slow", Options{Model: text, Delay: 3 * time.Millisecond}, good6, 200, ""},
		{"too slow", Options{Model: text, Delay: time.Hour, Timeout: 5 * time.Millisecond}, good6, 500, `{"message": "Scoring timeout after 5 ms"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, addr := serve(t, tt.o)
			began := time.Now()
			a := ask(t, "POST", "http://"+addr+"/score", tt.body)
			if a.status != tt.status || tt.want != "" && a.body != tt.want {
				t.Fatalf("got %d %q, want %d %q", a.status, a.body, tt.status, tt.want)
			}
			if want := map[bool]string{true: "True", false: "False"}[tt.status == 500]; a.header.Get("x-ms-run-function-failed") != want {
				t.Errorf("x-ms-run-function-failed is %q, want %q", a.header.Get("x-ms-run-function-failed"), want)
			}
			if tt.status == 200 && time.Since(began) < tt.o.Delay {
				t.Errorf("answered before the delay of %s", tt.o.Delay)
			}
			if a := ask(t, "GET", "http://"+addr+"/readyz", ""); a.status != 200 {
				t.Errorf("a faulty version must look ready, got %d", a.status)
			}
		})
	}
}

// TestNoise: the same row gets another score each time, none further from the model's than asked for.
func TestNoise(t *testing.T) {
	const noise, rows = .25, 50
	body := `{"data":[` + strings.Repeat(`[0,1,2,3,4,5],`, rows-1) + `[0,1,2,3,4,5]]}`
	score := func(noise float64) []float64 {
		_, addr := serve(t, Options{Model: model(t, "binary.txt"), Noise: noise})
		var got struct{ Result []float64 }
		mustRead(t, ask(t, "POST", "http://"+addr+"/score", body).body, &got)
		if len(got.Result) != rows {
			t.Fatalf("%d scores, want %d", len(got.Result), rows)
		}
		return got.Result
	}
	exact := score(0)[0]
	seen, least, most := map[float64]bool{}, 0., 0.
	for _, v := range score(noise) {
		seen[v] = true
		least, most = min(least, v-exact), max(most, v-exact)
	}
	if len(seen) < rows || least < -noise || most > noise || least > -noise/4 || most < noise/4 {
		t.Errorf("%d different scores from %g to %g beside the model's, want %d within %g", len(seen), least, most, rows, noise)
	}
}

// TestLargeBatchTimesOut: the deadline is looked at between rows, not only in Delay.
func TestLargeBatchTimesOut(t *testing.T) {
	_, addr := serve(t, Options{Model: model(t, "binary.txt"), Timeout: time.Nanosecond})
	body := `{"data":[` + strings.Repeat(`[0,1,2,3,4,5],`, 100) + `[0,1,2,3,4,5]]}`
	if a := ask(t, "POST", "http://"+addr+"/score", body); a.status != 500 || message(t, a) != "Scoring timeout after 0 ms" {
		t.Errorf("got %d %q", a.status, a.body)
	}
}

func TestOptionsRefused(t *testing.T) {
	text := model(t, "binary.txt")
	tests := []struct {
		name string
		o    Options
		says string
	}{
		{"nothing", Options{}, "exactly one"},
		{"both", Options{Model: text, Dummy: "x"}, "exactly one"},
		{"not a model", Options{Model: []byte("pickle"), ModelName: "driver"}, `"driver"`},
		{"linear trees", Options{Model: model(t, "refused_linear.txt")}, "linear"},
		{"unknown column", Options{Model: text, FailOnMissing: "ps_x"}, `"ps_x"`},
		{"dummy column", Options{Dummy: "x", FailOnMissing: "ps_x"}, `"ps_x"`},
		{"negative body", Options{Model: text, MaxBodyBytes: -1}, "MaxBodyBytes -1"},
		{"huge body", Options{Model: text, MaxBodyBytes: 1 << 40}, "MaxBodyBytes"},
		{"negative timeout", Options{Model: text, Timeout: -1}, "Timeout"},
		{"negative delay", Options{Model: text, Delay: -1}, "Delay"},
		{"negative noise", Options{Model: text, Noise: -1}, "Noise -1"},
		{"noise that is no number", Options{Model: text, Noise: math.NaN()}, "Noise NaN"},
		{"dummy with noise", Options{Dummy: "x", Noise: 1}, "needs a model"},
	}
	for _, tt := range tests {
		if _, err := New(tt.o); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %v, want an error that says %q", tt.name, err, tt.says)
		}
	}
}

func TestMetrics(t *testing.T) {
	_, addr := serve(t, Options{Model: model(t, "binary.txt"), ModelName: "a\"b\\c\nd"})
	ask(t, "POST", "http://"+addr+"/score", `{"data":[[0,1,2,3,4,5],[0,1,2,3,4,5]]}`)
	ask(t, "POST", "http://"+addr+"/score", `{}`)
	a := ask(t, "GET", "http://"+addr+"/metrics", "")
	for _, line := range []string{
		`serin_scorer_requests_total{code="200"} 1`, `serin_scorer_requests_total{code="400"} 1`, `serin_scorer_requests_total{code="500"} 0`,
		"serin_scorer_rows_total 2", "serin_scorer_in_flight 0", "serin_scorer_ready 1", `serin_scorer_run_seconds_bucket{le="+Inf"} 1`, "serin_scorer_run_seconds_count 1",
		`serin_scorer_model_info{model="a\"b\\c\nd",features="6",outputs="1"} 1`,
	} {
		if !strings.Contains(a.body, line+"\n") {
			t.Errorf("metrics lack %q:\n%s", line, a.body)
		}
	}
	sample := regexp.MustCompile(`^([a-z_]+(\{[^\n]*\})? -?[0-9.e+-]+|# (HELP|TYPE) .*)$`)
	for line := range strings.SplitSeq(strings.TrimSuffix(a.body, "\n"), "\n") {
		if !sample.MatchString(line) || !strings.Contains(line, "serin_scorer_") {
			t.Errorf("metrics line %q", line)
		}
	}
}

// until polls, for things that another goroutine is about to do.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
		<-time.After(time.Millisecond) // between two looks; the loop ends by its condition
	}
}

// TestDrain: first not ready, then no new connections, requests in flight are answered, connections told to close.
func TestDrain(t *testing.T) {
	const delay, linger = time.Minute, time.Hour
	s, err := New(Options{Model: model(t, "binary.txt"), Delay: delay, Timeout: time.Hour, Linger: linger})
	if err != nil {
		t.Fatal(err)
	}
	delayed, lingered := make(chan time.Time), make(chan time.Time)
	s.timer = func(d time.Duration) (<-chan time.Time, func() bool) {
		return map[time.Duration]chan time.Time{delay: delayed, linger: lingered}[d], func() bool { return true }
	}
	addr := start(t, s)
	answers := make(chan answer, 4)
	for range cap(answers) {
		go func() {
			a, err := tryAsk("POST", "http://"+addr+"/score", good6)
			if err != nil {
				a.body = err.Error()
			}
			answers <- a
		}()
	}
	until(t, "4 requests are in flight", func() bool { return s.metrics.inFlight.Load() == 4 })
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(context.Background()) }()
	until(t, "the drain has begun", s.draining.Load)
	a := ask(t, "GET", "http://"+addr+"/readyz", "")
	if a.status != 503 || !strings.Contains(message(t, a), "draining") || !a.closes {
		t.Errorf("readiness while draining: %d %q %v", a.status, a.body, a.header)
	}
	if a := ask(t, "GET", "http://"+addr+"/healthz", ""); a.status != 200 {
		t.Errorf("liveness while draining: %d", a.status)
	}
	if a := ask(t, "GET", "http://"+addr+"/metrics", ""); !strings.Contains(a.body, "serin_scorer_ready 0\n") {
		t.Errorf("metrics while draining:\n%s", a.body)
	}
	close(lingered)
	until(t, "no connection is taken", func() bool { return !accepts(addr) })
	close(delayed)
	for range cap(answers) {
		if a := <-answers; a.status != 200 {
			t.Errorf("a request in flight got %d %q", a.status, a.body)
		}
	}
	if err := <-done; err != nil {
		t.Errorf("draining: %v", err)
	}
}

func accepts(addr string) bool {
	c, err := net.Dial("tcp", addr)
	if err == nil {
		c.Close()
	}
	return err == nil
}

// TestDrainCutsAtTheEnd: what does not end in time is cut, and said.
func TestDrainCutsAtTheEnd(t *testing.T) {
	s, err := New(Options{Model: model(t, "binary.txt"), Delay: time.Hour, Timeout: 2 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	addr := start(t, s)
	failed := make(chan error, 1)
	go func() {
		_, err := tryAsk("POST", "http://"+addr+"/score", good6)
		failed <- err
	}()
	until(t, "a request is in flight", func() bool { return s.metrics.inFlight.Load() == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	err = s.Shutdown(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 connections cut") {
		t.Errorf("got %v, want the deadline and 1 connection cut", err)
	}
	if err := <-failed; err == nil {
		t.Error("the cut request was answered")
	}
	until(t, "the handler ended", func() bool { return s.metrics.inFlight.Load() == 0 })
}

func TestRun(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- Run(ctx, Options{Dummy: "x", Listen: "127.0.0.1:0"}, func(addr string) { ready <- addr })
	}()
	addr := <-ready
	if a := ask(t, "GET", "http://"+addr+"/readyz", ""); a.status != 200 {
		t.Errorf("readiness: %d", a.status)
	}
	if err := Run(ctx, Options{Dummy: "x", Listen: addr}, nil); err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("a taken address: got %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("ending: %v", err)
	}
	// A context that ended before must not leave a server behind.
	if err := Run(ctx, Options{Dummy: "x", Listen: "127.0.0.1:0"}, nil); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
}

func TestServeOnce(t *testing.T) {
	s, _ := serve(t, Options{Dummy: "x"})
	until(t, "it serves", s.serving.Load)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(ln); !errors.Is(err, ErrServed) {
		t.Errorf("got %v, want %v", err, ErrServed)
	}
}

// raw sends bytes and returns all that comes back until the server closes.
func raw(t *testing.T, addr, text string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(deadline))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("%q, then %v", got, err)
	}
	return string(got)
}

// TestWire: what a Go client cannot send.
func TestWire(t *testing.T) {
	s, err := New(Options{Model: model(t, "binary.txt"), MaxBodyBytes: 1000})
	if err != nil {
		t.Fatal(err)
	}
	s.http.ReadTimeout, s.http.IdleTimeout = 150*time.Millisecond, 100*time.Millisecond
	addr := start(t, s)
	post := "POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	chunk := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(good6), good6)
	tests := []struct{ name, text, first, has string }{
		{"not HTTP", "hello\r\n\r\n", "HTTP/1.1 400 ", `{"message": "The request could not be read`},
		{"declared too large", post + "Content-Length: 5000\r\n\r\n", "HTTP/1.1 413 ", `{"message": "The body is too large: at most 1000 bytes`},
		{"asked first", post + "Content-Length: 5000\r\nExpect: 100-continue\r\n\r\n", "HTTP/1.1 413 ", ""},
		{"asked first, small", post + fmt.Sprintf("Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(good6)) + good6, "HTTP/1.1 100 ", `{"result":[`},
		{"chunked", post + "Transfer-Encoding: chunked\r\n\r\n" + chunk, "HTTP/1.1 200 ", `{"result":[`},
		{"chunked too large", post + "Transfer-Encoding: chunked\r\n\r\n800\r\n" + strings.Repeat(" ", 0x800) + "\r\n0\r\n\r\n", "HTTP/1.1 413 ", `{"message"`},
		{"headers never end", "POST /score HTTP/1.1\r\nHost: x\r\nA: b", "HTTP/1.1 408 ", `{"message": "The request did not arrive within`},
		{"body never ends", post + "Content-Length: 100\r\n\r\n{", "HTTP/1.1 408 ", `{"message": "The request did not arrive within`},
		{"idle", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ", "Healthy"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := raw(t, addr, tt.text)
			if !strings.HasPrefix(got, tt.first) || !strings.Contains(got, tt.has) {
				t.Errorf("got %q, want it to begin with %q and to have %q", got, tt.first, tt.has)
			}
		})
	}
}

// TestKeepAlive: many requests on one connection, good and bad, each gets its own answer.
func TestKeepAlive(t *testing.T) {
	_, addr := serve(t, Options{Model: model(t, "binary.txt")})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(deadline))
	r := bufio.NewReader(c)
	var bodies []string
	for i := range 60 {
		body := []string{good6, `{"data":[[1]]}`, `{"data":[[0,1,2,3,4,5]]}`}[i%3]
		fmt.Fprintf(c, "POST /score HTTP/1.1\r\nHost: x\r\nX-Request-Id: r%d\r\nContent-Length: %d\r\n\r\n%s", i, len(body), body)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if id := resp.Header.Get("X-Request-Id"); id != fmt.Sprintf("r%d", i) {
			t.Fatalf("answer %d has id %q", i, id)
		}
		bodies = append(bodies, string(text))
	}
	for i := 3; i < len(bodies); i++ {
		if diff := cmp.Diff(bodies[i-3], bodies[i]); diff != "" {
			t.Fatalf("the same request got another answer:\n%s", diff)
		}
	}
	if bodies[0] == bodies[2] || !strings.HasPrefix(bodies[0], `{"result":[`) || !strings.HasPrefix(bodies[1], `{"message"`) {
		t.Fatalf("answers %q", bodies[:3])
	}
}

func TestTooManyConnections(t *testing.T) {
	s, err := New(Options{Dummy: "x"})
	if err != nil {
		t.Fatal(err)
	}
	s.http.Concurrency = 1
	addr := start(t, s)
	first, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(first, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := http.ReadResponse(bufio.NewReader(first), nil); err != nil {
		t.Fatal(err)
	}
	second, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	second.SetDeadline(time.Now().Add(deadline))
	if resp, err := http.ReadResponse(bufio.NewReader(second), nil); err != nil || resp.StatusCode != 503 {
		t.Errorf("a connection beyond the limit got %v, %v; want 503", resp, err)
	}
	first.Close()
	until(t, "the limit has room again", func() bool {
		a, err := tryAsk("GET", "http://"+addr+"/", "")
		return err == nil && a.status == 200
	})
}
