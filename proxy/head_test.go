package proxy

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
)

// parseRequest runs what a connection runs on a whole head.
func parseRequest(t testing.TB, raw string) (*requestHead, fault) {
	t.Helper()
	b := []byte(raw)
	n, _, f := scanHead(b, 0)
	if f != noFault {
		return nil, f
	}
	if n == 0 {
		t.Fatalf("%q is not a whole head", raw)
	}
	h := &requestHead{}
	return h, h.parse(b[:n], 100, &fieldRules{tenant: [2]string{"x-tenant-id", "x-tenant-name"}})
}

func TestRequestHeadRefuses(t *testing.T) {
	f := func(raw string, want fault) {
		t.Helper()
		if _, got := parseRequest(t, raw); got != want {
			t.Fatalf("%q: %v, want %v", raw, got.code(), want.code())
		}
	}
	const host = "Host: t1.lb.test\r\n"
	f("GET / HTTP/1.1\r\n"+host+"\r\n", noFault)
	f("GET / HTTP/1.1\nHost: a\n\n", badField)
	f("GET\t/\tHTTP/1.1\r\n"+host+"\r\n", badRequestLine)
	f("GET / HTTP/1.1 \r\n"+host+"\r\n", badRequestLine)
	f("GET  / HTTP/1.1\r\n"+host+"\r\n", badRequestLine)
	f("GET /\r\n"+host+"\r\n", badRequestLine)
	f("GET / http/1.1\r\n"+host+"\r\n", badRequestLine)
	f("GET / HTTP/2.0\r\n"+host+"\r\n", unsupportedVersion)
	f("GET / HTTP/1.2\r\n"+host+"\r\n", unsupportedVersion)
	f("GET / HTTP/11\r\n"+host+"\r\n", badRequestLine)
	f("G\x00T / HTTP/1.1\r\n"+host+"\r\n", badRequestLine)
	f("GET /a\x00b HTTP/1.1\r\n"+host+"\r\n", badTarget)
	f("GET /caf\xc3\xa9 HTTP/1.1\r\n"+host+"\r\n", badTarget)
	f("GET /#x HTTP/1.1\r\n"+host+"\r\n", badTarget)
	f("GET * HTTP/1.1\r\n"+host+"\r\n", badTarget)
	f("OPTIONS * HTTP/1.1\r\n"+host+"\r\n", noFault)
	f("GET /a\\b HTTP/1.1\r\n"+host+"\r\n", badPath)
	f("get / HTTP/1.1\r\n"+host+"\r\n", noFault)
	f("CONNECT a:1 HTTP/1.1\r\n"+host+"\r\n", methodRefused)
	f("TRACE / HTTP/1.1\r\n"+host+"\r\n", methodRefused)
	f("GET / HTTP/1.1\r\nX-A : b\r\n"+host+"\r\n", badField)
	f("GET / HTTP/1.1\r\n X-A: b\r\n"+host+"\r\n", badField)
	f("GET / HTTP/1.1\r\n"+host+"foo bar\r\n\r\n", badField)
	f("GET / HTTP/1.1\r\n"+host+": x\r\n\r\n", badField)
	f("GET / HTTP/1.1\r\n"+host+"X: a\x00b\r\n\r\n", badField)
	f("GET / HTTP/1.1\r\n"+host+"X: a\rY: b\r\n\r\n", badField)
	f("GET / HTTP/1.1\r\n"+host+"X: a\r\n b\r\n\r\n", badField)
	f("GET / HTTP/1.1\r\n"+host+"X: \xff\xfe\r\n\r\n", noFault)
	f("GET / HTTP/1.1\r\n\r\n", badHost)
	f("GET / HTTP/1.0\r\n\r\n", badHost)
	f("GET / HTTP/1.1\r\nHost:\r\n\r\n", badHost)
	f("GET / HTTP/1.1\r\n"+host+host+"\r\n", badHost)
	for _, bad := range []string{"a, b", "a@b", "a:99999", "a:x", "a b", "a/b", "[::1", "[x]", "a..b", "-", ".", "a:80:80", "[::1]x"} {
		want := badHost
		if bad == "-" {
			want = noFault // no name of ours, but a label
		}
		f("GET / HTTP/1.1\r\nHost: "+bad+"\r\n\r\n", want)
	}
	f("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", noFault)
	f("GET / HTTP/1.1\r\nHost: a.:80\r\n\r\n", noFault)
	f("GET http://t1.lb.test/x HTTP/1.1\r\n"+host+"\r\n", noFault)
	f("GET http://T1.lb.test HTTP/1.1\r\n"+host+"\r\n", noFault)
	f("GET http://t2.lb.test/x HTTP/1.1\r\n"+host+"\r\n", badTarget)
	f("GET http://u:p@t1.lb.test/x HTTP/1.1\r\n"+host+"\r\n", badTarget)
	f("GET ftp://t1.lb.test/x HTTP/1.1\r\n"+host+"\r\n", badTarget)
	f("GET t1.lb.test/x HTTP/1.1\r\n"+host+"\r\n", badTarget)
	for _, bad := range []string{"-1", "+5", "0x5", "5 5", "", "5,5", "18446744073709551621", "9223372036854775808", "5.0", "5\x00"} {
		want := badLength
		if strings.Contains(bad, "\x00") {
			want = badField
		}
		f("POST / HTTP/1.1\r\n"+host+"Content-Length: "+bad+"\r\n\r\n", want)
	}
	f("POST / HTTP/1.1\r\n"+host+"Content-Length: 5\r\nContent-Length: 5\r\n\r\n", badLength)
	f("POST / HTTP/1.1\r\n"+host+"Content-Length: 005\r\n\r\n", noFault)
	f("POST / HTTP/1.1\r\n"+host+"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", badEncoding)
	f("POST / HTTP/1.0\r\n"+host+"Transfer-Encoding: chunked\r\n\r\n", badEncoding)
	for value, want := range map[string]fault{"chunked": noFault, "Chunked": noFault, "chunked, chunked": badEncoding,
		"gzip, chunked": unknownEncoding, "chunked, gzip": badEncoding, "chunked,": badEncoding, `"chunked"`: badEncoding,
		"chunked;q=1": badEncoding, "": badEncoding, "gzip": unknownEncoding, "identity": badEncoding, "x chunked": badEncoding} {
		f("POST / HTTP/1.1\r\n"+host+"Transfer-Encoding: "+value+"\r\n\r\n", want)
	}
	f("GET / HTTP/1.1\r\n"+host+"Expect: 200-maybe\r\n\r\n", badExpect)
	f("GET / HTTP/1.0\r\n"+host+"Expect: 200-maybe\r\n\r\n", noFault)
	f("GET / HTTP/1.1\r\n"+host+"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\n", badUpgrade)
	f("GET / HTTP/1.1\r\n"+host+strings.Repeat("A: b\r\n", 100)+"\r\n", headTooLarge)
}

