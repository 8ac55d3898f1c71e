package httpcases

import (
	"errors"
	"fmt"
	"strings"

	"jetway/test/harness"
)

// forwardingRows are group P: fields of one hop and fields about forwarding.
// P11 stands with the rows of sessions.
func forwardingRows() []row {
	without := func(id, what string, drop []string, keep ...string) row {
		in := G(append(drop, keep...)...)
		return goodAs(id, what, in, fwd(in, drop...))
	}
	lines := func(l ...string) []string { return l }
	closeSpoofed := G("Connection: close, X-Forwarded-For", "X-Forwarded-For: 9.9.9.9")
	trailers := G("TE: trailers", "Connection: TE", "X-A: b")
	keptTE := fwd(trailers, "TE: trailers", "Connection: TE")
	keptTE.maybe = lines("TE: trailers", "Connection: TE")
	manyLine := "Connection: " + strings.Repeat("a, ", 1000) + "X-Secret"
	many := G(manyLine, "X-Secret: 1")
	via := G("Via: 1.0 fred, 1.1 p.example.net", "via: 1.1 x")
	rows := []row{
		without("P01", "Connection names X-Secret", lines("Connection: X-Secret", "X-Secret: 1"), "X-Other: 2"),
		{id: "P02", what: "Connection names X-Forwarded-For", in: closeSpoofed,
			want: okClose(fwd(closeSpoofed, "Connection: close, X-Forwarded-For", "X-Forwarded-For: 9.9.9.9"))},
		without("P02a", "spoofed X-Forwarded-For", lines("X-Forwarded-For: 9.9.9.9, 8.8.8.8", "x-forwarded-for: 7.7.7.7")),
		without("P03", "odd list in Connection", lines("Connection:  x-SECRET ,, keep-alive,", "X-Secret: 1", "X-SECRET: 2")),
		without("P03a", "empty Connection", lines("Connection: ", "connection: ,")),
		without("P04", "second Connection line names it", lines("Connection: keep-alive", "connection: X-Secret", "X-Secret: 1")),
		without("P04a", "named behind ten others", lines("Connection: "+strings.Repeat("a, ", 10)+"X-Secret", "X-Secret: 1")),
		{id: "P04b", what: "named behind a thousand others", in: many, want: or(ok(fwd(many, manyLine, "X-Secret: 1")), rej())},
		without("P05", "fields of one hop", lines("Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "Proxy-Authorization: Basic eA==", "TE: gzip"), "Authorization: Basic eA=="),
		goodAs("P05a", "TE: trailers", trailers, keptTE),
		without("P05b", "TE: trailers and more", lines("TE: trailers, deflate;q=0.5", "Connection: TE")),
		without("P06", "Connection names Host", lines("Connection: Host")),
		without("P06a", "Connection names what we add", lines("Connection: X-Forwarded-Proto, X-Request-Id, Via, X-Forwarded-Host, X-Forwarded-Port")),
		without("P06b", "Connection names the tenant's fields", lines("Connection: X-Tenant-Id, X-Tenant-Name")),
		without("P06c", "Connection names itself", lines("Connection: Connection, Keep-Alive")),
		goodAs("P07", "Connection names Content-Length", P("hello", "Connection: Content-Length", "Content-Length: 5"),
			fwd(P("hello", "Connection: Content-Length", "Content-Length: 5"), "Connection: Content-Length")),
		without("P08", "500 entries in X-Forwarded-For", lines("X-Forwarded-For: "+strings.Repeat("192.0.2.123, ", 499)+"192.0.2.1")),
		without("P08a", "90 lines of X-Forwarded-For", strings.Split(strings.Repeat("X-Forwarded-For: 192.0.2.1;", 89)+"X-Forwarded-For: 192.0.2.1", ";")),
		without("P09", "every field about forwarding", lines("Forwarded: for=9.9.9.9;host=t2.lb.test", "X-Real-IP: 9.9.9.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: t2.lb.test",
			"X-Forwarded-Port: 1", "X-Request-Id: evil", "X-Tenant-Id: 2", "x-tenant-name: t2", "X-Forwarded-Prefix: /x", "X-Forwarded-Server: x", "X-Forwarded-Ssl: on")),
		{id: "P10", what: "TRACE", in: line1("TRACE / HTTP/1.1", "Max-Forwards: 0"), want: own(405, either)},
		{id: "P10a", what: "TRACE with a body", in: line1("TRACE / HTTP/1.1", "Content-Length: 44") + S, want: or(own(405, either), rej())},
		{id: "P10b", what: "TRACE without Max-Forwards", in: line1("TRACE /x HTTP/1.1", "Cookie: secret"), want: own(405, either)},
		{id: "P12", what: "Via grows", in: via, want: ok(fwd(via, "Via: 1.0 fred, 1.1 p.example.net", "via: 1.1 x")), check: viaGrew, skip: doubled},
		{id: "P14", what: "Connection: close", in: G("Connection: close"), want: okClose(same(G()))},
		{id: "P14a", what: "Connection: CLOSE in a list", in: G("Connection: x, CLOSE"), want: okClose(same(G()))},
		{id: "P14b", what: "close, then keep-alive", in: G("Connection: close", "Connection: keep-alive"), want: okClose(same(G()))},
		{id: "P14c", what: "closed: not close", in: G("Connection: closed"), want: ok(same(G()))},
		good("P15", "Upgrade-Insecure-Requests is no Upgrade", G("Upgrade-Insecure-Requests: 1")),
		{id: "P16", what: "Trailer", in: P("5\r\nhello\r\n0\r\n\r\n", "Trailer: X-T", "Transfer-Encoding: chunked"),
			want: ok(trailerField())},
		{id: "P18", what: "malformed list in Connection", in: G("Connection: \"a b\", (x)"), want: or(ok(same(G())), rej())},
		good("P19", "fields that no hop owns", G("Authorization: Bearer x", "Cookie: a=\"b c\"; d=", "Accept-Encoding: gzip, br", "Range: bytes=0-1", "If-None-Match: \"x\"",
			"Max-Forwards: 10", "Origin: null", "X-Original-URL: /t/t2", "X-Rewrite-URL: /t/t2", "X-HTTP-Method-Override: DELETE", "Front-End-Https: on")),
		without("P20", "Proxy-Connection: close is no close", lines("Proxy-Connection: close")),
	}
	return rows
}

// trailerField: the Trailer field may stay where trailers are forwarded.
func trailerField() msg {
	in := P("", "Transfer-Encoding: chunked")
	m := chunked(in, "hello")
	m.maybe = []string{"Trailer: X-T"}
	return m
}

// viaGrew checks that the entries of earlier proxies stay in front of ours.
func viaGrew(s *seen) error {
	if len(s.requests) == 0 {
		return errors.New("no request")
	}
	got := strings.Join(harness.Values(s.requests[0].Fields, "Via"), ", ")
	if got != "1.0 fred, 1.1 p.example.net, 1.1 x, 1.1 jetway" {
		return fmt.Errorf("Via is %q", got)
	}
	return nil
}
