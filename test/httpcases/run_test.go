package httpcases

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"jetway/test/harness"
)

// form is a way to send a row.
type form int

const (
	whole   form = 1 << iota // in one packet
	bytes                    // every byte in a packet of its own
	doubled                  // twice in one packet
	after                    // after a good request was answered on the same connection
	behind                   // in one packet behind a good request
)

// forms are tried in this order.
func forms() []form { return []form{whole, bytes, doubled, after, behind} }

func (f form) String() string {
	switch f {
	case whole:
		return "whole"
	case bytes:
		return "bytes"
	case doubled:
		return "doubled"
	case after:
		return "after"
	}
	return "behind"
}

// maxBytewise bounds the rows that are sent byte by byte.
const maxBytewise = 1500

// has reports whether the row is run in the form.
func (r *row) has(f form) bool {
	switch {
	case r.only != 0:
		return r.only&f != 0
	case r.skip&f != 0:
		return false
	case r.slow:
		return f == whole
	case r.play != nil:
		return f == whole
	case len(r.steps) > 0:
		return f == whole || f == after
	case r.script != nil: // bytes is then the member's form
		return f == whole || f == bytes || f == after
	case f == bytes:
		return len(r.in) <= maxBytewise
	}
	return true
}

// seen is what one run of a row showed.
type seen struct {
	answers  []*harness.Answer // final answers to the row's own requests
	closed   bool              // the client's connection was ended by the other side
	reset    bool              // with RST
	stuck    string            // what was waited for in vain
	broken   string            // bytes that were no answer
	deadWait bool              // a step waited in vain for 100 or a final answer
	canary   string            // what was wrong with a canary, "" if nothing
	requests []harness.Request // at the members, without canaries
	canaries []harness.Request
	took     time.Duration // until the last answer
}

// run sends a row in a form and watches what happens.
func (b *bench) run(r *row, f form) *seen {
	b.take()
	if r.script != nil {
		b.setScript(r.script())
	}
	defer b.setScript(nil)
	if f == bytes && r.script != nil {
		b.setBytewise(true)
		defer b.setBytewise(false)
	}
	s := &seen{}
	c, err := b.dial()
	if err != nil {
		s.stuck = fmt.Sprintf("a connection: %v", err)
		return s
	}
	defer c.Close()
	talk := &conversation{b: b, r: r, f: f, c: c, s: s, heard: make(chan struct{}, 64)}
	c.OnInterim = func(int) { talk.hear() }
	if r.play != nil {
		r.play(talk)
	} else {
		talk.play()
	}
	c.Close()
	b.newCanary(s)
	b.collect(s, r.text())
	return s
}

// conversation is the client's side of a run.
type conversation struct {
	b     *bench
	r     *row
	f     form
	c     *harness.Client
	s     *seen
	heard chan struct{} // gets one for every interim or final answer
}

func (k *conversation) hear() {
	select {
	case k.heard <- struct{}{}:
	default: // nobody waits for so many
	}
}

func (k *conversation) play() {
	before := ""
	if k.f == after || k.f == behind {
		before = "GET /before-" + k.b.next() + " HTTP/1.1\r\nHost: t1.lb.test\r\n\r\n"
	}
	if k.f == after {
		k.c.Send(before)
		if !k.good(before) {
			return
		}
		before = ""
	}
	start := time.Now()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		k.send(before)
	}()
	if before != "" && !k.good(before) {
		return
	}
	open := true
	for n := k.least(); len(k.s.answers) < n && open; {
		open = k.answer(k.method(len(k.s.answers)))
	}
	k.s.took = time.Since(start)
	if open && k.halfClosed() {
		for k.answer("GET") {
		}
	} else if open {
		select {
		case <-sent:
		case <-time.After(k.b.patient):
		}
		k.canary()
	}
}

// good reads the answer to the good request in front of the row.
func (k *conversation) good(request string) bool {
	a, err := k.c.Await("GET", k.b.patient)
	line, _, _ := strings.Cut(request, "\r\n")
	if want := harness.EchoBody("t1", line); err != nil || a.Status != 200 || string(a.Body) != want {
		k.s.canary = fmt.Sprintf("the good request in front got %d %q (%v)", a.Status, a.Body, err)
		return false
	}
	return true
}

