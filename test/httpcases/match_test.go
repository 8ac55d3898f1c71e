package httpcases

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"jetway/test/harness"
)

// judge returns nil where what was seen is one of the row's right outcomes.
func (b *bench) judge(r *row, f form, s *seen) error {
	switch {
	case s.canary != "":
		return errors.New("canary: " + s.canary)
	case s.stuck != "":
		return fmt.Errorf("waited in vain for %s; %s", s.stuck, s)
	case s.deadWait:
		return errors.New("neither 100 nor a final answer within a second")
	}
	var why error
	for i := range r.want {
		err := b.match(r, &r.want[i], f, s)
		if err == nil {
			why = nil
			break
		}
		if why == nil {
			why = err
		}
	}
	if why != nil {
		return fmt.Errorf("%w; %s", why, s)
	}
	if err := b.unused(r, s); err != nil {
		return err
	}
	if r.check != nil {
		return r.check(s)
	}
	return nil
}

// match compares what was seen with one outcome.
func (b *bench) match(r *row, o *outcome, f form, s *seen) error {
	copies := 1
	if f == doubled && (o.conn == stays || o.conn == either && len(s.answers) > len(o.status)) {
		copies = 2
	}
	if err := matchAnswers(r, o, s, copies); err != nil {
		return err
	}
	return b.matchRequests(o, s, copies)
}

func matchAnswers(r *row, o *outcome, s *seen, copies int) error {
	if s.broken != "" && !o.cut {
		return fmt.Errorf("client saw %s", s.broken)
	}
	var got []int
	for _, a := range s.answers {
		got = append(got, a.Status)
	}
	if want := slices.Repeat(o.status, copies); !slices.Equal(got, want) {
		return fmt.Errorf("answers %v, want %v", got, want)
	}
	if o.conn == closes && !s.closed {
		return errors.New("connection stayed open")
	}
	if o.conn == stays && s.closed {
		return errors.New("connection was closed")
	}
	if len(s.answers) == 0 {
		return nil
	}
	last := s.answers[len(s.answers)-1]
	if o.cut != !last.Complete {
		return fmt.Errorf("last answer complete: %v", last.Complete)
	}
	if o.conn == closes && last.Status >= 400 && !o.cut && !hasToken(last.Fields, "Connection", "close") {
		return fmt.Errorf("refusal without Connection: close: %q", last.Head)
	}
	if last.Status >= 400 && s.reset {
		return errors.New("refusal ended with RST")
	}
	if o.interim != nil && !slices.Equal(last.Interim, o.interim) {
		return fmt.Errorf("interim answers %v, want %v", last.Interim, o.interim)
	}
	if o.body != "" && string(last.Body) != o.body {
		return fmt.Errorf("body %.200q, want %.200q", last.Body, o.body)
	}
	if r.script == nil {
		return matchEchoes(r, o, s, copies)
	}
	return matchHead(o, last)
}

// matchEchoes checks that every 200 is the answer to its own request.
func matchEchoes(r *row, o *outcome, s *seen, copies int) error {
	messages := slices.Repeat(o.member, copies)
	n := 0
	for i, a := range s.answers {
		if a.Status != 200 || n >= len(messages) {
			continue
		}
		m := messages[n]
		n++
		line, _, _ := strings.Cut(m.head, "\r\n")
		want := harness.EchoBody(m.member(), line)
		if len(r.methods) > 0 && r.methods[i%len(r.methods)] == "HEAD" {
			want = ""
		}
		if string(a.Body) != want {
			return fmt.Errorf("answer %d has the body %.100q, want %q", i+1, a.Body, want)
		}
	}
	return nil
}

// matchHead compares the head at the client with that of the member, without
// the lines that a hop may add.
func matchHead(o *outcome, a *harness.Answer) error {
	if o.head == "" {
		return nil
	}
	got := withoutFields(string(a.Head), "Connection", "Via", "Transfer-Encoding", "Keep-Alive")
	if want := o.head + "\r\n"; got != want {
		return fmt.Errorf("head %q, want %q", got, want)
	}
	return nil
}