func TestRequestHeadDrops(t *testing.T) {
	h, f := parseRequest(t, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Secret\r\nX-Secret: 1\r\n"+
		"Connection: X-Other, Content-Length, Host\r\nx-OTHER: 1\r\nKeep: 1\r\nContent-Length: 0\r\nX_Tenant_Id: 2\r\n"+
		"X-Tenant-Id: 2\r\nTransfer_Encoding: chunked\r\nX-Forwarded-Anything: 1\r\nForwarded: for=1\r\nProxy: x\r\n"+
		"TE: gzip\r\nKeep-Alive: 1\r\nProxy-Authorization: x\r\nTrailer: X\r\nHTTP2-Settings: x\r\nX_Custom: 1\r\n\r\n")
	if f != noFault {
		t.Fatal(f.code())
	}
	var kept []string
	for _, fl := range h.fields {
		if !fl.drop {
			kept = append(kept, string(fl.name))
		}
	}
	if got := strings.Join(kept, " "); got != "Host Keep Content-Length X_Custom" {
		t.Fatalf("kept %q", got)
	}
}

// FuzzRequestHead holds that nothing panics, and that what is accepted is read
// by net/http in the same way.
func FuzzRequestHead(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /t/x?y=z HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\n\r\n",
		"POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
		"OPTIONS * HTTP/1.0\r\nHost: [::1]\r\nConnection: keep-alive\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		h := &requestHead{}
		h.incompleteHead(raw, false)
		n, _, flt := scanHead(raw, 0)
		if flt != noFault || n == 0 {
			return
		}
		if h.parse(bytes.Clone(raw[:n]), 100, &fieldRules{tenant: [2]string{"x-tenant-id", ""}}) != noFault {
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw[:n])))
		if err != nil {
			if knownDifference(h, err) {
				return
			}
			t.Fatalf("accepted %q, net/http: %v", raw[:n], err)
		}
		if r.Method != string(h.method) || !strings.EqualFold(r.Host, string(h.rawHost)) {
			t.Fatalf("%q: method %q host %q, net/http %q %q", raw[:n], h.method, h.rawHost, r.Method, r.Host)
		}
		if h.isChunked != (len(r.TransferEncoding) > 0) || !h.isChunked && max(h.length, 0) != r.ContentLength {
			t.Fatalf("%q: framing differs: chunked %v length %d, net/http %v %d", raw[:n], h.isChunked, h.length, r.TransferEncoding, r.ContentLength)
		}
		if h.path[0] == '/' && r.URL.RawQuery != string(h.query) {
			t.Fatalf("%q: query %q, net/http %q", raw[:n], h.query, r.URL.RawQuery)
		}
		for _, fl := range h.fields {
			if fl.kind == kindHost || fl.kind == kindTransferEncoding || fl.kind == kindHop {
				continue // net/http moves these
			}
			found := false
			for _, v := range r.Header.Values(string(fl.name)) {
				found = found || v == string(fl.value)
			}
			if !found {
				t.Fatalf("%q: field %q: %q not seen by net/http: %v", raw[:n], fl.name, fl.value, r.Header)
			}
		}
	})
}

