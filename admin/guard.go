package admin

import (
	"cmp"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// guard stands before every handler: it survives their panics, keeps bodies
// small, refuses who may not ask and who asks too often, and has changes
// written down.
func (s *Server) guard(next http.Handler) http.Handler {
	crossSite := http.NewCrossOriginProtection() // by Sec-Fetch-Site and Origin; safe methods pass
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer s.recover(w, r)
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		most := int64(bodyMax)
		if r.URL.Path == preparePath || r.URL.Path == countPath {
			most = configMax
		}
		if r.ContentLength > most {
			s.stats.refused.Add(1)
			fail(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("body over %d bytes", most))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, most)
		if open(r) {
			next.ServeHTTP(w, r)
			return
		}
		who, status, why := s.admit(r, crossSite)
		if status != http.StatusOK {
			s.deny(w, r, who, status, why)
			return
		}
		if !s.begin(r) {
			s.stats.limited.Add(1)
			h.Set("Retry-After", "1")
			fail(w, http.StatusServiceUnavailable, "too many questions at a time")
			return
		}
		defer s.finish(r)
		if safe(r) {
			next.ServeHTTP(w, r)
			return
		}
		noted, unsaid := &statusWriter{ResponseWriter: w}, http.StatusInternalServerError
		defer func() { // also where the handler panics: it may have changed something before
			s.stats.changes.Add(1)
			s.log.Info().Str("operator", who.name).Str("from", r.RemoteAddr).Str("method", r.Method).Str("path", r.URL.RequestURI()).
				Int("status", cmp.Or(noted.status, unsaid)).Msg("admin action")
		}()
		next.ServeHTTP(noted, r)
		unsaid = http.StatusOK // which a handler need not say
	})
}

// open reports whether everybody may ask: what tells other load balancers and
// supervisors whether this one takes requests.
func open(r *http.Request) bool {
	return safe(r) && (r.URL.Path == "/ping" || r.URL.Path == "/ready" || r.URL.Path == "/api/v1/health")
}

// safe reports whether a request changes nothing.
func safe(r *http.Request) bool {
	switch r.URL.Path {
	case explainPath, sessionPath, countPath: // a question may be more than an address
		return true
	}
	return r.Method == http.MethodGet || r.Method == http.MethodHead
}

// explainPath is asked by POST because a request is more than an address.
const explainPath = "/api/v1/explain"

// admit decides whether r may go on, and if not, how it is answered.
func (s *Server) admit(r *http.Request, crossSite *http.CrossOriginProtection) (who operator, status int, why string) {
	a, now := s.auth.Load(), time.Now()
	client, local := addresses(r)
	who = operator{name: "local"}
	if a.required() {
		var known bool
		if who, known = a.identify(r); !known {
			if !s.denials.take(now) {
				return who, http.StatusTooManyRequests, "too many attempts without a valid token or certificate"
			}
			return who, http.StatusUnauthorized, "this admin API wants to know who asks; send a token or a client certificate that it accepts"
		}
	} else if local.IsLoopback() && !s.ownHost(r.Host) {
		return who, http.StatusForbidden, "the Host is not this machine; expected localhost, a loopback address or the configured admin.address"
	}
	if crossSite.Check(r) != nil { // questions by POST too: one may ask the tenant directory
		return who, http.StatusForbidden, "orders and questions are not taken from other sites' pages"
	}
	if safe(r) {
		if !s.reads.take(now) {
			return who, http.StatusTooManyRequests, "too many questions; slow down"
		}
		return who, http.StatusOK, ""
	}
	switch {
	case who.readOnly:
		return who, http.StatusForbidden, "this token may only look"
	case !a.required() && !(client.IsLoopback() || client.IsValid() && client == local):
		return who, http.StatusForbidden, "changes are taken from this machine only"
	case !a.required() && !s.ownHost(r.Host):
		return who, http.StatusForbidden, "changes are taken from this machine only"
	case !s.changes.take(now):
		return who, http.StatusTooManyRequests, "too many changes; slow down"
	}
	return who, http.StatusOK, ""
}

// deny answers who may not go on. What strangers can cause at will is counted,
// and logged at most once a second.
func (s *Server) deny(w http.ResponseWriter, r *http.Request, who operator, status int, why string) {
	switch status {
	case http.StatusUnauthorized:
		s.stats.unauthorized.Add(1)
		w.Header().Set("WWW-Authenticate", `Bearer realm="jetway"`)
	case http.StatusTooManyRequests:
		s.stats.limited.Add(1)
		w.Header().Set("Retry-After", "1")
	default:
		s.stats.refused.Add(1)
	}
	if s.complaints.take(time.Now()) {
		s.log.Warn().Str("operator", who.name).Str("from", r.RemoteAddr).Str("method", r.Method).Str("path", r.URL.Path).
			Int("status", status).Msg("admin request refused")
	}
	fail(w, status, why)
}

// begin takes a place among those that are being answered; finish gives it
// back. Streams have places of their own.
func (s *Server) begin(r *http.Request) bool {
	if streams(r) {
		return true
	}
	wait := time.NewTimer(workingWait)
	defer wait.Stop()
	select {
	case s.working <- struct{}{}:
		return true
	case <-wait.C:
	case <-r.Context().Done():
	}
	return false
}

func (s *Server) finish(r *http.Request) {
	if !streams(r) {
		<-s.working
	}
}

// statusWriter notes the status of an answer; 0: the handler named none.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// Unwrap lets http.ResponseController reach the connection's deadlines.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
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
	s.stats.panics.Add(1)
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
