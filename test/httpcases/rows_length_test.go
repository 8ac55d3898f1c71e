package httpcases

import "fmt"

// contentLengthRows are group C.
func contentLengthRows() []row {
	cl := func(value string) string { return P("hello", "Content-Length: "+value) }
	plain := same(cl("5"))
	collapse := or(rej(), ok(plain))
	rows := []row{
		good("C01", "plain", cl("5")),
		good("C01a", "length 0", P("", "Content-Length: 0")),
		good("C01b", "PUT and DELETE with bodies", line1("PUT /x HTTP/1.1", "Content-Length: 5")+"hello"),
		good("C01c", "DELETE with a body", line1("DELETE /x HTTP/1.1", "Content-Length: 5")+"hello"),
		{id: "C02", what: "two equal lines", in: P("hello", "Content-Length: 5", "Content-Length: 5"), want: collapse},
		bad("C02a", "two different lines", P("hello", "Content-Length: 5", "Content-Length: 6")),
		bad("C02b", "two different lines, zero first", P(S, "Content-Length: 0", "content-length: 44")),
		bad("C02c", "two lines, equal as numbers only", P("hello", "Content-Length: 5", "Content-Length: 05")),
		{id: "C03", what: "5, 5", in: cl("5, 5"), want: collapse},
		bad("C05", "-1", cl("-1")),
		{id: "C10", what: "leading zeros", in: cl("005"), want: or(ok(same(cl("005"))), ok(plain))},
		bad("C11", "2^64+5", cl("18446744073709551621")),
		bad("C12", "2^63", cl("9223372036854775808")),
		bad("C13", "20 nines", cl("99999999999999999999")),
		bad("C13a", "100 digits", cl(fmt.Sprintf("%0100d", 5)+"0000000000000000000000000")),
		{id: "C15", what: "GET with a body", in: G("Content-Length: 44") + S, want: or(ok(same(G("Content-Length: 44")+S)), rej())},
		{id: "C15a", what: "HEAD with a body", in: line1("HEAD / HTTP/1.1", "Content-Length: 44") + S, methods: []string{"HEAD"},
			want: or(ok(same(line1("HEAD / HTTP/1.1", "Content-Length: 44")+S)), rej())},
		good("C15b", "GET with length 0", G("Content-Length: 0")),
		good("C15c", "OPTIONS with a body", line1("OPTIONS / HTTP/1.1", "Content-Length: 5")+"hello"),
		{id: "C16", what: "white space around", in: P("hello", "Content-Length:\t 5 \t"),
			want: or(ok(same(P("hello", "Content-Length:\t 5 \t"))), ok(plain))},
		{id: "C16a", what: "no white space", in: P("hello", "Content-Length:5"), want: or(ok(same(P("hello", "Content-Length:5"))), ok(plain))},
		good("C16b", "other case", P("hello", "cONTENT-lENGTH: 5")),
		bad("C17", "empty line, then 44", P(S, "Content-Length:", "Content-Length: 44")),
		bad("C17a", "44, then an empty line", P(S, "Content-Length: 44", "Content-Length: ")),
		{id: "C18", what: "no length, a body that is no request", in: P("hello\r\n\r\n"), skip: doubled,
			want: []outcome{{status: []int{200, 400}, conn: closes, member: []msg{noBody(P(""))}}}},
		{id: "C18a", what: "no length, a body that is a request", in: P(S), want: ok(noBody(P("")), same(S))},
		{id: "C19", what: "length 0, then a request", in: P(S, "Content-Length: 0"), want: ok(same(P("", "Content-Length: 0")), same(S))},
		{id: "C21", what: "shorter than its length, then FIN", steps: []step{{send: P("hell", "Content-Length: 5"), fin: true}},
			want: or(rejBody(400, 408), []outcome{{conn: closes, partial: []string{"t1"}}})},
		bad("C22", "space before the colon", P("hello", "Content-Length : 5")),
		bad("C22a", "tab before the colon", P("hello", "Content-Length\t: 5")),
		bad("C22b", "NUL before the colon", P("hello", "Content-Length\x00: 5")),
		bad("C22c", "good and hidden line", P(S, "Content-Length: 0", "Content-Length : 44")),
		bad("C22d", "folded", P("hello", "Content-Length:", " 5")),
		{id: "C23", what: "Content_Length beside it", in: P("hello", "Content-Length: 5", "Content_Length: 0"), want: collapse},
		{id: "C25", what: "HTTP/1.0 with a body", in: raw("POST / HTTP/1.0", "Host: t1.lb.test", "Content-Length: 5") + "hello", want: okClose(plain)},
	}
	for i, value := range []string{"+5", "0x5", "5\x0b", "\x0c5", "5 5", "", "5.0", "5e0", "5;", "\"5\"", "5,6", "5, 6", "5,", ",5",
		"0b101", "0o5", "5\x00", "5_0", "\xef\xbc\x95", "five", "5L", "-0", "5\xa0", "(5)"} {
		ids := map[string]string{"0x5": "C06", "+5": "C04", "5 5": "C08", "": "C09", "5.0": "C14", "5\x0b": "C07"}
		id := ids[value]
		if id == "" {
			id = fmt.Sprintf("C07-%c", 'a'+i)
		}
		rows = append(rows, bad(id, fmt.Sprintf("Content-Length: %q", value), cl(value)))
	}
	return rows
}

// noBody is a message that may get "Content-Length: 0" on its way.
func noBody(in string) msg {
	m := same(in)
	m.maybe = []string{"Content-Length: 0"}
	return m
}
