package proxy

import (
	"strconv"

	"github.com/serin-dev/serin/internal/proxy/wire"
)

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// copyFields appends the lines of a head that are passed on as they are.
func copyFields(dst []byte, h *wire.Head, drop uint64) []byte {
	from, to := int32(0), int32(0) // lines that follow each other are copied at once
	named := h.Has(wire.Connection)
	for i := range h.Fields {
		f := &h.Fields[i]
		if drop>>f.Name&1 == 1 || f.Name.HopByHop() || named && h.Named(f) {
			continue
		}
		if f.Line != to {
			dst = append(dst, h.Raw[from:to]...)
			from = f.Line
		}
		to = f.End
	}
	return append(dst, h.Raw[from:to]...)
}

const (
	ours        = uint64(1)<<wire.SerinRoute | 1<<wire.SerinFallback | 1<<wire.RequestID
	dropRequest = ours | 1<<wire.Host | 1<<wire.ContentLength | 1<<wire.Expect
	dropAnswer  = ours | 1<<wire.ContentLength
)

// requestHead appends the head that a revision gets.
func (k *call) requestHead(dst []byte, to *upstream) []byte {
	req := &k.c.req
	dst = append(append(dst, req.Method...), ' ')
	dst = append(append(dst, req.Target...), " HTTP/1.1\r\nHost: "...)
	dst = append(append(dst, k.host(to)...), "\r\n"...)
	drop := k.route.dropped()
	if len(k.trace) > 0 {
		drop |= 1 << wire.Traceparent
	}
	dst = copyFields(dst, &req.Head, drop)
	dst = append(append(dst, "x-request-id: "...), k.id...)
	dst = append(append(dst, "\r\n"...), k.trace...)
	if k.route.Relay == nil {
		dst = append(dst, k.route.stamp(to)...)
	}
	dst = k.route.handedBy(dst, to)
	switch {
	case k.streamed && req.Chunked:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	case k.streamed:
		dst = appendLength(dst, req.Length)
	case len(k.held) > 0 || req.Length == 0 || req.Chunked:
		dst = appendLength(dst, int64(len(k.held)))
	}
	return append(dst, "\r\n"...)
}

func (k *call) host(to *upstream) []byte {
	if to.Host != "" {
		return []byte(to.Host)
	}
	return k.c.req.Authority
}

func appendLength(dst []byte, n int64) []byte {
	return append(strconv.AppendInt(append(dst, "Content-Length: "...), n, 10), "\r\n"...)
}

// request appends the whole of a held request.
func (k *call) request(dst []byte, to *upstream) []byte {
	return append(k.requestHead(dst, to), k.held...)
}

// answerHead appends the head that the client gets. length is that of a body that is held; -1: it is passed on as it
// comes.
func (k *call) answerHead(dst []byte, h *hop, length int64) []byte {
	head := &h.head
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(head.Status), 10)
	dst = append(append(append(dst, ' '), head.Reason...), "\r\n"...)
	dst = copyFields(dst, &head.Head, k.route.droppedAnswer(h.to))
	dst = k.ownFields(dst, h.to)
	if !head.Has(wire.Date) {
		dst = append(dst, k.c.g.dateLine(k.start)...)
	}
	switch {
	case head.Bodiless(k.isHead):
		if head.Status != 204 && head.Length >= 0 { // what a GET would have got
			dst = appendLength(dst, head.Length)
		}
	case length >= 0:
		dst = appendLength(dst, length)
	case h.kind == byLength:
		dst = appendLength(dst, head.Length)
	case k.c.req.Minor == 1:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// ownFields appends the fields that are the gateway's: whose answer it is, for which request, and what the client must
// know of the connection.
func (k *call) ownFields(dst []byte, served *upstream) []byte {
	dst = append(append(dst, "x-request-id: "...), k.id...)
	dst = k.route.answeredBy(append(dst, "\r\n"...), served)
	if why := k.instead(served); why != "" {
		dst = append(append(append(dst, "x-serin-fallback: "...), why...), "\r\n"...)
	}
	if len(k.cookie) > 0 {
		dst = append(append(dst, "Set-Cookie: "...), k.route.Sticky.Cookie...)
		dst = append(append(dst, '='), k.cookie...)
		dst = append(dst, "; Path=/; HttpOnly; SameSite=Lax\r\n"...)
	}
	switch {
	case k.c.last:
		dst = append(dst, "Connection: close\r\n"...)
	case k.c.req.Minor == 0:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	return dst
}
