package httpcases

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"jetway/test/harness"
)

// row is one case. The client sends in (or plays steps) and one of want must
// come out.
type row struct {
	id, what string
	in       string
	steps    []step                // instead of in, where pauses and waiting matter
	methods  []string              // of the requests in `in`, where one is HEAD; default GET
	play     func(k *conversation) // instead of in, for a conversation of its own
	script   func() harness.Script // makes the script of all members for a run; default harness.Echo
	want     []outcome
	skip     form   // forms that make no sense for this row
	only     form   // if set, the only forms
	slow     bool   // runs beside the others, on a bench of its own with small limits
	total    string // timeouts.total of a slow row
	// fresh: the member connection of this row must not serve another request.
	fresh bool
	// check looks further into what was seen, nil: nothing.
	check func(s *seen) error
}

// step is one move of the client.
type step struct {
	pause  time.Duration // first
	await  int           // then wait for an interim answer of this status, or any final one, at most a second
	send   string
	repeat int           // send so many times in all
	every  time.Duration // with this pause in between
	fin    bool          // half-close afterwards
	reset  bool          // RST afterwards
}

// ending says what becomes of the client's connection.
type ending int

const (
	stays ending = iota
	closes
	either
)

// outcome is one right result of a row.
type outcome struct {
	status  []int    // of the final answers, in order
	conn    ending   // afterwards
	interim []int    // in front of the last final answer, when not nil
	body    string   // of the last answer, when not empty
	head    string   // lines that the last answer's head must hold, exactly and in order, but for Jetway's own
	cut     bool     // the last answer must be visibly incomplete
	member  []msg    // whole requests at the members
	partial []string // members at which one request may have begun that never becomes whole
	tries   int      // member may hold the last message up to so many times in all
}

// msg is one request as it must reach a member.
type msg struct {
	at       string   // member; "" is t1
	head     string   // request line and fields with CRLF, without the blank line, without Transfer-Encoding
	body     string   // content
	chunked  bool     // framed so
	trailers string   // lines with CRLF
	maybe    []string // lines that may be there as well
	bodyLen  int64    // of a body too long to compare
}

// G and P are the reference's templates: GET / and POST / with these lines.
func G(lines ...string) string { return template("GET / HTTP/1.1", lines) }

func P(body string, lines ...string) string { return template("POST / HTTP/1.1", lines) + body }

// line1 is G with another request line.
func line1(requestLine string, lines ...string) string { return template(requestLine, lines) }

func template(requestLine string, lines []string) string {
	return raw(requestLine, append([]string{"Host: t1.lb.test"}, lines...)...)
}

// raw is a head of exactly these lines.
func raw(requestLine string, lines ...string) string {
	return strings.Join(append([]string{requestLine}, lines...), "\r\n") + "\r\n\r\n"
}

// S is the request that must never run by itself.
const S = "GET /smuggled HTTP/1.1\r\nHost: t1.lb.test\r\n\r\n"

// rej is the refusal: 400, close, nothing at a member.
func rej() []outcome { return rejAs(400) }

// rejAs is a refusal with one of these statuses.
func rejAs(codes ...int) []outcome {
	var want []outcome
	for _, code := range codes {
		want = append(want, outcome{status: []int{code}, conn: closes})
	}
	return want
}

// rejBody is a refusal of a body: its request may have begun at a member but
// never becomes whole there.
func rejBody(codes ...int) []outcome {
	if len(codes) == 0 {
		codes = []int{400}
	}
	want := rejAs(codes...)
	for i := range want {
		want[i].partial = []string{"t1"}
	}
	return want
}

// own is an answer of Jetway itself without a member.
func own(code int, conn ending) []outcome {
	return []outcome{{status: []int{code}, conn: conn}}
}

// ok says: these requests reach members, are answered 200, the connection stays.
func ok(messages ...msg) []outcome {
	return []outcome{{status: slices.Repeat([]int{200}, len(messages)), conn: stays, member: messages}}
}

// okClose is ok with a connection that closes.
func okClose(messages ...msg) []outcome {
	want := ok(messages...)
	want[0].conn = closes
	return want
}

func or(sets ...[]outcome) []outcome { return slices.Concat(sets...) }

// same is the message as it was sent, which must go on as it stands.
func same(in string) msg {
	head, body, _ := strings.Cut(in, "\r\n\r\n")
	return msg{head: head + "\r\n", body: body}
}

// fwd is same without these lines of the head.
func fwd(in string, without ...string) msg {
	m := same(in)
	for _, line := range without {
		if !strings.Contains(m.head, line+"\r\n") {
			panic(fmt.Sprintf("BUG: %q is not in %q", line, m.head))
		}
		m.head = strings.Replace(m.head, line+"\r\n", "", 1)
	}
	return m
}

// chunked is the message with this content, framed as chunked.
func chunked(in, content string) msg {
	m := same(in)
	m.chunked, m.body = true, content
	return m
}

// bad, badAs, good and goodAs make the commonest rows.
func bad(id, what, in string) row { return row{id: id, what: what, in: in, want: rej()} }

func badAs(id, what, in string, codes ...int) row {
	return row{id: id, what: what, in: in, want: rejAs(codes...)}
}

func good(id, what, in string) row { return row{id: id, what: what, in: in, want: ok(same(in))} }

func goodAs(id, what, in string, m msg) row { return row{id: id, what: what, in: in, want: ok(m)} }

// text is all that the client sends at once.
func (r *row) text() string {
	text := r.in
	for _, st := range r.steps {
		text += st.send
	}
	return text
}

func (m msg) to(member string) msg { m.at = member; return m }

func (m msg) member() string {
	if m.at == "" {
		return "t1"
	}
	return m.at
}

// group is a part of the table with one bench.
type group struct {
	name string
	rows []row
}

func groups() []group {
	return []group{
		{"R", requestLineRows()},
		{"H", headerRows()},
		{"T", hostRows()},
		{"C", contentLengthRows()},
		{"E", transferEncodingRows()},
		{"K", chunkedRows()},
		{"P", forwardingRows()},
		{"N", tenantPathRows()},
		{"U", expectUpgradeRows()},
		{"S", lifeCycleRows()},
		{"B", memberRows()},
		{"A", answerRows()},
		{"J", sessionRows()},
	}
}
