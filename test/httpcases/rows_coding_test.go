package httpcases

import "fmt"

const hello = "5\r\nhello\r\n0\r\n\r\n"

// transferEncodingRows are group E.
func transferEncodingRows() []row {
	te := func(lines ...string) string { return P(hello, lines...) }
	// both has a length that covers the chunks, and S behind the last one.
	both := func(lines ...string) string {
		return P("0\r\n\r\n"+S, append([]string{"Content-Length: 49"}, lines...)...)
	}
	tecl := "5c\r\nGPOST / HTTP/1.1\r\nHost: t1.lb.test\r\nContent-Type: text/plain\r\nContent-Length: 15\r\n\r\nx=1\r\n0\r\n\r\n"
	rows := []row{
		goodAs("E00", "plain", te("Transfer-Encoding: chunked"), chunked(te("Transfer-Encoding: chunked"), "hello")),
		bad("E01", "CL.TE", both("Transfer-Encoding: chunked")),
		bad("E02", "TE.CL", P(tecl, "Transfer-Encoding: chunked", "Content-Length: 4")),
		bad("E03", "TE in front, length 0", P("0\r\n\r\n", "Transfer-Encoding: chunked", "Content-Length: 0")),
		bad("E03a", "TE.0 with GET", G("Transfer-Encoding: chunked", "Content-Length: 0")+"0\r\n\r\n"+S),
		bad("E04", "space before the colon", both("Transfer-Encoding : chunked")),
		bad("E04a", "tab before the colon", both("Transfer-Encoding\t: chunked")),
		bad("E04b", "space in front", both(" Transfer-Encoding: chunked")),
		bad("E04c", "no colon", both("Transfer-Encoding chunked")),
		bad("E05", "vertical tab in front of chunked", both("Transfer-Encoding: \x0bchunked")),
		bad("E05a", "form feed behind chunked", both("Transfer-Encoding: chunked\x0c")),
		bad("E05b", "NUL in front of chunked", both("Transfer-Encoding: \x00chunked")),
		bad("E06", "other case and length", both("tRANSFER-eNCODING: cHUNKED")),
		badAs("E07", "two lines of chunked", te("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), 400, 501),
		badAs("E07a", "chunked, then identity", te("Transfer-Encoding: chunked", "Transfer-Encoding: identity"), 400, 501),
		badAs("E07b", "identity, then chunked", te("Transfer-Encoding: identity", "Transfer-Encoding: chunked"), 400, 501),
		badAs("E07c", "chunked, then a cow", te("Transfer-Encoding: chunked", "Transfer-encoding: cow"), 400, 501),
		badAs("E07d", "chunked, then empty", te("Transfer-Encoding: chunked", "Transfer-Encoding:"), 400, 501),
		badAs("E08", "chunked, chunked", te("Transfer-Encoding: chunked, chunked"), 400, 501),
		badAs("E09", "identity", te("Transfer-Encoding: identity"), 400, 501),
		badAs("E09a", "identity and length", P("hello", "Transfer-Encoding: identity", "Content-Length: 5"), 400, 501),
		badAs("E10", "gzip, chunked", te("Transfer-Encoding: gzip, chunked"), 501),
		badAs("E11", "chunked, gzip", te("Transfer-Encoding: chunked, gzip"), 400, 501),
		badAs("E12", "gzip", te("Transfer-Encoding: gzip"), 400, 501),
		{id: "E15", what: "Chunked", in: te("Transfer-Encoding: Chunked"), want: ok(chunked(te("Transfer-Encoding: Chunked"), "hello"))},
		{id: "E15a", what: "name and value in other case", in: te("tRANSFER-eNCODING:\tCHUNKED "), want: ok(chunked(te("Transfer-Encoding: chunked"), "hello"))},
		bad("E16", "folded, with length", P("0\r\n\r\n"+S, "Content-Length: 49", "Transfer-Encoding:", " chunked")),
		bad("E16a", "folded, without length", te("Transfer-Encoding:", "\tchunked")),
		{id: "E17", what: "Transfer_Encoding and length", in: P("hello", "Content-Length: 5", "Transfer_Encoding: chunked"),
			want: or(ok(same(P("hello", "Content-Length: 5"))), rej())},
		{id: "E17a", what: "Transfer_Encoding alone", in: te("Transfer_Encoding: chunked"), skip: doubled,
			want: or([]outcome{{status: []int{200, 400}, conn: closes, member: []msg{noBody(P(""))}}}, rej())},
		badAs("E21", "HTTP/1.0 with chunked", raw("POST / HTTP/1.0", "Host: t1.lb.test", "Transfer-Encoding: chunked")+hello, 400, 501),
		bad("E21a", "HTTP/1.0 with chunked and length", raw("POST / HTTP/1.0", "Host: t1.lb.test", "Transfer-Encoding: chunked", "Content-Length: 5")+hello),
		bad("E22", "behind a bare CR", both("X: y\rTransfer-Encoding: chunked")),
		bad("E22a", "behind a bare LF", both("X: y\nTransfer-Encoding: chunked")),
		bad("E22b", "bare LF in the name", both("Transfer-Encoding\n: chunked")),
		bad("E22c", "bare CR behind the colon", both("Transfer-Encoding:\rchunked")),
		// E24 is TestTransferEncodingMutants.
		{id: "E25", what: "TE is not Transfer-Encoding", in: P("hello", "TE: chunked", "Content-Length: 5"), want: ok(fwd(P("hello", "TE: chunked", "Content-Length: 5"), "TE: chunked"))},
		{id: "E30", what: "Connection names Transfer-Encoding", in: te("Connection: Transfer-Encoding", "Transfer-Encoding: chunked"),
			want: or(ok(chunked(te("Transfer-Encoding: chunked"), "hello")), rej())},
	}
	for _, method := range []string{"OPTIONS", "GET", "DELETE", "FROB"} {
		in := line1(method+" / HTTP/1.1", "Transfer-Encoding: chunked") + hello
		id := map[string]string{"OPTIONS": "E23"}[method]
		if id == "" {
			id = "E23-" + method
		}
		rows = append(rows, row{id: id, what: method + " with a chunked body", in: in, want: or(ok(chunked(in, "hello")), rejBody())})
	}
	rows = append(rows, row{id: "E23-S", what: "OPTIONS with a chunked body and a request in it", want: or(ok(chunked(line1("OPTIONS / HTTP/1.1", "Transfer-Encoding: chunked"), S)), rejBody()),
		in: line1("OPTIONS / HTTP/1.1", "Transfer-Encoding: chunked") + "2c\r\n" + S + "\r\n0\r\n\r\n"})
	named := map[string]string{"chunked,": "E13", "\"chunked\"": "E14", "chunked;q=1": "E19", "": "E20", "xchunked": "E18"}
	for i, value := range []string{"chunked,", "\"chunked\"", "xchunked", "chunked;q=1", "", ", chunked", "chunked;", "chunkedx", "chun ked", "chunked\x00",
		"chunked, identity", "identity, chunked", "chun\xe2\x84\xaaed", "chunked\xa0", "'chunked'", "chunked chunked", "\\chunked", "chunked\x7f", "deflate", "x-gzip, chunked", "chunked,,"} {
		id := named[value]
		if id == "" {
			id = fmt.Sprintf("E18-%c", 'a'+i)
		}
		line := "Transfer-Encoding: " + value
		rows = append(rows,
			badAs(id, fmt.Sprintf("%q and length", line), both(line), 400, 501),
			badAs(id+"n", fmt.Sprintf("%q without length", line), te(line), 400, 501))
	}
	return rows
}
