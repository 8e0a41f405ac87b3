package proxy

import (
	"fmt"
	"time"
)

const (
	// mostConnections is far above what a machine's scorers answer.
	mostConnections = 10_000
	// ownFiles is how many files the process opens besides a connection to each client and one on to a scorer.
	ownFiles = 256
	// leastConnections are taken however few files may be open.
	leastConnections = 64
	// mostTurnedAway may be told so at a time; who comes beyond is hung up on.
	mostTurnedAway = 64
	// awayHead is how long a client that is turned away may take to begin a request.
	awayHead = time.Second
	// fullEvery bounds how often the log says that clients are turned away.
	fullEvery = 10 * time.Second
)

// defaultConnections fits the files that this process may open: without them scorers could not be reached either.
func defaultConnections() int { return connectionsFor(openFiles()) }

// connectionsFor is of a limit of open files; 0: it is not known.
func connectionsFor(files uint64) int {
	if files == 0 || files >= 2*mostConnections+ownFiles {
		return mostConnections
	}
	return max(leastConnections, (int(files)-ownFiles)/2)
}

// turnAway answers a client for which there is no room. It is told rather than left to wait: nobody knows when others
// leave. The caller holds mu.
func (g *Gateway) turnAway(c *conn) {
	n := g.stats.turned.Add(1)
	if now := time.Now(); now.Sub(g.fullSaid) >= fullEvery {
		g.fullSaid = now
		g.cfg.Logger.Warn("too many connections: new clients are answered 503", "most", g.cfg.MaxConnections, "turnedAway", n)
	}
	select {
	case g.away <- struct{}{}:
		g.running.Go(func() {
			defer func() { <-g.away }()
			defer c.link.Close()
			defer c.linger()
			c.sorry()
		})
	default:
		c.link.Close()
	}
}

// sorry waits for a request, and refuses it: an answer that comes before is an error to many clients.
func (c *conn) sorry() {
	c.readWithin(time.Now(), awayHead)
	if !c.readHead() {
		return
	}
	c.last = true
	message := fmt.Sprintf("this gateway has the %d connections that it takes at most: try again later, and use a connection for more than one request", c.g.cfg.MaxConnections)
	c.unread = c.write(c.g.refusal(nil, 503, "TooManyConnections", message, true, []byte("Retry-After: 1\r\n"))) == nil
}
