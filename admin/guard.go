package admin

import (
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"

	"github.com/rs/zerolog"
)

// guard stands before every handler: it survives their panics, keeps bodies
// small and refuses who may not ask.
func (s *Server) guard(next http.Handler) http.Handler {
	crossSite := http.NewCrossOriginProtection() // by Sec-Fetch-Site and Origin; safe methods pass
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer s.recover(w, r)
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		if r.ContentLength > bodyMax {
			fail(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("body over %d bytes", bodyMax))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, bodyMax)
		client, local := addresses(r)
		if local.IsLoopback() && !s.ownHost(r.Host) {
			fail(w, http.StatusForbidden, "the Host is not this machine; expected localhost, a loopback address or the configured admin.address")
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			here := client.IsLoopback() || client.IsValid() && client == local
			if !here || !s.ownHost(r.Host) {
				fail(w, http.StatusForbidden, "changes are taken from this machine only")
				return
			}
			if crossSite.Check(r) != nil {
				fail(w, http.StatusForbidden, "changes are not taken from other sites' pages")
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// recover keeps a panic to the request that caused it.
func (s *Server) recover(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler { // how net/http is told to drop the connection
		panic(p)
	}
	s.panics.Add(1)
	s.log.Error().Str("path", r.URL.Path).Interface("panic", p).Bytes("stack", debug.Stack()).Msg("admin request panicked")
	fail(w, http.StatusInternalServerError, "internal error, see the log")
}

// ownHost reports whether a Host field names this machine as the operator
// would: rebinding a stranger's name to 127.0.0.1 must gain nothing.
func (s *Server) ownHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "localhost" || host != "" && host == strings.ToLower(s.allowedHost) {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && (addr.Unmap().IsLoopback() || addr.Unmap() == s.boundTo())
}

// boundTo returns the one address that the listener is bound to, if it is one.
func (s *Server) boundTo() netip.Addr {
	addr, err := netip.ParseAddr(s.allowedHost)
	if err != nil || addr.IsUnspecified() {
		return netip.Addr{}
	}
	return addr.Unmap()
}

// addresses returns the two ends of a request's connection; the zero Addr,
// which is neither loopback nor trusted, where one is not known.
func addresses(r *http.Request) (client, local netip.Addr) {
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		client = ap.Addr().Unmap().WithZone("")
	}
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		if ap, err := netip.ParseAddrPort(a.String()); err == nil {
			local = ap.Addr().Unmap().WithZone("")
		}
	}
	return client, local
}

// quiet gives net/http's own complaints, which strangers can cause at will,
// the lowest level.
func quiet(log zerolog.Logger) *stdlog.Logger {
	return stdlog.New(debugWriter{log}, "", 0)
}

type debugWriter struct{ log zerolog.Logger }

func (w debugWriter) Write(p []byte) (int, error) {
	w.log.Debug().Str("detail", strings.TrimSpace(string(p))).Msg("admin connection")
	return len(p), nil
}
