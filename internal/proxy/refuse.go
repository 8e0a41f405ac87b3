package proxy

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// refuse answers with the gateway's own error and ends the connection: what else it brings is not to be trusted.
func (c *conn) refuse(status int, reason, message string) {
	c.last = true
	c.unread = c.write(c.g.refusal(nil, status, reason, message, true, nil)) == nil
}

// refusal appends the gateway's own error. fields are further lines of its head.
func (g *Gateway) refusal(dst []byte, status int, reason, message string, last bool, fields []byte) []byte {
	body, err := json.Marshal(map[string]string{"reason": reason, "message": message})
	if err != nil {
		body = []byte("{}")
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(append(dst, ' '), http.StatusText(status)...)
	dst = append(append(dst, "\r\nContent-Type: application/json\r\nX-Serin-Error: "...), reason...)
	dst = append(dst, "\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	dst = append(append(append(dst, "\r\n"...), g.dateLine(time.Now())...), fields...)
	if last {
		dst = append(dst, "Connection: close\r\n"...)
	}
	return append(append(dst, "\r\n"...), body...)
}

// dateLine is the Date field of the present second.
type dateLine struct {
	second int64
	line   []byte
}

func (g *Gateway) dateLine(now time.Time) []byte {
	second := now.Unix()
	d := g.date.Load()
	if d == nil || d.second != second {
		d = &dateLine{second, []byte("Date: " + now.UTC().Format(http.TimeFormat) + "\r\n")}
		g.date.Store(d)
	}
	return d.line
}
