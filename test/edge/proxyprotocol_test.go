package edge

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"jetway/test/harness"
)

// version2 is a PROXY protocol header, version 2: command 0 is LOCAL, 1 PROXY.
func version2(command byte, source string, extra string) string {
	head := "\r\n\r\n\x00\r\nQUIT\n" + string([]byte{0x20 | command})
	var body []byte
	family := byte(0)
	if source != "" {
		ap := netip.MustParseAddrPort(source)
		family = 0x11
		local := netip.MustParseAddr("192.0.2.1")
		if ap.Addr().Is6() {
			family = 0x21
			local = netip.MustParseAddr("2001:db8::ffff")
		}
		body = append(append(body, ap.Addr().AsSlice()...), local.AsSlice()...)
		body = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(body, ap.Port()), 80)
	}
	body = append(body, extra...)
	return head + string([]byte{family}) + string(binary.BigEndian.AppendUint16(nil, uint16(len(body)))) + string(body)
}

// TestProxyProtocol: who the client is by either version, and nothing at all
// for what is no header.
func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	s, j, m := edge(t, nil, func(s *site) {
		s.listener, s.timeouts = ", proxy_protocol: true", "header: 1s"
		s.service = "    allow_from: [198.51.100.0/24, \"2001:db8::/32\", 127.0.0.0/8]\n"
	})
	f := func(name, header, client string) {
		t.Helper()
		m.Take()
		c := harness.Dial(t, s.addr())
		defer c.Close()
		start := time.Now()
		c.Send(header + get("/"))
		a, err := c.Await("GET", 5*time.Second)
		if client == "" {
			if a.Status != 0 || err == nil || len(m.Requests()) != 0 {
				t.Errorf("%s: %d %v, %d requests at the member, want the end without a word", name, a.Status, err, len(m.Requests()))
			}
			between(t, name, time.Since(start), 0, 2*time.Second)
			return
		}
		if err != nil || a.Status != 200 {
			t.Fatalf("%s: %v %d %s", name, err, a.Status, a.Body)
		}
		if got := harness.Values(m.Requests()[0].Fields, "X-Forwarded-For"); len(got) != 1 || got[0] != client {
			t.Errorf("%s: X-Forwarded-For %q, want %s", name, got, client)
		}
		if _, status := ask(t, c, get("/")); status != 200 { // only the first request has a header in front
			t.Errorf("%s: second request: %d", name, status)
		}
	}
	f("v1", "PROXY TCP4 198.51.100.1 192.0.2.1 4711 80\r\n", "198.51.100.1")
	f("v1, IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 4711 80\r\n", "2001:db8::1")
	f("v1, unknown", "PROXY UNKNOWN\r\n", "127.0.0.1")
	f("v2", version2(1, "198.51.100.1:4711", ""), "198.51.100.1")
	f("v2, IPv6", version2(1, "[2001:db8::1]:4711", ""), "2001:db8::1")
	f("v2, mapped", version2(1, "[::ffff:198.51.100.1]:4711", ""), "198.51.100.1")
	f("v2 with TLVs", version2(1, "198.51.100.1:4711", "\x04\x00\x03abc\xea\x00\x04abcd"), "198.51.100.1")
	f("v2, LOCAL", version2(0, "", ""), "127.0.0.1")
	f("v2, LOCAL with an address", version2(0, "198.51.100.1:4711", ""), "127.0.0.1")

	refused := []string{"", "PROXY TCP4 198.51.100.1 192.0.2.1 4711\r\n", "PROXY TCP4 999.1.1.1 192.0.2.1 1 2\r\n",
		"PROXY TCP4 2001:db8::1 192.0.2.1 1 2\r\n", "PROXY TCP4 198.51.100.1 192.0.2.1 4711 80\n", "proxy TCP4 198.51.100.1 192.0.2.1 4711 80\r\n",
		"PROXY TCP4 198.51.100.1 192.0.2.1 4711 99999\r\n", "PROXY " + strings.Repeat("x", 200) + "\r\n", "\r\n", "\x16\x03\x01",
		version2(7, "198.51.100.1:4711", ""), strings.Replace(version2(1, "198.51.100.1:4711", ""), "QUIT", "QUIZ", 1),
		strings.Replace(version2(1, "198.51.100.1:4711", ""), "\n\x21", "\n\x31", 1)} // another version
	for i, header := range refused {
		f(fmt.Sprintf("garbage %d %.20q", i, header), header, "")
	}
	if got := j.Metric("jetway_tls_handshake_errors_total"); got == "0" {
		t.Error("nothing of that is counted")
	}
}

