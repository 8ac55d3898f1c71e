package httpcases

import (
	"fmt"
	"time"

	"jetway/test/harness"
)

const (
	upgrade  = "Upgrade: websocket"
	wsKey    = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
	wsAnswer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)

// expectUpgradeRows are group U.
func expectUpgradeRows() []row {
	const expect, length = "Expect: 100-continue", "Content-Length: 5"
	withExpect := func(requestLine string, lines ...string) msg {
		m := same(line1(requestLine, lines...) + "hello")
		m.maybe = []string{expect}
		return m
	}
	head := line1("POST / HTTP/1.1", expect, length)
	head44 := line1("POST / HTTP/1.1", expect, "Content-Length: 44")
	post := withExpect("POST / HTTP/1.1", length)
	h2c := []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"}
	ws := []string{"Connection: Upgrade", upgrade, wsKey, "Sec-WebSocket-Version: 13"}
	wsGet := wsMessage(G(ws...))
	wsPost := func(method string) string {
		return line1(method+" / HTTP/1.1", "Connection: Upgrade", upgrade, "Content-Length: 44") + S
	}
	return []row{
		{id: "U01", what: "100-continue, body after the 100", want: ok(post), skip: doubled,
			steps: []step{{send: head}, {await: 100, send: "hello"}}},
		{id: "U01a", what: "100-continue, body 0.6 s later", want: ok(post), skip: doubled,
			steps: []step{{send: head}, {pause: 600 * time.Millisecond, send: "hello"}}},
		{id: "U01b", what: "100-continue, chunked body after the 100", skip: doubled,
			want:  ok(withExpectChunked(line1("POST / HTTP/1.1", "Transfer-Encoding: chunked"))),
			steps: []step{{send: line1("POST / HTTP/1.1", "Transfer-Encoding: chunked", expect)}, {await: 100, send: hello}}},
		{id: "U02", what: "100-continue, body at once", in: head + "hello", want: ok(post)},
		{id: "U02a", what: "100-Continue in other case", in: line1("POST / HTTP/1.1", "expect: 100-Continue", length) + "hello",
			want: ok(withLine(post, "expect: 100-Continue"))},
		{id: "U02b", what: "100-continue without a body", in: G(expect), want: ok(withLine(same(G()), expect))},
		{id: "U03", what: "another expectation", in: line1("POST / HTTP/1.1", "Expect: 200-maybe", length) + "hello", want: own(417, either)},
		{id: "U03a", what: "100-continue and another", in: line1("POST / HTTP/1.1", "Expect: 100-continue, x", length) + "hello", want: or(own(417, either), rej())},
		{id: "U03b", what: "empty Expect", in: line1("POST / HTTP/1.1", "Expect:", length) + "hello",
			want: or(own(417, either), rej(), ok(withLine(post, "Expect:")))},
		{id: "U03c", what: "100-continue and a vertical tab", in: line1("POST / HTTP/1.1", "Expect: 100-continue\x0b", length) + "hello", want: or(own(417, either), rej())},
		{id: "U03d", what: "0.CL with Expect: y", in: line1("GET / HTTP/1.1", "Expect: y 100-continue", "Content-Length: 44") + S, want: or(own(417, either), rej())},
		{id: "U04", what: "100-continue in HTTP/1.0", in: raw("POST / HTTP/1.0", "Host: t1.lb.test", expect, length) + "hello",
			want: noInterim(okClose(post))},
		{id: "U04a", what: "another expectation in HTTP/1.0", in: raw("POST / HTTP/1.0", "Host: t1.lb.test", "Expect: 200-maybe", length) + "hello",
			want: noInterim(okClose(withLine(post, "Expect: 200-maybe")))},
		{id: "U06", what: "CONNECT", in: raw("CONNECT evil.test:443 HTTP/1.1", "Host: evil.test:443"), want: or(own(405, either), own(501, either))},
		{id: "U06a", what: "CONNECT of a known host", in: raw("CONNECT t1.lb.test:80 HTTP/1.1", "Host: t1.lb.test:80"), want: or(own(405, either), own(501, either))},
		{id: "U06b", what: "CONNECT with a path", in: line1("CONNECT / HTTP/1.1"), want: or(own(405, either), own(501, either), rej())},
		{id: "U06c", what: "CONNECT with a length", in: raw("CONNECT t1.lb.test:80 HTTP/1.1", "Host: t1.lb.test:80", "Content-Length: 44") + S,
			want: or(own(405, either), own(501, either), rej())},
		{id: "U07", what: "h2c", in: G(h2c...), want: ok(same(G()))},
		{id: "U07a", what: "h2c beside websocket", in: G("Connection: Upgrade", "Upgrade: h2c, websocket"), want: or(ok(same(G())), rej())},
		{id: "U08", what: "websocket tunnel both ways, half-close", play: playTunnel, script: tunnelEcho,
			want: []outcome{{status: []int{101}, conn: closes, member: []msg{wsMessage(line1("GET /ws HTTP/1.1", ws...))}}}},
		{id: "U08a", what: "bytes of the tunnel right behind the request", play: playEagerTunnel, script: tunnelEcho,
			want: []outcome{{status: []int{101}, conn: closes, member: []msg{wsMessage(line1("GET /ws HTTP/1.1", ws...))}}}},
		{id: "U09", what: "websocket refused with 200, S behind it", in: G(ws...) + S,
			want: or(ok(wsGet, same(S)), okClose(wsGet))},
		{id: "U09a", what: "websocket refused with 403", in: G(ws...), script: says("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"),
			want: []outcome{{status: []int{403}, conn: either, body: "no", member: []msg{wsGet}}}},
		{id: "U10", what: "Upgrade without Connection", in: G(upgrade), want: ok(same(G()))},
		{id: "U11", what: "Connection: Upgrade without Upgrade", in: G("Connection: Upgrade"), want: ok(same(G()))},
		{id: "U11a", what: "another protocol", in: G("Connection: Upgrade", "Upgrade: foo/1"), want: ok(same(G()))},
		{id: "U11b", what: "TLS upgrade", in: line1("OPTIONS / HTTP/1.1", "Connection: Upgrade", "Upgrade: TLS/1.0"), want: ok(same(line1("OPTIONS / HTTP/1.1")))},
		{id: "U11c", what: "websocket in HTTP/1.0", in: raw("GET / HTTP/1.0", "Host: t1.lb.test", "Connection: Upgrade", upgrade), want: or(okClose(same(G())), rej())},
		{id: "U12", what: "401 at once, body sent all the same", script: earlyAnswer("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"), skip: after,
			steps: []step{{send: head44}, {await: 100, send: S}},
			want: []outcome{
				{status: []int{401}, conn: either, partial: []string{"t1"}},
				{status: []int{401}, conn: either, member: []msg{withLine(same(line1("POST / HTTP/1.1", "Content-Length: 44")+S), expect)}},
			}},
		{id: "U13", what: "websocket with a body", in: line1("GET / HTTP/1.1", "Connection: Upgrade", upgrade, wsKey, "Content-Length: 44") + S,
			want: or(rej(), ok(wsMessage(line1("GET / HTTP/1.1", "Connection: Upgrade", upgrade, wsKey, "Content-Length: 44")+S)))},
		{id: "U13a", what: "websocket with POST", in: wsPost("POST"), want: or(rej(), ok(wsMessage(wsPost("POST"))))},
		{id: "U13b", what: "websocket with a chunked body", in: G("Connection: Upgrade", upgrade, "Transfer-Encoding: chunked") + hello,
			want: or(rejBody(), ok(wsMessageChunked()))},
	}
}

