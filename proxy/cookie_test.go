package proxy

import (
	"bytes"
	"testing"
	"time"

	"jetway/balancer"
)

func TestNextCookie(t *testing.T) {
	f := func(list string, want ...string) {
		t.Helper()
		var got []string
		for rest := []byte(list); len(rest) > 0; {
			var name, value []byte
			name, value, _, rest = nextCookie(rest)
			if name != nil {
				got = append(got, string(name), string(value))
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%q: %q, expected %q", list, got, want)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%q: %q, expected %q", list, got, want)
			}
		}
	}
	f("a=b", "a", "b")
	f("a=b; c=d", "a", "b", "c", "d")
	f("a=b;c=d;", "a", "b", "c", "d")
	f(";; a = b ;x", "a", "b")
	f("a=b=c", "a", "b=c")
	f("=b", "", "b")
	f(`a="b"`, "a", `"b"`)
	f("")
}

func TestRemoves(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f := func(line string, want bool) {
		t.Helper()
		if got := removes([]byte(line), now); got != want {
			t.Fatalf("%q removes: %v, expected %v", line, got, want)
		}
	}
	f("JSESSIONID=abc; Path=/; HttpOnly", false)
	f("JSESSIONID=", true)
	f(`JSESSIONID=""; Path=/`, true)
	f("JSESSIONID=abc; Max-Age=0", true)
	f("JSESSIONID=abc; max-age = 00", true)
	f("JSESSIONID=abc; Max-Age=-1", true)
	f("JSESSIONID=abc; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:10 GMT", false) // Max-Age counts
	f("JSESSIONID=abc; Expires=Thu, 01 Jan 1970 00:00:10 GMT; Max-Age=0x", true)
	f("JSESSIONID=abc; Max-Age=", false)
	f("JSESSIONID=abc; Expires=Thu, 01-Jan-1970 00:00:10 GMT", true) // Tomcat's
	f("PHPSESSID=deleted; expires=Thu, 01-Jan-70 00:00:01 GMT; path=/", true)
	f("JSESSIONID=abc; Expires=Fri, 02 Jan 2026 04:00:00 GMT", false)
	f("JSESSIONID=abc; Expires=whenever", false)
	f("JSESSIONID=abc; Max-Age=0; Max-Age=60", false) // the last one counts
	f("JSESSIONID=abc; Max-Age=60; Max-Age=0; Expires=Thu, 01 Jan 2099 00:00:00 GMT", true)
	f("JSESSIONID=abc; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Expires=whenever", true)
	for _, date := range []string{"Thu, 1 Jan 1970 00:00:00 GMT", "Thursday, 01-Jan-1970 00:00:00 GMT", "Thu, 01 jan 1970 00:00:00 gmt",
		`"Thu, 01 Jan 1970 00:00:00 GMT"`, "Thu Jan  1 00:00:00 1970", "Thu, 01 Jan 1970 00:00:00 +0000", "01 Jan 1970 0:0:0", "Fri, 02 January 2026 03:04:04 UTC"} {
		f("JSESSIONID=abc; Expires="+date, true)
	}
	for _, date := range []string{"0", "-1", "Thu, 01 Jan 2099 00:00:00 GMT", "Fri, 02-Jan-26 03:04:06 GMT", "Thu, 32 Jan 1970 00:00:00 GMT",
		"Thu, 01 Jan 1970 24:00:00 GMT", "Thu, 01 Jan 1970", "01 Jan 00:00:00", "1 1 1970 00:00:00", "Thu, 01 Jan 19700 00:00:00 GMT", ""} {
		f("JSESSIONID=abc; Expires="+date, false)
	}
}

func TestNextParameter(t *testing.T) {
	f := func(path string, want ...string) {
		t.Helper()
		var got []string
		for name, value, next := nextParameter([]byte(path), 0); next >= 0; name, value, next = nextParameter([]byte(path), next) {
			got = append(got, string(name), string(value))
		}
		if len(got) != len(want) || len(want) > 1 && (got[0] != want[0] || got[1] != want[1]) {
			t.Fatalf("%q: %q, expected %q", path, got, want)
		}
	}
	f("/a/b")
	f("/a;jsessionid=abc", "jsessionid", "abc")
	f("/a;jsessionid=abc.r7/b", "jsessionid", "abc.r7")
	f("/a;x;jsessionid=abc;y=1", "jsessionid", "abc", "y", "1")
	f("/a;=abc;")
	f(";")
}