// knownDifference lists where net/http refuses what is right for a proxy.
func knownDifference(h *requestHead, err error) bool {
	s := err.Error()
	return strings.Contains(s, "invalid URL escape") || // refused by routing, not by the head
		strings.Contains(s, "invalid URI") || strings.Contains(s, "parse ") ||
		strings.Contains(s, "malformed Host") || strings.Contains(s, "bad trailer key")
}

func TestResponseHead(t *testing.T) {
	f := func(raw string, ok bool) {
		t.Helper()
		b := []byte(raw)
		n, _, flt := scanHead(b, 0)
		h := &responseHead{}
		if got := flt == noFault && n > 0 && h.parse(b[:n], 100); got != ok {
			t.Fatalf("%q: %v, want %v", raw, got, ok)
		}
	}
	f("HTTP/1.1 200 OK\r\n\r\n", true)
	f("HTTP/1.1 200\r\n\r\n", true)
	f("HTTP/1.1 200 \r\n\r\n", true)
	f("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", true)
	f("HTTP/1.1 OK\r\n\r\n", false)
	f("HTTP/1.1  200 OK\r\n\r\n", false)
	f("HTTP/1.1 2000\r\n\r\n", false)
	f("HTTP/1.1 099 X\r\n\r\n", false)
	f("HTTP/1.1 600 X\r\n\r\n", false)
	f("HTTP/2.0 200 OK\r\n\r\n", false)
	f("HTTP/1.1 200 O\x00K\r\n\r\n", false)
	f("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", false)
	f("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", false)
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", false)
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", false)
	f("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", false)
	f("HTTP/1.1 200 OK\r\nX: a\x00\r\n\r\n", false)
	f("HTTP/1.1 200 OK\nX: a\n\n", false)
	f("HTTP/1.1 200 OK\r\nnocolon\r\n\r\n", false)
}

// FuzzResponseHead holds the same for answers.
func FuzzResponseHead(f *testing.F) {
	for _, s := range []string{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: y\r\n\r\n", "HTTP/1.0 304\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nKeep-Alive: timeout=5\r\n\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		n, _, flt := scanHead(raw, 0)
		if flt != noFault || n == 0 {
			return
		}
		h := &responseHead{}
		if !h.parse(bytes.Clone(raw[:n]), 100) {
			return
		}
		h.keepAliveSeconds()
		r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw[:n])), nil)
		if err != nil {
			if strings.Contains(err.Error(), "bad trailer key") {
				return
			}
			t.Fatalf("accepted %q, net/http: %v", raw[:n], err)
		}
		r.Body.Close()
		if r.StatusCode != h.status {
			t.Fatalf("%q: status %d, net/http %d", raw[:n], h.status, r.StatusCode)
		}
		if h.bodyless([]byte("GET")) {
			return
		}
		if h.isChunked != (len(r.TransferEncoding) > 0) || !h.isChunked && h.length != r.ContentLength {
			t.Fatalf("%q: framing differs: chunked %v length %d, net/http %v %d", raw[:n], h.isChunked, h.length, r.TransferEncoding, r.ContentLength)
		}
	})
}

