package mesh

import (
	"sync"

	"github.com/serin-dev/serin/internal/observe/wire"
)

// channel is the present order of a revision and those who listen to it. A new
// order replaces the old one; a listener that is slow hears the last one only.
type channel struct {
	mu     sync.Mutex
	order  *wire.Order
	seq    uint64        // of the order; counted here, so that it grows whoever orders
	change chan struct{} // closed and replaced at every change
	closed bool
}

func newChannel() *channel { return &channel{change: make(chan struct{})} }

func (c *channel) set(o wire.Order) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.order != nil && c.same(o) {
		return
	}
	c.seq = max(c.seq+1, o.Seq)
	o.Seq = c.seq
	c.order = &o
	close(c.change)
	c.change = make(chan struct{})
}

// same reports that this was ordered already: it is said again and again until it is
// seen in force.
func (c *channel) same(o wire.Order) bool {
	o.Seq = c.order.Seq
	return o == *c.order
}

func (c *channel) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		close(c.change)
	}
}

// now returns the present order, nil before the first, and what is closed when
// there is another; open is false when there will be none.
func (c *channel) now() (o *wire.Order, change <-chan struct{}, open bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.order, c.change, !c.closed
}
