package server

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// watching bounds those who watch: their number, and how long one that does not
// read may hold a connection.
type watching struct {
	room      chan struct{}
	heartbeat time.Duration
	patience  time.Duration
	over      chan struct{}
	once      *sync.Once
}

const (
	heartbeat   = 15 * time.Second
	patience    = 30 * time.Second
	maxWatchers = 100
)

func newWatching() watching {
	return watching{make(chan struct{}, maxWatchers), heartbeat, patience, make(chan struct{}), &sync.Once{}}
}

// StopWatching ends every stream of events: for http.Server.RegisterOnShutdown,
// which waits for no stream otherwise.
func (s *Server) StopWatching() { s.watch.once.Do(func() { close(s.watch.over) }) }

// events sends server-sent events: `status` now and at every change, `entry`
// for each line of the audit. Whoever reads too slowly loses entries, and is cut
// off at last; nobody waits for them.
func (s *Server) events(w http.ResponseWriter, r *http.Request, _ Identity) error {
	select {
	case s.watch.room <- struct{}{}:
		defer func() { <-s.watch.room }()
	default:
		return failure{http.StatusTooManyRequests, "TooManyWatchers", fmt.Sprintf("%d clients watch already; close one", cap(s.watch.room)), nil}
	}
	entries, cancel := s.control.Subscribe()
	defer cancel()
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	out := stream{w, http.NewResponseController(w), s.watch.patience}
	tick := time.NewTicker(s.watch.heartbeat)
	defer tick.Stop()
	alive := out.send("status", 0, s.control.Status())
	for alive {
		select {
		case <-r.Context().Done():
			return nil
		case <-s.watch.over:
			return nil
		case e, open := <-entries:
			alive = open && out.send("entry", e.Seq, e.Entry) && out.send("status", e.Seq, s.control.Status())
		case <-tick.C:
			alive = out.write(": still here\n\n")
		}
	}
	return nil
}

// stream writes events to one client.
type stream struct {
	w        io.Writer
	rc       *http.ResponseController
	patience time.Duration
}

func (s stream) send(name string, seq uint64, v any) bool {
	data, err := json.Marshal(v)
	return err == nil && s.write(fmt.Sprintf("event: %s\nid: %d\ndata: %s\n\n", name, seq, data))
}

func (s stream) write(text string) bool {
	if s.rc.SetWriteDeadline(time.Now().Add(s.patience)) != nil {
		return false
	}
	_, err := io.WriteString(s.w, text)
	return err == nil && s.rc.Flush() == nil
}
