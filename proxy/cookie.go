package proxy

import (
	"bytes"
	"time"
)

// nextCookie cuts the first pair off a Cookie field's value (RFC 6265, 4.2.1).
// whole is the pair with the semicolon behind it; it is what has to go to
// remove it. name is empty where there is no "=".
func nextCookie(list []byte) (name, value, whole, rest []byte) {
	end := bytes.IndexByte(list, ';')
	pair := list
	if end >= 0 {
		pair, whole, rest = list[:end], list[:end+1], list[end+1:]
	} else {
		whole = list
	}
	if eq := bytes.IndexByte(pair, '='); eq >= 0 {
		name, value = trim(pair[:eq]), trim(pair[eq+1:])
	}
	return name, value, whole, rest
}

// setCookie reads name and value of a Set-Cookie field (RFC 6265, 5.2).
func setCookie(line []byte) (name, value []byte) {
	pair, _, _ := bytes.Cut(line, []byte(";"))
	n, v, ok := bytes.Cut(pair, []byte("="))
	if !ok {
		return nil, nil
	}
	return trim(n), trim(v)
}

// unquoted cuts the quotes off a cookie's value.
func unquoted(v []byte) []byte {
	if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
		return v[1 : len(v)-1]
	}
	return v
}

// removes reports whether a Set-Cookie field ends its cookie: an empty value,
// or an end that is past (RFC 6265, 5.3; Max-Age counts before Expires).
func removes(line []byte, now time.Time) bool {
	if _, value := setCookie(line); len(unquoted(value)) == 0 {
		return true
	}
	_, rest, _ := bytes.Cut(line, []byte(";"))
	expired, counts := false, false // Max-Age counts before Expires, and of each the last one
	for len(rest) > 0 {
		var part []byte
		part, rest, _ = bytes.Cut(rest, []byte(";"))
		name, value, _ := bytes.Cut(part, []byte("="))
		switch name, value = trim(name), trim(value); {
		case same(name, "max-age"):
			// Digits with an optional minus; anything else is no Max-Age.
			if digits := bytes.TrimPrefix(value, []byte("-")); len(digits) > 0 && allDigits(digits) {
				counts, expired = true, len(digits) < len(value) || len(bytes.Trim(digits, "0")) == 0
			}
		case same(name, "expires") && !counts:
			if at, ok := cookieDate(value); ok {
				expired = at.Before(now)
			}
		}
	}
	return expired
}

func allDigits(b []byte) bool {
	for _, c := range b {
		if !digit(c) {
			return false
		}
	}
	return true
}

// nextParameter finds the next path parameter, ";name=value" (RFC 3986, 3.3),
// in a path from a position on; -1: none.
func nextParameter(path []byte, from int) (name, value []byte, next int) {
	for {
		i := bytes.IndexByte(path[from:], ';')
		if i < 0 {
			return nil, nil, -1
		}
		start := from + i + 1
		end := start
		for end < len(path) && path[end] != ';' && path[end] != '/' {
			end++
		}
		if eq := bytes.IndexByte(path[start:end], '='); eq > 0 {
			return path[start : start+eq], path[start+eq+1 : end], end
		}
		from = end
	}
}

// cutRoute splits a session id at its last dot.
func cutRoute(value []byte) (id, route []byte) {
	if i := bytes.LastIndexByte(value, '.'); i > 0 {
		return value[:i], value[i+1:]
	}
	return value, nil
}

// appendPrivate appends a Cache-Control line without what lets shared caches
// store the answer (RFC 9111, 5.2.2); private notes that it keeps them from it.
func appendPrivate(b []byte, fl *field, private *bool) []byte {
	begun := false
	for token, rest, ok := nextDirective(fl.value); ok; token, rest, ok = nextDirective(rest) {
		name, _, qualified := bytes.Cut(token, []byte("="))
		name = trim(name)
		switch {
		case len(token) == 0, same(name, "public"), same(name, "s-maxage"):
			continue
		case same(name, "no-store"), same(name, "private") && !qualified:
			*private = true
		}
		if begun {
			b = append(b, ", "...)
		} else {
			b = append(append(b, fl.name...), ": "...)
			begun = true
		}
		b = append(b, token...)
	}
	if begun {
		b = append(b, "\r\n"...)
	}
	return b
}

// nextDirective is nextToken that leaves commas in quoted strings alone.
func nextDirective(list []byte) (token, rest []byte, ok bool) {
	if list == nil {
		return nil, nil, false
	}
	quoted := false
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			return trim(list[:i]), list[i+1:], true
		}
	}
	return trim(list), nil, true
}

// forCaches reports whether a field tells caches of one kind what Cache-Control
// tells all (RFC 9213, and nginx's and Akamai's from before it): they would not
// heed the latter.
func forCaches(name []byte) bool {
	return len(name) == 17 && same(name, "surrogate-control") || len(name) == 15 && same(name, "x-accel-expires") || len(name) == 12 && same(name, "edge-control") ||
		len(name) > len("-cache-control") && same(name[len(name)-len("-cache-control"):], "-cache-control")
}
