package traffic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"jetway/test/harness"
)

// needless: a member's close of an idle connection may hit one just taken up,
// and a kernel short of TCP memory resets closed connections with bytes under
// way. Both are rare; what is cut must be seen as such all the same.
const needless = "cut though the member meant to finish, seen"

// tally counts outcomes by name.
type tally struct {
	mu sync.Mutex // guards n
	n  map[string]int
}

func (t *tally) add(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n[name]++
}

// restlessClient is one of the canary's clients.
type restlessClient struct {
	addr   string
	id     uint64
	seq    uint64
	rng    *rand.Rand
	ledger *ledger
	tally  *tally
	kept   int // requests on kept connections
}

// ask is one request ready to be sent.
type ask struct {
	nonce   uint64
	method  string
	http10  bool
	expects bool
	body    []byte
	wire    []byte
	headLen int
}

var methods = [...]string{"GET", "GET", "GET", "POST", "POST", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "BREW"}

// compose makes a request and, unless it is never to be sent whole, its record.
func (k *restlessClient) compose(small, recorded bool) *ask {
	rng := k.rng
	k.seq++
	a := &ask{nonce: k.id<<32 | k.seq, method: methods[rng.IntN(len(methods))]}
	a.http10 = !small && rng.IntN(20) == 0
	size, chunked := 0, false
	if withBody := a.method == "POST" || a.method == "PUT" || a.method == "BREW"; withBody || a.method != "HEAD" && rng.IntN(10) == 0 {
		switch n := rng.IntN(10); {
		case small || n < 5:
			size = rng.IntN(2000)
		case n < 8:
			size = rng.IntN(70 << 10)
		default:
			size = rng.IntN(256 << 10)
		}
		chunked = !a.http10 && rng.IntN(2) == 0
		a.expects = size > 0 && !a.http10 && !small && rng.IntN(12) == 0
	}
	a.body = pattern(a.nonce, asked, size)
	version := "HTTP/1.1"
	if a.http10 {
		version = "HTTP/1.0"
	}
	start := fmt.Sprintf("%s /c/%x %s\r\nHost: lb.test\r\n", a.method, a.nonce, version)
	if a.expects {
		start += "Expect: 100-continue\r\n"
	}
	switch {
	case chunked:
		a.wire = append([]byte(start+"Transfer-Encoding: chunked\r\n\r\n"), chunks(rng, a.body)...)
	case size > 0 || a.method == "POST":
		a.wire = append(fmt.Appendf(nil, "%sContent-Length: %d\r\n\r\n", start, size), a.body...)
	default:
		a.wire = []byte(start + "\r\n")
	}
	a.headLen = bytes.Index(a.wire, []byte("\r\n\r\n")) + 4
	if recorded {
		k.ledger.open(a.nonce, a.method, size)
	}
	return a
}

// run makes connections until ctx ends.
func (k *restlessClient) run(ctx context.Context) {
	for ctx.Err() == nil {
		conn, err := net.DialTimeout("tcp", k.addr, 5*time.Second)
		if err != nil {
			k.ledger.wrong.add("cannot connect: %v", err)
			return
		}
		c := harness.NewClient(conn)
		for left := 1 + k.rng.IntN(20); left > 0 && ctx.Err() == nil; left-- {
			keep := false
			switch n := k.rng.IntN(100); {
			case n < 12:
				keep = k.pipeline(c)
			case n < 24:
				k.abort(c)
			default:
				keep = k.one(c)
			}
			if !keep {
				break
			}
			k.kept++
		}
		c.Close()
	}
}

// one sends a request and judges its answer.
func (k *restlessClient) one(c *harness.Client) (keep bool) {
	a := k.compose(false, true)
	sent := make(chan struct{})
	proceed := make(chan struct{}, 20)
	c.OnInterim = func(int) {
		select {
		case proceed <- struct{}{}:
		default:
		}
	}
	cuts := k.cuts(a)
	go func() {
		defer close(sent)
		if a.expects {
			c.Write(a.wire[:a.headLen])
			<-proceed
			c.Write(a.wire[a.headLen:])
			return
		}
		for i, at := 0, 0; i < len(cuts); i++ {
			if _, err := c.Write(a.wire[at:cuts[i]]); err != nil {
				return
			}
			at = cuts[i]
		}
	}()
	answer, err := c.Await(a.method, 15*time.Second)
	c.OnInterim = nil
	keep = k.judge(a, answer, err)
	if a.expects && !keep {
		proceed <- struct{}{}
	}
	if !keep {
		c.Close()
	}
	select {
	case <-sent:
	case <-time.After(10 * time.Second):
		k.ledger.wrong.add("%s %x: answered, connection kept, but the body was not taken", a.method, a.nonce)
		c.Close()
	}
	return keep
}

