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
	// Host is a pattern such as "{tenant}.apps.example.com": {tenant} stands
	// for one or several whole labels, with literal ones behind it and
	// perhaps in front of it.
	Host string
	// Header is the name of a header field, and Cookie that of a cookie. Both
	// count only for clients that are trusted to name tenants: see
	// Request.Trusted.
	Header, Cookie string
	// Query is the name of a query parameter, used where no other rule found
	// a name, wherever it stands in the list.
	Query string
}

// String returns the kind and the value, such as "path **/t/{tenant}/".
func (r Rule) String() string {
	switch {
	case r.Path != "":
		return "path " + r.Path
	case r.Host != "":
		return "host " + r.Host
	case r.Header != "":
		return "header " + r.Header
	case r.Cookie != "":
		return "cookie " + r.Cookie
	}
	return "query " + r.Query
}

// Request is what of a request may name its tenant.
type Request struct {
	Host    []byte // lower case, without port
	Path    []byte // as sent, beginning with "/" and checked by PathAmbiguous
	Query   []byte // without "?"
	Fields  Fields // nil: none
	Trusted bool   // what Fields say of tenants is believed
	Now     int64  // unix nanoseconds
}

// Fields are the header fields of a request.
type Fields interface {
	// Field returns the value of the first field called name, a lower-case
	// one, at or after position from, and the position behind it; -1: none.
	Field(name string, from int) (value []byte, next int)
}

// maxSegments bounds the literal segments of a path pattern.
const maxSegments = 16

// Identifier is a compiled list of rules.
type Identifier struct{ rules []rule }

// rule is a compiled Rule.
type rule struct {
	query    []byte   // parameter name
	header   string   // lower-case field name
	cookie   []byte   // cookie name
	prefix   []byte   // host labels in front of {tenant}, with the dot
	suffix   []byte   // and behind it, with the dot; nil: not a host rule
	anywhere bool     // path: "**"
	literals [][]byte // path segments in front of {tenant}, decoded
	needle   []byte   // the same as they stand in most paths: "/", "/t/", "/a/b/"
	text     string   // as it was configured, with its kind
}

// isPath reports whether the rule looks at the path.
func (r *rule) isPath() bool {
	return r.query == nil && r.header == "" && r.cookie == nil && r.suffix == nil
}

// NewIdentifier compiles rules.
func NewIdentifier(rules []Rule) (*Identifier, error) {
	id := &Identifier{}
	var last []rule
	for _, c := range rules {
		compiled, err := compileRule(c)
		if err != nil {
			return nil, err
		}
		compiled.text = c.String()
		if compiled.query != nil {
			last = append(last, compiled)
			continue
		}
		id.rules = append(id.rules, compiled)
	}
	id.rules = append(id.rules, last...)
	return id, nil
}

func compileRule(c Rule) (rule, error) {
	set := 0
	for _, s := range [...]string{c.Path, c.Host, c.Header, c.Cookie, c.Query} {
		if s != "" {
			set++
		}
	}
	if set != 1 {
		return rule{}, fmt.Errorf("cannot use identify rule %+v: expected exactly one of path, host, header, cookie and query", struct{ Path, Host, Header, Cookie, Query string }(c))
	}
	switch {
	case c.Query != "":
		if strings.ContainsAny(c.Query, "&=#%+; ") {
			return rule{}, fmt.Errorf("cannot use query parameter %q: expected its plain name", c.Query)
		}
		return rule{query: []byte(c.Query)}, nil
	case c.Header != "":
		if !token(c.Header) {
			return rule{}, fmt.Errorf("cannot use header field %q: expected the name of a field", c.Header)
		}
		return rule{header: strings.ToLower(c.Header)}, nil
	case c.Cookie != "":
		if !token(c.Cookie) {
			return rule{}, fmt.Errorf("cannot use cookie %q: expected the name of a cookie", c.Cookie)
		}
		return rule{cookie: []byte(c.Cookie)}, nil
	case c.Host != "":
		return compileHost(c.Host)
	}
	return compilePath(c.Path)
}