// send plays the client's steps.
func (k *conversation) send(before string) {
	steps := k.r.steps
	if len(steps) == 0 {
		steps = []step{{send: k.r.in}}
	}
	for i, st := range steps {
		time.Sleep(st.pause)
		if st.await != 0 && !k.awaitHeard() {
			k.s.deadWait = true
		}
		text := st.send
		if i == 0 {
			text = before + text
		}
		if k.f == doubled {
			text += st.send
		}
		for range max(1, st.repeat) {
			send := k.c.Send
			if k.f == bytes && k.r.script == nil {
				send = k.c.SendBytewise
			}
			if send(text) != nil {
				return
			}
			time.Sleep(st.every)
		}
		if st.fin {
			k.c.CloseWrite()
		}
		if st.reset {
			harness.Reset(k.c.Conn)
		}
	}
}

// halfClosed: the row ends with FIN, so that no canary can follow.
func (k *conversation) halfClosed() bool {
	n := len(k.r.steps)
	return n > 0 && k.r.steps[n-1].fin
}

func (k *conversation) awaitHeard() bool {
	select {
	case <-k.heard:
		return true
	case <-time.After(time.Second):
		return false
	}
}

// least is the smallest number of answers among the right outcomes.
func (k *conversation) least() int {
	n := -1
	for _, o := range k.r.want {
		answers := len(o.status)
		if k.f == doubled && o.conn == stays {
			answers *= 2
		}
		if n < 0 || answers < n {
			n = answers
		}
	}
	return n
}

// method is that of the i-th request, canaries included.
func (k *conversation) method(i int) string {
	n := len(k.r.methods)
	if k.f == doubled {
		n *= 2
	}
	if i >= n {
		return "GET"
	}
	return k.r.methods[i%len(k.r.methods)]
}

// answer reads one answer and reports whether the connection is open after it.
func (k *conversation) answer(method string) bool {
	a, err := k.c.Await(method, k.patience())
	k.hear()
	if a.Status != 0 && err == nil || a.Complete {
		k.s.answers = append(k.s.answers, a)
		if a.Delimited || hasToken(a.Fields, "Connection", "close") {
			k.end()
			return false
		}
		return true
	}
	k.fail(a, err)
	return false
}

func (k *conversation) patience() time.Duration {
	if k.r.slow {
		return 10 * time.Second
	}
	return k.b.patient
}

// fail notes why no whole answer came.
func (k *conversation) fail(a *harness.Answer, err error) {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		k.s.stuck = fmt.Sprintf("the rest of an answer that begins with %.80q", a.Head)
		if len(a.Head) == 0 {
			k.s.stuck = "an answer"
		}
		if k.b.waits++; k.b.waits > 20 {
			k.b.patient = 500 * time.Millisecond
		}
	case errors.Is(err, io.EOF) && len(a.Interim) == 0:
		k.s.closed = true
	case errors.Is(err, io.ErrUnexpectedEOF) || isReset(err):
		k.s.closed, k.s.reset = true, isReset(err)
		if a.Status >= 200 { // an answer that was cut
			k.s.answers = append(k.s.answers, a)
		} else if len(a.Head) > 0 {
			k.s.broken = fmt.Sprintf("%.200q and then the end", a.Head)
		}
	default:
		k.s.closed = true
		k.s.broken = fmt.Sprintf("%.200q (%v)", a.Head, err)
		if a.Status >= 200 {
			k.s.answers = append(k.s.answers, a)
		}
	}
}

func isReset(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "reset by peer") || strings.Contains(err.Error(), "broken pipe"))
}

// end waits for the end that was announced.
func (k *conversation) end() {
	err := k.c.AwaitEOF(k.b.patient)
	k.s.closed = err == nil || isReset(err)
	k.s.reset = isReset(err)
	if !k.s.closed {
		k.s.broken = "after an announced close: " + err.Error()
	}
}

// canary sends a canary on the row's connection and reads to its answer.
// Answers in front of it belong to the row.
func (k *conversation) canary() {
	nonce := k.b.next()
	if err := k.c.Send(canaryRequest(nonce)); err != nil {
		k.s.closed = true
		return
	}
	for len(k.s.answers) < 100 {
		if !k.answer(k.method(len(k.s.answers))) {
			return
		}
		last := len(k.s.answers) - 1
		if string(k.s.answers[last].Body) == "t1 GET /canary-"+nonce {
			k.s.answers = k.s.answers[:last]
			return
		}
	}
}

func canaryRequest(nonce string) string {
	return "GET /canary-" + nonce + " HTTP/1.1\r\nHost: t1.lb.test\r\n\r\n"
}

func dialTCP(addr string) (*harness.Client, error) {
	conn, err := net.DialTimeout("tcp", addr, 30*time.Second)
	if err != nil {
		return nil, err
	}
	return harness.NewClient(conn), nil
}

// hasToken reports whether a field of comma-separated tokens names token.
func hasToken(fields []harness.Field, name, token string) bool {
	for _, value := range harness.Values(fields, name) {
		for part := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}
