package scorer

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	headerBytes   = 8 << 10 // request line and headers
	idLimit       = 100     // characters of a request id, as Azure ML's server has it
	maxConns      = 1024
	readTimeout   = 30 * time.Second // headers and body of one request
	writeTimeout  = 30 * time.Second
	idleTimeout   = 75 * time.Second
	keepBodyCap   = 64 << 10 // a connection keeps no larger body buffer between requests
	typeJSON      = "application/json"
	typeText      = "text/html; charset=utf-8" // what Flask says for "Healthy"
	typeMetrics   = "text/plain; version=0.0.4; charset=utf-8"
	allowScore    = "GET, POST, OPTIONS"
	allowGet      = "GET, HEAD, OPTIONS"
	msgNotFound   = "The requested URL was not found on the server. If you entered the URL manually please check your spelling and try again."
	msgNotAllowed = "The method is not allowed for the requested URL."
	msgScript     = "An unexpected error occurred in scoring script. Check the logs for more info."
	msgInternal   = "An unexpected internal error occurred. Check the logs for more info."
)

// Header names in the form that fasthttp sends, so that it need not rewrite them for each answer.
var (
	headRunFailed       = []byte("X-Ms-Run-Function-Failed")
	headRunMillis       = []byte("X-Ms-Run-Fn-Exec-Ms")
	headRequestID       = []byte("X-Request-Id")
	headMsRequestID     = []byte("X-Ms-Request-Id")
	headClientRequestID = []byte("X-Ms-Client-Request-Id")
	headTraceID         = []byte("Traceid")
	valueTrue           = []byte("True")
	valueFalse          = []byte("False")
	pathScore           = []byte("/score")
)

func (s *Server) newHTTP() *fasthttp.Server {
	return &fasthttp.Server{
		Handler:                      s.handle,
		ErrorHandler:                 s.handleBroken,
		ExpectHandler:                s.expect,
		Concurrency:                  maxConns,
		ReadBufferSize:               headerBytes,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxRequestBodySize:           int(s.o.MaxBodyBytes),
		NoDefaultServerHeader:        true,
		DisablePreParseMultipartForm: true,
		CloseOnShutdown:              true,
		LazyRequestTime:              true,
		Logger:                       quiet{},
	}
}

// quiet drops fasthttp's own lines: every broken connection would be one, at a client's will.
type quiet struct{}

func (quiet) Printf(string, ...any) {}

// handle answers one request. fasthttp does not recover panics: one bad request must not end the process.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	defer func() {
		if cause := recover(); cause != nil {
			s.log.Error("answering a request panicked", "cause", cause)
			s.fail(ctx, fasthttp.StatusInternalServerError, msgInternal)
		}
	}()
	if s.draining.Load() {
		ctx.SetConnectionClose()
	}
	if bytes.Equal(ctx.Path(), pathScore) {
		s.handleScore(ctx)
		ctx.Request.ReleaseBody(keepBodyCap)
		return
	}
	if !s.identify(ctx) {
		return
	}
	s.handleOther(ctx)
}

func (s *Server) handleOther(ctx *fasthttp.RequestCtx) {
	var body []byte
	contentType := typeText
	switch string(ctx.Path()) {
	case "/", "/healthz":
		body = []byte("Healthy")
	case "/readyz":
		if reason := s.notReady(); reason != "" {
			s.fail(ctx, fasthttp.StatusServiceUnavailable, reason)
			return
		}
		body = []byte("Ready")
	case "/metrics":
		body, contentType = s.appendMetrics(nil), typeMetrics
	default:
		s.fail(ctx, fasthttp.StatusNotFound, msgNotFound)
		return
	}
	switch {
	case ctx.IsOptions():
		ctx.Response.Header.Set(fasthttp.HeaderAllow, allowGet)
		body = nil
	case !ctx.IsGet() && !ctx.IsHead():
		ctx.Response.Header.Set(fasthttp.HeaderAllow, allowGet)
		s.fail(ctx, fasthttp.StatusMethodNotAllowed, msgNotAllowed)
		return
	}
	ctx.SetContentType(contentType)
	ctx.SetBody(body)
}

func (s *Server) handleScore(ctx *fasthttp.RequestCtx) {
	s.metrics.inFlight.Add(1)
	s.answerScore(ctx)
	s.metrics.inFlight.Add(-1)
	s.metrics.answered(ctx.Response.StatusCode())
}

func (s *Server) answerScore(ctx *fasthttp.RequestCtx) {
	if !s.identify(ctx) {
		return
	}
	get := ctx.IsGet()
	switch {
	case ctx.IsOptions():
		s.setFailed(ctx, false)
		ctx.Response.Header.Set(fasthttp.HeaderAllow, allowScore)
		ctx.SetContentType(typeText)
		return
	case !get && !ctx.IsPost():
		ctx.Response.Header.Set(fasthttp.HeaderAllow, allowScore)
		text := msgNotAllowed
		if ctx.IsHead() {
			text = "Method not allowed" // Flask routes HEAD with GET, so it is the scoring code that refuses it
		}
		s.fail(ctx, fasthttp.StatusMethodNotAllowed, text)
		return
	case !get && !s.acceptable(ctx):
		return
	}
	started := time.Now()
	sc := s.takeScratch()
	defer sc.release()
	var err error
	if get {
		err = s.scoreQuery(sc, string(ctx.URI().QueryString()), started)
	} else {
		err = s.scoreBody(sc, ctx.PostBody(), started)
	}
	if err != nil {
		s.failScore(ctx, err)
		return
	}
	took := time.Since(started)
	s.metrics.scored(sc.rows, took)
	s.setFailed(ctx, false)
	var millis [24]byte
	ctx.Response.Header.SetCanonical(headRunMillis, strconv.AppendFloat(millis[:0], float64(took)/1e6, 'f', 3, 64))
	ctx.Response.Header.SetContentType(typeJSON)
	ctx.Response.SetBody(sc.result)
}

