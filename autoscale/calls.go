package autoscale

import (
	"context"
	"fmt"
	"runtime/debug"
)

// callLocked has f call a driver for c once the tick is over.
func (s *Scaler) callLocked(c *cluster, f func(ctx context.Context)) {
	c.calls++
	s.background = append(s.background, func() {
		defer s.calls.Done()
		ctx, cancel := context.WithTimeout(s.ctx, callMost)
		defer cancel()
		defer func() {
			if p := recover(); p != nil {
				s.log.Error().Str("domain", c.key.Domain).Str("sub_domain", c.key.SubDomain).Str("panic", fmt.Sprint(p)).
					Bytes("stack", debug.Stack()).Msg("driver panicked")
			}
			s.mu.Lock()
			c.calls--
			s.mu.Unlock()
		}()
		f(ctx)
	})
}

// sendLocked writes the history if it changed and begins the calls.
func (s *Scaler) sendLocked() {
	list := s.background
	if s.background = nil; s.ctx == nil {
		return
	}
	for _, f := range list {
		s.calls.Add(1)
		go f()
	}
}
