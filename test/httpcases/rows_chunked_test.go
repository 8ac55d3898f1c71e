package httpcases

import "strings"

// chunkedRows are group K.
func chunkedRows() []row {
	const te = "Transfer-Encoding: chunked"
	in := func(body string) string { return P(body, te) }
	badBody := func(id, what, body string, codes ...int) row {
		return row{id: id, what: what, in: in(body), want: rejBody(codes...)}
	}
	goodBody := func(id, what, body, content string) row {
		return row{id: id, what: what, in: in(body), want: ok(chunked(in(body), content))}
	}
	eitherBody := func(id, what, body, content string) row {
		return row{id: id, what: what, in: in(body), want: or(ok(chunked(in(body), content)), rejBody())}
	}
	trailer := func(id, what, lines string) row { // one that is good but need not be forwarded
		kept := chunked(in(""), "hello")
		kept.trailers = lines
		return row{id: id, what: what, in: in("5\r\nhello\r\n0\r\n" + lines + "\r\n"), want: or(ok(kept), ok(chunked(in(""), "hello")))}
	}
	forbidden := func(id, what, lines string) row {
		return row{id: id, what: what, in: in("5\r\nhello\r\n0\r\n" + lines + "\r\n"), want: or(ok(chunked(in(""), "hello")), rejBody())}
	}
	gone := or(rejBody(400, 408), []outcome{{conn: closes, partial: []string{"t1"}}})
	return []row{
		badBody("K01", "0x5", "0x5\r\nhello\r\n0\r\n\r\n"),
		badBody("K02", "+5", "+5\r\nhello\r\n0\r\n\r\n"),
		eitherBody("K03", "space behind the size", "5 \r\nhello\r\n0\r\n\r\n", "hello"),
		eitherBody("K03a", "white space around the semicolon", "5 ;\ta=b\r\nhello\r\n0\r\n\r\n", "hello"),
		badBody("K03b", "tab and letters behind the size", "5\tabc\r\nhello\r\n0\r\n\r\n"),
		badBody("K03c", "space inside the size", "1 0\r\nhellohellohelloh\r\n0\r\n\r\n"),
		badBody("K04", "0_5", "0_5\r\nhello\r\n0\r\n\r\n"),
		badBody("K05", "leading space", " 5\r\nhello\r\n0\r\n\r\n"),
		badBody("K05a", "leading tab", "\t5\r\nhello\r\n0\r\n\r\n"),
		goodBody("K06", "quoted extension", "5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n", "hello"),
		eitherBody("K06a", "empty extension", "5;\r\nhello\r\n0\r\n\r\n", "hello"),
		eitherBody("K06b", "extension with an open quote", "5;a=\"b\r\nhello\r\n0\r\n\r\n", "hello"),
		goodBody("K07", "extension", "5;a=b\r\nhello\r\n0\r\n\r\n", "hello"),
		goodBody("K07a", "extensions everywhere", "5;a=b;c\r\nhello\r\n0;d=e\r\n\r\n", "hello"),
		badBody("K08", "LF ends the extension", "5;a\nhello\r\n0\r\n\r\n"),
		badBody("K08a", "LF ends the size", "5\nhello\r\n0\r\n\r\n"),
		badBody("K08b", "LF ends an empty extension", "5;\nhello\r\n0\r\n\r\n"),
		badBody("K08c", "LF in an extension that goes on", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
		badBody("K09", "NUL in the extension", "5;a=\x00\r\nhello\r\n0\r\n\r\n"),
		badBody("K09a", "bare CR in the extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
		badBody("K09b", "bare CR ends the extension", "5;a\rhello\r\n0\r\n\r\n"),
		badBody("K10", "extension of 64 KiB", "5;a="+strings.Repeat("b", 64<<10)+"\r\nhello\r\n0\r\n\r\n", 400, 413, 431),
		badBody("K10a", "endless extension", "5;a="+strings.Repeat("b", 100000), 400, 413, 431),
		badBody("K11", "nothing behind the data", "5\r\nhello0\r\n\r\n"),
		badBody("K11a", "two other bytes behind the data", "5\r\nhelloXX0\r\n\r\n"),
		badBody("K11b", "LF behind the data", "5\r\nhello\n0\r\n\r\n"),
		badBody("K11c", "CR behind the data", "5\r\nhello\r0\r\n\r\n"),
		badBody("K11d", "LF CR behind the data", "5\r\nhello\n\r0\r\n\r\n"),
		badBody("K11e", "space and CRLF behind the data", "5\r\nhello \r\n0\r\n\r\n"),
		goodBody("K12", "leading zeros", "0005\r\nhello\r\n000\r\n\r\n", "hello"),
		eitherBody("K12a", "two hundred leading zeros", strings.Repeat("0", 200)+"5\r\nhello\r\n0\r\n\r\n", "hello"),
		badBody("K13", "17 hex digits", "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"),
		badBody("K13a", "16 hex digits", "FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n", 400, 413),
		badBody("K14", "wraps round to 5", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
		badBody("K14a", "wraps round to 0", "10000000000000000\r\n\r\n"+S),
		badBody("K14b", "2^32+5 in 32 bits", "8000000000000005\r\nhello\r\n0\r\n\r\n", 400, 413),
		badBody("K15", "-5", "-5\r\nhello\r\n0\r\n\r\n"),
		badBody("K15a", "5h", "5h\r\nhello\r\n0\r\n\r\n"),
		badBody("K15b", "empty size", "\r\nhello\r\n0\r\n\r\n"),
		badBody("K15c", "extension without a size", ";a=b\r\nhello\r\n0\r\n\r\n"),
		badBody("K15d", "NUL behind the size", "5\x00\r\nhello\r\n0\r\n\r\n"),
		badBody("K15e", "g", "g\r\nhello\r\n0\r\n\r\n"),
		badBody("K15f", "-0", "-0\r\n\r\n"),
		badBody("K15g", "0x0", "0x0\r\n\r\n"),
		badBody("K16", "bare CR ends the size", "5\rhello\r\n0\r\n\r\n"),
		badBody("K16a", "CR CR LF ends the size", "5\r\r\nhello\r\n0\r\n\r\n"),
		badBody("K16b", "vertical tab behind the size", "5\x0b\r\nhello\r\n0\r\n\r\n"),
		{id: "K17", what: "no last chunk, FIN", want: gone, steps: []step{{send: in("5\r\nhello\r\n"), fin: true}}},
		{id: "K17a", what: "cut in the data, FIN", want: gone, steps: []step{{send: in("5\r\nhel"), fin: true}}},
		{id: "K17b", what: "cut in the size, FIN", want: gone, steps: []step{{send: in("5\r\nhello\r\n0"), fin: true}}},
		{id: "K17c", what: "cut before the last CRLF, FIN", want: gone, steps: []step{{send: in("5\r\nhello\r\n0\r\n"), fin: true}}},
		goodBody("K18", "upper case hex", "A\r\nhellohello\r\n0\r\n\r\n", "hellohello"),
		goodBody("K18a", "lower case hex", "a\r\nhellohello\r\n0\r\n\r\n", "hellohello"),
		goodBody("K18b", "many chunks", "1\r\nh\r\n1\r\ne\r\n3\r\nllo\r\n0\r\n\r\n", "hello"),
		goodBody("K18c", "no content", "0\r\n\r\n", ""),
		goodBody("K18d", "content that looks like chunks", "f\r\n0\r\n\r\n5\r\nhello\r\n\r\n0\r\n\r\n", "0\r\n\r\n5\r\nhello\r\n"),
		trailer("K19", "trailer", "X-T: 1\r\n"),
		trailer("K19a", "two trailers", "X-T: 1\r\nx-u:  2\r\n"),
		forbidden("K20", "trailers Content-Length, X-Tenant-Id, Host", "Content-Length: 9\r\nX-Tenant-Id: 2\r\nHost: t2.lb.test\r\n"),
		forbidden("K20a", "trailer Transfer-Encoding", "Transfer-Encoding: chunked\r\n"),
		forbidden("K20b", "trailer X-Forwarded-For", "X-Forwarded-For: 9.9.9.9\r\n"),
		forbidden("K20c", "trailers Authorization and Cookie", "Authorization: x\r\nCookie: a=b\r\n"),
		forbidden("K20d", "trailer Connection", "Connection: close\r\n"),
		badBody("K21", "data longer than its size", "3\r\nhello\r\n0\r\n\r\n"),
		badBody("K21a", "data shorter than its size", "6\r\nhello\r\n0\r\n\r\n"),
		badBody("K22", "LF LF at the end", "0\n\n"),
		badBody("K22a", "LF behind the last size", "5\r\nhello\r\n0\n\r\n"),
		badBody("K22b", "LF as the last line", "5\r\nhello\r\n0\r\n\n"),
		badBody("K22c", "CR and another byte as the last line", "5\r\nhello\r\n0\r\n\rX\r\n\r\n"),
		badBody("K23", "2,001 chunks of one byte and 500 bytes of extension", strings.Repeat("1;a="+strings.Repeat("b", 497)+"\r\nx\r\n", 2001)+"0\r\n\r\n", 400, 413),
		badBody("K24", "trailer without a colon", "5\r\nhello\r\n0\r\nX-T\r\n\r\n"),
		badBody("K24a", "trailer with a space before the colon", "5\r\nhello\r\n0\r\nX-T : 1\r\n\r\n"),
		badBody("K24b", "trailer with NUL", "5\r\nhello\r\n0\r\nX-T: \x00\r\n\r\n"),
		badBody("K24c", "folded trailer", "5\r\nhello\r\n0\r\nX-T: 1\r\n 2\r\n\r\n"),
		badBody("K24d", "trailer ended by LF", "5\r\nhello\r\n0\r\nX-T: 1\n\r\n"),
		badBody("K24e", "bare CR in a trailer", "5\r\nhello\r\n0\r\nX-T: 1\rX-U: 2\r\n\r\n"),
		badBody("K24f", "a request as trailers", "5\r\nhello\r\n0\r\nGET /smuggled HTTP/1.1\r\nHost: t1.lb.test\r\n\r\n"),
		badBody("K25", "trailers of 64 KiB", "0\r\nX-T: "+strings.Repeat("b", 64<<10)+"\r\n\r\n", 400, 413, 431),
		badBody("K25a", "10,000 trailers", "0\r\n"+strings.Repeat("X-T: b\r\n", 10000)+"\r\n", 400, 413, 431),
		{id: "K26", what: "a request behind the last chunk", in: in(hello) + S, want: ok(chunked(in(""), "hello"), same(S))},
		{id: "K27", what: "64 KiB in one chunk", in: in("10000\r\n" + strings.Repeat("x", 64<<10) + "\r\n0\r\n\r\n"), want: ok(chunked(in(""), strings.Repeat("x", 64<<10)))},
	}
}
