package httpcases

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"jetway/test/harness"
)

// What a member does once it has read a request.

func says(answer string) func() harness.Script {
	return acts(func(c *harness.MemberConn) { c.Send(answer) })
}

func saysAndCloses(answer string) func() harness.Script {
	return acts(func(c *harness.MemberConn) { c.Send(answer); c.Close() })
}

func saysAndResets(answer string) func() harness.Script {
	return acts(func(c *harness.MemberConn) {
		c.Send(answer)
		time.Sleep(10 * time.Millisecond) // RST destroys what was not read yet
		c.Reset()
	})
}

func acts(then func(c *harness.MemberConn)) func() harness.Script {
	return func() harness.Script {
		return func(c *harness.MemberConn, r *harness.Request) {
			if r.ReadBody() == nil {
				then(c)
			}
		}
	}
}

// firstThen does something else at the first request of a run, then echoes.
func firstThen(then func(c *harness.MemberConn)) func() harness.Script {
	return func() harness.Script {
		var n atomic.Int32
		return func(c *harness.MemberConn, r *harness.Request) {
			if r.ReadBody() == nil && n.Add(1) == 1 {
				then(c)
				return
			}
			harness.Echo(c, r)
		}
	}
}

func hangUp(c *harness.MemberConn) { c.Close() }

// echoThen echoes the first request and then acts on the idle connection.
func echoThen(wait time.Duration, then func(c *harness.MemberConn)) func() harness.Script {
	return func() harness.Script {
		var n atomic.Int32
		return func(c *harness.MemberConn, r *harness.Request) {
			harness.Echo(c, r)
			if n.Add(1) == 1 {
				time.Sleep(wait)
				then(c)
			}
		}
	}
}

// bad502 is the answer to what no member may say. A GET may have been tried
// once more: on the same member where a kept connection was stale.
func bad502(m msg) []outcome { return bad502Of(2, m) }

// once502 is bad502 for what must not be repeated.
func once502(m msg) []outcome { return bad502Of(1, m) }

// bad502Of allows the message to reach members up to so many times.
func bad502Of(tries int, m msg) []outcome {
	return []outcome{{status: []int{502}, conn: either, member: []msg{m}, tries: tries}}
}

