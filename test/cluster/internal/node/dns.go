package node

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/miekg/dns"
)

const zone = "cluster.local."

// names finds the addresses behind the cluster's names.
type names interface {
	// service answers the addresses of a Service, or of one of its pods when host is given; found says that the name
	// exists, also when it has no address now.
	service(namespace, name, host string) (addresses []net.IP, alias string, found bool)
}

// answer is the whole of the name server's knowledge: A records of NAME.NAMESPACE.svc.cluster.local and of
// HOST.NAME.NAMESPACE.svc.cluster.local, and "no such name" for everything else, so that search suffixes work.
func answer(q *dns.Msg, known names) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.Authoritative = true
	if len(q.Question) != 1 {
		m.Rcode = dns.RcodeFormatError
		return m
	}
	question := q.Question[0]
	name := strings.ToLower(question.Name)
	labels, inside := strings.CutSuffix(name, ".svc."+zone)
	parts := strings.Split(labels, ".")
	if !inside || len(parts) < 2 || len(parts) > 3 {
		m.Rcode = dns.RcodeNameError
		return m
	}
	host := ""
	if len(parts) == 3 {
		host, parts = parts[0], parts[1:]
	}
	addresses, alias, found := known.service(parts[1], parts[0], host)
	if !found {
		m.Rcode = dns.RcodeNameError
		return m
	}
	header := dns.RR_Header{Name: question.Name, Class: dns.ClassINET, Ttl: 2}
	if alias != "" {
		header.Rrtype = dns.TypeCNAME
		m.Answer = append(m.Answer, &dns.CNAME{Hdr: header, Target: dns.Fqdn(alias)})
		return m
	}
	if question.Qtype != dns.TypeA && question.Qtype != dns.TypeANY {
		return m // the name exists, but has no such record
	}
	header.Rrtype = dns.TypeA
	for _, a := range addresses {
		m.Answer = append(m.Answer, &dns.A{Hdr: header, A: a})
	}
	return m
}

// listenDNS serves on the node's address, over UDP and TCP.
func listenDNS(address string, known names) error {
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := answer(q, known)
		if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
			m.Truncate(dns.MinMsgSize)
		}
		_ = w.WriteMsg(m) // who asked will ask again
	})
	packets, err := (&net.ListenConfig{}).ListenPacket(context.Background(), "udp", address)
	if err != nil {
		return fmt.Errorf("serving names: %w", err)
	}
	stream, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("serving names: %w", err)
	}
	for _, s := range []*dns.Server{{PacketConn: packets, Handler: handler}, {Listener: stream, Handler: handler}} {
		go func() {
			fmt.Fprintln(os.Stderr, "name server:", s.ActivateAndServe())
			os.Exit(1)
		}()
	}
	return nil
}
