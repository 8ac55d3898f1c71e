package httpcases

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"jetway/test/harness"
)

// lifeCycleRows are group S. S10, S11 and S14 are tests of their own in
// life_test.go.
func lifeCycleRows() []row {
	get := func(target string, lines ...string) string { return line1("GET "+target+" HTTP/1.1", lines...) }
	old := func(target string, lines ...string) string {
		return raw("GET "+target+" HTTP/1.0", append([]string{"Host: t1.lb.test"}, lines...)...)
	}
	now := func(in string) msg { // an HTTP/1.0 request as it goes on
		return same(strings.Replace(in, "HTTP/1.0", "HTTP/1.1", 1))
	}
	drip := func(send string, n int) step { return step{send: send, repeat: n, every: 350 * time.Millisecond} }
	slowly := func(r row, within time.Duration) row {
		r.slow = true
		r.check = func(s *seen) error {
			if s.took > within {
				return fmt.Errorf("answered only after %v", s.took)
			}
			return nil
		}
		return r
	}
	mixed := line1("POST /1 HTTP/1.1", "Content-Length: 5") + "hello" + line1("HEAD /2 HTTP/1.1") + get("/3") +
		line1("PUT /4 HTTP/1.1", "Transfer-Encoding: chunked") + hello
	timedOut := rejAs(408)
	return []row{
		{id: "S01", what: "three GETs in one packet", in: get("/1") + get("/2") + get("/3"),
			want: ok(same(get("/1")), same(get("/2")), same(get("/3")))},
		{id: "S01a", what: "thirty GETs in one packet", in: strings.Repeat(get("/1"), 30), skip: bytes | doubled, want: ok(repeated(same(get("/1")), 30)...)},
		{id: "S02", what: "GET, bad line, GET", in: get("/1") + "BAD\r\n\r\n" + get("/3"),
			want: []outcome{{status: []int{200, 400}, conn: closes, member: []msg{same(get("/1"))}}}},
		{id: "S02a", what: "GET, bad version, GET", in: get("/1") + line1("GET /2 HTTP/2.0") + get("/3"), want: []outcome{
			{status: []int{200, 505}, conn: closes, member: []msg{same(get("/1"))}},
			{status: []int{200, 400}, conn: closes, member: []msg{same(get("/1"))}}}},
		{id: "S03", what: "methods and framings mixed", in: mixed, methods: []string{"POST", "HEAD", "GET", "PUT"},
			want: ok(same(line1("POST /1 HTTP/1.1", "Content-Length: 5")+"hello"), same(line1("HEAD /2 HTTP/1.1")), same(get("/3")), chunked(line1("PUT /4 HTTP/1.1", "Transfer-Encoding: chunked"), "hello"))},
		{id: "S03a", what: "the first answer takes long", in: get("/slow") + get("/2"), skip: bytes, script: slowFirst,
			want: []outcome{{status: []int{200, 200}, conn: stays, body: "t1 GET /2", member: []msg{same(get("/slow")), same(get("/2"))}}}},
		{id: "S03b", what: "empty lines between requests", in: get("/1") + "\r\n" + get("/2"), want: ok(same(get("/1")), same(get("/2")))},
		good("S04", "the plainest request", G()), // form bytes: one byte per packet
		{id: "S05", what: "HTTP/1.0 kept alive, then not", in: old("/a", "Connection: keep-alive") + old("/b"),
			want: okClose(now(old("/a")), now(old("/b"))), check: keepAliveEchoed},
		{id: "S05a", what: "HTTP/1.0, Keep-Alive in other case", in: old("/a", "Connection: Keep-Alive"), want: ok(now(old("/a"))), check: keepAliveEchoed},
		{id: "S05b", what: "HTTP/1.0 is closed, the next never runs", in: old("/a") + S, want: okClose(now(old("/a")))},
		{id: "S06", what: "close, the next never runs", in: get("/1", "Connection: Close") + S, want: okClose(same(get("/1")))},
		{id: "S06a", what: "close on the second line", in: get("/1", "Connection: x", "Connection: close") + S, want: okClose(same(get("/1")))},
		{id: "S12", what: "half-close behind the request", steps: []step{{send: get("/1"), fin: true}}, want: okClose(same(get("/1")))},
		{id: "S12a", what: "half-close in the head", steps: []step{{send: "GET / HTTP/1.1\r\nHost: t1.lb.test\r\n", fin: true}},
			want: []outcome{{conn: closes}, {status: []int{400}, conn: closes}, {status: []int{408}, conn: closes}}},
		{id: "S12b", what: "half-close without a byte", steps: []step{{send: "", fin: true}}, want: []outcome{{conn: closes}}},
		{id: "S12c", what: "half-close, slow answer", steps: []step{{send: get("/slow"), fin: true}}, script: slowFirst,
			want: []outcome{{status: []int{200}, conn: closes, body: "t1 GET /slow", member: []msg{same(get("/slow"))}}, {conn: closes, member: []msg{same(get("/slow"))}}}},
		{id: "S13", what: "100 MB up, the member says 413 and closes", script: earlyAnswer("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"),
			steps: []step{{send: line1("POST / HTTP/1.1", "Content-Length: 104857600")}, {send: strings.Repeat("x", 1<<20), repeat: 100}},
			want:  []outcome{{status: []int{413}, conn: closes, body: "big", partial: []string{"t1"}}}},
		{id: "S13a", what: "chunked upload, the member says 401 and closes", script: earlyAnswer("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno"),
			steps: []step{{send: line1("POST / HTTP/1.1", "Transfer-Encoding: chunked")}, {send: "10000\r\n" + strings.Repeat("x", 1<<16) + "\r\n", repeat: 320}},
			want:  []outcome{{status: []int{401}, conn: closes, body: "no", partial: []string{"t1"}}}},
		{id: "S13b", what: "20 MB up, whole", steps: []step{{send: line1("POST / HTTP/1.1", "Content-Length: 20971520")}, {send: strings.Repeat("x", 1<<20), repeat: 20}}, skip: after,
			want: ok(msg{head: "POST / HTTP/1.1\r\nHost: t1.lb.test\r\nContent-Length: 20971520\r\n", bodyLen: 20971520})},

		slowly(row{id: "S07", what: "a header byte every 0.35 s", want: timedOut,
			steps: []step{{send: "GET / HTTP/1.1\r\nHost: t1.lb.test\r\nX-A: "}, drip("a", 20)}}, 2500*time.Millisecond),
		slowly(row{id: "S07a", what: "a byte of the request line every 0.35 s", want: timedOut,
			steps: []step{{send: "GET /"}, drip("a", 20)}}, 2500*time.Millisecond),
		slowly(row{id: "S07b", what: "half a head, then nothing", want: timedOut,
			steps: []step{{send: "GET / HTTP/1.1\r\nHost: t1.lb.test\r\n"}}}, 2500*time.Millisecond),
		slowly(row{id: "S07c", what: "empty lines for ever", want: or(timedOut, rej(), []outcome{{conn: closes}}),
			steps: []step{drip("\r\n", 20)}}, 2500*time.Millisecond),
		slowly(row{id: "S07e", what: "a line that is no request line, then nothing", want: rejAs(400, 408),
			steps: []step{{send: "SSH-2.0-OpenSSH_9.2p1\r\n"}}}, 2500*time.Millisecond),
		slowly(row{id: "S07f", what: "CR CR LF in the head, then nothing", want: rejAs(400, 408),
			steps: []step{{send: "GET / HTTP/1.1\r\nHost: t1.lb.test\r\n\r\r\n"}}}, 2500*time.Millisecond),
		slowly(row{id: "S08d", what: "a wrong end of chunks, then nothing", want: rejBody(400, 408),
			steps: []step{{send: line1("POST / HTTP/1.1", "Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\rX"}}}, 12*time.Second),
		slowly(row{id: "S07d", what: "a slow head behind a good request", want: []outcome{{status: []int{200, 408}, conn: closes, member: []msg{same(get("/1"))}}},
			steps: []step{{send: get("/1")}, {pause: 100 * time.Millisecond, send: "GET / HT"}, drip("a", 20)}}, 3*time.Second),
		slowly(row{id: "S08", what: "a body byte every 0.35 s", want: rejBody(408),
			steps: []step{{send: line1("POST / HTTP/1.1", "Content-Length: 100")}, drip("a", 60)}}, 12*time.Second),
		slowly(row{id: "S08a", what: "a chunk every 0.35 s", want: rejBody(408),
			steps: []step{{send: line1("POST / HTTP/1.1", "Transfer-Encoding: chunked")}, drip("1\r\na\r\n", 60)}}, 12*time.Second),
		slowly(row{id: "S08b", what: "half a body, then nothing", want: rejBody(408),
			steps: []step{{send: line1("POST / HTTP/1.1", "Content-Length: 100") + "a"}}}, 12*time.Second),
		slowly(row{id: "S08c", what: "an unused answer and a body that never comes: own 404", want: []outcome{{status: []int{404}, conn: closes}},
			steps: []step{{send: raw("POST / HTTP/1.1", "Host: unknown.test", "Content-Length: 100")}}}, time.Second),
		{id: "S09", what: "kept alive, closed when idle without a word", slow: true, want: []outcome{{status: []int{200}, conn: closes, member: []msg{same(get("/1"))}}},
			play: func(k *conversation) {
				k.c.Send(get("/1"))
				if !k.answer("GET") {
					return
				}
				start := time.Now()
				err := k.c.AwaitEOF(6 * time.Second)
				if k.s.closed = err == nil; err != nil || time.Since(start) < time.Second {
					k.s.broken = fmt.Sprintf("after %v idle: %v", time.Since(start), err)
				}
			}},
		{id: "S15", what: "RST in the body", want: []outcome{{partial: []string{"t1"}, conn: either}},
			steps: []step{{send: line1("POST / HTTP/1.1", "Content-Length: 100") + "abc"}, {pause: 50 * time.Millisecond, reset: true}}},
	}
}

// slowFirst answers requests for /slow late.
func slowFirst() harness.Script {
	return func(c *harness.MemberConn, r *harness.Request) {
		if strings.Contains(r.Line, "/slow") {
			time.Sleep(150 * time.Millisecond)
		}
		harness.Echo(c, r)
	}
}

func repeated(m msg, n int) []msg {
	var list []msg
	for range n {
		list = append(list, m)
	}
	return list
}

func keepAliveEchoed(s *seen) error {
	if len(s.answers) == 0 || !hasToken(s.answers[0].Fields, "Connection", "keep-alive") {
		return errors.New("an HTTP/1.0 client was not told that its connection is kept")
	}
	return nil
}
