package tenant

import "bytes"

// cookieValue returns the value of the first cookie called name in the value
// of a Cookie field, and what follows it; a nil rest: there is none.
func cookieValue(b, name []byte) (value, rest []byte) {
	for len(b) > 0 {
		pair := b
		if i := bytes.IndexByte(b, ';'); i >= 0 {
			pair, b = b[:i], b[i+1:]
		} else {
			b = b[len(b):]
		}
		pair = bytes.Trim(pair, " \t")
		if len(pair) > len(name) && pair[len(name)] == '=' && bytes.Equal(pair[:len(name)], name) {
			value = pair[len(name)+1:]
			if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
				value = value[1 : n-1]
			}
			return value, b
		}
	}
	return nil, nil
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
	if len(sent) < len(want) {
		return false
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
		// The name may be escaped: members decode it.
		if i := bytes.IndexByte(pair, '='); i >= 0 && sameSegment(pair[:i], name) {
			return pair[i+1:], true
		}
	}
	return nil, false
}
