package proxy

import (
	"strconv"
	"time"
)

// appendInt writes a number in decimal. Most are short, and for those it is
// cheaper than strconv.
func appendInt(b []byte, n int64) []byte {
	switch {
	case n < 0:
		return strconv.AppendInt(b, n, 10)
	case n < 10:
		return append(b, byte('0'+n))
	case n < 100:
		return append(b, byte('0'+n/10), byte('0'+n%10))
	case n < 1000:
		return appendDigits3(b, int(n))
	}
	return strconv.AppendInt(b, n, 10)
}

// appendDigits3 writes a number below 1000 in three digits.
func appendDigits3(b []byte, n int) []byte {
	u := uint32(n)
	return append(b, byte('0'+u/100), byte('0'+u/10%10), byte('0'+u%10))
}

// appendMillis writes a duration in milliseconds with three decimals.
func appendMillis(b []byte, d time.Duration) []byte {
	n := uint64(max(d.Microseconds(), 0))
	b = appendInt(b, int64(n/1000))
	if n %= 1000; n == 0 {
		return b
	}
	return appendDigits3(append(b, '.'), int(n))
}

// appendSeconds writes a duration in seconds with six decimals.
func appendSeconds(b []byte, d time.Duration) []byte {
	n := uint64(max(d.Microseconds(), 0))
	b = appendInt(b, int64(n/1_000_000))
	if n %= 1_000_000; n == 0 {
		return b
	}
	b = appendDigits3(append(b, '.'), int(n/1000))
	return appendDigits3(b, int(n%1000))
}

// appendWord writes a blank and a word, "-" for none.
func appendWord[T string | []byte](b []byte, s T) []byte {
	if len(s) == 0 {
		return append(b, " -"...)
	}
	return escapeText(append(b, ' '), s)
}

// escapeText writes text in which nothing can be taken for the end of a word, a
// quoted string or a line: other bytes become \xNN, as nginx writes them.
func escapeText[T string | []byte](b []byte, s T) []byte {
	if allPlain(s, '!') {
		return append(b, s...)
	}
	plain := 0
	for i := range len(s) {
		c := s[i]
		if c > ' ' && c < 0x7f && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[plain:i]...)
		plain = i + 1
		b = append(b, '\\', 'x', hexDigit(c>>4), hexDigit(c&15))
	}
	return append(b, s[plain:]...)
}

// escapeJSON writes the inside of a JSON string. Bytes beyond ASCII become
// \u00NN: what is no text stays recognisable and cannot break the line.
func escapeJSON[T string | []byte](b []byte, s T) []byte {
	if allPlain(s, ' ') {
		return append(b, s...)
	}
	plain := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c < 0x7f && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[plain:i]...)
		plain = i + 1
		if c == '"' || c == '\\' {
			b = append(b, '\\', c)
			continue
		}
		b = append(b, '\\', 'u', '0', '0', hexDigit(c>>4), hexDigit(c&15))
	}
	return append(b, s[plain:]...)
}

func hexDigit(c byte) byte { return "0123456789abcdef"[c] }

const (
	eachByte = 0x0101010101010101
	topBits  = 0x8080808080808080
)

// allPlain reports whether every byte of s is from least (a blank or the first
// byte behind it) to '~' and neither '"' nor '\\'. It looks at eight at a time.
func allPlain[T string | []byte](s T, least uint64) bool {
	n := len(s)
	if n < 8 {
		for i := range n {
			if c := s[i]; uint64(c) < least || c >= 0x7f || c == '"' || c == '\\' {
				return false
			}
		}
		return true
	}
	least *= eachByte
	odd := oddBits(wordAt(s, n-8), least)
	for i := 0; i < n-8; i += 8 {
		odd |= oddBits(wordAt(s, i), least)
	}
	return odd&topBits == 0
}

// oddBits has the top bit of some byte set where one of the eight is not plain:
// itself beyond ASCII; DEL is by adding one; below the least is what subtracting
// that makes negative, as subtracting one does with what is zero once the byte
// looked for is taken off by exclusive or. Only from a byte that is not plain is
// there a carry into the next one.
func oddBits(v, least uint64) uint64 {
	return v | (v + eachByte) | (v - least) | (v ^ '"'*eachByte - eachByte) | (v ^ '\\'*eachByte - eachByte)
}

// wordAt returns eight bytes as one number; compilers make that one load.
func wordAt[T string | []byte](s T, i int) uint64 {
	_ = s[i+7]
	return uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
		uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
}
