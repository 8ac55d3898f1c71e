package proxy

import (
	"bytes"
	"net/netip"
)

const (
	// forwardedMax bounds the addresses of X-Forwarded-For that are passed on,
	// the nearest ones.
	forwardedMax = 20
	// requestIDMax bounds a request id that is taken over.
	requestIDMax = 128
)

// fieldRules are what the fields of a request are judged by.
type fieldRules struct {
	tenant  [2]string // lower-case names of the tenant headers
	naming  []string  // lower-case names of fields that trusted proxies name tenants in
	trusted bool      // forwarding fields of this client are believed
}

// rules returns how this connection's requests are judged under set.
func (c *clientConn) rules(set *settings) *fieldRules {
	if c.judged != set {
		c.judged = set
		c.fieldRules = fieldRules{set.tenant, set.naming, inAny(set.TrustedProxies, c.addr)}
	}
	return &c.fieldRules
}

func inAny(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// client returns whom a request comes from: the peer, or, behind trusted
// proxies, the nearest address in X-Forwarded-For that is none of them.
func (x *exchange) client() netip.Addr {
	addr := x.conn.addr
	if !x.conn.fieldRules.trusted {
		return addr
	}
	for i := len(x.req.fields) - 1; i >= 0; i-- {
		if x.req.fields[i].kind != kindForwardedFor {
			continue
		}
		for list := x.req.fields[i].value; len(list) > 0; {
			entry := list
			if cut := bytes.LastIndexByte(list, ','); cut >= 0 {
				entry, list = list[cut+1:], list[:cut]
			} else {
				list = nil
			}
			next, ok := parseForwarded(trim(entry))
			if !ok {
				return addr
			}
			if addr = next; !inAny(x.set.TrustedProxies, addr) {
				return addr
			}
		}
	}
	return addr
}

// parseForwarded reads an entry of X-Forwarded-For: an address, with or
// without port.
func parseForwarded(b []byte) (netip.Addr, bool) {
	if len(b) == 0 || len(b) > 64 {
		return netip.Addr{}, false
	}
	s := string(b)
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().WithZone(""), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	return netip.Addr{}, false
}

// appendForwardedFor adds the addresses that trusted proxies named, the
// nearest ones, each followed by ", ".
func (x *exchange) appendForwardedFor(b []byte) []byte {
	var entries [forwardedMax][]byte
	n := 0
	for i := range x.req.fields {
		if fl := &x.req.fields[i]; fl.kind == kindForwardedFor && len(fl.value) > 0 {
			for entry, rest, ok := nextToken(fl.value); ok; entry, rest, ok = nextToken(rest) {
				if len(entry) > 0 {
					entries[n%forwardedMax] = entry
					n++
				}
			}
		}
	}
	for i := max(0, n-forwardedMax); i < n; i++ {
		b = append(append(b, entries[i%forwardedMax]...), ", "...)
	}
	return b
}

// requestID returns the id to use: a trusted proxy's, or one made here.
func (x *exchange) requestID() []byte {
	if x.req.id != nil {
		return x.req.id
	}
	return x.id[:]
}

// goodRequestID accepts what can be logged and sent on as it stands.
func goodRequestID(b []byte) bool {
	return len(b) > 0 && len(b) <= requestIDMax && allOf(b, tokenTable)
}
