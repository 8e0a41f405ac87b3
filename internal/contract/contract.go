// Package contract reads what a scoring server answered: response bytes in,
// scores, labels or an error out.
//
// It knows the answers of Azure ML, MLflow, KServe V1 and TF Serving, the Open
// Inference Protocol (V2) and OpenAI-like embeddings, and takes a JSON path for
// the rest. What it cannot read it reports as such; it never makes a score up:
// every finite score that it reports stands as a number in the body.
//
// Memory is bounded: a body (after decompression) has at most DefaultMaxBody
// bytes, an answer at most MaxScores scores and MaxLabels labels of MaxText
// bytes, and JSON nests at most MaxDepth deep.
package contract

import (
	"compress/gzip"
	"fmt"
	"io"
)

// Limits of what an Extractor reads and keeps.
const (
	DefaultMaxBody = 8 << 20 // bytes of a body after decompression
	MaxScores      = 1 << 20 // scores of one answer; more is Unparsed
	MaxLabels      = 1 << 12 // labels kept of one answer; the hash covers all
	MaxText        = 256     // bytes kept of one label or error message
	MaxDepth       = 64      // nested arrays and objects; more is Unparsed
)

// Protocol names the shape of a scoring server's answers.
type Protocol string

// The protocols that New takes.
const (
	Auto            Protocol = "Auto"            // whichever fits, in the order of the keys below
	AzureML         Protocol = "AzureML"         // `result`, or whatever run() returned
	MLflow          Protocol = "MLflow"          // `predictions`, or a bare value
	KServeV1        Protocol = "KServeV1"        // `predictions`, or TF Serving's `outputs`
	OpenInferenceV2 Protocol = "OpenInferenceV2" // `outputs[].data` with `shape`
	JSONPath        Protocol = "JSONPath"        // what the path selects
)

// Kind says what an answer turned out to be.
type Kind uint8

// The kinds of answer. The zero Kind means that nothing was extracted yet.
const (
	Scores   Kind = iota + 1 // at least one number (NaN and ±Inf included)
	Labels                   // text or booleans, no number
	Error                    // the server says that it failed
	Opaque                   // readable by somebody, not by us: kept as hash and length
	Unparsed                 // recognised but not read: binary tensors, truncated, too large
	Invalid                  // broken: JSON that is malformed, or no value where one was promised
)

var kindNames = [...]string{"None", "Scores", "Labels", "Error", "Opaque", "Unparsed", "Invalid"}

// String returns the name of the constant.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Meta is what the HTTP response said about its body.
type Meta struct {
	Status                int    // HTTP status; 0 is read as 200
	ContentType           string // as received, parameters allowed
	ContentEncoding       string // "", identity, gzip, x-gzip or deflate
	InferenceHeaderLength int    // header Inference-Header-Content-Length, 0 if absent
	Truncated             bool   // the body was cut by whoever recorded it
}

// Answer is what one response says. Reuse one Answer for many Extract calls:
// its memory is kept. An Answer must not be used by two goroutines at a time.
type Answer struct {
	Kind Kind
	// Scores holds the numbers row by row (row-major), those of a record by name;
	// null, NaN and ±Inf are kept as NaN and ±Inf.
	Scores []float64
	// Rows is the number of scored rows; Width the numbers in each of them, 0 if
	// rows differ in width or hold no numbers. Where Width > 0, Rows×Width = len(Scores).
	Rows, Width int
	// Labels holds strings and booleans in the same order, each cut at MaxText bytes.
	Labels []string
	// NonFinite counts the scores that are NaN or ±Inf.
	NonFinite int
	// Message is the server's own error message, at most MaxText bytes.
	Message string
	// Hash (FNV-1a) and Length (bytes) cover the whole decoded body of an Opaque
	// answer, or all labels, whole, if there are any.
	Hash   uint64
	Length int
	// Detail says why an answer is Error, Opaque, Unparsed or Invalid: one of a fixed set of texts.
	Detail string

	text   []byte // decoded strings of this answer
	plain  []byte // decompressed body
	column []float64
	tensor []tensor
	fields []field
	unzip  *gzip.Reader
	source byteReader
	limit  io.LimitedReader
}

// The texts of Answer.Detail.
const (
	detailStatus     = "status is 400 or above"
	detailErrorKey   = "the body holds an error"
	detailRedirect   = "status is not 2xx"
	detailTruncated  = "the body was cut when it was recorded"
	detailEncoding   = "content encoding is not supported"
	detailDecode     = "the body cannot be decompressed"
	detailTooLarge   = "the body is larger than the limit"
	detailTooMany    = "more numbers or columns than the limit"
	detailTooDeep    = "JSON is nested too deep"
	detailBinary     = "binary tensors are not read"
	detailEmpty      = "the body is empty"
	detailNotJSON    = "JSON was promised and is malformed"
	detailType       = "content type is not JSON"
	detailUnknown    = "a JSON object without a known key: set a JSON path"
	detailMissing    = "the protocol's key is missing"
	detailPath       = "the JSON path selects nothing"
	detailPathRow    = "the JSON path selects nothing in some row"
	detailNothing    = "no number or label where one was promised"
	detailShape      = "shape and data do not agree"
	detailNoData     = "an output has no data"
	detailBase64     = "embeddings are base64 text"
	detailNotTensors = "outputs is not an array of tensors"
)

