package tenant

import (
	"bytes"
	"fmt"
	"strings"
)

// Rule is one place in a request where a tenant may be named. Exactly one
// field is set.
type Rule struct {
	// Path is a pattern such as "**/t/{tenant}/": literal segments, then
	// "{tenant}". With a leading "**" it matches anywhere in the path, the
	// leftmost occurrence winning; without, only at the start.
	Path string
	// Query is the name of a query parameter, used where no earlier rule
	// found a name.
	Query string
}

// maxSegments bounds the literal segments of a path pattern.
const maxSegments = 16

// rule is a compiled Rule.
type rule struct {
	query    []byte   // parameter name; nil: a path rule
	anywhere bool     // "**"
	literals [][]byte // segments in front of {tenant}, decoded
}

func compileRule(c Rule) (rule, error) {
	if (c.Path == "") == (c.Query == "") {
		return rule{}, fmt.Errorf("cannot use identify rule %+v: expected exactly one of path and query", c)
	}
	if c.Query != "" {
		if strings.ContainsAny(c.Query, "&=#%+ ") {
			return rule{}, fmt.Errorf("cannot use query parameter %q: expected its plain name", c.Query)
		}
		return rule{query: []byte(c.Query)}, nil
	}
	segments := strings.Split(strings.TrimSuffix(strings.TrimPrefix(c.Path, "/"), "/"), "/")
	var r rule
	if segments[0] == "**" {
		r.anywhere, segments = true, segments[1:]
	}
	if len(segments) == 0 || len(segments) > maxSegments || segments[len(segments)-1] != "{tenant}" {
		return rule{}, fmt.Errorf("cannot use path pattern %q: expected literal segments and then {tenant}, such as \"**/t/{tenant}/\"", c.Path)
	}
	for _, s := range segments[:len(segments)-1] {
		if s == "" || strings.ContainsAny(s, "*{}%;?#\\") {
			return rule{}, fmt.Errorf("cannot use path pattern %q: segment %q is not a plain word", c.Path, s)
		}
		r.literals = append(r.literals, []byte(s))
	}
	if r.anywhere && len(r.literals) == 0 {
		return rule{}, fmt.Errorf("cannot use path pattern %q: \"**\" needs a literal segment in front of {tenant}", c.Path)
	}
	return r, nil
}

// Resolve finds the tenant of a request target. path is the raw path, beginning
// with "/" and already checked by PathAmbiguous, query what follows "?"
// without it. Nothing of either is kept; nothing is allocated.
func (r *Resolver) Resolve(f *Found, path, query []byte) {
	f.Outcome, f.ID, f.n = None, 0, 0
	for i := range r.rules {
		if r.rules[i].find(f, path, query) {
			r.lookup(f)
			return
		}
	}
}

// lookup turns the name in f into an outcome. An empty name was present but
// impossible.
func (r *Resolver) lookup(f *Found) {
	name := f.Name()
	if string(name) == r.super {
		f.Outcome = Super
		return
	}
	id, ok := r.list.Lookup(name)
	if !ok {
		f.Outcome = Unknown
		return
	}
	f.Outcome, f.ID = Known, id
}

// find reports whether the rule finds a name and leaves it in f: lower-cased
// and decoded, or empty where it breaks the grammar.
func (r *rule) find(f *Found, path, query []byte) bool {
	if r.query != nil {
		value, ok := queryValue(query, r.query)
		if ok {
			f.set(value)
		}
		return ok
	}
	for rest := path; ; {
		if name, ok := r.match(rest); ok {
			f.set(name)
			return true
		}
		if !r.anywhere {
			return false
		}
		_, rest = nextSegment(rest)
		if len(rest) == 0 {
			return false
		}
	}
}

// match tries the pattern at the start of path and returns the tenant's
// segment as it was sent, without path parameters.
func (r *rule) match(path []byte) ([]byte, bool) {
	var segment []byte
	for _, want := range r.literals {
		segment, path = nextSegment(path)
		if !sameSegment(segment, want) {
			return nil, false
		}
	}
	segment, _ = nextSegment(path)
	return segment, len(segment) > 0
}

// nextSegment cuts the first segment that is not empty off path, without its
// path parameters (";a=1"): members ignore both when they look for a tenant.
func nextSegment(path []byte) (segment, rest []byte) {
	for len(path) > 0 && path[0] == '/' {
		path = path[1:]
	}
	segment, rest = path, nil
	if i := bytes.IndexByte(path, '/'); i >= 0 {
		segment, rest = path[:i], path[i:]
	}
	if i := bytes.IndexByte(segment, ';'); i >= 0 {
		segment = segment[:i]
	}
	return segment, rest
}

// sameSegment compares a segment as sent with a literal, decoding escapes.
func sameSegment(sent, want []byte) bool {
	if len(sent) == len(want) {
		return string(sent) == string(want) // a literal holds no '%'
	}
	n := 0
	for i := 0; i < len(sent); n++ {
		c, w := decode(sent[i:])
		if n == len(want) || c != want[n] {
			return false
		}
		i += w
	}
	return n == len(want)
}

// decode returns the first byte of b after percent-decoding and how many bytes
// it took. A bad escape is taken as it stands.
func decode(b []byte) (c byte, width int) {
	if b[0] != '%' || len(b) < 3 {
		return b[0], 1
	}
	hi, lo := unhex(b[1]), unhex(b[2])
	if hi < 0 || lo < 0 {
		return b[0], 1
	}
	return byte(hi<<4 | lo), 3
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// queryValue returns the value of the first parameter called name.
func queryValue(query, name []byte) ([]byte, bool) {
	for len(query) > 0 {
		pair := query
		if i := bytes.IndexByte(query, '&'); i >= 0 {
			pair, query = query[:i], query[i+1:]
		} else {
			query = nil
		}
		if len(pair) > len(name) && pair[len(name)] == '=' && bytes.Equal(pair[:len(name)], name) {
			return pair[len(name)+1:], true
		}
	}
	return nil, false
}

// set stores a name as sent, decoded and lower-cased; one that breaks the
// grammar is stored as empty, which no directory holds.
func (f *Found) set(sent []byte) {
	n := 0
	for i := 0; i < len(sent); n++ {
		c, w := decode(sent[i:])
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if n == MaxName || !nameByte(c) {
			f.n = 0
			return
		}
		f.name[n] = c
		i += w
	}
	f.n = uint8(n)
	if !ValidName(f.name[:n]) {
		f.n = 0
	}
}