func (s *Server) failScore(ctx *fasthttp.RequestCtx, err error) {
	var bad *inputError
	switch {
	case errors.As(err, &bad):
		s.fail(ctx, fasthttp.StatusBadRequest, bad.message)
		return
	case errors.Is(err, errTimeout):
		s.fail(ctx, fasthttp.StatusInternalServerError, "Scoring timeout after "+strconv.FormatInt(s.o.Timeout.Milliseconds(), 10)+" ms")
	default:
		s.fail(ctx, fasthttp.StatusInternalServerError, msgScript)
	}
	s.setFailed(ctx, true)
}

// acceptable refuses a body that is encoded: it could only be misread. Like Azure ML's server with an undecorated run,
// it does not look at the content type: what counts is whether the body is JSON, and curl -d calls any body a form.
func (s *Server) acceptable(ctx *fasthttp.RequestCtx) bool {
	if e := ctx.Request.Header.ContentEncoding(); len(e) > 0 && !bytes.EqualFold(e, []byte("identity")) {
		s.fail(ctx, fasthttp.StatusUnsupportedMediaType, "Content-Encoding "+quoteShort(string(e))+" is not supported: send the body uncompressed, without that header")
		return false
	}
	return true
}

// identify copies or makes the request's ids by the rules of Azure ML's server. false: refused, and answered.
func (s *Server) identify(ctx *fasthttp.RequestCtx) bool {
	in, out := &ctx.Request.Header, &ctx.Response.Header
	var made [36]byte
	id := in.PeekBytes(headRequestID)
	if len(id) > idLimit {
		s.fail(ctx, fasthttp.StatusRequestHeaderFieldsTooLarge, "x-request-id must not exceed 100 characters")
		return false
	}
	if len(id) == 0 {
		id = newID(&made)
	}
	out.SetCanonical(headRequestID, id)
	legacy, client := in.PeekBytes(headMsRequestID), in.PeekBytes(headClientRequestID)
	if len(legacy) > idLimit || len(client) > idLimit {
		s.fail(ctx, fasthttp.StatusRequestHeaderFieldsTooLarge, "x-ms-request-id and x-ms-client-request-id must not exceed 100 characters")
		return false
	}
	switch {
	case len(legacy) > 0 && len(client) == 0:
		client = legacy
	case len(legacy) == 0 && len(client) > 0:
		legacy = client
	case len(legacy) == 0:
		legacy = id
	}
	out.SetCanonical(headMsRequestID, legacy)
	if len(client) > 0 {
		out.SetCanonical(headClientRequestID, client)
	}
	if trace := in.PeekBytes(headTraceID); len(trace) > 0 {
		out.SetCanonical(headTraceID, trace)
	}
	return true
}

// newID makes a UUID of version 4. It joins log lines and guards nothing, so the fast generator will do.
func newID(text *[36]byte) []byte {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(b[8:], rand.Uint64())
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	hex.Encode(text[:8], b[:4])
	hex.Encode(text[9:13], b[4:6])
	hex.Encode(text[14:18], b[6:8])
	hex.Encode(text[19:23], b[8:10])
	hex.Encode(text[24:], b[10:])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return text[:]
}

func (s *Server) setFailed(ctx *fasthttp.RequestCtx, failed bool) {
	value := valueFalse
	if failed {
		value = valueTrue
	}
	ctx.Response.Header.SetCanonical(headRunFailed, value)
}

// fail answers {"message": …} in the manner of Azure ML's server.
func (s *Server) fail(ctx *fasthttp.RequestCtx, status int, message string) {
	ctx.SetStatusCode(status)
	ctx.SetContentType(typeJSON)
	s.setFailed(ctx, false)
	ctx.SetBody(append(appendQuoted([]byte(`{"message": `), message), '}'))
}

// expect stops a client that asks first before it sends too much.
func (s *Server) expect(ctx *fasthttp.RequestCtx) int {
	if int64(ctx.Request.Header.ContentLength()) > s.o.MaxBodyBytes {
		return fasthttp.StatusRequestEntityTooLarge
	}
	return fasthttp.StatusContinue
}

// handleBroken answers a request that could not be read as HTTP, or is too large. The connection ends with it.
func (s *Server) handleBroken(ctx *fasthttp.RequestCtx, err error) {
	status, message := fasthttp.StatusBadRequest, "The request could not be read as HTTP/1.1."
	var small *fasthttp.ErrSmallBuffer
	var netErr net.Error
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		status, message = fasthttp.StatusRequestEntityTooLarge,
			"The body is too large: at most "+strconv.FormatInt(s.o.MaxBodyBytes, 10)+" bytes are allowed; send fewer rows a request"
	case errors.As(err, &small):
		status, message = fasthttp.StatusRequestHeaderFieldsTooLarge, "The request line and headers must not exceed "+strconv.Itoa(headerBytes)+" bytes"
	case errors.As(err, &netErr) && netErr.Timeout():
		status, message = fasthttp.StatusRequestTimeout, "The request did not arrive within "+s.http.ReadTimeout.String()
	}
	s.fail(ctx, status, message)
	s.metrics.answered(status)
	if c, ok := ctx.Conn().(*trackedConn); ok {
		c.unread.Store(true)
	}
}

func appendQuoted(b []byte, text string) []byte {
	q, err := json.Marshal(text)
	if err != nil { // cannot happen for a string
		return append(b, `""`...)
	}
	return append(b, q...)
}
