package discovery

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"jetway/balancer"
)

func lanPolicy() policy {
	return policy{
		allowed:      []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")},
		reserved:     func(host string, port uint16) bool { return host == "10.0.0.4" && port == 8280 },
		installation: "default",
	}
}

// announced makes an announcement of "k=v k=v".
func announced(tags string) announcement {
	a := announcement{Name: "web1", Addr: netip.MustParseAddr("10.0.0.21"), Tags: map[string]string{}}
	for _, t := range strings.Fields(tags) {
		name, value, _ := strings.Cut(t, "=")
		a.Tags[name] = value
	}
	return a
}

func TestParseTags(t *testing.T) {
	f := func(tags string, want balancer.Member) {
		t.Helper()
		got, err := parseTags(announced(tags), lanPolicy())
		if err != nil {
			t.Fatalf("%q: %v", tags, err)
		}
		want.Source = "gossip"
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q:\n got %+v\nwant %+v", tags, got, want)
		}
	}
	worker := []string{"worker"}
	f("domain=as.shared.domain http=9763",
		balancer.Member{ID: "web1", Domain: "as.shared.domain", SubDomains: worker, Host: "10.0.0.21", HTTP: 9763, Weight: 1})
	f("domain=d https=9443 installation=default",
		balancer.Member{ID: "web1", Domain: "d", SubDomains: worker, Host: "10.0.0.21", HTTPS: 9443, Weight: 1})
	f("domain=d port.mapping.8281=9768 port.mapping.8280=9763",
		balancer.Member{ID: "web1", Domain: "d", SubDomains: worker, Host: "10.0.0.21", Weight: 1,
			Ports: []balancer.PortMapping{{From: 8280, To: 9763}, {From: 8281, To: 9768}}})
	f("domain=d sub_domain=worker,mgt http=1 https=65535 host=10.1.2.3 weight=1000 zone=eu-1 id=a/b state=draining role=web other=x",
		balancer.Member{ID: "a/b", Domain: "d", SubDomains: []string{"mgt", "worker"}, Host: "10.1.2.3", HTTP: 1, HTTPS: 65535, Weight: 1000, Zone: "eu-1", Draining: true})
	f("domain=d http=80 state=up host=fd00::1",
		balancer.Member{ID: "web1", Domain: "d", SubDomains: worker, Host: "fd00::1", HTTP: 80, Weight: 1})
	f("domain=d http=80 host=::ffff:10.1.1.1", // one spelling of one address
		balancer.Member{ID: "web1", Domain: "d", SubDomains: worker, Host: "10.1.1.1", HTTP: 80, Weight: 1})
	f("domain=d http=8281 host=10.0.0.4",
		balancer.Member{ID: "web1", Domain: "d", SubDomains: worker, Host: "10.0.0.4", HTTP: 8281, Weight: 1})
}

func TestParseTagsRefuses(t *testing.T) {
	f := func(tags, want string) {
		t.Helper()
		m, err := parseTags(announced(tags), lanPolicy())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%q = %+v, %v; want error with %q", tags, m, err, want)
		}
	}
	f("http=80", `tag "domain" with value "": expected a domain name`)
	f("sub_domain=worker", `tag "domain"`)
	f("domain= http=80", `tag "domain" with value ""`)
	f("domain=a..b http=80", `tag "domain" with value "a..b"`)
	f("domain=-a http=80", `tag "domain"`)
	f("domain=a/b http=80", `tag "domain"`)
	f("domain="+strings.Repeat("a.", 127)+"a http=80", `tag "domain"`) // 255 bytes
	f("domain=d", "without a port")
	f("domain=d sub_domain=worker", "without a port")
	f("domain=d http=", `tag "http" with value "": expected a port, 1..65535`)
	f("domain=d http=0", `tag "http" with value "0"`)
	f("domain=d http=65536", `tag "http"`)
	f("domain=d http=080", `tag "http"`)
	f("domain=d http=+80", `tag "http"`)
	f("domain=d http=80 https=x", `tag "https" with value "x"`)
	f("domain=d port.mapping.8280=0", `tag "port.mapping.8280" with value "0"`)
	f("domain=d port.mapping.08280=1", `tag "port.mapping.08280"`)
	f("domain=d port.mapping.=1", `tag "port.mapping."`)
	f("domain=d http=80 sub_domain=", `tag "sub_domain" with value ""`)
	f("domain=d http=80 sub_domain=mgt,", `tag "sub_domain" with value "mgt,"`)
	f("domain=d http=80 sub_domain=mgt,mgt", `tag "sub_domain"`)
	f("domain=d http=80 sub_domain=a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", `tag "sub_domain"`)
	f("domain=d http=80 weight=0", `tag "weight" with value "0": expected a number, 1..1000`)
	f("domain=d http=80 weight=1001", `tag "weight"`)
	f("domain=d http=80 weight=1e3", `tag "weight"`)
	f("domain=d http=80 state=down", `tag "state" with value "down": expected up or draining`)
	f("domain=d http=80 id=", `tag "id"`)
	f("domain=d http=80 id=\x7f", `tag "id"`)
	f("domain=d http=80 id=é", `tag "id"`)
	f("domain=d http=80 id="+strings.Repeat("x", 129), `tag "id"`)
	f("domain=d http=80 zone=\x01", `tag "zone"`)
	f("domain=d http=80 installation=other", `tag "installation" with value "other": expected "default"`)
	f("domain=d http=80 host=example.com", `tag "host" with value "example.com": expected an IP address`)
	f("domain=d http=80 host=", `tag "host"`)
	f("domain=d http=80 host=127.0.0.1", "other than loopback")
	f("domain=d http=80 host=::ffff:127.0.0.1", "other than loopback")
	f("domain=d http=80 host=::1", "other than loopback")
	f("domain=d http=80 host=0.0.0.0", "unspecified")
	f("domain=d http=80 host=::", "unspecified")
	f("domain=d http=80 host=169.254.169.254", "link-local")
	f("domain=d http=80 host=fe80::1", "link-local")
	f("domain=d http=80 host=fd00::1%eth0", "without zone")
	f("domain=d http=80 host=224.0.0.1", "multicast")
	f("domain=d http=80 host=255.255.255.255", "broadcast")
	f("domain=d http=80 host=192.168.0.1", "inside allowed_cidrs")
	f("domain=d http=8280 host=10.0.0.4", `"10.0.0.4:8280": it is a listener of Jetway`)
	f("domain=d http=8281 https=8280 host=10.0.0.4", `listener of Jetway`)
	f("domain=d port.mapping.80=8280 host=::ffff:10.0.0.4", `listener of Jetway`)

	a := announced("domain=d http=80")
	a.Name = "two words"
	if _, err := parseTags(a, lanPolicy()); err == nil || !strings.Contains(err.Error(), `tag "id" with value "two words"`) {
		t.Fatalf("node name with a blank: %v", err)
	}
	a = announced("domain=d http=80")
	a.Addr = netip.MustParseAddr("192.168.0.1")
	if _, err := parseTags(a, lanPolicy()); err == nil || !strings.Contains(err.Error(), "gossip address") {
		t.Fatalf("foreign gossip address: %v", err)
	}
	a = announced("domain=d")
	for p := range 33 {
		a.Tags[fmt.Sprintf("port.mapping.%d", p+1)] = "80"
	}
	if _, err := parseTags(a, lanPolicy()); err == nil || !strings.Contains(err.Error(), "at most 32") {
		t.Fatalf("33 mappings: %v", err)
	}
}

