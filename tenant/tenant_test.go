package tenant

import (
	"fmt"
	"strings"
	"testing"
)

func newResolver(t testing.TB, rules ...Rule) *Resolver {
	t.Helper()
	list, err := NewList([]Entry{{Name: "acme", ID: 42}, {Name: "t1", ID: 1}, {Name: "t2", ID: 2}, {Name: "a.b-c_d", ID: 9}, {Name: "off", ID: 10, Inactive: true}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(rules) == 0 {
		rules = []Rule{{Path: "**/t/{tenant}/"}, {Query: "tenantDomain"}}
	}
	r, err := NewResolver(Config{Identify: rules}, list)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func resolve(r *Resolver, f *Found, path, query string) {
	r.Resolve(f, r.standard, &Request{Path: []byte(path), Query: []byte(query)})
}

func ambiguous(r *Resolver, path []byte) bool {
	return PathAmbiguous(path) != "" || r.standard.PathAmbiguous(path)
}

func TestResolve(t *testing.T) {
	r := newResolver(t)
	var found Found
	f := func(target string, want Outcome, id ID, name string) {
		t.Helper()
		path, query, _ := strings.Cut(target, "?")
		resolve(r, &found, path, query)
		if found.Outcome != want || found.ID != id || string(found.Name()) != name {
			t.Fatalf("%s: %v %d %q, want %v %d %q", target, found.Outcome, found.ID, found.Name(), want, id, name)
		}
	}
	f("/", None, 0, "")
	f("/t/acme/x", Known, 42, "acme")
	f("/t/acme", Known, 42, "acme") // at the end of the path
	f("/t/acme/", Known, 42, "acme")
	f("/services/t/acme/echo", Known, 42, "acme")
	f("/services/t/ACME/echo", Known, 42, "acme")
	f("/t/a.b-c_d/x", Known, 9, "a.b-c_d")
	f("/t/nobody/x", Unknown, 0, "nobody")
	f("/t/carbon.super/x", Super, 0, "carbon.super")
	f("/t/", None, 0, "")
	f("/t", None, 0, "")
	f("/xt/acme/x", None, 0, "")
	f("/t/t1/t/t2/", Known, 1, "t1") // the leftmost wins
	f("/t//t1/x", Known, 1, "t1")    // members skip empty segments
	f("//t/t1", Known, 1, "t1")
	f("/t/t1;a=1/x", Known, 1, "t1") // and path parameters
	f("/t;x/t1/", Known, 1, "t1")
	f("/%74/%741/x", Known, 1, "t1") // and read escapes
	f("/t/t1%2fx", Unknown, 0, "")
	f("/t/bad name", Unknown, 0, "")
	f("/t/-x/", Unknown, 0, "")
	f("/x?tenantDomain=acme", Known, 42, "acme")
	f("/x?a=1&tenantDomain=acme&b", Known, 42, "acme")
	f("/x?a=1&tenantDomain=", Unknown, 0, "")
	f("/x?xtenantDomain=acme", None, 0, "")
	f("/x?tenant%44omain=acme", Known, 42, "acme") // members decode names as well
	f("/t/off/", Inactive, 10, "off")
	f("/t/t1/x?tenantDomain=acme", Known, 1, "t1") // never beats the path
	f("/x?y=/t/acme/", None, 0, "")                // the query is not a path
	f("/t/"+strings.Repeat("a", MaxName+1), Unknown, 0, "")
}

func TestResolveAnchored(t *testing.T) {
	r := newResolver(t, Rule{Path: "/{tenant}/"}, Rule{Path: "/app/t/{tenant}"})
	var found Found
	resolve(r, &found, "/acme/x", "")
	if found.ID != 42 {
		t.Fatalf("/acme/x: %+v", found.Outcome)
	}
	r = newResolver(t, Rule{Path: "/app/t/{tenant}"})
	resolve(r, &found, "/x/app/t/acme", "")
	if found.Outcome != None {
		t.Fatalf("an anchored pattern matched inside the path: %v", found.Outcome)
	}
}

func TestPathAmbiguous(t *testing.T) {
	r := newResolver(t)
	f := func(path string, want bool) {
		t.Helper()
		if got := ambiguous(r, []byte(path)); got != want {
			t.Fatalf("%s: refused %v, want %v", path, got, want)
		}
	}
	f("/t/t1/x", false)
	f("/t/t1/a%20b", false)
	f("/t/t1/.hidden/x..y", false)
	f("/t/t1/a%2Fb", false) // after the name nothing changes
	f("/t/t1/..%252ft2", false)
	f("/t/t1/../t2/x", true)
	f("/t/t1/./x", true)
	f("/t/t1/..", true)
	f("/t/t1/%2e%2e/t2/x", true)
	f("/t/t1/.%2E/t2/x", true)
	f("/t/t1%2f..%2ft2/x", true)
	f("/t/t1/..;a=1/t2", true)
	f("/t/t1;a=1/../t2", true)
	f("/t%2ft1/x", true)
	f("/t/t1%2fx", true)
	f("/t/t1%00/x", true)
	f("/t/t1%zz/x", true)
	f("/t/t1%2", true)
	f("/t/t1%5c..%5ct2", true)
}

func TestReadCSV(t *testing.T) {
	f := func(text, wantErr string, want ...Entry) {
		t.Helper()
		got, err := ReadCSV(strings.NewReader(text))
		if wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), wantErr) {
				t.Fatalf("%q: error %v, want %q", text, err, wantErr)
			}
			return
		}
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%q: %v %v, want %v", text, got, err, want)
		}
	}
	f("name,id\nacme,42\n", "", Entry{"acme", 42, false, ""})
	f("\ufeffname,id\nacme,42,no,extra\n#x\nB, 7\n", "", Entry{"acme", 42, false, ""}, Entry{"b", 7, false, ""})
	f("acme,42,false\nb,7,1,gold,x\n", "", Entry{"acme", 42, true, ""}, Entry{"b", 7, false, "gold"})
	f("Name,ID,owner,plan,active\nacme,42,me,gold,0\nb,1\n", "", Entry{"acme", 42, true, "gold"}, Entry{"b", 1, false, ""})
	f("", "")
	f("acme\n", "line 1: \"acme\" has no id")
	f("acme,1\nb,x\n", "line 2: \"x\" is not a tenant id")
	f("ac me,1\n", "line 1: \"ac me\" is not a tenant name")
	f("acme,1,perhaps\n", "line 1: \"perhaps\" does not say")
	f("acme,0\n", "line 1")
	f("\"acme,1\n", "line 1")
}