// matchRequests compares what reached the members.
func (b *bench) matchRequests(o *outcome, s *seen, copies int) error {
	want := map[string][]msg{}
	for range copies {
		for _, m := range o.member {
			want[m.member()] = append(want[m.member()], m)
		}
	}
	got := map[string][]harness.Request{}
	begun := map[string]int{}
	for _, r := range s.requests {
		if !r.Complete {
			if begun[r.Member]++; !slices.Contains(o.partial, r.Member) || begun[r.Member] > 1 {
				return fmt.Errorf("%s got a request that never became whole (%v): %.300q", r.Member, r.Err, r.Head)
			}
			continue
		}
		got[r.Member] = append(got[r.Member], r)
	}
	if o.tries > 0 {
		return b.matchTries(o, got)
	}
	for _, name := range memberNames() {
		if len(got[name]) != len(want[name]) {
			return fmt.Errorf("%s got %d requests, want %d", name, len(got[name]), len(want[name]))
		}
		for i := range got[name] {
			if err := b.matchRequest(&got[name][i], &want[name][i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// matchTries accepts the one message up to tries times, at whichever member.
func (b *bench) matchTries(o *outcome, got map[string][]harness.Request) error {
	n := 0
	for _, list := range got {
		for i := range list {
			if err := b.matchRequest(&list[i], &o.member[0]); err != nil {
				return err
			}
			n++
		}
	}
	if n < 1 || n > o.tries {
		return fmt.Errorf("members got %d requests, want 1 to %d", n, o.tries)
	}
	return nil
}

func (b *bench) matchRequest(r *harness.Request, m *msg) error {
	if b.name != "jetway" {
		return rivalRequest(r, m)
	}
	if err := b.checkAdded(r); err != nil {
		return fmt.Errorf("%w: %q", err, r.Head)
	}
	head := withoutFields(string(r.Head), addedFields()...)
	for _, line := range m.maybe {
		head = strings.Replace(head, line+"\r\n", "", 1)
	}
	want := m.head
	if m.chunked {
		head, want = withoutFields(head, "Transfer-Encoding"), withoutFields(want, "Transfer-Encoding")
	}
	if want += "\r\n"; head != want {
		return fmt.Errorf("%s got the head %q, want %q", r.Member, head, want)
	}
	if r.Chunked != m.chunked {
		return fmt.Errorf("%s got the request chunked: %v", r.Member, r.Chunked)
	}
	if r.Extensions {
		return fmt.Errorf("%s got a chunk extension", r.Member)
	}
	if m.bodyLen > 0 && r.BodyLen != m.bodyLen || m.bodyLen == 0 && string(r.Body) != m.body {
		return fmt.Errorf("%s got the body %.200q of %d bytes, want %.200q", r.Member, r.Body, r.BodyLen, m.body)
	}
	if got := fieldLines(r.Trailers); got != m.trailers {
		return fmt.Errorf("%s got the trailers %q, want %q", r.Member, got, m.trailers)
	}
	return nil
}

// rivalRequest is all that can be asked of a rival: nobody else adds what we
// add, or keeps what we keep.
func rivalRequest(r *harness.Request, m *msg) error {
	line, _, _ := strings.Cut(m.head, "\r\n")
	if r.Line != line || m.bodyLen == 0 && string(r.Body) != m.body {
		return fmt.Errorf("%s got %q with %.100q", r.Member, r.Line, r.Body)
	}
	return nil
}

// addedFields are those that Jetway adds, and removes where a client sent them.
func addedFields() []string {
	return []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Request-Id", "Via", "X-Tenant-Id", "X-Tenant-Name"}
}

// checkAdded looks at the fields that Jetway adds: each once, with the value
// that the connection implies, whatever the client sent.
func (b *bench) checkAdded(r *harness.Request) error {
	host := harness.Values(r.Fields, "Host")
	if len(host) != 1 {
		return fmt.Errorf("%s got %d Host fields", r.Member, len(host))
	}
	for name, want := range map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": b.scheme(),
		"X-Forwarded-Host": host[0], "X-Forwarded-Port": fmt.Sprint(b.port),
	} {
		if got := harness.Values(r.Fields, name); len(got) != 1 || got[0] != want {
			return fmt.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if id := harness.Values(r.Fields, "X-Request-Id"); len(id) != 1 || len(id[0]) < 8 {
		return fmt.Errorf("X-Request-Id is %q", id)
	}
	via := harness.Values(r.Fields, "Via")
	if len(via) == 0 || !strings.HasSuffix(via[len(via)-1], "1.1 jetway") && !strings.HasSuffix(via[len(via)-1], "1.0 jetway") {
		return fmt.Errorf("the last Via is %q", via)
	}
	tenants := map[string][2]string{"n1": {"1", "t1"}, "n2": {"2", "t2"}}
	want, known := tenants[r.Member]
	for i, name := range []string{"X-Tenant-Id", "X-Tenant-Name"} {
		got := harness.Values(r.Fields, name)
		if known && !slices.Equal(got, []string{want[i]}) || !known && len(got) > 0 && !namesTenant(r.Line) {
			return fmt.Errorf("%s is %q at %s", name, got, r.Member)
		}
	}
	return nil
}

// namesTenant: services without tenants in their ranges still learn of them.
func namesTenant(line string) bool {
	return strings.Contains(line, "/t/") || strings.Contains(line, "tenantDomain=")
}

// unused checks that a member connection which is in doubt served nothing else.
func (b *bench) unused(r *row, s *seen) error {
	if !r.fresh {
		return nil
	}
	for _, q := range s.requests {
		for _, c := range s.canaries {
			if q.Member == c.Member && q.Conn == c.Conn && !strings.Contains(c.Line, "/before-") {
				return fmt.Errorf("connection %d of %s was used again after the answer", q.Conn, q.Member)
			}
		}
	}
	return nil
}

// withoutFields removes the lines of these fields from a head.
func withoutFields(head string, names ...string) string {
	var out strings.Builder
	for line := range strings.SplitAfterSeq(head, "\r\n") {
		name, _, _ := strings.Cut(line, ":")
		if !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) {
			out.WriteString(line)
		}
	}
	return out.String()
}

func fieldLines(fields []harness.Field) string {
	var out strings.Builder
	for _, f := range fields {
		out.WriteString(f.Name + ": " + f.Value + "\r\n")
	}
	return out.String()
}

// String says in a few words what was seen.
func (s *seen) String() string {
	var out strings.Builder
	out.WriteString("seen:")
	for _, a := range s.answers {
		fmt.Fprintf(&out, " %d", a.Status)
		if !a.Complete {
			out.WriteString(" cut")
		}
	}
	switch {
	case s.stuck != "":
		out.WriteString(" no answer")
	case s.reset:
		out.WriteString(" reset")
	case s.closed:
		out.WriteString(" close")
	}
	if s.broken != "" {
		out.WriteString(" garbage")
	}
	for _, r := range s.requests {
		state := "fwd"
		if !r.Complete {
			state = "begun"
		}
		fmt.Fprintf(&out, " %s→%s", state, r.Member)
	}
	return out.String()
}
