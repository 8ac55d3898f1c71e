package httpcases

import (
	"errors"
	"strings"
)

// answerRows are group A, which the reference does not have: what a member
// says well goes on as it is.
func answerRows() []row {
	get := same(G())
	// exact passes head and body on without a change.
	exact := func(id, what, head, body string) row {
		return row{id: id, what: what, in: G(), script: says(head + "\r\n" + body),
			want: []outcome{{status: []int{status(head)}, conn: stays, head: head, body: body, member: []msg{get}}}}
	}
	const okHead = "HTTP/1.1 200 OK\r\n"
	chunkedAnswer := func(id, what, body, content string) row {
		return row{id: id, what: what, in: G(), script: says(okHead + "Transfer-Encoding: chunked\r\n\r\n" + body),
			want: []outcome{{status: []int{200}, conn: stays, head: okHead, body: content, member: []msg{get}}}}
	}
	big := strings.Repeat("0123456789abcdef", 1<<16)
	return []row{
		exact("A01", "order, case and duplicates stay", okHead+"x-b: 1\r\nX-A: 2\r\nset-cookie: a=b\r\nX-B: 3\r\nSet-Cookie: c=d; Path=/\r\nContent-Length: 2\r\nx-last: \r\n", "hi"),
		exact("A02", "nothing is invented", okHead+"Content-Length: 2\r\n", "hi"),
		exact("A02a", "Date, Server and Content-Type stay", okHead+"Server: x\r\nDate: never\r\nContent-Type: text/x; charset=\"y\"\r\nContent-Length: 2\r\n", "hi"),
		exact("A03", "reason phrase", "HTTP/1.1 200 Alles gut: ja\r\nContent-Length: 2\r\n", "hi"),
		exact("A03a", "empty reason phrase", "HTTP/1.1 200 \r\nContent-Length: 2\r\n", "hi"),
		exact("A03b", "obs-text in the reason phrase", "HTTP/1.1 200 gr\xfc\xdf\r\nContent-Length: 2\r\n", "hi"),
		exact("A03c", "status 299", "HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n", "hi"),
		exact("A03d", "status 599", "HTTP/1.1 599 Odd\r\nContent-Length: 2\r\n", "hi"),
		exact("A03e", "a member's own 404", "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n", "no"),
		exact("A03f", "a member's own 500 on a GET", "HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n", "no"),
		exact("A03g", "a member's own 503", "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 2\r\n", "no"),
		exact("A05", "obs-text in a value", okHead+"X-A: \xff\xfe\r\nContent-Length: 2\r\n", "hi"),
		exact("A05a", "redirect", "HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1:9763/x\r\nContent-Length: 0\r\n", ""),
		exact("A11", "empty body", okHead+"Content-Length: 0\r\n", ""),
		chunkedAnswer("A06", "chunked", "5\r\nhello\r\n0\r\n\r\n", "hello"),
		chunkedAnswer("A06a", "chunked with extension and trailer", "5;a=b\r\nhello\r\n0\r\nX-T: 1\r\n\r\n", "hello"),
		chunkedAnswer("A06b", "chunked, empty", "0\r\n\r\n", ""),
		chunkedAnswer("A06c", "chunked, 1 MiB", "100000\r\n"+big+"\r\n0\r\n\r\n", big),
		exact("A10", "1 MiB", okHead+"Content-Length: 1048576\r\n", big),
		{id: "A07", what: "chunked answer for HTTP/1.0", in: raw("GET / HTTP/1.0", "Host: t1.lb.test"), script: says(okHead + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
			want: []outcome{{status: []int{200}, conn: closes, body: "hello", member: []msg{get}}}, check: notChunked},
		{id: "A07a", what: "chunked answer for HTTP/1.0 that wants keep-alive", in: raw("GET / HTTP/1.0", "Host: t1.lb.test", "Connection: keep-alive"), script: says(okHead + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
			want: []outcome{{status: []int{200}, conn: either, body: "hello", member: []msg{get}}}, check: notChunked},
		{id: "A07b", what: "cut chunked answer for HTTP/1.0", in: raw("GET / HTTP/1.0", "Host: t1.lb.test"), script: saysAndCloses(okHead + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
			want: or([]outcome{{status: []int{200}, cut: true, conn: closes, member: []msg{get}}}, bad502(get))},
		{id: "A08", what: "HEAD", in: line1("HEAD / HTTP/1.1"), methods: []string{"HEAD"}, script: says(okHead + "ETag: \"x\"\r\nContent-Length: 5\r\n\r\n"),
			want: []outcome{{status: []int{200}, conn: stays, head: okHead + "ETag: \"x\"\r\nContent-Length: 5\r\n", member: []msg{same(line1("HEAD / HTTP/1.1"))}}}},
		{id: "A08a", what: "HEAD without a length", in: line1("HEAD / HTTP/1.1"), methods: []string{"HEAD"}, script: says(okHead + "ETag: \"x\"\r\n\r\n"),
			want: []outcome{{status: []int{200}, conn: stays, head: okHead + "ETag: \"x\"\r\n", member: []msg{same(line1("HEAD / HTTP/1.1"))}}}},
		exact("A09", "204", "HTTP/1.1 204 No Content\r\nETag: \"x\"\r\n", ""),
		exact("A09a", "304", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n", ""),
		{id: "A13", what: "HTTP/1.0 answer with a length", in: G(), script: saysAndCloses("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
			want: []outcome{{status: []int{200}, conn: stays, head: okHead + "Content-Length: 5\r\n", body: "hello", member: []msg{get}}}},
	}
}

// status reads the code of a status line.
func status(head string) int {
	return int(head[9]-'0')*100 + int(head[10]-'0')*10 + int(head[11]-'0')
}

func notChunked(s *seen) error {
	for _, a := range s.answers {
		if a.Chunked {
			return errors.New("an HTTP/1.0 client got a chunked answer")
		}
	}
	return nil
}
