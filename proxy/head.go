package proxy

import "bytes"

// kind sorts header fields by what a proxy must do with them.
type kind uint8

const (
	kindOther kind = iota
	kindHost
	kindContentLength
	kindTransferEncoding
	kindConnection
	kindUpgrade
	kindTE
	kindExpect
	kindAccept
	kindKeepAlive // its timeout is read in answers
	kindHop       // other hop-by-hop fields: removed both ways
	// Fields that members believe. A client's own are removed; a trusted
	// proxy's are passed on or taken over.
	kindForwardedFor
	kindForwardedProto
	kindForwardedHost
	kindForwardedPort
	kindForwarded // others of that sort
	kindRequestID
	kindTenant  // the configured tenant headers
	kindSubject // of the client's certificate
)

// field is one header line; the slices point into the head's bytes.
type field struct {
	name, value []byte
	line        []byte // as sent, with its CRLF
	kind        kind
	drop        bool // not forwarded
	edit        bool // forwarded without what is Jetway's own of it
}

// fieldBlock is the parsed header section of a request, an answer or trailers.
type fieldBlock struct {
	fields []field
	// what framing needs, gathered in the same pass
	length       int64 // Content-Length, -1: none
	encodings    int   // Transfer-Encoding lines
	encoding     []byte
	connClose    bool
	connKeep     bool
	connUpgrade  bool
	named        [maxNamed][]byte // other names in Connection
	nNamed       int
	contentCount int
}

// maxNamed bounds the names that Connection may list besides the known ones.
const maxNamed = 64

// scanHead looks for the end of a head in b, which begins with its first line,
// continuing at from. It returns the length of the head with its empty line,
// or 0 where bytes are missing and where to continue. Lines must end in CRLF:
// RFC 9112, 2.2 lets a recipient accept a bare LF, but a hop that forwards
// must not disagree with the next one.
func scanHead(b []byte, from int) (length, next int, f fault) {
	for {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			return 0, from, noFault
		}
		end := from + i
		if end == 0 || b[end-1] != '\r' {
			return 0, 0, badField
		}
		if end-1 == from {
			return end + 1, 0, noFault
		}
		from = end + 1
	}
}

// parse reads the field lines in b: complete lines, each ending in CRLF,
// without the empty line at the end. It fills the block anew. rules is nil for
// an answer.
func (fb *fieldBlock) parse(b []byte, maxFields int, rules *fieldRules) fault {
	fields := fb.fields[:0]
	*fb = fieldBlock{length: -1}
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		whole, line := b[:end+1], b[:end-1]
		b = b[end+1:]
		if len(fields) == maxFields {
			fb.fields = fields
			return headTooLarge
		}
		colon := 0
		for colon < len(line) && tokenTable[line[colon]] == '1' {
			colon++
		}
		if colon == 0 || colon == len(line) || line[colon] != ':' {
			return badField
		}
		fl := field{name: line[:colon], value: trim(line[colon+1:]), line: whole}
		if !allOf(fl.value, valueTable) {
			return badField
		}
		if rules != nil {
			fl.kind, fl.drop = classify(fl.name, rules)
		} else {
			fl.kind, fl.drop = classifyAnswer(fl.name)
		}
		if fl.kind != kindOther && !fl.drop {
			if f := fb.note(&fl); f != noFault {
				return f
			}
		}
		fields = append(fields, fl)
	}
	fb.fields = fields
	fb.dropNamed()
	return noFault
}

// note gathers what framing needs from one field.
func (fb *fieldBlock) note(fl *field) fault {
	switch fl.kind {
	case kindContentLength:
		n, ok := parseLength(fl.value)
		if !ok || fb.contentCount > 0 {
			return badLength
		}
		fb.length = n
		fb.contentCount++
	case kindTransferEncoding:
		fb.encodings++
		fb.encoding = fl.value
	case kindConnection:
		return fb.noteConnection(fl.value)
	}
	return noFault
}

// noteConnection reads one Connection line; there may be several (RFC 9110,
// 7.6.1), and each counts.
func (fb *fieldBlock) noteConnection(list []byte) fault {
	if len(list) == 0 {
		return noFault
	}
	for token, rest, ok := nextToken(list); ok; token, rest, ok = nextToken(rest) {
		switch {
		case same(token, "close"):
			fb.connClose = true
		case same(token, "keep-alive"):
			fb.connKeep = true
		case same(token, "upgrade"):
			fb.connUpgrade = true
		case len(token) == 0:
		case !allOf(token, tokenTable) || fb.nNamed == maxNamed:
			return badField
		default:
			fb.named[fb.nNamed] = token
			fb.nNamed++
		}
	}
	return noFault
}

// dropNamed marks the fields that Connection names. Fields that frame or
// route the message cannot be removed that way.
func (fb *fieldBlock) dropNamed() {
	for _, name := range fb.named[:fb.nNamed] {
		for i := range fb.fields {
			if fl := &fb.fields[i]; fl.kind != kindHost && fl.kind != kindContentLength &&
				fl.kind != kindTransferEncoding && sameFold(fl.name, name) {
				fl.drop = true
			}
		}
	}
}