// TestProxyProtocolSlow: in pieces it counts, too slow it ends.
func TestProxyProtocolSlow(t *testing.T) {
	t.Parallel()
	s, _, m := edge(t, nil, func(s *site) { s.listener, s.timeouts = ", proxy_protocol: true", "header: 1s" })
	for _, header := range []string{"PROXY TCP4 198.51.100.1 192.0.2.1 4711 80\r\n", version2(1, "198.51.100.1:4711", "")} {
		c := harness.Dial(t, s.addr())
		c.SendBytewise(header + get("/"))
		if a, err := c.Await("GET", 5*time.Second); err != nil || a.Status != 200 {
			t.Errorf("%.10q in pieces: %v %+v", header, err, a)
		}
		start := time.Now()
		c = harness.Dial(t, s.addr())
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for i := range header {
				if c.Send(header[i:i+1]) != nil {
					return
				}
				time.Sleep(100 * time.Millisecond) // the pace
			}
		}()
		if a, err := c.Await("GET", 5*time.Second); err == nil {
			t.Errorf("%.10q drip-fed: %d", header, a.Status)
		}
		between(t, "a slow header", time.Since(start), 900*time.Millisecond, 2*time.Second)
		c.Close()
		<-sent
	}
	start := time.Now()
	if err := harness.Dial(t, s.addr()).AwaitEOF(5 * time.Second); err != nil {
		t.Errorf("silence: %v, want the end", err)
	}
	between(t, "silence", time.Since(start), 900*time.Millisecond, 2*time.Second)
	if n := len(m.Requests()); n != 2 {
		t.Errorf("%d requests at the member, want 2", n)
	}
}

// TestProxyProtocolTLS: the header comes first, in the clear, be it alone or
// in one packet with the hello.
func TestProxyProtocolTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	m := harness.StartMember(t, "m", nil)
	s, opts := secureSite(t, m, "", map[string]pair{"site": ca.issue(t, nil, "a.test")}, "site")
	s.listener += ", proxy_protocol: true"
	s.start(t, opts...)
	for _, header := range []string{"PROXY TCP4 198.51.100.1 192.0.2.1 4711 443\r\n", version2(1, "198.51.100.1:4711", "")} {
		for _, together := range []bool{false, true} {
			raw := harness.Dial(t, s.addr())
			var conn net.Conn = raw.Conn
			if together {
				conn = &prefixed{Conn: raw.Conn, prefix: header}
			} else {
				raw.Send(header)
			}
			m.Take()
			c := harness.NewClient(tls.Client(conn, ca.trusting("a.test")))
			if a, status := ask(t, c, get("/")); status != 200 {
				t.Fatalf("%.10q, one packet %v: %d %s", header, together, status, a.Body)
			}
			r := m.Requests()[0]
			if got := harness.Values(r.Fields, "X-Forwarded-For"); len(got) != 1 || got[0] != "198.51.100.1" {
				t.Errorf("%.10q, one packet %v: X-Forwarded-For %q", header, together, got)
			}
			if got := harness.Values(r.Fields, "X-Forwarded-Proto"); len(got) != 1 || got[0] != "https" {
				t.Errorf("X-Forwarded-Proto %q", got)
			}
		}
	}
	if _, _, err := tryTLS(t, s.addr(), ca.trusting("a.test")); err == nil {
		t.Error("TLS without the header was served")
	}
}

// prefixed puts bytes in front of the first write, in one packet with it.
type prefixed struct {
	net.Conn
	prefix string
}

func (p *prefixed) Write(b []byte) (int, error) {
	if p.prefix == "" {
		return p.Conn.Write(b)
	}
	n, err := p.Conn.Write(append([]byte(p.prefix), b...))
	n = max(0, n-len(p.prefix))
	p.prefix = ""
	return n, err
}
