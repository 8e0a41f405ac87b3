package mesh

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	data "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	service "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"

	"github.com/serin-dev/serin/internal/judge"
	"github.com/serin-dev/serin/internal/observe"
	"github.com/serin-dev/serin/internal/observe/wire"
)

// AccessLog is the gRPC service that the ingress gateway streams its log to.
type AccessLog struct {
	service.UnimplementedAccessLogServiceServer
	Hub *Hub
}

// StreamAccessLogs reads entries until the gateway ends the stream. What is no
// HTTP entry is not ours.
func (a *AccessLog) StreamAccessLogs(stream service.AccessLogService_StreamAccessLogsServer) error {
	for {
		m, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return stream.SendAndClose(&service.StreamAccessLogsResponse{})
		case err != nil:
			return fmt.Errorf("reading the access log: %w", err)
		}
		for _, entry := range m.GetHttpLogs().GetLogEntry() {
			a.Hub.Log(entry)
		}
	}
}

// stamp is what a route's destination wrote on a request.
type stamp struct {
	rollout  string
	epoch    uint32
	direct   bool // chose its arm by header
	sticky   bool // kept its arm by cookie
	revision string
}

// parseStamp reads ROLLOUT.EPOCH.REVISION; neither name holds a dot.
func parseStamp(s string) (stamp, bool) {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || parts[0] == "" || parts[2] == "" {
		return stamp{}, false
	}
	out := stamp{rollout: parts[0], revision: parts[2]}
	switch parts[1] {
	case "direct":
		out.direct = true
	case "sticky":
		out.sticky = true
	default:
		n, err := strconv.ParseUint(parts[1], 10, 32)
		if err != nil {
			return stamp{}, false
		}
		out.epoch = uint32(n)
	}
	return out, true
}

// Log counts one entry of the gateway's access log.
func (h *Hub) Log(entry *data.HTTPAccessLogEntry) {
	common := entry.GetCommonProperties()
	k, ours := routeKey(common.GetRouteName())
	s, stamped := parseStamp(entry.GetRequest().GetRequestHeaders()[wire.StampHeader])
	e := h.endpoint(k)
	if !ours || !stamped || e == nil {
		h.miss(ours, common)
		return
	}
	status := int(entry.GetResponse().GetResponseCode().GetValue())
	event := observe.Event{
		Epoch: s.epoch, Direct: s.direct, Drawn: true, Status: status, Failed: status == 0 || status >= 500,
		Latency: latency(common), ClientGone: common.GetResponseFlags().GetDownstreamConnectionTermination(),
	}
	if f := common.GetResponseFlags(); event.Failed && (f.GetNoHealthyUpstream() || f.GetUpstreamConnectionFailure()) {
		event.Latency = unanswered
	}
	switch entry.GetResponse().GetResponseHeaders()[wire.FallbackHeader] {
	case "":
	case "unready", "handed-over": // by a pod that had never been ready, or by an order of ours: nobody's failure
		return
	default:
		event.FellBack, event.Failed = !event.Failed, true // answered in its place, if that was no failure too
	}
	e.log(s, &event, max(1, uint64(common.GetUpstreamRequestAttemptCount())), h.clock())
}

// log counts an event for the arm that its revision was in its epoch.
func (e *endpoint) log(s stamp, event *observe.Event, tries uint64, now time.Time) {
	e.mu.Lock()
	arm, known := e.arm(s.epoch, s.revision)
	if !s.direct && !s.sticky {
		e.inForce[s.rollout] = max(e.inForce[s.rollout], s.epoch)
		e.meter.heardLog(now)
		if known {
			n := amounts{logged: tries}
			if !event.Failed && !event.ClientGone && event.Status < 400 { // then a recorder has told of it too
				n.answered = 1
			}
			e.meter.add(s.revision, n)
		}
	}
	if s.direct || s.sticky {
		arm, known, event.Epoch = e.lastArm(s.revision)
		event.Direct = true // served, never judged
	}
	if known {
		e.counts.add(arm, s.revision, event)
	}
	e.mu.Unlock()
	if known {
		event.Candidate = arm == judge.Candidate
		e.collector.Load().Counted(event)
	}
}

// lastArm is what a revision is in the newest epoch: a header route has none.
func (e *endpoint) lastArm(revision string) (judge.Arm, bool, uint32) {
	newest := uint32(0)
	for id := range e.arms {
		newest = max(newest, id)
	}
	arm, known := e.arm(newest, revision)
	return arm, known, newest
}

// miss counts entries that belong to nobody. A client's own stamp is logged where
// no route replaced it, so such entries say nothing about an arm.
func (h *Hub) miss(ours bool, common *data.AccessLogCommon) {
	flags := common.GetResponseFlags()
	h.mu.Lock()
	defer h.mu.Unlock()
	if ours || flags.GetNoClusterFound() {
		h.lost++
		return
	}
	h.stray++
}

// unanswered is the latency of a request that reached no scorer. The gateway says no
// within a fraction of a millisecond: counted as that fast, a stable that is down
// would look quicker than any candidate, and the candidate would be reverted for it.
const unanswered = time.Hour

func latency(c *data.AccessLogCommon) time.Duration {
	if d := c.GetTimeToLastDownstreamTxByte(); d != nil {
		return d.AsDuration()
	}
	return c.GetTimeToLastUpstreamRxByte().AsDuration()
}

// RouteName names one of our routes: serin/NAMESPACE/NAME/KIND. It comes back in the
// access log, where it says which endpoint an entry belongs to.
func RouteName(k Key, kind string) string { return "serin/" + k.Namespace + "/" + k.Name + "/" + kind }

// routeKey is the reverse; ok is false for routes that are not ours.
func routeKey(name string) (Key, bool) {
	parts := strings.SplitN(name, "/", 4)
	if len(parts) != 4 || parts[0] != "serin" || parts[1] == "" || parts[2] == "" {
		return Key{}, false
	}
	return Key{parts[1], parts[2]}, true
}