// readBody runs raw through body in fills of step bytes.
func readBody(raw []byte, fr framing, length int64, step int) (payload []byte, b *body) {
	in := &input{conn: &slowConn{data: raw, step: step}, buf: make([]byte, 512)}
	b = &body{}
	b.start(in, fr, length)
	for !b.done && !b.bad {
		if p := b.take(100); p != nil {
			payload = append(payload, p...)
		} else if b.done || b.bad || in.fill(16<<10) != nil {
			break
		}
	}
	return payload, b
}

func TestChunked(t *testing.T) {
	f := func(raw, want string, done bool) {
		t.Helper()
		for _, step := range []int{1, 3, 1000} {
			got, b := readBody([]byte(raw), framingChunked, 0, step)
			if b.done != done || done && string(got) != want {
				t.Fatalf("%q in steps of %d: %q done %v bad %v", raw, step, got, b.done, b.bad)
			}
			if !done && !b.bad && !strings.HasSuffix(raw, "…") {
				t.Fatalf("%q in steps of %d is neither done nor bad", raw, step)
			}
		}
	}
	f("5\r\nhello\r\n0\r\n\r\n", "hello", true)
	f("5;a=b\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", "hello!", true)
	f("5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n", "hello", true)
	f("00005\r\nhello\r\n0\r\n\r\n", "hello", true)
	for _, bad := range []string{"0x5", "+5", "-5", "0_5", " 5", "5 ", "", "g", "11111111111111111", "10000000000000005", "ffffffffffffffff", "5\rhello", "5;\x00", "5;a\x7f"} {
		f(bad+"\r\nhello\r\n0\r\n\r\n", "", false)
	}
	f("5;a\nhello\r\n0\r\n\r\n", "", false)
	f("5\nhello\r\n0\r\n\r\n", "", false)
	f("5\r\nhello0\r\n\r\n", "", false)
	f("5\r\nhello\n0\r\n\r\n", "", false)
	f("5\r\nhello\r\n0\n\n", "", false)
	f("5\r\nhello\r\n0\r\nX T: 1\r\n\r\n", "", false)
	f("5\r\nhello\r\n0\r\nX: a\nY: b\r\n\r\n", "", false)
	f("5;"+strings.Repeat("a", 300)+"\r\nhello\r\n0\r\n\r\n", "", false)
	f(strings.Repeat("1;"+strings.Repeat("a", 200)+"\r\nx\r\n", 50)+"0\r\n\r\n", "", false)
	f("5\r\nhello\r\n0\r\n"+strings.Repeat("X: "+strings.Repeat("a", 100)+"\r\n", 200)+"\r\n", "", false)
}

func TestTrailersByWhitelist(t *testing.T) {
	_, b := readBody([]byte("0\r\nContent-Length: 5\r\nX-Tenant-Id: 2\r\nServer-Timing: a\r\nHost: x\r\n\r\n"), framingChunked, 0, 1000)
	if got := string(b.trailers); got != "Server-Timing: a\r\n" {
		t.Fatalf("trailers %q", got)
	}
}

// FuzzChunked holds that nothing panics, that the size of the reads makes no
// difference, and that a body taken as whole is whole for net/http too.
func FuzzChunked(f *testing.F) {
	f.Add([]byte("5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"))
	f.Add([]byte("0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		one, b1 := readBody(raw, framingChunked, 0, 1)
		all, b2 := readBody(raw, framingChunked, 0, len(raw)+1)
		if b1.done != b2.done || b1.done && !bytes.Equal(one, all) {
			t.Fatalf("%q: byte by byte %q %v, at once %q %v", raw, one, b1.done, all, b2.done)
		}
		if !b1.done {
			return
		}
		req := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + string(raw)
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(req)))
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := io.ReadAll(r.Body)
		if err != nil || !bytes.Equal(theirs, one) {
			t.Fatalf("%q: %q, net/http %q %v", raw, one, theirs, err)
		}
	})
}
