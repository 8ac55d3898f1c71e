package edge

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"

	"jetway/test/harness"
)

// secureSite is a site whose listener has these certificates.
func secureSite(t testing.TB, m *harness.Member, more string, pairs map[string]pair, first string) (*site, []harness.Option) {
	s := newSite(t, m)
	names := []string{first}
	opts := pairs[first].files(first)
	for name, p := range pairs {
		if name != first {
			names = append(names, name)
			opts = append(opts, p.files(name)...)
		}
	}
	s.listener = ", tls: {" + certFiles(names...) + more + "}"
	s.service = "    member_scheme: http\n"
	return s, opts
}

// TestTLSVersions asks with openssl for protocol versions and cipher suites,
// as scanners do.
func TestTLSVersions(t *testing.T) {
	t.Parallel()
	openssl := harness.RequireTool(t, "openssl")
	ca := newAuthority(t, "ca")
	s, opts := secureSite(t, harness.StartMember(t, "m", nil), "", map[string]pair{
		"rsa": ca.issueRSA(t, "a.test"), "ecdsa": ca.issue(t, nil, "e.test")}, "rsa")
	s.start(t, opts...)
	f := func(accept bool, args ...string) {
		t.Helper()
		args = append([]string{"s_client", "-connect", s.addr(), "-servername", "a.test"}, args...)
		out, err := exec.Command(openssl, args...).CombinedOutput() // with stdin at its end
		done := err == nil && strings.Contains(string(out), "Cipher is ") && !strings.Contains(string(out), "Cipher is (NONE)")
		if done != accept {
			t.Errorf("openssl %s: accepted %v, want %v", strings.Join(args[3:], " "), done, accept)
		}
	}
	f(true)
	f(true, "-tls1_3")
	f(true, "-tls1_2")
	f(false, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
	f(false, "-tls1", "-cipher", "ALL:@SECLEVEL=0")
	for _, good := range []string{"ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"} {
		f(true, "-tls1_2", "-cipher", good)
	}
	f(true, "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256", "-servername", "e.test")
	for _, bad := range []string{
		"AES128-GCM-SHA256", "AES128-SHA", "AES256-SHA256", // no forward secrecy
		"DHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256", "PSK-AES128-GCM-SHA256",
		"ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES256-SHA", // CBC with SHA-1: what Lucky13 is about
		"AECDH-AES128-SHA", "ADH-AES128-SHA", "NULL-SHA256", "ECDHE-RSA-NULL-SHA"} { // nobody vouches, nothing is hidden
		f(false, "-tls1_2", "-cipher", bad+":@SECLEVEL=0")
	}
	f(true, "-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256")
	f(false, "-alpn", "h2") // RFC 7301, 3.2: no protocol in common
	f(true, "-alpn", "h2,http/1.1")
	f(true, "-alpn", "http/1.1")
}

// TestTLSServerName: exact before wildcard before default.
func TestTLSServerName(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	s, opts := secureSite(t, harness.StartMember(t, "m", nil), "", map[string]pair{
		"default": ca.issue(t, nil, "default.test"), "wild": ca.issue(t, nil, "*.wild.test"),
		"exact": ca.issue(t, nil, "exact.wild.test", "other.test")}, "default")
	s.start(t, opts...)
	f := func(name, want string) {
		t.Helper()
		_, conn := dialTLS(t, s.addr(), &tls.Config{ServerName: name, InsecureSkipVerify: true})
		state := conn.ConnectionState()
		if got := state.PeerCertificates[0].DNSNames[0]; got != want {
			t.Errorf("%q: the certificate of %s, want %s", name, got, want)
		}
		if state.NegotiatedProtocol != "" || state.Version != tls.VersionTLS13 {
			t.Errorf("%q: protocol %q, version %x", name, state.NegotiatedProtocol, state.Version)
		}
	}
	f("default.test", "default.test")
	f("exact.wild.test", "exact.wild.test")
	f("EXACT.wild.Test", "exact.wild.test")
	f("other.test", "exact.wild.test")
	f("any.wild.test", "*.wild.test")
	f("a.b.wild.test", "default.test") // a wildcard is one label
	f("wild.test", "default.test")
	f("unknown.test", "default.test")
	f("", "default.test")
	f("127.0.0.1", "default.test") // no server name at all (RFC 6066, 3)
}

// TestTLSStrictServerName: 421 where Host is not the session's name.
func TestTLSStrictServerName(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	m := harness.StartMember(t, "m", nil)
	s, opts := secureSite(t, m, ", strict_sni: true", map[string]pair{"site": ca.issue(t, nil, "a.test", "b.test")}, "site")
	s.services = "  b:\n    hosts: [b.test]\n    member_scheme: http\n    domains: {e: {}}\n"
	s.static = fmt.Sprintf("    - {id: e, domain: e, host: 127.0.0.1, http: %d}\n", m.Port)
	s.start(t, opts...)
	f := func(name, host string, status int) {
		t.Helper()
		c, _ := dialTLS(t, s.addr(), ca.trusting(name))
		request := "GET / HTTP/1.1\r\nHost: " + host + "\r\nAccept: application/json\r\n\r\n"
		if a, got := ask(t, c, request); got != status || status == 421 && !strings.Contains(string(a.Body), "misdirected") {
			t.Errorf("session for %q, Host %s: %d %s, want %d", name, host, got, a.Body, status)
		}
		if name == "a.test" { // another host on the same connection afterwards
			if _, got := ask(t, c, get("/")); got != 200 {
				t.Errorf("session for %q, Host a.test after %s: %d, want 200", name, host, got)
			}
		}
	}
	f("a.test", "a.test", 200)
	f("a.test", "A.TEST:443", 200)
	f("a.test", "a.test.", 200)
	f("a.test", "b.test", 421)
	f("b.test", "b.test", 200)
	f("127.0.0.1", "a.test", 421) // the session names nobody
	f("127.0.0.1", "127.0.0.1", 404)
}

// TestTLSClientCertificate: who signed is checked, members learn the subject,
// and nobody can write it himself.
func TestTLSClientCertificate(t *testing.T) {
	t.Parallel()
	ca, clients, stranger := newAuthority(t, "ca"), newAuthority(t, "clients"), newAuthority(t, "stranger")
	m := harness.StartMember(t, "m", nil)
	alice := clients.issue(t, func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: "alice", Organization: []string{"Acme, Inc"}}
	}, "alice")
	evil := clients.issue(t, func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: "eve\r\nX-Tenant-Id: 1"}
	}, "eve")
	old := clients.issue(t, expired, "old")
	foreign := stranger.issue(t, nil, "mallory")
	for _, required := range []bool{false, true} {
		more := ", client_ca_file: clients.pem"
		if required {
			more += ", require_client_cert: true"
		}
		s, opts := secureSite(t, m, more, map[string]pair{"site": ca.issue(t, nil, "a.test")}, "site")
		s.start(t, append(opts, harness.WithFile("clients.pem", clients.pem))...)
		f := func(p *pair, served bool, subject string) {
			t.Helper()
			m.Take()
			cfg := ca.trusting("a.test")
			if p != nil { // sent whatever the server asks for
				cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &p.Certificate, nil }
			}
			c, _, err := tryTLS(t, s.addr(), cfg)
			status := 0
			if err == nil {
				_, status = ask(t, c, get("/", "X-Client-Cert-Subject: CN=root", "x_client_cert_subject: CN=root", "X-CLIENT-CERT-SUBJECT:CN=root"))
			}
			if (status == 200) != served {
				t.Fatalf("required %v, subject %q: %d, served must be %v", required, subject, status, served)
			}
			if !served {
				if n := len(m.Requests()); n != 0 {
					t.Errorf("%d requests at the member", n)
				}
				return
			}
			head := string(m.Requests()[0].Head)
			got := strings.Join(harness.Values(m.Requests()[0].Fields, "X-Client-Cert-Subject"), " and ")
			if got != subject || strings.Contains(head, "root") || strings.Contains(head, "X-Tenant-Id: 1\r\n") {
				t.Errorf("required %v: subject %q, want %q, in\n%s", required, got, subject, head)
			}
		}
		f(nil, !required, "")
		f(&alice, true, `CN=alice,O=Acme\, Inc`)
		f(&foreign, false, "")
		f(&old, false, "")
		f(&evil, true, "") // a subject that cannot stand in a field is not passed on
	}
}

