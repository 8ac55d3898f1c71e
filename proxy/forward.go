package proxy

import (
	"math/rand/v2"
	"strconv"

	"jetway/tenant"
)

// newID makes a request id: 128 random bits.
func (x *exchange) newID() {
	for i, n := 0, uint64(0); i < len(x.id); i++ {
		if i%16 == 0 {
			n = rand.Uint64()
		}
		x.id[i] = "0123456789abcdef"[n&15]
		n >>= 4
	}
}

// startBody prepares to take the request's body out of the connection.
func (x *exchange) startBody() {
	f := framingNone
	if x.req.isChunked {
		f = framingChunked
	} else if x.req.length > 0 {
		f = framingLength
	}
	x.reqBody.start(&x.conn.in, f, x.req.length)
}

// buildRequest writes the head for the member into x.up: what the client
// sent, in its order and case, without what is only between two hops, and
// what Jetway adds.
func (x *exchange) buildRequest() {
	b := x.up[:0]
	r := &x.req
	b = append(b, r.method...)
	b = append(b, ' ')
	b = x.appendTarget(b)
	b = append(b, " HTTP/1.1\r\n"...)
	for i := range r.fields {
		fl := &r.fields[i]
		if fl.drop || fl.kind == kindTransferEncoding || fl.kind == kindTenant && x.decision.Tenant.Outcome != tenant.None {
			continue
		}
		if fl.edit {
			b = x.appendEdited(b, fl)
			continue
		}
		if fl.kind != kindContentLength {
			b = append(b, fl.line...)
			continue
		}
		b = append(append(b, fl.name...), ": "...) // the number that frames the body, in one spelling
		b = append(strconv.AppendInt(b, r.length, 10), "\r\n"...)
	}
	if r.isChunked {
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	if r.upgrade {
		b = append(b, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	}
	x.up = append(x.appendForwarded(b), "\r\n"...)
}

// appendForwarded adds what members are told about the client. Nothing of it
// is taken from the client, unless that is a trusted proxy.
func (x *exchange) appendForwarded(b []byte) []byte {
	c := x.conn
	b = append(b, "X-Forwarded-For: "...)
	if c.fieldRules.trusted {
		b = x.appendForwardedFor(b)
	}
	b = append(b, c.ip...)
	if told := &x.req.told; !told[0] && c.tls {
		b = append(b, "\r\nX-Forwarded-Proto: https"...)
	} else if !told[0] {
		b = append(b, "\r\nX-Forwarded-Proto: http"...)
	}
	if !x.req.told[1] {
		b = append(append(b, "\r\nX-Forwarded-Host: "...), x.req.rawHost...)
	}
	if !x.req.told[2] {
		b = append(append(b, "\r\nX-Forwarded-Port: "...), c.listener.state.Load().port...)
	}
	if x.req.http10 {
		b = append(b, "\r\nVia: 1.0 jetway\r\nX-Request-Id: "...)
	} else {
		b = append(b, "\r\nVia: 1.1 jetway\r\nX-Request-Id: "...)
	}
	b = append(append(b, x.requestID()...), "\r\n"...)
	if c.subject != "" {
		b = append(append(append(b, "X-Client-Cert-Subject: "...), c.subject...), "\r\n"...)
	}
	if found := &x.decision.Tenant; found.Outcome == tenant.Known {
		if name := x.set.TenantHeaders.ID; name != "" {
			b = append(append(b, name...), ": "...)
			b = append(strconv.AppendInt(b, int64(found.ID), 10), "\r\n"...)
		}
		if name := x.set.TenantHeaders.Name; name != "" {
			b = append(append(b, name...), ": "...)
			b = append(append(b, found.Name()...), "\r\n"...)
		}
	}
	return b
}

// bufferBody appends the part of the body that is there already. When that is
// all of it, the request can be sent in one piece, and again.
func (x *exchange) bufferBody() {
	for !x.reqBody.done && len(x.up) < replayMax {
		piece := x.reqBody.take(replayMax - len(x.up))
		if piece == nil || x.overLimit() {
			break
		}
		x.up = x.appendBody(x.up, piece)
	}
	if x.reqBody.done {
		x.up = x.appendBodyEnd(x.up)
		x.whole = true
	}
}

// appendBody frames a piece of the request's body for the member.
func (x *exchange) appendBody(b, piece []byte) []byte {
	if !x.req.isChunked {
		return append(b, piece...)
	}
	return appendChunk(b, piece)
}

func (x *exchange) appendBodyEnd(b []byte) []byte {
	if !x.req.isChunked {
		return b
	}
	return append(b, "0\r\n\r\n"...) // the client's trailers are not forwarded
}

func appendChunk(b, piece []byte) []byte {
	b = appendHex(b, uint64(len(piece)))
	b = append(b, "\r\n"...)
	b = append(b, piece...)
	return append(b, "\r\n"...)
}

// overLimit reports whether the body grew larger than its service allows.
func (x *exchange) overLimit() bool {
	return x.decision.BodyTooLarge(max(x.req.length, x.reqBody.payload))
}
