//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// message is one HTTP/1.1 request or answer at the start of a buffer. This reader
// knows what the benchmark's own parties send, and refuses all else: it has to cost
// as little as possible beside the gateways, on the load's side and the scorers'.
type message struct {
	first, body []byte // first line, body
	close       bool   // the sender will close the connection
	size        int    // bytes in all; 0: not whole yet
}

func parse(b []byte) (message, error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if len(b) > 64<<10 {
			return message{}, errors.New("a head of more than 64 KiB")
		}
		return message{}, nil
	}
	var m message
	var rest []byte
	m.first, rest, _ = bytes.Cut(b[:end], []byte("\r\n"))
	length := 0
	for len(rest) > 0 {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		switch line[0] | 0x20 {
		case 'c':
			if v, ok := header(line, "content-length"); ok {
				n, err := strconv.Atoi(string(v))
				if err != nil || n < 0 || n > 16<<20 {
					return message{}, fmt.Errorf("Content-Length %q", v)
				}
				length = n
			} else if v, ok := header(line, "connection"); ok {
				m.close = bytes.EqualFold(v, []byte("close"))
			}
		case 't':
			if _, ok := header(line, "transfer-encoding"); ok {
				return message{}, errors.New("Transfer-Encoding: everybody here sends Content-Length")
			}
		}
	}
	if size := end + 4 + length; len(b) >= size {
		m.body, m.size = b[end+4:size], size
	}
	return m, nil
}

func header(line []byte, name string) ([]byte, bool) {
	if len(line) <= len(name) || line[len(name)] != ':' || !bytes.EqualFold(line[:len(name)], []byte(name)) {
		return nil, false
	}
	return bytes.TrimSpace(line[len(name)+1:]), true
}
