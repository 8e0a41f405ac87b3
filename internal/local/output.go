package local

import (
	"bytes"
	"strings"
	"sync"
)

// outputLimit is how much of a scorer's output is kept in memory.
const outputLimit = 64 << 10

// output keeps the last bytes that a scorer wrote.
type output struct {
	mu   sync.Mutex
	tail []byte
}

// Write never fails: a scorer must not block on its own log.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tail = append(o.tail, p...)
	if over := len(o.tail) - outputLimit; over > 0 {
		o.tail = append(o.tail[:0], o.tail[over:]...)
	}
	return len(p), nil
}

// Reset forgets an earlier life's output: it must not be quoted as this one's.
func (o *output) Reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tail = o.tail[:0]
}

// LastLines returns up to n last lines.
func (o *output) LastLines(n int) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := strings.TrimRight(string(bytes.ToValidUTF8(o.tail, []byte("?"))), "\n")
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	return lines[max(0, len(lines)-n):]
}