// chunked reads Transfer-Encoding. Only "chunked", once, can be framed.
func (fb *fieldBlock) chunked() (bool, fault) {
	switch {
	case fb.encodings == 0:
		return false, noFault
	case fb.encodings > 1 || fb.length >= 0:
		return false, badEncoding
	case same(fb.encoding, "chunked"):
		return true, noFault
	}
	// "x, chunked" could be framed but not understood: 501 (RFC 9112, 6.1);
	// anything whose last coding is not chunked has no length at all.
	var last []byte
	seen := 0
	for token, rest, ok := nextToken(fb.encoding); ok; token, rest, ok = nextToken(rest) {
		if !allOf(token, tokenTable) || len(token) == 0 {
			return false, badEncoding
		}
		if same(token, "chunked") {
			seen++
		}
		last = token
	}
	if seen == 1 && same(last, "chunked") {
		return false, unknownEncoding
	}
	if seen == 0 && len(fb.encoding) > 0 && !same(last, "identity") {
		return false, unknownEncoding
	}
	return false, badEncoding
}

// classify names the kind of a request's field. A name that is a known one but
// for underscores is dropped: members that map both to one variable (CGI, WSGI)
// would take it for the real one.
func classify(name []byte, rules *fieldRules) (k kind, drop bool) {
	k = kindOf(name)
	if k == kindOther && (sameDashed(name, rules.tenant[0]) || sameDashed(name, rules.tenant[1])) {
		k = kindTenant
	}
	for _, naming := range rules.naming {
		if k == kindOther && sameDashed(name, naming) {
			k = kindForwarded
		}
	}
	switch {
	case k == kindOther, k == kindAccept:
		return k, false
	case k == kindHop, k == kindSubject, k >= kindForwardedFor && !rules.trusted:
		return k, true
	}
	if bytes.IndexByte(name, '_') >= 0 {
		return kindHop, true // it is none of its kind for anybody here
	}
	return k, false
}

// classifyAnswer names the kind of an answer's field: only framing and
// hop-by-hop fields matter there.
func classifyAnswer(name []byte) (k kind, drop bool) {
	switch k = kindOf(name); {
	case k == kindOther, k >= kindForwardedFor, bytes.IndexByte(name, '_') >= 0:
		return kindOther, false
	case k == kindHop:
		return k, true
	}
	return k, false
}

func kindOf(name []byte) kind {
	switch len(name) {
	case 2:
		return pick(name, "te", kindTE)
	case 4:
		return pick(name, "host", kindHost)
	case 5:
		return pick(name, "proxy", kindHop) // becomes HTTP_PROXY in CGI members
	case 6:
		return max(pick(name, "expect", kindExpect), pick(name, "accept", kindAccept))
	case 7:
		return max(pick(name, "upgrade", kindUpgrade), pick(name, "trailer", kindHop))
	case 9:
		return max(pick(name, "forwarded", kindForwarded), pick(name, "x-real-ip", kindForwarded))
	case 10:
		return max(pick(name, "connection", kindConnection), pick(name, "keep-alive", kindKeepAlive))
	case 12:
		if sameDashed(name, "x-request-id") {
			return kindRequestID
		}
	case 14:
		return max(pick(name, "content-length", kindContentLength), pick(name, "http2-settings", kindHop))
	case 16:
		if sameDashed(name, "proxy-connection") {
			return kindHop
		}
	case 17:
		if sameDashed(name, "transfer-encoding") {
			return kindTransferEncoding
		}
	case 18:
		if sameDashed(name, "proxy-authenticate") {
			return kindHop
		}
	case 19:
		if sameDashed(name, "proxy-authorization") {
			return kindHop
		}
	}
	const prefix = "x-forwarded-"
	if len(name) > len(prefix) && (name[0]|0x20) == 'x' && sameDashed(name[:len(prefix)], prefix) {
		return forwardedKind(name[len(prefix):])
	}
	if sameDashed(name, "x-client-cert-subject") {
		return kindSubject
	}
	return kindOther
}

func forwardedKind(rest []byte) kind {
	switch {
	case sameDashed(rest, "for"):
		return kindForwardedFor
	case sameDashed(rest, "proto"):
		return kindForwardedProto
	case sameDashed(rest, "host"):
		return kindForwardedHost
	case sameDashed(rest, "port"):
		return kindForwardedPort
	}
	return kindForwarded
}

func pick(name []byte, want string, k kind) kind {
	if sameDashed(name, want) {
		return k
	}
	return kindOther
}

// sameDashed compares like same, taking an underscore in name for a hyphen.
func sameDashed(name []byte, want string) bool {
	if len(name) != len(want) {
		return false
	}
	for i, c := range name {
		if c == '_' {
			c = '-'
		}
		if lower(c) != want[i] {
			return false
		}
	}
	return true
}
