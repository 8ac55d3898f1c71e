package traffic

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"jetway/test/harness"
)

// moody is a member that answers, refuses, breaks and stalls at random; what
// it does depends on the seed, the nonce and the number of the execution only.
type moody struct {
	*harness.Member
	seed   uint64
	ledger *ledger
	turns  sync.Map // by connection: requests begun on it
}

// reply is an answer that a moody member means to give.
type reply struct {
	rng       *rand.Rand
	plan      string
	method    string
	status    int
	head      string // fields, each with CRLF
	body      []byte
	delimited bool // ends with the connection
	wire      []byte
	headLen   int
}

// plans are what a member may do with a request, by weight. Those before
// "answer" are failures.
var plans = [...]struct {
	name   string
	weight int
}{{"early", 6}, {"reset unread", 2}, {"reset", 3}, {"close", 3}, {"cut by reset", 3}, {"cut by close", 3},
	{"answer", 60}, {"answer and close", 6}, {"answer and more", 5}, {"103", 5}, {"stall", 4}}

func pickPlan(rng *rand.Rand) string {
	n := 0
	for _, p := range plans {
		n += p.weight
	}
	n = rng.IntN(n)
	for _, p := range plans {
		if n -= p.weight; n < 0 {
			return p.name
		}
	}
	return "answer"
}

// handle answers one request, or does not. It returns after which time the
// connection is closed if it idles, 0 for never.
func (m *moody) handle(c *harness.MemberConn, r *harness.Request) (closeIdle time.Duration) {
	method, rest, _ := strings.Cut(r.Line, " /c/")
	text, _, _ := strings.Cut(rest, " ")
	nonce, err := strconv.ParseUint(text, 16, 64)
	rec := m.ledger.of(nonce)
	if err != nil || rec == nil || rec.method != method {
		m.ledger.wrong.add("%s got %q, which no client sent", m.Name, r.Line)
		c.Reset()
		return 0
	}
	i := rec.executed(execution{member: m.Name})
	rng := rand.New(rand.NewPCG(m.seed, nonce<<8|uint64(i)))
	p := &reply{rng: rng, method: method, plan: pickPlan(rng)}
	p.choose(nonce, i)
	rec.mu.Lock()
	rec.executions[i].plan, rec.executions[i].length = p.plan, len(p.body)
	rec.mu.Unlock()
	if p.plan == "early" {
		p.refuseEarly(c)
		return 0
	}
	if p.plan == "reset unread" {
		c.Reset()
		return 0
	}
	if r.ReadBody() != nil {
		c.Close() // the client, or Jetway for it, broke off
		return 0
	}
	rec.bodyCame(i)
	if want := pattern(nonce, asked, rec.length); !bytes.Equal(r.Body, want) {
		m.ledger.wrong.add("%s %x: %s took a body of %d bytes for whole, the client meant %d others", method, nonce, m.Name, len(r.Body), len(want))
	}
	p.head += fmt.Sprintf("X-Got: %d-%08x\r\n", len(r.Body), sum(r.Body))
	p.frame()
	p.act(c)
	if rng.IntN(5) == 0 {
		return time.Duration(1+rng.IntN(20000)) * time.Microsecond
	}
	return 0
}

// choose fills status, body and framing.
func (p *reply) choose(nonce uint64, i int) {
	p.status = [...]int{200, 200, 200, 200, 201, 404, 500, 204, 304}[p.rng.IntN(9)]
	if p.plan == "early" {
		p.status = [...]int{413, 401}[p.rng.IntN(2)]
	}
	size := 0
	switch p.rng.IntN(10) {
	case 0:
	case 1, 2:
		size = p.rng.IntN(256 << 10)
	default:
		size = p.rng.IntN(8 << 10)
	}
	if p.plan == "answer and more" {
		size = min(size, 8<<10) // one segment with what comes behind
	}
	if p.status == 204 || p.status == 304 {
		size = 0
	}
	p.body = pattern(nonce, uint64(i), size)
	p.head = fmt.Sprintf("X-Nonce: %x\r\nX-Exec: %d\r\nX-Length: %d\r\n", nonce, i, size)
}

// bodyless: answers that end with their head.
func (p *reply) bodyless() bool { return p.method == "HEAD" || p.status == 204 || p.status == 304 }

