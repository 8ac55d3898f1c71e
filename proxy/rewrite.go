package proxy

import (
	"bytes"
	"strconv"

	"jetway/balancer"
)

// rewrites reports whether fields of the answer may have to change.
func (x *exchange) rewrites() bool {
	c := x.decision.Cluster.Config
	return c.RewriteLocation || c.RewriteCookies
}

// appendRewritten writes a field of the answer so that what names the member
// names what the client dialled. false: the field has nothing of that kind.
func (x *exchange) appendRewritten(b []byte, fl *field) ([]byte, bool) {
	c := x.decision.Cluster.Config
	switch {
	case c.RewriteLocation && (same(fl.name, "location") || same(fl.name, "content-location")):
		rest, ok := x.ownReference(fl.value)
		if !ok {
			return b, false
		}
		b = append(append(b, fl.name...), ": http"...)
		if x.conn.tls {
			b = append(b, 's')
		}
		b = append(append(b, "://"...), x.req.rawHost...)
		return append(append(b, rest...), "\r\n"...), true
	case c.RewriteCookies && same(fl.name, "set-cookie"):
		return x.appendCookie(b, fl), true
	}
	return b, false
}

// ownReference reports whether an absolute reference names the member: its
// address, or the client's host at the member's port or scheme. rest is what
// follows the authority.
func (x *exchange) ownReference(ref []byte) (rest []byte, own bool) {
	secure := false
	switch {
	case len(ref) > 8 && same(ref[:8], "https://"):
		ref, secure = ref[8:], true
	case len(ref) > 7 && same(ref[:7], "http://"):
		ref = ref[7:]
	case len(ref) > 2 && string(ref[:2]) == "//":
		ref, secure = ref[2:], x.endpoint.TLS
	default:
		return nil, false
	}
	end := bytes.IndexAny(ref, "/?#")
	if end < 0 {
		end = len(ref)
	}
	authority, rest := ref[:end], ref[end:]
	if bytes.IndexByte(authority, '@') >= 0 {
		return nil, false
	}
	host, port := splitPort(authority)
	m := x.endpoint.Upstream.Member()
	if named(m, host) || len(host) > 2 && host[0] == '[' && named(m, host[1:len(host)-1]) {
		return rest, port == "" || port == x.endpoint.Port() || port == decimal(m.HTTP) || port == decimal(m.HTTPS)
	}
	if !sameFold(bytes.TrimSuffix(host, []byte(".")), x.req.host) {
		return nil, false
	}
	_, clientPort := splitPort(x.req.rawHost)
	switch {
	case port == x.endpoint.Port(), port == decimal(m.HTTP), port == decimal(m.HTTPS):
		return rest, port != "0"
	case port == clientPort:
		return rest, secure == x.endpoint.TLS && secure != x.conn.tls // only the scheme is the member's
	}
	return nil, false
}

// named reports whether host is the member's address or DNS name.
func named(m *balancer.Member, host []byte) bool {
	return sameFold(host, []byte(m.Host)) || sameFold(host, []byte(m.Name()))
}

// splitPort cuts ":port" off an authority.
func splitPort(authority []byte) (host []byte, port string) {
	i := bytes.LastIndexByte(authority, ':')
	if i < 0 || bytes.IndexByte(authority[i:], ']') >= 0 {
		return authority, ""
	}
	return authority[:i], string(authority[i+1:])
}

func decimal(port uint16) string { return strconv.Itoa(int(port)) }

// appendCookie writes a Set-Cookie line without a Domain that names the member
// (the client would refuse it, as it is not where it came from), and with
// Secure where the client's side is TLS and the member's is not.
func (x *exchange) appendCookie(b []byte, fl *field) []byte {
	b = append(append(b, fl.name...), ": "...)
	secure := false
	for i, part := range bytes.Split(fl.value, []byte(";")) {
		name, value, _ := bytes.Cut(trim(part), []byte("="))
		if i > 0 && same(trim(name), "domain") &&
			named(x.endpoint.Upstream.Member(), bytes.TrimPrefix(trim(value), []byte("."))) {
			continue
		}
		secure = secure || i > 0 && same(trim(name), "secure")
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, part...)
	}
	if x.conn.tls && !x.endpoint.TLS && !secure {
		b = append(b, "; Secure"...)
	}
	return append(b, "\r\n"...)
}