// TestTLSTickets: load balancers with one key file resume each other's
// sessions, with keys of their own they do not.
func TestTLSTickets(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	m := harness.StartMember(t, "m", nil)
	site := map[string]pair{"site": ca.issue(t, nil, "a.test")}
	key := func(b string) string {
		return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(b, 32))) + "\n"
	}
	run := func(more, keys string) (string, *harness.Jetway, *siteText) {
		s, opts := secureSite(t, m, more, site, "site")
		j := s.start(t, append(opts, harness.WithFile("ticket.key", keys))...)
		return s.addr(), j, &siteText{s.String()}
	}
	first, _, _ := run(", ticket_key_file: ticket.key", key("1"))
	second, j, conf := run(", ticket_key_file: ticket.key", "# the old one second\n"+key("2")+key("1"))
	third, alone, plain := run("", "")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		f := func(what, from, to string, want bool, between func()) {
			t.Helper()
			cfg := ca.trusting("a.test")
			cfg.MaxVersion, cfg.ClientSessionCache = version, tls.NewLRUClientSessionCache(4)
			c, _ := dialTLS(t, from, cfg)
			ask(t, c, get("/")) // the ticket comes with the answer
			c.Close()
			if between != nil {
				between()
			}
			c, conn := dialTLS(t, to, cfg)
			if got := conn.ConnectionState().DidResume; got != want {
				t.Errorf("%s, version %x: resumed %v, want %v", what, version, got, want)
			}
			if _, status := ask(t, c, get("/")); status != 200 {
				t.Errorf("%s, version %x: status %d", what, version, status)
			}
		}
		f("the same", first, first, true, nil)
		f("a peer that knows the key as its old one", first, second, true, nil)
		f("a peer that does not know the key", second, first, false, nil)
		f("a peer without the file", first, third, false, nil)
		f("over a reload with keys", second, second, true, func() { mustReload(t, j, conf.text) })
		f("over a reload without keys", third, third, true, func() { mustReload(t, alone, plain.text) })
	}
}