// memberRows are group B; B35 stands with the rows of sessions.
//
// Rows with bytes behind an answer are not sent byte by byte: the next request
// may rightly be on its way before the first of them can be seen.
func memberRows() []row {
	get := same(G())
	twoGets := []step{{send: line1("GET /1 HTTP/1.1")}, {pause: 150 * time.Millisecond, send: line1("GET /2 HTTP/1.1")}}
	two := ok(same(line1("GET /1 HTTP/1.1")), same(line1("GET /2 HTTP/1.1")))
	two[0].body = "t1 GET /2"
	refused := func(id, what, answer string) row {
		return row{id: id, what: what, in: G(), script: says(answer), want: bad502(get), fresh: true}
	}
	passes := func(id, what, answer, body string) row { // and leaves the member's connection in doubt
		return row{id: id, what: what, in: G(), script: says(answer), fresh: true,
			want: []outcome{{status: []int{200}, conn: either, body: body, member: []msg{get}}}}
	}
	eitherWay := func(id, what, answer, body string) row {
		r := passes(id, what, answer, body)
		r.fresh = false
		r.want = or(r.want, bad502(get))
		return r
	}
	cutOr502 := or([]outcome{{status: []int{200}, cut: true, conn: closes, member: []msg{get}}}, bad502(get))
	const okHead = "HTTP/1.1 200 OK\r\n"
	const chunkedHead = okHead + "Transfer-Encoding: chunked\r\n\r\n"
	rows := []row{
		refused("B01", "two different Content-Length", okHead+"Content-Length: 2\r\nContent-Length: 5\r\n\r\nhello"),
		eitherWay("B01a", "two equal Content-Length", okHead+"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "hello"),
		{id: "B02", what: "length and chunked", in: G(), fresh: true, script: says(okHead + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n" + hello),
			want: or([]outcome{{status: []int{200}, conn: either, body: "hello", member: []msg{get}}}, bad502(get))},
		{id: "B03", what: "shorter than its length, FIN", in: G(), script: saysAndCloses(okHead + "Content-Length: 10\r\n\r\nhello"), want: cutOr502},
		{id: "B03a", what: "shorter than its length, RST", in: G(), script: saysAndResets(okHead + "Content-Length: 10\r\n\r\nhello"), want: cutOr502},
		unsplit(passes("B04", "bytes behind the body", okHead+"Content-Length: 2\r\n\r\nhiEXTRA", "hi")),
		unsplit(passes("B04a", "bytes behind the last chunk", chunkedHead+hello+"EXTRA", "hello")),
		{id: "B05", what: "no last chunk, FIN", in: G(), script: saysAndCloses(chunkedHead + "5\r\nhello\r\n"), want: cutOr502},
		{id: "B05a", what: "cut before the last CRLF, FIN", in: G(), script: saysAndCloses(chunkedHead + "5\r\nhello\r\n0\r\n"), want: cutOr502},
		{id: "B05b", what: "no last chunk, RST", in: G(), script: saysAndResets(chunkedHead + "5\r\nhello\r\n"), want: cutOr502},
		{id: "B05c", what: "nothing behind a chunked head, FIN", in: G(), script: saysAndCloses(chunkedHead), want: cutOr502},
		{id: "B07", what: "neither length nor chunked", in: G(), script: saysAndCloses(okHead + "\r\nhello"),
			want: []outcome{{status: []int{200}, conn: either, body: "hello", member: []msg{get}}}},
		{id: "B07a", what: "neither, empty", in: G(), script: saysAndCloses(okHead + "\r\n"), want: []outcome{{status: []int{200}, conn: either, member: []msg{get}}}},
		{id: "B07b", what: "neither, ended by RST", in: G(), script: saysAndResets(okHead + "\r\nhello"), want: cutOr502},
		{id: "B07c", what: "HTTP/1.0 answer", in: G(), script: saysAndCloses("HTTP/1.0 200 OK\r\n\r\nhello"),
			want: []outcome{{status: []int{200}, conn: either, body: "hello", member: []msg{get}}}},
		refused("B08", "NUL in a value", okHead+"X-A: a\x00b\r\nContent-Length: 0\r\n\r\n"),
		refused("B08a", "NUL in a name", okHead+"X\x00A: b\r\nContent-Length: 0\r\n\r\n"),
		eitherWay("B09", "bare LF everywhere", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", "hello"),
		refused("B09a", "bare CR in a value", okHead+"X-A: a\rb\r\nContent-Length: 0\r\n\r\n"),
		{id: "B10", skip: bytes, what: "length 0 and a whole second answer", in: G(), fresh: true, script: says(okHead + "Content-Length: 0\r\n\r\n" + okHead + "Content-Length: 4\r\n\r\nevil"),
			want: []outcome{{status: []int{200}, conn: either, member: []msg{get}}}},
		refused("B11", "no status code", "HTTP/1.1 OK\r\n\r\n"),
		refused("B12", "status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
		refused("B12a", "status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
		refused("B12b", "status 099", "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n"),
		refused("B12c", "HTTP/2.0", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
		refused("B12d", "http/1.1", "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
		refused("B12e", "two spaces before the status", "HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n"),
		refused("B12f", "ICY", "ICY 200 OK\r\nContent-Length: 0\r\n\r\n"),
		eitherWay("B12g", "no reason and no space", "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", "hello"),
		refused("B12h", "sign in the status", "HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n"),
		{id: "B13", what: "HTML without a status line", in: G(), script: saysAndCloses("<html><body>hi</body></html>"), want: bad502(get)},
		{id: "B13a", what: "TLS alert", in: G(), script: saysAndCloses("\x15\x03\x01\x00\x02\x02\x28"), want: bad502(get)},
		{id: "B14", what: "header of 1 MB", in: G(), script: says(okHead + "X-A: " + strings.Repeat("b", 1<<20) + "\r\nContent-Length: 0\r\n\r\n"), want: bad502(get), fresh: true},
		{id: "B14a", what: "header without an end", in: G(), script: saysAndCloses(okHead + strings.Repeat("X-A: b\r\n", 200000)), want: bad502(get), fresh: true},
		{id: "B15", what: "102, then 200", in: G(), script: says("HTTP/1.1 102 Processing\r\n\r\n" + okHead + "Content-Length: 5\r\n\r\nhello"),
			want: []outcome{{status: []int{200}, conn: stays, body: "hello", member: []msg{get}}}},
		{id: "B15a", what: "100 nobody asked for, then 200", in: G(), script: says("HTTP/1.1 100 Continue\r\n\r\n" + okHead + "Content-Length: 5\r\n\r\nhello"),
			want: []outcome{{status: []int{200}, conn: stays, body: "hello", member: []msg{get}}}},
		{id: "B16", what: "103, then 200", in: G(), script: says(early(1)),
			want: []outcome{{status: []int{200}, conn: stays, interim: []int{103}, body: "hello", member: []msg{get}}}},
		{id: "B16a", what: "103, then 200, HTTP/1.0", in: raw("GET / HTTP/1.0", "Host: t1.lb.test"), script: says(early(1)),
			want: []outcome{{status: []int{200}, conn: closes, interim: []int{}, body: "hello", member: []msg{get}}}},
		{id: "B16b", what: "16 × 103, then 200", in: G(), script: says(early(16)),
			want: []outcome{{status: []int{200}, conn: stays, body: "hello", member: []msg{get}}}},
		{id: "B16c", what: "200 × 103, then 200", in: G(), script: says(early(200)), want: or(bad502(get), cutOr502, []outcome{{conn: closes, member: []msg{get}}}), fresh: true},
		{id: "B16d", what: "103 and FIN", in: G(), script: saysAndCloses("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"), want: bad502(get)},
		refused("B17", "101 without a request for it", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
		{id: "B18", what: "HEAD with length and no body", in: line1("HEAD / HTTP/1.1"), methods: []string{"HEAD"}, script: says(okHead + "Content-Length: 5\r\n\r\n"),
			want: []outcome{{status: []int{200}, conn: stays, head: okHead + "Content-Length: 5\r\n", member: []msg{same(line1("HEAD / HTTP/1.1"))}}}},
		{id: "B18a", skip: bytes, what: "HEAD with a body", in: line1("HEAD / HTTP/1.1"), methods: []string{"HEAD"}, script: says(okHead + "Content-Length: 5\r\n\r\nhello"), fresh: true,
			want: []outcome{{status: []int{200}, conn: either, member: []msg{same(line1("HEAD / HTTP/1.1"))}}}},
		{id: "B18b", what: "HEAD with chunked and no body", in: line1("HEAD / HTTP/1.1"), methods: []string{"HEAD"}, script: says(chunkedHead),
			want: []outcome{{status: []int{200}, conn: stays, member: []msg{same(line1("HEAD / HTTP/1.1"))}}}},
		{id: "B19", skip: bytes, what: "204 with length and body", in: G(), fresh: true, script: says("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nhi"),
			want: or([]outcome{{status: []int{204}, conn: either, head: "HTTP/1.1 204 No Content\r\n", member: []msg{get}}}, bad502(get))},
		{id: "B19a", skip: bytes, what: "204 with a chunked body", in: G(), fresh: true, script: says("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n" + hello), check: noTransferEncoding,
			want: or([]outcome{{status: []int{204}, conn: either, member: []msg{get}}}, bad502(get))},
		{id: "B20", skip: bytes, what: "304 with body", in: G(), fresh: true, script: says("HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nhi"),
			want: []outcome{{status: []int{304}, conn: either, member: []msg{get}}}},
		{id: "B20a", what: "304 with length and no body", in: G(), script: says("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 100\r\n\r\n"),
			want: []outcome{{status: []int{304}, conn: stays, member: []msg{get}}}},
		{id: "B21", what: "a whole answer on the idle connection", steps: twoGets, want: two,
			script: echoThen(20*time.Millisecond, func(c *harness.MemberConn) { c.Send(okHead + "Content-Length: 4\r\n\r\nevil") })},
		{id: "B21a", what: "one byte on the idle connection", steps: twoGets, want: two,
			script: echoThen(20*time.Millisecond, func(c *harness.MemberConn) { c.Send("H") })},
		{id: "B22", what: "GET: reads and closes; the other member answers", in: onPair("GET", ""), script: firstThen(hangUp),
			want: []outcome{{status: []int{200}, conn: stays, member: []msg{same(onPair("GET", ""))}, tries: 2}}},
		{id: "B22a", what: "POST: reads and closes", in: onPair("POST", "hello"), script: firstThen(hangUp), want: once502(same(onPair("POST", "hello")))},
		{id: "B22b", what: "GET: every member reads and closes", in: onPair("GET", ""), script: acts(hangUp), want: bad502Of(3, same(onPair("GET", "")))},
		{id: "B22c", what: "POST: the only member reads and closes", in: P("hello", "Content-Length: 5"), script: acts(hangUp), want: once502(same(P("hello", "Content-Length: 5")))},
		{id: "B22d", what: "PUT: reads and closes", in: onPair("PUT", "hello"), script: firstThen(hangUp), want: or(
			[]outcome{{status: []int{200}, conn: stays, member: []msg{same(onPair("PUT", "hello"))}, tries: 2}}, once502(same(onPair("PUT", "hello"))))},
		{id: "B22e", what: "FROB, an unknown method: reads and closes", in: onPair("FROB", ""), script: firstThen(hangUp), want: once502(same(onPair("FROB", "")))},
		{id: "B22f", what: "GET: bad answer; the other member answers", in: onPair("GET", ""), script: firstThen(func(c *harness.MemberConn) { c.Send("HTTP/1.1 OK\r\n\r\n"); c.Close() }),
			want: or([]outcome{{status: []int{200}, conn: stays, member: []msg{same(onPair("GET", ""))}, tries: 2}}, bad502(same(onPair("GET", ""))))},
		{id: "B23", what: "RST in the head", in: G(), script: saysAndResets(okHead + "X-A: "), want: bad502(get)},
		{id: "B23a", what: "FIN in the head", in: G(), script: saysAndCloses(okHead + "X-A: "), want: bad502(get)},
		{id: "B23b", what: "RST at once, POST", in: P("hello", "Content-Length: 5"), script: saysAndResets(""), want: once502(same(P("hello", "Content-Length: 5")))},
		{id: "B24", what: "cut answer to a GET is not tried elsewhere", in: onPair("GET", ""), script: firstThen(func(c *harness.MemberConn) { c.Send(okHead + "Content-Length: 9\r\n\r\nhi"); c.Close() }),
			want: []outcome{{status: []int{200}, cut: true, conn: closes, member: []msg{same(onPair("GET", ""))}, tries: 1}, {status: []int{200}, conn: stays, member: []msg{same(onPair("GET", ""))}, tries: 2, body: "p GET /"}}},
		refused("B25", "chunked, chunked", okHead+"Transfer-Encoding: chunked, chunked\r\n\r\n"+hello),
		refused("B25a", "gzip, chunked", okHead+"Transfer-Encoding: gzip, chunked\r\n\r\n"+hello),
		refused("B25b", "chunked twice", okHead+"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"+hello),
		refused("B25c", "xchunked", okHead+"Transfer-Encoding: xchunked\r\n\r\n"+hello),
		refused("B25d", "space before the colon", okHead+"Transfer-Encoding : chunked\r\nContent-Length: 2\r\n\r\n"+hello),
		eitherWay("B26", "folded line", okHead+"X-A: a\r\n b\r\nContent-Length: 5\r\n\r\nhello", "hello"),
		refused("B26a", "first line folded", okHead+" X-A: a\r\nContent-Length: 5\r\n\r\nhello"),
		{id: "B28", what: "Connection names X-Internal", in: G(), script: says(okHead + "Connection: X-Internal\r\nX-Internal: 1\r\nX-A: b\r\nContent-Length: 0\r\n\r\n"),
			want: []outcome{{status: []int{200}, conn: stays, head: okHead + "X-A: b\r\nContent-Length: 0\r\n", member: []msg{get}}}},
		{id: "B28a", what: "second Connection line names X-Internal", in: G(), script: says(okHead + "Connection: keep-alive\r\nconnection: x, X-INTERNAL\r\nX-Internal: 1\r\nContent-Length: 0\r\n\r\n"),
			want: []outcome{{status: []int{200}, conn: stays, head: okHead + "Content-Length: 0\r\n", member: []msg{get}}}},
		{id: "B28b", what: "fields of one hop", in: G(), script: says(okHead + "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n"),
			want: []outcome{{status: []int{200}, conn: stays, head: okHead + "Content-Length: 0\r\n", member: []msg{get}}}},
		refused("B29", "header line without a colon", okHead+"foo bar\r\nContent-Length: 0\r\n\r\n"),
		refused("B29a", "empty name", okHead+": b\r\nContent-Length: 0\r\n\r\n"),
		eitherWay("B30", "space before a colon", okHead+"X-A : b\r\nContent-Length: 5\r\n\r\nhello", "hello"),
		{id: "B31", what: "a byte every 0.3 s for ever", in: G(), slow: true, total: "3s", script: drips(300 * time.Millisecond), want: cutOr502},
		{id: "B31a", what: "stops in the body", in: G(), slow: true, script: says(okHead + "Content-Length: 10\r\n\r\nhello"), want: cutOr502},
		{id: "B31b", what: "never answers", in: G(), slow: true, script: says(""), want: []outcome{{status: []int{504}, conn: either, member: []msg{get}, tries: 2}}},
		{id: "B31c", what: "a head byte every 0.3 s", in: G(), slow: true, script: dripsHead(300 * time.Millisecond),
			want: []outcome{{status: []int{504}, conn: either, member: []msg{get}, tries: 2}, {status: []int{502}, conn: either, member: []msg{get}, tries: 2}}},
		// B32 is TestEndlessBody.
		{id: "B33", what: "member closes the idle connection", steps: twoGets, want: two, script: echoThen(20*time.Millisecond, hangUp)},
		{id: "B33a", what: "member resets the idle connection", steps: twoGets, want: two, script: echoThen(20*time.Millisecond, func(c *harness.MemberConn) { c.Reset() })},
		{id: "B33b", what: "kept-alive connection dies with a GET on it", in: G(), only: after, script: firstThen(hangUp),
			want: []outcome{{status: []int{200}, conn: stays, body: "t1 GET /", member: []msg{get}, tries: 2}}},
		{id: "B33c", what: "kept-alive connection dies with a POST on it", in: P("hello", "Content-Length: 5"), only: after, script: firstThen(hangUp),
			want: once502(same(P("hello", "Content-Length: 5")))},
		{id: "B33d", what: "member closes after Connection: close", in: G(), fresh: true, script: saysAndCloses(okHead + "Connection: close\r\nContent-Length: 5\r\n\r\nhello"),
			want: []outcome{{status: []int{200}, conn: stays, body: "hello", member: []msg{get}}}},
		{id: "B33e", what: "member says close and does not", in: G(), fresh: true, script: says(okHead + "Connection: x, Close\r\nContent-Length: 5\r\n\r\nhello"),
			want: []outcome{{status: []int{200}, conn: stays, body: "hello", member: []msg{get}}}},
		{id: "B34", what: "408 on the idle connection, then close", steps: twoGets, want: two,
			script: echoThen(20*time.Millisecond, func(c *harness.MemberConn) {
				c.Send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
				c.Close()
			})},
		{id: "B36", what: "nobody listens", in: raw("GET / HTTP/1.1", "Host: off.lb.test"), want: or(own(502, either), own(503, either))},
		{id: "B36a", what: "nobody listens, POST", in: raw("POST / HTTP/1.1", "Host: off.lb.test", "Content-Length: 44") + S, want: or(own(502, either), own(503, either)), skip: doubled},
		{id: "B40", what: "chunked from HTTP/1.0", in: G(), script: saysAndCloses("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + hello),
			want: or(bad502(get), []outcome{{status: []int{200}, conn: either, body: "hello", member: []msg{get}}})},
		eitherWay("B43", "10,000 header lines", okHead+strings.Repeat("A: b\r\n", 10000)+"Content-Length: 5\r\n\r\nhello", "hello"),
	}
	for i, value := range []string{"-1", "+5", "5, 6", "0x5", "", "5 5", "5.0", "18446744073709551621", "9223372036854775808", "five", "5\x0b"} {
		rows = append(rows, refused(fmt.Sprintf("B39-%c", 'a'+i), fmt.Sprintf("Content-Length: %q", value), okHead+"Content-Length: "+value+"\r\n\r\nhello"))
	}
	for i, body := range []string{"zz\r\nhello\r\n0\r\n\r\n", "+5\r\nhello\r\n0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n", "5\nhello\r\n0\r\n\r\n", "5\r\nhelloXX0\r\n\r\n", "5\r\nhello0\r\n\r\n",
		"\r\nhello\r\n0\r\n\r\n", "-5\r\nhello\r\n0\r\n\r\n", "10000000000000005\r\nhello\r\n0\r\n\r\n", "5;a\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\n\n", " 5\r\nhello\r\n0\r\n\r\n",
		"5\r\nhello\r\nxyz\r\n", "5\r\nhello\r\n0\r\nX-T\r\n\r\n"} {
		rows = append(rows, row{id: fmt.Sprintf("B06-%c", 'a'+i), what: fmt.Sprintf("bad chunks %.12q", body), in: G(), script: says(chunkedHead + body), want: cutOr502, fresh: true})
	}
	return rows
}

func unsplit(r row) row {
	r.skip = bytes
	return r
}

// onPair is a request to the service of two members.
func onPair(method, body string) string {
	if body == "" {
		return raw(method+" / HTTP/1.1", "Host: p.lb.test")
	}
	return raw(method+" / HTTP/1.1", "Host: p.lb.test", fmt.Sprintf("Content-Length: %d", len(body))) + body
}

// early is n interim answers and a final one.
func early(n int) string {
	return strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n", n) + "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
}

// drips sends a body without an end.
func drips(every time.Duration) func() harness.Script {
	return acts(func(c *harness.MemberConn) {
		c.Send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
		drip(c, every)
	})
}

func dripsHead(every time.Duration) func() harness.Script {
	return acts(func(c *harness.MemberConn) {
		c.Send("HTTP/1.1 200 OK\r\nX-A: ")
		drip(c, every)
	})
}

func drip(c *harness.MemberConn, every time.Duration) {
	for range 100 {
		if c.Send("a") != nil {
			break
		}
		time.Sleep(every)
	}
	c.Close()
}

func noTransferEncoding(s *seen) error {
	for _, a := range s.answers {
		if a.Status == 204 && len(harness.Values(a.Fields, "Transfer-Encoding")) > 0 {
			return fmt.Errorf("204 with Transfer-Encoding: %q", a.Head)
		}
	}
	return nil
}