func TestNewListRefuses(t *testing.T) {
	f := func(want string, entries ...Entry) {
		t.Helper()
		if _, err := NewList(entries, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%v: error %v, want %q", entries, err, want)
		}
	}
	f("stands twice", Entry{Name: "a", ID: 1}, Entry{Name: "A", ID: 2})
	f("same id", Entry{Name: "a", ID: 1}, Entry{Name: "b", ID: 1})
	f("not a tenant name", Entry{Name: "", ID: 1})
}

// FuzzResolve holds two facts: nothing panics, and a path that is not refused
// names the same tenant whether a member decodes it or not.
func FuzzResolve(f *testing.F) {
	for _, s := range []string{"/t/acme/x", "/%74/t1", "/t/t1%2f..%2ft2", "/a/..;/t/t1", "/t//t1;x/"} {
		f.Add([]byte(s))
	}
	r := newResolver(f)
	f.Fuzz(func(t *testing.T, path []byte) {
		if len(path) == 0 || path[0] != '/' || strings.ContainsAny(string(path), "?;") || ambiguous(r, path) {
			return
		}
		var sent, read Found
		resolve(r, &sent, string(path), "")
		var decoded []byte
		for i := 0; i < len(path); {
			c, w := decode(path[i:])
			decoded = append(decoded, c)
			i += w
		}
		if strings.ContainsAny(string(decoded), "%;") {
			return // a second decoding is a member's own affair
		}
		resolve(r, &read, string(decoded), "")
		if sent.Outcome != read.Outcome || sent.ID != read.ID {
			t.Fatalf("%q: %v %d as sent, %v %d decoded", path, sent.Outcome, sent.ID, read.Outcome, read.ID)
		}
	})
}
