package proxy

// Byte classes. Each table holds one byte per input byte: '1' belongs to the
// class, '0' does not.
const (
	none16 = "0000000000000000"
	all16  = "1111111111111111"
	all128 = all16 + all16 + all16 + all16 + all16 + all16 + all16 + all16
	no128  = none16 + none16 + none16 + none16 + none16 + none16 + none16 + none16

	// tokenTable: tchar of RFC 9110, 5.6.2.
	tokenTable = none16 + none16 +
		"0101111100110110" + // !"#$%&'()*+,-./
		"1111111111000000" + // 0-9 :;<=>?
		"0111111111111111" + // @ A-O
		"1111111111100011" + // P-Z [\]^_
		all16 + // ` a-o
		"1111111111101010" + // p-z {|}~ DEL
		no128

	// valueTable: field-vchar, SP and HTAB of RFC 9110, 5.5, obs-text included.
	valueTable = "0000000001000000" + none16 +
		all16 + all16 + all16 + all16 + all16 + "1111111111111110" + all128

	// targetTable: what may stand in a request target: visible ASCII but "#".
	// Stricter than "any byte", laxer than RFC 3986: browsers send some
	// delimiters unescaped.
	targetTable = none16 + none16 +
		"0110111111111111" + all16 + all16 + all16 + all16 + "1111111111111110" + no128
)

// allOf reports whether every byte of b is in the class.
func allOf(b []byte, table string) bool {
	_ = table[255]
	for _, c := range b {
		if table[c] != '1' {
			return false
		}
	}
	return true
}

// lower maps one ASCII letter to lower case.
func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// same compares b, case ignored, with want, which is in lower case.
func same(b []byte, want string) bool {
	if len(b) != len(want) {
		return false
	}
	for i, c := range b {
		if lower(c) != want[i] {
			return false
		}
	}
	return true
}

// sameFold compares two names, case ignored.
func sameFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if lower(c) != lower(b[i]) {
			return false
		}
	}
	return true
}

// trim cuts OWS (RFC 9110, 5.6.3) off both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for n := len(b); n > 0 && (b[n-1] == ' ' || b[n-1] == '\t'); n-- {
		b = b[:n-1]
	}
	return b
}

// nextToken cuts the first element off a comma-separated list. ok is false
// when the list is used up; empty elements are returned as such.
func nextToken(list []byte) (token, rest []byte, ok bool) {
	if list == nil {
		return nil, nil, false
	}
	for i, c := range list {
		if c == ',' {
			return trim(list[:i]), list[i+1:], true
		}
	}
	return trim(list), nil, true
}

// parseLength reads Content-Length: digits only, no sign, no list (RFC 9110,
// 8.6). It refuses what does not fit int64.
func parseLength(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' || n > (1<<63-1-int64(c-'0'))/10 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// appendHex appends n in lower-case hexadecimal digits.
func appendHex(b []byte, n uint64) []byte {
	shift := 60
	for shift > 0 && n>>shift == 0 {
		shift -= 4
	}
	for ; shift >= 0; shift -= 4 {
		b = append(b, "0123456789abcdef"[n>>shift&15])
	}
	return b
}
