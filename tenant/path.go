package tenant

import "bytes"

// PathAmbiguous tells why a member could read another path, and so another
// tenant, than Jetway does; "" means that it cannot. path begins with "/" and
// is as it was sent. Refused are dot segments, plain or encoded and with or
// without parameters, bad escapes, encoded NUL, back-slashes, and encoded
// slashes where decoding them changes which tenant is named.
func (r *Resolver) PathAmbiguous(path []byte) string {
	if bytes.IndexByte(path, '%') < 0 {
		if bytes.Contains(path, []byte("/.")) && dotSegment(path) {
			return "dot segment in path"
		}
		return ""
	}
	return r.escapedPathAmbiguous(path)
}

// escapedPathAmbiguous decodes the path once, as members do, and compares.
func (r *Resolver) escapedPathAmbiguous(path []byte) string {
	var buf [1 << 10]byte // longer paths cost an allocation
	decoded := buf[:0]
	slash := false
	for i := 0; i < len(path); {
		c, w := decode(path[i:])
		switch {
		case c == '%' && w == 1:
			return "bad escape in path"
		case w == 3 && c == 0:
			return "encoded NUL in path"
		case w == 3 && c == '\\':
			return "encoded back-slash in path"
		case w == 3 && c == '/':
			slash = true
		}
		decoded = append(decoded, c)
		i += w
	}
	if dotSegment(decoded) {
		return "dot segment in path"
	}
	if slash && !r.sameTenant(path, decoded) {
		return "encoded slash around the tenant's name"
	}
	return ""
}

// sameTenant reports whether the path rules find the same name in both forms.
func (r *Resolver) sameTenant(a, b []byte) bool {
	var fa, fb Found
	for i := range r.rules {
		if r.rules[i].query != nil {
			continue
		}
		inA, inB := r.rules[i].find(&fa, a, nil), r.rules[i].find(&fb, b, nil)
		if inA != inB {
			return false
		}
		if inA {
			return fa.n > 0 && bytes.Equal(fa.Name(), fb.Name())
		}
	}
	return true
}

// dotSegment reports whether a segment of path, parameters apart, is "." or "..".
func dotSegment(path []byte) bool {
	for len(path) > 0 {
		var segment []byte
		segment, path = nextSegment(path)
		if string(segment) == "." || string(segment) == ".." {
			return true
		}
	}
	return false
}
