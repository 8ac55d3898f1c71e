package httpcases

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"jetway/balancer/session"
	"jetway/test/harness"
)

// cookieSecret is the key file of the bench, so that rows can seal what no
// client can.
const cookieSecret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

// sessionRows are what sticky cookies may be: P11 and B35. k1 and k2 share the
// service of k.lb.test, which is in mode cookie.
func sessionRows() []row {
	secret, err := base64.StdEncoding.DecodeString(cookieSecret)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	var w session.Work
	scope := session.RingOf(secret).Scope("k.domain/worker")
	tag := scope.Tag(&w, 0)
	name := "JETWAY-" + string(tag[:])
	seal := func(scope *session.Scope, tenant int64, member string) string {
		return string(scope.AppendSeal(nil, &w, tenant, session.MemberID("k.domain", member), time.Now()))
	}
	request := func(lines ...string) string {
		return raw("GET / HTTP/1.1", append([]string{"Host: k.lb.test"}, lines...)...)
	}
	either := func(m msg) []outcome { return or(ok(m.to("k1")), ok(m.to("k2"))) }
	// replaced: what the client sent is no reason to refuse it and leads nowhere.
	replaced := func(id, what, cookie string) row {
		line := "Cookie: " + cookie
		text := request(line)
		return row{id: id, what: what, in: text, only: whole | bytes | after, want: either(fwd(text, line)),
			check: func(s *seen) error { return setOnce(s, name, cookie) }}
	}
	own := request("Cookie: a=b; " + name + "=" + seal(scope, 0, "k2"))
	kept := row{id: "P11", what: "sticky cookie", in: own, want: ok(same(request("Cookie: a=b")).to("k2")),
		check: func(s *seen) error {
			for _, a := range s.answers {
				if strings.Contains(string(a.Head), "Set-Cookie") {
					return fmt.Errorf("set again: %q", a.Head)
				}
			}
			return nil
		}}
	good := name + "=" + seal(scope, 0, "k2")
	other := session.RingOf(secret).Scope("p.domain/worker")
	evil := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: " + name + "=evil; Path=/\r\n"
	long := replaced("P11d", "8 KB", name+"="+strings.Repeat("A", 8<<10))
	long.only = whole | after // byte by byte it takes longer than an answer is waited for
	return []row{
		kept,
		replaced("P11a", "another tenant's", name+"="+seal(scope, 7, "k2")),
		replaced("P11b", "another cluster's", name+"="+seal(other, 0, "k2")),
		replaced("P11c", "sealed for a member that is not there", name+"="+seal(scope, 0, "k9")),
		long,
		replaced("P11e", "two copies", good+"; "+good),
		replaced("P11f", "a letter changed", flip(good)),
		replaced("P11g", "empty", name+"="),
		replaced("P11h", "quoted", name+"=\""+seal(scope, 0, "k2")+"\""),
		bad("P11i", "NUL", request("Cookie: "+good+"\x00")),
		{id: "B35", what: "a member sets the sticky cookie", in: request(), only: whole | bytes | after,
			script: func() harness.Script { return says(evil + "\r\nhi")() },
			want: or([]outcome{{status: []int{200}, conn: stays, body: "hi", member: []msg{same(request()).to("k1")}}},
				[]outcome{{status: []int{200}, conn: stays, body: "hi", member: []msg{same(request()).to("k2")}}}),
			check: func(s *seen) error { return setOnce(s, name, name+"=evil") }},
	}
}

// flip changes one letter in the middle.
func flip(cookie string) string {
	b := []byte(cookie)
	if i := len(b) - 20; b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}

// setOnce wants every answer to set the cookie once, to something else.
func setOnce(s *seen, name, not string) error {
	for _, a := range s.answers {
		head := string(a.Head)
		if strings.Count(head, "Set-Cookie: "+name+"=1") != 1 || strings.Count(head, name) != 1 || strings.Contains(head, "Set-Cookie: "+not+";") {
			return fmt.Errorf("cookie not replaced in %q", head)
		}
	}
	return nil
}