// cuts says where the bytes of a request are cut for sending.
func (k *restlessClient) cuts(a *ask) []int {
	switch k.rng.IntN(4) {
	case 0:
		return []int{a.headLen, len(a.wire)}
	case 1:
		n := k.rng.IntN(len(a.wire))
		return []int{n, n + k.rng.IntN(len(a.wire)-n), len(a.wire)}
	}
	return []int{len(a.wire)}
}

// pipeline sends some requests in one go.
func (k *restlessClient) pipeline(c *harness.Client) (keep bool) {
	var asks []*ask
	var wire []byte
	for range 2 + k.rng.IntN(4) {
		a := k.compose(true, true)
		asks = append(asks, a)
		wire = append(wire, a.wire...)
	}
	if _, err := c.Write(wire); err != nil {
		k.tally.add("kept connection did not take the next request")
		return false
	}
	for i, a := range asks {
		answer, err := c.Await(a.method, 15*time.Second)
		if !k.judge(a, answer, err) {
			for range asks[i+1:] {
				k.tally.add("pipelined behind the end")
			}
			return false
		}
	}
	return true
}

// abort breaks off somewhere.
func (k *restlessClient) abort(c *harness.Client) {
	where := k.rng.IntN(4)
	a := k.compose(false, where > 0)
	pause := time.Duration(k.rng.IntN(200)) * time.Millisecond
	n := len(a.wire)
	switch where {
	case 0:
		n = k.rng.IntN(a.headLen)
	case 1:
		n = a.headLen + k.rng.IntN(max(1, len(a.wire)-a.headLen))
	}
	c.SetWriteDeadline(time.Now().Add(5 * time.Second))
	c.Write(a.wire[:n])
	switch where {
	case 2:
		time.Sleep(pause)
	case 3:
		c.Raw(1+k.rng.IntN(20000), pause)
	}
	k.tally.add("aborted " + [...]string{"in the head", "in the body", "while waiting", "in mid-answer"}[where])
	switch k.rng.IntN(3) {
	case 0:
		harness.Reset(c.Conn)
	case 1:
		c.CloseWrite()
		c.AwaitEOF(pause)
	}
	c.Close()
}

// judge compares what came with what may come, and reports whether the
// connection may go on.
func (k *restlessClient) judge(a *ask, answer *harness.Answer, err error) (keep bool) {
	wrong := func(format string, args ...any) {
		var list []execution
		if r := k.ledger.of(a.nonce); r != nil {
			r.mu.Lock()
			list = append(list, r.executions...)
			r.mu.Unlock()
		}
		k.ledger.wrong.add("%s %x (body %d, http10 %v, expects %v; at members %+v): %s", a.method, a.nonce, len(a.body), a.http10, a.expects,
			list, fmt.Sprintf(format, args...))
	}
	if answer.Fields == nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			wrong("no answer in time")
		} else {
			wrong("no answer: %v after %q", err, answer.Head)
		}
		return false
	}
	nonces := harness.Values(answer.Fields, "X-Nonce")
	if len(nonces) == 0 {
		if err != nil || answer.Status < 502 || answer.Status > 503 {
			wrong("Jetway answered %d itself, %v", answer.Status, err)
		}
		k.tally.add(fmt.Sprintf("refused %d", answer.Status))
		return err == nil && !closes(answer, a)
	}
	if nonces[0] != strconv.FormatUint(a.nonce, 16) {
		wrong("answer of %q", nonces)
		return false
	}
	return k.judgeBody(a, answer, err, wrong)
}

func (k *restlessClient) judgeBody(a *ask, answer *harness.Answer, err error, wrong func(string, ...any)) (keep bool) {
	number, _ := strconv.Atoi(strings.Join(harness.Values(answer.Fields, "X-Exec"), ","))
	e, known := k.ledger.of(a.nonce).execution(number)
	want := pattern(a.nonce, uint64(number), e.length)
	if !known || !bytes.HasPrefix(want, answer.Body) {
		wrong("%d bytes of body that no member gave it", answer.BodyLen)
		return false
	}
	if got := harness.Values(answer.Fields, "X-Got"); len(got) > 0 && got[0] != fmt.Sprintf("%d-%08x", len(a.body), sum(a.body)) {
		wrong("the member's copy of the body is %s", got)
	}
	switch {
	case err != nil && !answer.Complete:
		switch e.plan {
		case "cut by reset", "cut by close":
			k.tally.add("cut in mid-answer, seen")
		case "early":
			k.tally.add("early answer cut by the member's reset, seen")
		default:
			k.tally.add(needless)
		}
		return false
	case a.method == "HEAD", answer.Status == 204, answer.Status == 304:
	case answer.BodyLen != int64(e.length):
		wrong("looks complete with %d of %d bytes", answer.BodyLen, e.length)
	}
	k.tally.add("answered by plan " + e.plan)
	return !closes(answer, a)
}

// closes reports whether the connection is over after an answer.
func closes(answer *harness.Answer, a *ask) bool {
	for _, v := range harness.Values(answer.Fields, "Connection") {
		if strings.EqualFold(v, "close") {
			return true
		}
	}
	return answer.Delimited || a.http10
}