// siteText is a configuration to be loaded again.
type siteText struct{ text string }

// TestTLSTicketOfOldAuthority: a ticket must not outlive the trust in who
// signed the client's certificate.
func TestTLSTicketOfOldAuthority(t *testing.T) {
	t.Parallel()
	ca, before, after := newAuthority(t, "ca"), newAuthority(t, "before"), newAuthority(t, "after")
	s, opts := secureSite(t, harness.StartMember(t, "m", nil), ", client_ca_file: clients.pem, require_client_cert: true, ticket_key_file: ticket.key",
		map[string]pair{"site": ca.issue(t, nil, "a.test")}, "site")
	j := s.start(t, append(opts, harness.WithFile("clients.pem", before.pem),
		harness.WithFile("ticket.key", base64.StdEncoding.EncodeToString(make([]byte, 32))))...)
	alice := before.issue(t, nil, "alice")
	cfg := ca.trusting("a.test")
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &alice.Certificate, nil }
	c, _ := dialTLS(t, s.addr(), cfg)
	if _, status := ask(t, c, get("/")); status != 200 {
		t.Fatalf("status %d", status)
	}
	c.Close()
	j.WriteFile(t, "clients.pem", after.pem)
	mustReload(t, j, s.String())
	c, _, err := tryTLS(t, s.addr(), cfg)
	if err != nil {
		return
	}
	if _, status := ask(t, c, get("/")); status != 0 {
		t.Errorf("a session of an authority that is no longer trusted: %d, want no service", status)
	}
}

// TestTLSMember: a member is who its certificate says, or nobody.
func TestTLSMember(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t, "members"), newAuthority(t, "others")
	s := newSite(t, harness.StartMember(t, "m", nil))
	f := func(name string, p pair, memberTLS string) {
		port := listenTLS(t, p.Certificate)
		s.static += fmt.Sprintf("    - {id: %s, domain: %s, host: 127.0.0.1, https: %d}\n", name, name, port)
		s.services += fmt.Sprintf("  %s:\n    hosts: [%s.test]\n    member_scheme: https\n    member_tls: {%s}\n    domains: {%s: {}}\n", name, name, memberTLS, name)
	}
	named := ca.issue(t, nil, "member.test")
	f("good", named, "ca_file: members.pem, server_name: member.test")
	f("byaddress", named, "ca_file: members.pem")
	f("wrongname", named, "ca_file: members.pem, server_name: other.test")
	f("wrongca", other.issue(t, nil, "member.test"), "ca_file: members.pem, server_name: member.test")
	f("old", ca.issue(t, expired, "member.test"), "ca_file: members.pem, server_name: member.test")
	f("system", named, "server_name: member.test") // the system's authorities do not know it
	f("insecure", other.issue(t, expired, "x.test"), "insecure: true")
	s.start(t, harness.WithFile("members.pem", ca.pem))
	for name, status := range map[string]int{"good": 200, "byaddress": 200, "insecure": 200,
		"wrongname": 502, "wrongca": 502, "old": 502, "system": 502} {
		want(t, s.addr(), "GET / HTTP/1.1\r\nHost: "+name+".test\r\n\r\n", status)
	}
}

// listenTLS is a member that answers 200 over TLS.
func listenTLS(t testing.TB, cert tls.Certificate) (port int) {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 4096)
				for {
					if _, err := conn.Read(buf); err != nil {
						return
					}
					fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecure")
				}
			}()
		}
	}()
	return ln.Addr().(*net.TCPAddr).Port
}
