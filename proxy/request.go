package proxy

import "bytes"

// methodMax bounds the method: none that is registered is longer than 18.
const methodMax = 32

// requestHead is the one parse of a request's head: what it finds is what is
// routed and what is forwarded. Its slices point into the connection's buffer.
type requestHead struct {
	fieldBlock
	method    []byte
	target    []byte // as forwarded: origin form or "*"
	path      []byte // of target, as sent
	query     []byte // of target, without "?"
	rawHost   []byte // Host as sent
	host      []byte // lower case, no port, no trailing dot
	secure    bool   // set by the caller: it came over TLS
	http10    bool
	isChunked bool
	upgrade   bool // asks for WebSocket
	expects   bool // waits for 100 before it sends its body
	accept    []byte
	id        []byte  // request id of a trusted proxy
	told      [3]bool // a trusted proxy told X-Forwarded-Proto, -Host, -Port
	hostBuf   [hostMax]byte
}

// hostMax bounds a host name (RFC 1035, 2.3.4) with a trailing dot.
const hostMax = 254

// incompleteHead judges the beginning of a head whose end is not there yet, so
// that bytes which can never become a request are not waited on. lines tells
// that the first line is whole.
func (h *requestHead) incompleteHead(b []byte, lines bool) fault {
	if lines {
		return h.parseLine(b[:bytes.IndexByte(b, '\n')-1])
	}
	for i, c := range b {
		switch {
		case c == ' ':
			return noFault
		case tokenTable[c] != '1' || i == methodMax:
			return badRequestLine
		}
	}
	return noFault
}

// parse reads a whole head as scanHead found it, its empty line included.
func (h *requestHead) parse(b []byte, maxFields int, rules *fieldRules) fault {
	h.http10, h.isChunked, h.upgrade, h.expects = false, false, false, false
	h.rawHost, h.accept, h.id, h.told = nil, nil, nil, [3]bool{}
	end := bytes.IndexByte(b, '\n')
	if f := h.parseLine(b[:end-1]); f != noFault {
		return f
	}
	if f := h.fieldBlock.parse(b[end+1:len(b)-2], maxFields, rules); f != noFault {
		return f
	}
	if f := h.checkFields(); f != noFault {
		return f
	}
	if f := h.splitTarget(); f != noFault {
		return f
	}
	return h.checkFraming()
}

