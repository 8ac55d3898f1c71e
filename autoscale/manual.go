package autoscale

import (
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"jetway/balancer"
)

// Scale sets the size of a cluster until Release; it may be outside of min and
// max only towards zero.
func (s *Scaler) Scale(key balancer.Key, n int) error {
	return s.change(key, func(c *cluster) error {
		if n < 0 || n > c.settings.Max {
			return fmt.Errorf("cannot scale %s to %d: expected 0 to %d (max_app_instances)", key, n, c.settings.Max)
		}
		c.past.Manual, c.past.Held, c.past.Alarm = &n, "", false
		s.decideLocked(c, act(set, "set to %d", n), "by an operator, until released", "", zerolog.InfoLevel)
		return nil
	})
}

// Hold keeps a cluster as it is until Release.
func (s *Scaler) Hold(key balancer.Key, reason string) error {
	return s.change(key, func(c *cluster) error {
		if reason == "" {
			reason = "by an operator"
		}
		c.past.Held, c.past.Manual = reason, nil
		s.decideLocked(c, act(hold, "hold"), reason, "", zerolog.InfoLevel)
		return nil
	})
}

// Release ends Scale, Hold and an alarm: the policy decides again.
func (s *Scaler) Release(key balancer.Key) error {
	return s.change(key, func(c *cluster) error {
		h := c.past
		h.Manual, h.Held, h.Alarm, h.Failures = nil, "", false, 0
		h.FailedAt, h.RetryAt = time.Time{}, time.Time{}
		clear(c.foreign)
		s.decideLocked(c, act(released, "released"), "by an operator", "", zerolog.InfoLevel)
		return nil
	})
}

func (s *Scaler) change(key balancer.Key, f func(*cluster) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clusters[key]
	if c == nil {
		return fmt.Errorf("cannot find %q: %w", key, ErrUnknownCluster)
	}
	if !s.acting {
		return errors.New("another load balancer sizes the clusters; ask that one")
	}
	c.said = ""
	if err := f(c); err != nil {
		return err
	}
	s.writeLocked()
	return nil
}

// Counts returns totals since the start.
func (s *Scaler) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.totals
}
