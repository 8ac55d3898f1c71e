package discovery

import (
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

const logLineMax = 512 // bytes kept of a line of Serf

// serfLog passes the lines of Serf and memberlist on. They carry names that
// others chose and come at a pace that others choose, so both are bounded.
type serfLog struct {
	log     zerolog.Logger
	heard   func(text string) // is told every warning; may be called with locks of Serf held
	limiter limiter
}

// Write takes one line such as "[WARN] memberlist: ...".
func (w *serfLog) Write(line []byte) (int, error) {
	level, text, ok := strings.Cut(strings.TrimSpace(string(line)), "] ")
	if !ok {
		level, text = "", level
	}
	to := zerolog.WarnLevel
	switch strings.TrimPrefix(level, "[") {
	case "DEBUG", "INFO":
		to = zerolog.DebugLevel
	}
	switch {
	case strings.HasSuffix(text, "Shutdown without a Leave"), // on purpose, where nobody is left to tell
		strings.Contains(text, "stream label header: EOF"): // a peer looked whether we are here, see reach
		to = zerolog.DebugLevel
	}
	if to == zerolog.WarnLevel {
		w.heard(text)
	}
	e := w.log.WithLevel(to)
	if to < w.log.GetLevel() || to < zerolog.GlobalLevel() {
		return len(line), nil
	}
	pass, dropped := w.limiter.allow(time.Now())
	if !pass {
		return len(line), nil
	}
	if dropped > 0 {
		e.Int("dropped", dropped)
	}
	e.Str("serf", strings.ToValidUTF8(text[:min(len(text), logLineMax)], "?")).Msg("gossip library")
	return len(line), nil
}

const (
	logBurst = 20              // lines at once
	logEvery = 2 * time.Second // one more line each
)

// limiter is a token bucket for log lines. The zero value is full.
type limiter struct {
	mu      sync.Mutex // guards what follows
	used    int
	since   time.Time // used was last lowered then
	dropped int
}

// allow reports whether a line may be written, and how many were not since the
// last one that was.
func (l *limiter) allow(now time.Time) (ok bool, dropped int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := int(now.Sub(l.since) / logEvery); n > 0 {
		l.used = max(0, l.used-n)
		l.since = now
	}
	if l.used >= logBurst {
		l.dropped++
		return false, 0
	}
	l.used++
	dropped, l.dropped = l.dropped, 0
	return true, dropped
}