func TestParseTagsIgnores(t *testing.T) {
	f := func(tags string) {
		t.Helper()
		if m, err := parseTags(announced(tags), lanPolicy()); !errors.Is(err, errNotMember) {
			t.Fatalf("%q = %+v, %v", tags, m, err)
		}
	}
	f("")
	f("role=web dc=eu")
	f("zone=x id=y weight=z state=q host=127.0.0.1") // not ours alone
	f("role=lb domain=d http=80")
}

func TestParseTagsOnLoopback(t *testing.T) {
	p := policy{loopback: true, reserved: func(_ string, port uint16) bool { return port == 8280 }}
	f := func(tags string, want bool) {
		t.Helper()
		if _, err := parseTags(announced(tags), p); (err == nil) != want {
			t.Fatalf("%q: %v, want accepted %v", tags, err, want)
		}
	}
	f("domain=d http=80 host=127.0.0.1", true)
	f("domain=d http=80 host=::1", true)
	f("domain=d http=80 host=10.0.0.1", true)
	f("domain=d http=80 host=0.0.0.0", false)
	f("domain=d http=8280 host=127.0.0.1", false)
}

func TestTagsOfRoundTrip(t *testing.T) {
	f := func(m balancer.Member, tags int) {
		t.Helper()
		m.Source = "gossip"
		a := announcement{Name: "web1", Addr: netip.MustParseAddr("10.0.0.21"), Tags: tagsOf(m, "web1")}
		got, err := parseTags(a, lanPolicy())
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Fatalf("\n got %+v, %v\nwant %+v", got, err, m)
		}
		if len(a.Tags) != tags {
			t.Fatalf("%d tags, want %d: %v", len(a.Tags), tags, a.Tags)
		}
	}
	f(balancer.Member{ID: "web1", Domain: "d", SubDomains: []string{"worker"}, Host: "10.0.0.21", HTTP: 80, Weight: 1}, 3)
	f(balancer.Member{ID: "x", Domain: "d", SubDomains: []string{"a", "b"}, Host: "10.0.0.9", HTTP: 80, HTTPS: 443, Weight: 7, Zone: "z", Draining: true,
		Ports: []balancer.PortMapping{{From: 1, To: 2}, {From: 3, To: 4}}}, 11)
}

func FuzzParseTags(f *testing.F) {
	f.Add("web1", []byte{10, 0, 0, 21}, "domain=as.shared.domain\nsub_domain=worker,mgt\nhttp=9763\nhttps=9443\nport.mapping.8280=9763\nhost=10.0.0.1\nweight=3\nzone=z\nid=i\nstate=draining")
	f.Add("", []byte{}, "domain=\nhttp=99999999999999999999")
	f.Add("x", []byte{127, 0, 0, 1}, "domain=d\nport.mapping.=\nhost=::%")
	f.Fuzz(func(t *testing.T, name string, addr []byte, lines string) {
		a := announcement{Name: name, Tags: map[string]string{}}
		a.Addr, _ = netip.AddrFromSlice(addr)
		for line := range strings.SplitSeq(lines, "\n") {
			k, v, _ := strings.Cut(line, "=")
			a.Tags[k] = v
		}
		p := lanPolicy()
		m, err := parseTags(a, p)
		if err != nil {
			if len(err.Error()) > 4096 {
				t.Fatalf("message of %d bytes", len(err.Error()))
			}
			return
		}
		host, err := netip.ParseAddr(m.Host)
		if err != nil || p.refuses(host) != "" || len(ports(&m)) == 0 || m.Weight < 1 || m.Weight > 1000 || !isID(m.ID) || !isDomain(m.Domain) || len(m.SubDomains) == 0 {
			t.Fatalf("accepted %+v", m)
		}
		again, err := parseTags(announcement{Name: name, Addr: a.Addr, Tags: tagsOf(m, name)}, p)
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("round trip of %+v: %+v, %v", m, again, err)
		}
	})
}
