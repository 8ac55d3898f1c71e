package proxy

import "bytes"

// responseHead is the one parse of an answer's head.
type responseHead struct {
	fieldBlock
	status    int
	statusRaw []byte // "200 OK" as sent
	http10    bool
	isChunked bool
}

// parse reads a whole head as scanHead found it. A bool is enough: whatever
// is wrong with an answer, the client gets 502.
func (h *responseHead) parse(b []byte, maxFields int) bool {
	end := bytes.IndexByte(b, '\n')
	line := b[:end-1]
	// "HTTP/1.1 200" and then nothing or SP reason-phrase (RFC 9112, 4).
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[7] != '1' && line[7] != '0' || line[8] != ' ' {
		return false
	}
	h.http10 = line[7] == '0'
	h.statusRaw = line[9:]
	s := h.statusRaw
	if !digit(s[0]) || !digit(s[1]) || !digit(s[2]) || len(s) > 3 && s[3] != ' ' || !allOf(s, valueTable) {
		return false
	}
	h.status = int(s[0]-'0')*100 + int(s[1]-'0')*10 + int(s[2]-'0')
	if h.status < 100 || h.status > 599 {
		return false
	}
	if h.fieldBlock.parse(b[end+1:len(b)-2], maxFields, nil) != noFault {
		return false
	}
	var f fault
	if h.isChunked, f = h.chunked(); f != noFault || h.isChunked && h.http10 {
		return false
	}
	return true
}

// framing returns how the body of the answer to a request ends.
func (h *responseHead) framing(method []byte) framing {
	switch {
	case h.bodyless(method):
		return framingNone
	case h.isChunked:
		return framingChunked
	case h.length >= 0:
		return framingLength
	}
	return framingEOF
}

// bodyless: answers to HEAD, and 1xx, 204 and 304, end with their head.
func (h *responseHead) bodyless(method []byte) bool {
	return h.status < 200 || h.status == 204 || h.status == 304 || string(method) == "HEAD"
}

// suspicious reports whether an answer that has no body announces one: its
// member may send it all the same, and later than can be noticed.
func (h *responseHead) suspicious() bool {
	return h.status == 204 && h.length >= 0 || h.status == 304 && h.length > 0 ||
		h.isChunked && (h.status == 204 || h.status == 304)
}

// reusable reports whether the member keeps its connection after this answer.
func (h *responseHead) reusable() bool { return !h.http10 && !h.connClose }

// keepAliveSeconds reads "timeout=N" of the member's Keep-Alive field, 0 where
// it says none.
func (h *responseHead) keepAliveSeconds() int {
	for i := range h.fields {
		fl := &h.fields[i]
		if fl.kind != kindKeepAlive {
			continue
		}
		for token, rest, ok := nextToken(fl.value); ok; token, rest, ok = nextToken(rest) {
			if len(token) > 8 && same(token[:8], "timeout=") {
				if n, ok := parseLength(token[8:]); ok && n < 3600 {
					return int(n)
				}
			}
		}
	}
	return 0
}