func TestAppendPrivate(t *testing.T) {
	f := func(value, want string, private bool) {
		t.Helper()
		got := false
		line := appendPrivate(nil, &field{name: []byte("Cache-Control"), value: []byte(value)}, &got)
		if want != "" {
			want = "Cache-Control: " + want + "\r\n"
		}
		if string(line) != want || got != private {
			t.Fatalf("%q: %q %v, expected %q %v", value, line, got, want, private)
		}
	}
	f("public, max-age=60", "max-age=60", false)
	f("max-age=60, s-maxage=600", "max-age=60", false)
	f("Public", "", false)
	f("private, max-age=60", "private, max-age=60", true)
	f(`private="Set-Cookie, X", public`, `private="Set-Cookie, X"`, false)
	f("no-store", "no-store", true)
	f("no-cache,,must-revalidate", "no-cache, must-revalidate", false)
	f("", "", false)
}

func TestForCaches(t *testing.T) {
	f := func(name string, want bool) {
		t.Helper()
		if forCaches([]byte(name)) != want {
			t.Fatalf("%s: expected %v", name, want)
		}
	}
	f("CDN-Cache-Control", true)
	f("Surrogate-Control", true)
	f("Example-Cache-Control", true)
	f("Cache-Control", false)
	f("X-Content-Control", false)
	f("X-Accel-Expires", true)
	f("Edge-Control", true)
	f("Expires", false)
}

// FuzzCookies: whatever stands in Cookie, Set-Cookie, Cache-Control and paths,
// reading ends, stays inside, and what is removed is removed whole.
func FuzzCookies(f *testing.F) {
	f.Add([]byte("JETWAY-abcd=1x; JSESSIONID=abc.r0123456; a=b"))
	f.Add([]byte(`JSESSIONID="abc.r0123456"; ;;=; Path=/; Max-Age=0`))
	f.Add([]byte("/a;jsessionid=x.rabcdefg/b;c"))
	f.Add([]byte(`private="a,b\"", public, s-maxage=1`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 8<<10 || !allOf(b, valueTable) {
			return
		}
		fl := &field{name: []byte("Cookie"), value: trim(b), line: append(append([]byte("Cookie: "), b...), "\r\n"...)}
		for _, mode := range []balancer.AffinityMode{balancer.AffinityCookie, balancer.AffinityLearn, balancer.AffinityRoute} {
			x := &exchange{}
			x.affinity.on = &balancer.Affinity{Mode: mode, Cookies: []string{"JSESSIONID"}, Cookie: balancer.StickyCookie{Name: "JETWAY"}}
			out := x.appendEdited(nil, fl)
			if len(out) > len(fl.name)+2*len(b)+8 || bytes.ContainsAny(bytes.TrimSuffix(out, []byte("\r\n")), "\r\n") {
				t.Fatalf("%q became %q", b, out)
			}
			for rest := bytes.TrimSuffix(out[min(len(out), len("Cookie: ")):], []byte("\r\n")); len(rest) > 0; {
				var name, value []byte
				name, value, _, rest = nextCookie(rest)
				if name == nil {
					continue
				}
				_, route := cutRoute(unquoted(value))
				if mode == balancer.AffinityCookie && ownName(name, x.affinity.on) || mode == balancer.AffinityLearn && string(name) == "JSESSIONID" ||
					mode == balancer.AffinityRoute && string(name) == "JSESSIONID" && balancer.IsRoute(route) && bytes.Count(value, []byte(".")) == 1 {
					t.Fatalf("%s: %q is left of %q", mode, out, b)
				}
			}
		}
		setCookie(b)
		removes(b, time.Unix(1760000000, 0))
		for from, last := 0, -1; from >= 0; last = from {
			if _, _, from = nextParameter(b, from); from >= 0 && from <= last {
				t.Fatal("a parameter is found twice")
			}
		}
		private := false
		out := appendPrivate(nil, &field{name: []byte("Cache-Control"), value: trim(b)}, &private)
		value := trim(bytes.TrimSuffix(out[min(len(out), len("Cache-Control:")):], []byte("\r\n")))
		for token, rest, ok := nextDirective(value); ok; token, rest, ok = nextDirective(rest) {
			if same(token, "public") {
				t.Fatalf("%q stays public: %q", b, out)
			}
		}
	})
}
