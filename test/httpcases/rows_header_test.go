package httpcases

import (
	"fmt"
	"strings"
)

// headerRows are group H.
func headerRows() []row {
	rows := []row{
		bad("H01", "space before the colon", G("X-A : b")),
		bad("H01a", "tab before the colon", G("X-A\t: b")),
		bad("H02", "empty name", G(": b")),
		bad("H03", "first header line begins with a space", raw("GET / HTTP/1.1", " X-A: b", "Host: t1.lb.test")),
		bad("H03a", "first header line begins with a tab", raw("GET / HTTP/1.1", "\tX-A: b", "Host: t1.lb.test")),
		bad("H03b", "Host itself begins with a space", raw("GET / HTTP/1.1", " Host: t1.lb.test")),
		bad("H04", "no colon", G("foo bar")),
		bad("H04a", "no colon, one word", G("foo")),
		bad("H05", "folded line", G("X-A: a", " b")),
		bad("H05a", "folded with a tab", G("X-A: a", "\tb")),
		bad("H05b", "line of one space", G("X-A: a", " ")),
		bad("H05c", "folded Host", raw("GET / HTTP/1.1", "Host:", " t1.lb.test")),
		bad("H06", "brackets in the name", G("X[A]: b")),
		bad("H07", "NUL in the name", G("X\x00A: b")),
		good("H08", "every token character in the name", G("x!#$%&'*+-.^`|~09AZ: b")),
		bad("H09", "NUL in the value", G("X-A: a\x00b")),
		bad("H09a", "NUL alone as value", G("X-A: \x00")),
		bad("H10", "bare CR in the value", G("X-A: a\rX-B: c")),
		bad("H10a", "bare CR before CRLF", G("X-A: a\r")),
		bad("H10b", "bare CR in front of a name", G("\rX-A: a")),
		bad("H11", "bare LF between fields", G("X-A: a\nX-B: c")),
		bad("H11a", "LF CR instead of CRLF", "GET / HTTP/1.1\r\nHost: t1.lb.test\n\rX-A: b\r\n\r\n"),
		good("H12", "obs-text in the value", G("X-A: \xff\xfe")),
		{id: "H12a", what: "empty value", in: G("X-A:", "X-B: "), want: or(ok(same(G("X-A:", "X-B: "))), ok(same(G("X-A: ", "X-B: "))), ok(same(G("X-A:", "X-B:"))))},
		{id: "H12b", what: "white space around the value", in: G("X-A:  \t b c \t"),
			want: or(ok(same(G("X-A:  \t b c \t"))), ok(same(G("X-A: b c"))))},
		{id: "H12c", what: "no space after the colon", in: G("X-A:b"), want: or(ok(same(G("X-A:b"))), ok(same(G("X-A: b"))))},
		good("H12d", "tab and colons inside the value", G("X-A: a\tb: c:d")),
		droppedOr400("H13", "X_Tenant_Id: t2"),
		droppedOr400("H13a", "X_Forwarded_For: 9.9.9.9"),
		droppedOr400("H13b", "x_request_id: evil"),
		droppedOr400("H13c", "X-Tenant_Name: t2"),
		droppedOr400("H13d", "X_Real_IP: 9.9.9.9"),
		droppedOr400("H13e", "Content_Length: 44"),
		good("H13f", "an underscore that protects nothing", G("X_Custom: 1")),
		good("H14", "order, case and duplicates stay", G("x-a: 1", "X-B: 2", "X-A: 3", "cookie: a=b", "COOKIE: c=d", "Accept: */*", "x-a: 1")),
		badAs("H15", "10,000 lines", G(strings.Split(strings.Repeat("X-A: b,", 9999)+"X-A: b", ",")...), 431),
		good("H15a", "100 lines", G(numbered(99)...)),
		badAs("H15b", "101 lines", G(numbered(100)...), 431),
		badAs("H16", "one value of 64 KiB", G("X-A: "+strings.Repeat("b", 64<<10)), 431),
		good("H16a", "one value of 30 KiB", G("X-A: "+strings.Repeat("b", 30<<10))),
		badAs("H16b", "40 fields of 1 KiB", G(strings.Split(strings.Repeat("X-A: "+strings.Repeat("b", 1<<10)+",", 39)+"X-A: b", ",")...), 431),
		badAs("H17", "name of 64 KiB", G(strings.Repeat("x", 64<<10)+": b"), 431, 400),
		badAs("H17a", "endless value, no line end", "GET / HTTP/1.1\r\nHost: t1.lb.test\r\nX-A: "+strings.Repeat("b", 100000), 431),
		bad("H18", "block ends on CRLF CR", "GET / HTTP/1.1\r\nHost: t1.lb.test\r\n\rGET /evil HTTP/1.1\r\n\r\n"),
		bad("H18a", "CRLF CR CRLF", "GET / HTTP/1.1\r\nHost: t1.lb.test\r\n\r\r\nX-A: b\r\n\r\n"),
		bad("H19", "block ends on LF LF", "GET / HTTP/1.1\r\nHost: t1.lb.test\n\n"),
		bad("H19a", "block ends on CRLF LF", "GET / HTTP/1.1\r\nHost: t1.lb.test\r\n\n"),
		bad("H19b", "space before the last CRLF", "GET / HTTP/1.1\r\nHost: t1.lb.test\r\n \r\n\r\n"),
	}
	for i, c := range "(),/:;<=>?@{}\" " {
		if c != ':' {
			rows = append(rows, bad(fmt.Sprintf("H08-%c", 'a'+i), fmt.Sprintf("%q in the name", c), G(fmt.Sprintf("X%cA: b", c))))
		}
	}
	for _, c := range []string{"\x7f", "\x80", "\xc3\xa9", "\x0b", "\x0c", "\x1f"} {
		rows = append(rows, bad(fmt.Sprintf("H08-%x", c), fmt.Sprintf("%q in the name", c), G("X"+c+"A: b")))
	}
	// RFC 9110, 5.5: other control bytes are invalid, but a recipient may keep them.
	for _, c := range []string{"\x01", "\x08", "\x0b", "\x0c", "\x1f", "\x7f"} {
		in := G("X-A: a" + c + "b")
		rows = append(rows, row{id: fmt.Sprintf("H09-%x", c), what: fmt.Sprintf("%q in the value", c), in: in, want: or(rej(), ok(same(in)))})
	}
	return rows
}

// droppedOr400 is a GET with a line that must not reach the member.
func droppedOr400(id, line string) row {
	return row{id: id, what: line, in: G(line), want: or(ok(same(G())), rej())}
}

func numbered(n int) []string {
	var lines []string
	for i := range n {
		lines = append(lines, fmt.Sprintf("X-%d: b", i))
	}
	return lines
}