// frame makes the bytes of the answer.
func (p *reply) frame() {
	start := fmt.Sprintf("HTTP/1.1 %d Said So\r\n%s", p.status, p.head)
	if p.plan == "answer and close" && p.rng.IntN(2) == 0 {
		start += "Connection: close\r\n"
	}
	switch {
	case p.bodyless():
		if p.method == "HEAD" && p.status >= 400 {
			start += fmt.Sprintf("Content-Length: %d\r\n", len(p.body))
		}
		p.wire = []byte(start + "\r\n")
	case p.rng.IntN(8) == 0 && p.plan != "answer and more" && p.plan != "cut by close":
		p.delimited = true
		p.wire = append([]byte(start+"\r\n"), p.body...)
	case p.rng.IntN(2) == 0:
		p.wire = append([]byte(start+"Transfer-Encoding: chunked\r\n\r\n"), chunks(p.rng, p.body)...)
	default:
		p.wire = append([]byte(start+fmt.Sprintf("Content-Length: %d\r\n\r\n", len(p.body))), p.body...)
	}
	p.headLen = bytes.Index(p.wire, []byte("\r\n\r\n")) + 4
}

// act sends the answer as the plan says.
func (p *reply) act(c *harness.MemberConn) {
	switch p.plan {
	case "reset":
		c.Reset()
		return
	case "close":
		c.Close()
		return
	case "cut by reset", "cut by close":
		n := p.rng.IntN(len(p.wire))
		if p.rng.IntN(2) == 0 {
			n = len(p.wire) - 1 - p.rng.IntN(min(8, len(p.wire))) // in its very end
		}
		c.Write(p.wire[:n])
		if p.plan == "cut by reset" {
			c.Reset()
		} else {
			c.Close()
		}
		return
	case "answer and more":
		more := "HTTP/1.1 200 OK\r\nX-Nonce: f00\r\nContent-Length: 3\r\n\r\nbad"
		if p.rng.IntN(2) == 0 {
			more = "\r\nmore"
		}
		c.Write(append(p.wire, more...))
		c.Close()
		return
	case "103":
		io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
	case "stall":
		time.Sleep(time.Duration(p.rng.IntN(150)) * time.Millisecond)
		n := p.rng.IntN(len(p.wire))
		c.Write(p.wire[:n])
		p.wire = p.wire[n:]
		time.Sleep(time.Duration(p.rng.IntN(150)) * time.Millisecond)
	}
	c.Write(p.wire)
	if p.delimited || p.plan == "answer and close" {
		c.Close()
	}
}

// refuseEarly answers before the body was looked at.
func (p *reply) refuseEarly(c *harness.MemberConn) {
	ending := p.rng.IntN(3)
	if ending == 1 {
		p.head += "Connection: close\r\n"
	}
	p.frame()
	c.Write(p.wire)
	switch {
	case ending == 0 && !p.delimited:
		// The harness reads the body, the connection goes on.
	case ending == 1 || p.delimited:
		// Close as one should: stop, take what still comes for a while.
		if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		}
		c.AwaitClose(time.Second)
	default:
		c.Close() // a reset where bytes of the body are unread
	}
}

// forget drops what the harness keeps of requests, again and again.
func (m *moody) forget(stop *atomic.Bool) {
	for !stop.Load() {
		time.Sleep(50 * time.Millisecond)
		m.Take()
	}
}

// serve handles a request and afterwards, now and then, closes the connection
// while it idles. The next request may be under way then, or just read.
func (m *moody) serve(c *harness.MemberConn, r *harness.Request) {
	begun(&m.turns, c).Add(1)
	if delay := m.handle(c, r); delay > 0 {
		idleFor(&m.turns, c, delay)
	}
}

// begun counts the requests begun on a connection.
func begun(turns *sync.Map, c *harness.MemberConn) *atomic.Int64 {
	n, _ := turns.LoadOrStore(c, new(atomic.Int64))
	return n.(*atomic.Int64)
}

// idleFor closes a connection after a while, unless a request came on it.
func idleFor(turns *sync.Map, c *harness.MemberConn, delay time.Duration) {
	turn := begun(turns, c)
	now := turn.Load()
	time.AfterFunc(delay, func() {
		if turn.Load() == now {
			c.Conn.Close()
		}
	})
}

// chunks frames a body in random pieces.
func chunks(rng *rand.Rand, body []byte) []byte {
	var b []byte
	for len(body) > 0 {
		n := 1 + rng.IntN(min(len(body), 1<<rng.IntN(15)))
		b = fmt.Appendf(b, "%x\r\n", n)
		b = append(append(b, body[:n]...), "\r\n"...)
		body = body[n:]
	}
	return append(b, "0\r\n\r\n"...)
}
