package proxy

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"jetway/journal"
	"jetway/tenant"
)

// LogFormat is how lines of the access log look.
type LogFormat string

const (
	LogJSON LogFormat = "json" // one object a line; times in seconds
	LogText LogFormat = "text" // like the Common Log Format, with more behind it; times in milliseconds
)

// AccessLogConfig says what is written about requests, and where.
type AccessLogConfig struct {
	Path   string // file or named pipe; journal.Stdout: standard output; empty: no log
	Format LogFormat
	// Sample writes one of so many requests; 0 and 1 are all.
	Sample int
	// MinStatus leaves out answers below it.
	MinStatus int
	// Slow requests, and those that Jetway or a member failed (from 500 on), are
	// written whatever Sample and MinStatus say; 0: no request is slow.
	Slow time.Duration
	// HideQuery leaves out what stands behind the "?".
	HideQuery bool
}

// accessLog is what settings point to while there is an access log.
type accessLog struct {
	AccessLogConfig
	out   *journal.Writer
	turn  atomic.Uint32         // of the sample
	stamp atomic.Pointer[stamp] // of the newest line
}

// stamp is a time to the second, as a line has it with what stands around it.
type stamp struct {
	second int64 // unix
	length int
	text   [stampMax]byte
}

const stampMax = 40

// appendStamp writes t to the second, in a layout of time.Format that is always
// the same and gives at most stampMax bytes. Formatting would cost as much as
// half of the other fields, so it is done once a second.
func (l *accessLog) appendStamp(b []byte, t time.Time, layout string) []byte {
	s, second := l.stamp.Load(), t.Unix()
	if s == nil || s.second != second {
		s = &stamp{second: second}
		s.length = copy(s.text[:], t.AppendFormat(nil, layout))
		l.stamp.Store(s)
	}
	return append(b, s.text[:s.length]...)
}

func newAccessLog(cfg AccessLogConfig, out *journal.Writer) *accessLog {
	if cfg.Path == "" {
		return nil
	}
	return &accessLog{AccessLogConfig: cfg, out: out}
}

// wants reports whether a request is written.
func (l *accessLog) wants(o *Outcome) bool {
	if o.Status >= http.StatusInternalServerError || l.Slow > 0 && o.TotalTime >= l.Slow {
		return true
	}
	if o.Status < l.MinStatus {
		return false
	}
	return l.Sample <= 1 || l.turn.Add(1)%uint32(l.Sample) == 0
}

// write adds the line of an outcome. It is made where the journal collects
// lines, which saves a buffer and a copy.
func (l *accessLog) write(producer uint32, o *Outcome) {
	line, b, ok := l.out.Begin(producer)
	if !ok {
		return // the journal counts what it has no room for
	}
	defer line.End()
	if l.Format == LogText {
		b = l.appendText(b, o)
	} else {
		b = l.appendJSON(b, o)
	}
	line.Keep(b)
}

// logMax bounds what is written of a target: whoever sends longer ones shall
// not fill the disk.
const logMax = 4 << 10

// target returns what is written of the request target.
func (l *accessLog) target(o *Outcome) []byte {
	t := o.Target
	if l.HideQuery {
		for i, c := range t {
			if c == '?' {
				t = t[:i+1]
				break
			}
		}
	}
	return t[:min(len(t), logMax)]
}

// startLog runs the journal until stop, which waits for its end.
func (s *Server) startLog() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() { s.recovered("access log", recover()) }()
		if err := s.journal.Run(ctx, s.logTrouble); err != nil {
			s.log.Error().Err(err).Msg("end of the access log is lost")
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

func (s *Server) logTrouble(err error) {
	if err != nil {
		s.log.Error().Err(err).Msg("access log cannot be written, lines are lost")
		return
	}
	s.log.Info().Msg("access log is written again")
}

// ReopenLog opens the access log anew, after a rotation moved the file away.
func (s *Server) ReopenLog() error { return s.journal.Reopen() }

// tenantID returns the id where the directory has the tenant.
func tenantID(f *tenant.Found) (tenant.ID, bool) {
	if f == nil || f.Outcome != tenant.Known && f.Outcome != tenant.Inactive {
		return 0, false
	}
	return f.ID, true
}
