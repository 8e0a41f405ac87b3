package node

import (
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

type fixed map[string][]net.IP

func (f fixed) service(namespace, name, host string) ([]net.IP, string, bool) {
	if name == "elsewhere" {
		return nil, "example.com", true
	}
	a, found := f[namespace+"/"+name+"/"+host]
	return a, "", found
}

func TestAnswer(t *testing.T) {
	known := fixed{
		"istio-system/istiod/": {net.IPv4(10, 189, 128, 7)},
		"abtesting/pods/":      {net.IPv4(10, 189, 1, 2), net.IPv4(10, 189, 1, 3)},
		"abtesting/pods/p-0":   {net.IPv4(10, 189, 1, 2)},
		"abtesting/empty/":     nil,
	}
	for _, c := range []struct {
		name  string
		qtype uint16
		rcode int
		want  []string
	}{
		{"istiod.istio-system.svc.cluster.local.", dns.TypeA, dns.RcodeSuccess, []string{"10.189.128.7"}},
		{"Istiod.istio-system.SVC.cluster.local.", dns.TypeA, dns.RcodeSuccess, []string{"10.189.128.7"}},
		{"istiod.istio-system.svc.cluster.local.", dns.TypeAAAA, dns.RcodeSuccess, nil},
		{"pods.abtesting.svc.cluster.local.", dns.TypeA, dns.RcodeSuccess, []string{"10.189.1.2", "10.189.1.3"}},
		{"p-0.pods.abtesting.svc.cluster.local.", dns.TypeA, dns.RcodeSuccess, []string{"10.189.1.2"}},
		{"empty.abtesting.svc.cluster.local.", dns.TypeA, dns.RcodeSuccess, nil},
		{"elsewhere.abtesting.svc.cluster.local.", dns.TypeA, dns.RcodeSuccess, []string{"example.com."}},
		{"p-9.pods.abtesting.svc.cluster.local.", dns.TypeA, dns.RcodeNameError, nil},
		{"none.abtesting.svc.cluster.local.", dns.TypeA, dns.RcodeNameError, nil},
		{"istiod.istio-system.svc.abtesting.svc.cluster.local.", dns.TypeA, dns.RcodeNameError, nil},
		{"istiod.istio-system.svc.", dns.TypeA, dns.RcodeNameError, nil},
		{"svc.cluster.local.", dns.TypeA, dns.RcodeNameError, nil},
		{"example.com.", dns.TypeA, dns.RcodeNameError, nil},
	} {
		m := answer(new(dns.Msg).SetQuestion(c.name, c.qtype), known)
		var got []string
		for _, rr := range m.Answer {
			switch rr := rr.(type) {
			case *dns.A:
				got = append(got, rr.A.String())
			case *dns.CNAME:
				got = append(got, rr.Target)
			}
		}
		if m.Rcode != c.rcode {
			t.Errorf("%s: code %s, want %s", c.name, dns.RcodeToString[m.Rcode], dns.RcodeToString[c.rcode])
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s %s (-want +got):\n%s", c.name, dns.TypeToString[c.qtype], d)
		}
	}
}