// wsMessage is a request whose upgrade may have been taken out; U08 shows that
// a good one is not.
func wsMessage(in string) msg {
	m := fwd(in, "Connection: Upgrade", upgrade)
	m.maybe = []string{"Connection: Upgrade", "Connection: upgrade", upgrade}
	return m
}

func wsMessageChunked() msg {
	m := wsMessage(G("Connection: Upgrade", upgrade, "Transfer-Encoding: chunked"))
	m.chunked, m.body = true, "hello"
	return m
}

func withLine(m msg, line string) msg {
	m.maybe = append([]string{line}, m.maybe...)
	return m
}

func withExpectChunked(in string) msg {
	return withLine(chunked(in, "hello"), "Expect: 100-continue")
}

// noInterim: no interim answer may come.
func noInterim(want []outcome) []outcome {
	for i := range want {
		want[i].interim = []int{}
	}
	return want
}

// earlyAnswer answers at the head and closes without reading on.
func earlyAnswer(answer string) func() harness.Script {
	return func() harness.Script {
		return func(c *harness.MemberConn, r *harness.Request) {
			c.Send(answer)
			// The proxy must have seen the answer before the FIN or RST.
			time.Sleep(20 * time.Millisecond)
			c.Close()
		}
	}
}

// tunnelEcho accepts the upgrade and sends every byte back, prefixed, until FIN.
func tunnelEcho() harness.Script {
	return func(c *harness.MemberConn, r *harness.Request) {
		if len(harness.Values(r.Fields, "Upgrade")) == 0 {
			harness.Echo(c, r)
			return
		}
		c.Send(wsAnswer)
		c.EchoTunnel(">")
	}
}

func playTunnel(k *conversation) {
	k.c.Send(line1("GET /ws HTTP/1.1", "Connection: Upgrade", upgrade, wsKey, "Sec-WebSocket-Version: 13"))
	if !k.answer("GET") {
		return
	}
	for i := range 3 {
		text := fmt.Sprintf("frame %d", i)
		k.c.Send(text)
		if got := k.c.Raw(len(text)+1, 5*time.Second); got != ">"+text {
			k.s.broken = fmt.Sprintf("tunnel gave %q for %q", got, text)
			return
		}
	}
	k.tunnelEnd()
}

// playEagerTunnel sends bytes of the tunnel before the 101: they must reach
// the member after it, and only then.
func playEagerTunnel(k *conversation) {
	k.c.Send(line1("GET /ws HTTP/1.1", "Connection: Upgrade", upgrade, wsKey, "Sec-WebSocket-Version: 13") + "early")
	if !k.answer("GET") {
		return
	}
	if got := k.c.Raw(6, 5*time.Second); got != ">early" {
		k.s.broken = fmt.Sprintf("tunnel gave %q for what was sent early", got)
		return
	}
	k.tunnelEnd()
}

// tunnelEnd half-closes and expects the other side's last bytes and its end.
func (k *conversation) tunnelEnd() {
	k.c.CloseWrite()
	if got := k.c.Raw(3, 5*time.Second); got != "bye" {
		k.s.broken = fmt.Sprintf("after half-close the tunnel gave %q", got)
	}
	k.s.closed = k.c.AwaitEOF(5*time.Second) == nil
}