// Extractor reads answers of one protocol. It is immutable, so any number of
// goroutines may share it, each with an Answer of its own.
type Extractor struct {
	protocol Protocol
	path     []step
	maxBody  int
}

// New returns an Extractor for protocol p (empty means Auto). jsonPath must be
// given with JSONPath and only with it: `$`, then any of `.name`, `["name"]`,
// `[n]`, `[*]`, for example `$.scores[*].p`.
func New(p Protocol, jsonPath string) (*Extractor, error) {
	e := &Extractor{protocol: p, maxBody: DefaultMaxBody}
	switch p {
	case "":
		e.protocol = Auto
	case Auto, AzureML, MLflow, KServeV1, OpenInferenceV2:
	case JSONPath:
		path, err := parsePath(jsonPath)
		if err != nil {
			return nil, fmt.Errorf("reading JSON path %q: %w", jsonPath, err)
		}
		e.path = path
		return e, nil
	default:
		return nil, fmt.Errorf("protocol %q is unknown: use %s, %s, %s, %s, %s or %s", string(p), Auto, AzureML, MLflow, KServeV1, OpenInferenceV2, JSONPath)
	}
	if jsonPath != "" {
		return nil, fmt.Errorf("JSON path %q is given with protocol %s: it needs protocol %s", jsonPath, e.protocol, JSONPath)
	}
	return e, nil
}

// WithMaxBody returns a copy of e that reads bodies of at most n bytes after
// decompression; n < 1 means DefaultMaxBody.
func (e *Extractor) WithMaxBody(n int) *Extractor {
	c := *e
	if c.maxBody = n; n < 1 {
		c.maxBody = DefaultMaxBody
	}
	return &c
}

// Extract reads body into dst, replacing what dst held. It has no error: every
// body is some kind of answer. It does not keep body.
func (e *Extractor) Extract(dst *Answer, m Meta, body []byte) {
	dst.reset()
	if m.Status >= 400 {
		e.failed(dst, m, body)
		return
	}
	if m.Truncated {
		dst.end(Unparsed, detailTruncated)
		return
	}
	plain, ok := dst.decode(m.ContentEncoding, body, e.maxBody)
	if !ok {
		return
	}
	if m.Status != 0 && (m.Status < 200 || m.Status > 299) {
		dst.opaque(plain, detailRedirect)
		return
	}
	if m.InferenceHeaderLength > 0 && m.InferenceHeaderLength != len(plain) {
		dst.end(Unparsed, detailBinary)
		return
	}
	e.read(dst, m.ContentType, plain)
}

// read decides whether plain is to be JSON and takes the values out of it.
func (e *Extractor) read(dst *Answer, contentType string, plain []byte) {
	promised, possible := jsonType(contentType)
	promised = promised || e.protocol != Auto
	switch {
	case blank(plain):
		dst.end(Invalid, detailEmpty)
		return
	case !promised && !possible:
		dst.opaque(plain, detailType)
		return
	}
	switch f := validate(plain); {
	case f == tooDeep:
		dst.end(Unparsed, detailTooDeep)
	case f == malformed && promised:
		dst.end(Invalid, detailNotJSON)
	case f == malformed:
		dst.opaque(plain, detailType)
	default:
		e.document(dst, plain, 0)
	}
}

func (a *Answer) reset() {
	a.Kind, a.Rows, a.Width, a.NonFinite, a.Hash, a.Length = 0, 0, 0, 0, 0, 0
	a.Detail, a.Message = "", ""
	a.Scores, a.Labels, a.text, a.fields = a.Scores[:0], a.Labels[:0], a.text[:0], a.fields[:0]
}

// end settles the answer as one without values.
func (a *Answer) end(k Kind, detail string) {
	a.Kind, a.Detail = k, detail
	a.Rows, a.Width, a.NonFinite, a.Hash, a.Length = 0, 0, 0, 0, 0
	a.Scores, a.Labels = a.Scores[:0], a.Labels[:0]
}

func (a *Answer) opaque(plain []byte, detail string) {
	a.end(Opaque, detail)
	a.Hash, a.Length = fnv(fnvOffset, plain), len(plain)
}

// finish settles the kind of an answer whose values have been collected.
func (a *Answer) finish() {
	switch {
	case a.Kind != 0:
	case len(a.Scores) > 0:
		a.Kind = Scores
	case a.Length > 0 || len(a.Labels) > 0:
		a.Kind = Labels
	default:
		a.end(Invalid, detailNothing)
	}
}

const fnvOffset = 14695981039346656037

func fnv(h uint64, b []byte) uint64 {
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}