// parseLine reads method SP target SP version (RFC 9112, 3).
func (h *requestHead) parseLine(line []byte) fault {
	i := bytes.IndexByte(line, ' ')
	if i < 1 || i > methodMax || !allOf(line[:i], tokenTable) {
		return badRequestLine
	}
	h.method, line = line[:i], line[i+1:]
	i = bytes.IndexByte(line, ' ')
	if i < 1 {
		return badRequestLine
	}
	h.target = line[:i]
	version := line[i+1:]
	if !allOf(h.target, targetTable) {
		return badTarget
	}
	if len(version) != 8 || string(version[:5]) != "HTTP/" || version[6] != '.' ||
		!digit(version[5]) || !digit(version[7]) {
		return badRequestLine
	}
	if version[5] != '1' || version[7] > '1' {
		return unsupportedVersion
	}
	h.http10 = version[7] == '0'
	return noFault
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// checkFields looks at the fields that a request may have only once or only
// in one form.
func (h *requestHead) checkFields() fault {
	hosts, websocket := 0, false
	for i := range h.fields {
		fl := &h.fields[i]
		if fl.drop {
			continue
		}
		switch fl.kind {
		case kindHost:
			hosts++
			h.rawHost = fl.value
		case kindUpgrade:
			websocket = websocket || same(fl.value, "websocket")
			fl.drop = true
		case kindExpect:
			if !h.http10 && !same(fl.value, "100-continue") {
				return badExpect
			}
			h.expects = !h.http10
			fl.drop = true
		case kindAccept:
			h.accept = fl.value
		case kindTE:
			fl.drop = !same(fl.value, "trailers")
		case kindConnection, kindKeepAlive, kindForwardedFor:
			fl.drop = true
		case kindForwardedProto, kindForwardedHost, kindForwardedPort:
			fl.drop = h.told[fl.kind-kindForwardedProto] // the first one counts
			h.told[fl.kind-kindForwardedProto] = true
		case kindRequestID:
			if fl.drop = true; h.id == nil && goodRequestID(fl.value) {
				h.id = fl.value
			}
		}
	}
	h.upgrade = websocket && h.connUpgrade && !h.http10 && string(h.method) == "GET"
	if hosts != 1 || !h.setHost(h.rawHost) {
		return badHost
	}
	if string(h.method) == "CONNECT" || string(h.method) == "TRACE" {
		return methodRefused
	}
	return noFault
}

// setHost checks Host against the grammar of RFC 9112, 3.2 without user
// information and keeps its lower-case name without port.
func (h *requestHead) setHost(raw []byte) bool {
	name := raw
	if len(raw) > 0 && raw[0] == '[' {
		end := bytes.IndexByte(raw, ']')
		if end < 0 || !goodPort(raw[end+1:]) {
			return false
		}
		name = raw[:end+1]
		for _, c := range name[1:end] {
			if unhexDigit(c) < 0 && c != ':' && c != '.' {
				return false
			}
		}
		if bytes.IndexByte(name, ':') < 0 {
			return false
		}
	} else if i := bytes.IndexByte(raw, ':'); i >= 0 {
		if !goodPort(raw[i:]) {
			return false
		}
		name = raw[:i]
	}
	if len(name) == 0 || len(name) > hostMax {
		return false
	}
	for i, c := range name {
		h.hostBuf[i] = lower(c)
	}
	h.host = h.hostBuf[:len(name)]
	if name[0] == '[' {
		return true
	}
	if name[len(name)-1] == '.' {
		h.host = h.host[:len(name)-1]
	}
	return goodLabels(h.host)
}

// goodLabels accepts letters, digits, hyphens and underscores in labels of 1
// to 63 bytes.
func goodLabels(name []byte) bool {
	label := 0
	for _, c := range name {
		switch {
		case c == '.':
			if label == 0 {
				return false
			}
			label = 0
			continue
		case !(c >= 'a' && c <= 'z' || digit(c) || c == '-' || c == '_'):
			return false
		}
		if label++; label > 63 {
			return false
		}
	}
	return label > 0
}

// goodPort accepts "" and ":" with up to five digits that make a port.
func goodPort(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if b[0] != ':' || len(b) > 6 {
		return false
	}
	port := 0
	for _, c := range b[1:] {
		if !digit(c) {
			return false
		}
		port = port*10 + int(c-'0')
	}
	return port <= 65535
}

func unhexDigit(c byte) int {
	switch c = lower(c); {
	case digit(c):
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

// splitTarget reduces the target to origin form or "*" and splits it. An
// absolute target must name the same authority as Host: then there is only
// one answer to whose request it is (RFC 9112, 3.2.2).
func (h *requestHead) splitTarget() fault {
	t := h.target
	switch {
	case len(t) == 1 && t[0] == '*':
		if string(h.method) != "OPTIONS" {
			return badTarget
		}
		h.path, h.query = t, nil
		return noFault
	case t[0] != '/':
		scheme := 0
		switch {
		case !h.secure && len(t) > 7 && same(t[:7], "http://"):
			scheme = 7
		case h.secure && len(t) > 8 && same(t[:8], "https://"):
			scheme = 8
		default:
			return badTarget
		}
		end := scheme
		for end < len(t) && t[end] != '/' && t[end] != '?' {
			end++
		}
		if !sameFold(t[scheme:end], h.rawHost) || end < len(t) && t[end] == '?' {
			return badTarget
		}
		t = t[end:]
		if len(t) == 0 {
			t = h.target[scheme-1 : scheme] // the "/" in front of the authority
		}
		h.target = t
	}
	h.path, h.query = t, nil
	if i := bytes.IndexByte(t, '?'); i >= 0 {
		h.path, h.query = t[:i], t[i+1:]
	}
	if bytes.IndexByte(h.path, '\\') >= 0 {
		return badPath
	}
	return noFault
}

// checkFraming decides where the body ends (RFC 9112, 6.3). Whatever two
// implementations might read differently is refused.
func (h *requestHead) checkFraming() fault {
	var f fault
	if h.isChunked, f = h.chunked(); f != noFault {
		return f
	}
	if h.isChunked && h.http10 {
		return badEncoding
	}
	if h.upgrade && (h.isChunked || h.length > 0) {
		return badUpgrade
	}
	return noFault
}

// idempotent reports whether the method may be repeated (RFC 9110, 9.2.2).
// Methods are case-sensitive: "get" is some other method.
func (h *requestHead) idempotent() bool {
	switch string(h.method) {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE":
		return true
	}
	return false
}

// keepAlive reports whether the client wants the connection kept.
func (h *requestHead) keepAlive() bool {
	if h.http10 {
		return h.connKeep && !h.connClose
	}
	return !h.connClose
}
