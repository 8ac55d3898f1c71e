package proxy

import "time"

// cookieDate reads a date as browsers do (RFC 6265, 5.1.1), which is what counts
// for whether a cookie ends: applications send it in many forms.
func cookieDate(b []byte) (at time.Time, ok bool) {
	var clock [3]int
	var day, month int
	year, timed := -1, false
	for part, rest := nextDatePart(b); len(part) > 0; part, rest = nextDatePart(rest) {
		if !timed && dateClock(part, &clock) {
			timed = true
			continue
		}
		if n, digits, _ := leadingNumber(part); day == 0 && (digits == 1 || digits == 2) {
			day = n
		} else if m := dateMonth(part); month == 0 && m > 0 {
			month = m
		} else if year < 0 && digits >= 2 && digits <= 4 {
			year = n
		}
	}
	switch {
	case year >= 70 && year <= 99:
		year += 1900
	case year >= 0 && year <= 69:
		year += 2000
	}
	if !timed || month == 0 || day < 1 || day > 31 || year < 1601 || clock[0] > 23 || clock[1] > 59 || clock[2] > 59 {
		return at, false
	}
	return time.Date(year, time.Month(month), day, clock[0], clock[1], clock[2], 0, time.UTC), true
}

// nextDatePart cuts off what stands before the next delimiter.
func nextDatePart(b []byte) (part, rest []byte) {
	start := 0
	for start < len(b) && dateDelimiter(b[start]) {
		start++
	}
	end := start
	for end < len(b) && !dateDelimiter(b[end]) {
		end++
	}
	return b[start:end], b[end:]
}

func dateDelimiter(c byte) bool {
	return c == '\t' || c >= ' ' && c <= '/' || c >= ';' && c <= '@' || c >= '[' && c <= '`' || c >= '{' && c <= '~'
}

// leadingNumber reads the digits at the beginning; digits is how many there are.
func leadingNumber(b []byte) (n, digits int, rest []byte) {
	for digits < len(b) && digits < 5 && digit(b[digits]) {
		n = 10*n + int(b[digits]-'0')
		digits++
	}
	return n, digits, b[digits:]
}

// dateClock reads hours, minutes and seconds, of one or two digits each.
func dateClock(b []byte, clock *[3]int) bool {
	for i := range clock {
		n, digits, rest := leadingNumber(b)
		if digits < 1 || digits > 2 || i < 2 && (len(rest) == 0 || rest[0] != ':') {
			return false
		}
		clock[i] = n
		if i < 2 {
			b = rest[1:]
		}
	}
	return true
}

// dateMonth returns 1 to 12, or 0 where it is none.
func dateMonth(b []byte) int {
	if len(b) < 3 {
		return 0
	}
	for i, name := range [...]string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"} {
		if same(b[:3], name) {
			return i + 1
		}
	}
	return 0
}
