package tenant

import "bytes"

// PathAmbiguous tells why a member could read another path than Jetway does,
// whatever the rules; "" means that it cannot, but for what
// Identifier.PathAmbiguous finds. path begins with "/" and is as it was sent.
// Refused are dot segments, plain or encoded and with or without parameters,
// bad escapes, encoded NUL and back-slashes.
func PathAmbiguous(path []byte) string {
	if bytes.IndexByte(path, '%') < 0 {
		if bytes.Contains(path, []byte("/.")) && dotSegment(path) {
			return "dot segment in path"
		}
		return ""
	}
	var buf [1 << 10]byte // longer paths cost an allocation
	decoded := buf[:0]
	for i := 0; i < len(path); {
		c, w := decode(path[i:])
		switch {
		case c == '%' && w == 1:
			return "bad escape in path"
		case w == 3 && c == 0:
			return "encoded NUL in path"
		case w == 3 && c == '\\':
			return "encoded back-slash in path"
		}
		decoded = append(decoded, c)
		i += w
	}
	if dotSegment(decoded) {
		return "dot segment in path"
	}
	return ""
}

// PathAmbiguous reports whether encoded slashes in a path, which some members
// decode, change which tenant it names.
func (id *Identifier) PathAmbiguous(path []byte) bool {
	if bytes.IndexByte(path, '%') < 0 {
		return false
	}
	var buf [1 << 10]byte
	decoded := buf[:0]
	slash := false
	for i := 0; i < len(path); {
		c, w := decode(path[i:])
		slash = slash || w == 3 && c == '/'
		decoded = append(decoded, c)
		i += w
	}
	return slash && !id.sameTenant(path, decoded)
}

// sameTenant reports whether the path rules find the same name in both forms.
func (id *Identifier) sameTenant(a, b []byte) bool {
	var fa, fb Found
	for i := range id.rules {
		r := &id.rules[i]
		if !r.isPath() {
			continue
		}
		inA, inB := r.find(&fa, &Request{Path: a}), r.find(&fb, &Request{Path: b})
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