// token reports whether s is a token (RFC 9110, 5.6.2).
func token(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

func compileHost(pattern string) (rule, error) {
	lower := strings.ToLower(pattern)
	prefix, suffix, ok := strings.Cut(lower, "{tenant}")
	if !ok || len(suffix) < 2 || suffix[0] != '.' || prefix != "" && !strings.HasSuffix(prefix, ".") ||
		prefix != "" && !ValidName(strings.TrimSuffix(prefix, ".")) || !ValidName(suffix[1:]) || strings.HasSuffix(suffix, ".") {
		return rule{}, fmt.Errorf("cannot use host pattern %q: expected {tenant} and the labels behind it, such as \"{tenant}.apps.example.com\"", pattern)
	}
	return rule{prefix: []byte(prefix), suffix: []byte(suffix)}, nil
}

func compilePath(path string) (rule, error) {
	segments := strings.Split(strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/"), "/")
	var r rule
	if segments[0] == "**" {
		r.anywhere, segments = true, segments[1:]
	}
	if len(segments) == 0 || len(segments) > maxSegments || segments[len(segments)-1] != "{tenant}" {
		return rule{}, fmt.Errorf("cannot use path pattern %q: expected literal segments and then {tenant}, such as \"**/t/{tenant}/\"", path)
	}
	for _, s := range segments[:len(segments)-1] {
		if s == "" || strings.ContainsAny(s, "*{}%;?#\\") {
			return rule{}, fmt.Errorf("cannot use path pattern %q: segment %q is not a plain word", path, s)
		}
		r.literals = append(r.literals, []byte(s))
	}
	if r.anywhere && len(r.literals) == 0 {
		return rule{}, fmt.Errorf("cannot use path pattern %q: \"**\" needs a literal segment in front of {tenant}", path)
	}
	r.needle = append(bytes.Join(append([][]byte{nil}, r.literals...), []byte("/")), '/')
	return r, nil
}

// Find looks for a tenant's name and leaves it in f: lower-cased and decoded,
// or empty where it breaks the grammar. It reports whether any rule found one.
func (id *Identifier) Find(f *Found, req *Request) bool {
	f.n, f.rule = 0, 0
	for i := range id.rules {
		if id.rules[i].find(f, req) {
			f.rule = uint8(i + 1)
			return true
		}
	}
	return false
}

// How returns the rule that found the name in f, which Find or Resolve with
// this Identifier filled; "" where none did.
func (id *Identifier) How(f *Found) string {
	if f.rule == 0 || int(f.rule) > len(id.rules) {
		return ""
	}
	return id.rules[f.rule-1].text
}

// find reports whether the rule finds a name and leaves it in f.
func (r *rule) find(f *Found, req *Request) bool {
	var value []byte
	var ok bool
	switch {
	case r.query != nil:
		value, ok = queryValue(req.Query, r.query)
	case r.suffix != nil:
		value, ok = r.hostValue(req.Host)
	case r.isPath():
		value, ok = r.pathValue(req.Path)
	case req.Trusted && req.Fields != nil:
		return r.findField(f, req.Fields)
	}
	if ok {
		f.set(value)
	}
	return ok
}

// hostValue returns the labels of a host that stand where {tenant} does.
func (r *rule) hostValue(host []byte) ([]byte, bool) {
	n := len(host) - len(r.suffix)
	if n <= len(r.prefix) || !bytes.HasSuffix(host, r.suffix) || !bytes.HasPrefix(host, r.prefix) {
		return nil, false
	}
	return host[len(r.prefix):n], true
}

// pathValue returns the segment of a path that stands where {tenant} does.
func (r *rule) pathValue(path []byte) ([]byte, bool) {
	if plain(path) {
		return r.plainValue(path)
	}
	return r.segmentValue(path)
}

// plain reports whether the segments of a path are what stands between its
// slashes, as in nearly all paths: no escapes, parameters or empty segments.
func plain(path []byte) bool {
	return bytes.IndexByte(path, '%') < 0 && bytes.IndexByte(path, ';') < 0 && !bytes.Contains(path, []byte("//"))
}

// plainValue is pathValue for plain paths.
func (r *rule) plainValue(path []byte) ([]byte, bool) {
	at := 0
	if r.anywhere {
		at = bytes.Index(path, r.needle)
	} else if !bytes.HasPrefix(path, r.needle) {
		at = -1
	}
	if at < 0 {
		return nil, false
	}
	segment := path[at+len(r.needle):]
	if i := bytes.IndexByte(segment, '/'); i >= 0 {
		segment = segment[:i]
	}
	return segment, len(segment) > 0
}

// segmentValue is pathValue for all paths, segment by segment.
func (r *rule) segmentValue(path []byte) ([]byte, bool) {
	for rest := path; ; {
		if name, ok := r.match(rest); ok {
			return name, true
		}
		if !r.anywhere {
			return nil, false
		}
		_, rest = nextSegment(rest)
		if len(rest) == 0 {
			return nil, false
		}
	}
}

// findField looks into header fields. Where the field or cookie is there more
// than once with different values, nobody can tell which one members read: the
// name is impossible.
func (r *rule) findField(f *Found, fields Fields) bool {
	var value []byte
	found, differ := false, false
	name := r.header
	if r.cookie != nil {
		name = "cookie"
	}
	for v, next := fields.Field(name, 0); next >= 0; v, next = fields.Field(name, next) {
		for first, rest := true, v; first || r.cookie != nil; first = false {
			if r.cookie != nil {
				if v, rest = cookieValue(rest, r.cookie); rest == nil {
					break
				}
			}
			differ = differ || found && !bytes.Equal(v, value)
			value, found = v, true
		}
	}
	if found {
		f.set(value)
	}
	if differ {
		f.n = 0
	}
	return found
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

// set stores a name as sent, decoded and lower-cased; one that breaks the
// grammar is stored as empty, which no directory holds.
func (f *Found) set(sent []byte) {
	n := 0
	if bytes.IndexByte(sent, '%') < 0 {
		n = f.lower(sent)
	} else {
		n = f.decode(sent)
	}
	if n > 0 && (f.name[0] == '.' || f.name[0] == '-' || f.name[0] == '_' || bytes.Contains(f.name[:n], []byte(".."))) {
		n = 0
	}
	f.n = uint8(n)
}

// lower copies a name without escapes and returns its length; 0: some byte is
// not possible.
func (f *Found) lower(sent []byte) int {
	if len(sent) > MaxName {
		return 0
	}
	to, all := f.name[:len(sent)], byte(0)
	for i, c := range sent {
		c = nameTable[c]
		to[i] = c
		all |= c
	}
	if all&impossible != 0 {
		return 0
	}
	return len(sent)
}

// decode is lower for a name with escapes.
func (f *Found) decode(sent []byte) int {
	n := 0
	for i := 0; i < len(sent); n++ {
		c, w := decode(sent[i:])
		if c = nameTable[c]; c == impossible || n == MaxName {
			return 0
		}
		f.name[n] = c
		i += w
	}
	return n
}

// impossible is what nameTable holds for bytes that are in no name.
const impossible = 0x80

// nameTable maps each byte to what it is in a name, lower-cased.
const nameTable = "" +
	no16 + no16 + no8 + no4 + no1 + "-." + no1 + "0123456789" + no4 + no2 +
	no1 + letters + no4 + "_" + no1 + letters + no4 + no1 +
	no16 + no16 + no16 + no16 + no16 + no16 + no16 + no16

const (
	no1     = "\x80"
	no2     = no1 + no1
	no4     = no2 + no2
	no8     = no4 + no4
	no16    = no8 + no8
	letters = "abcdefghijklmnopqrstuvwxyz"
)
