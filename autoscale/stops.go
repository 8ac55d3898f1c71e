package autoscale

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"
)

// idleFor is how long a member that drains has to be idle: a request that
// chose it a moment before is then counted.
const idleFor = time.Second

// shrinkLocked begins to drain n members.
func (s *Scaler) shrinkLocked(c *cluster, now time.Time, n int) {
	above := c.input.Ready + c.booting() - c.settings.Max
	switch {
	case c.doubt != "" && c.past.Manual == nil:
		s.sayLocked(c, act(keep, "keep"), c.doubt)
		return
	case c.booting() > 0 && above <= 0:
		s.sayLocked(c, act(keep, "keep"), fmt.Sprintf("%d are booting", c.booting()))
		return
	}
	victims := c.victims(n)
	if len(victims) == 0 {
		s.sayLocked(c, act(keep, "keep"), "none of the members is one to stop")
		return
	}
	for _, m := range victims {
		why := fmt.Sprintf("%d requests and %d sessions, the fewest", m.InFlight, m.Sessions)
		if c.advice.Reason != "" {
			why = c.advice.Reason + "; " + why
		}
		if s.drainLocked(c, now, &m, why) {
			c.input.Ready--
		}
	}
	s.writeLocked()
}

func (s *Scaler) drainLocked(c *cluster, now time.Time, m *Member, why string) bool {
	if err := s.fleet.Drain(c.key, m.ID, true); err != nil {
		s.sayLocked(c, act(keep, "keep"), err.Error())
		return false
	}
	c.past.Stops = append(c.past.Stops, &Stop{Member: m.ID, Host: m.Host, Since: now, Deadline: now.Add(c.settings.Drain)})
	c.input.Stopping++
	c.said = ""
	s.decideLocked(c, act(drain, "drain %s", m.ID), why, "", zerolog.InfoLevel)
	return true
}

// discardLocked begins to stop members that serve nobody, once others are there
// in their place, or have to make room for them. All others must be up: who
// sees nobody is perhaps cut off.
func (s *Scaler) discardLocked(c *cluster, now time.Time, want int) {
	if len(c.lost) == 0 || c.doubt != "" || c.past.Held != "" || c.input.Ready == 0 {
		return
	}
	if c.input.Ready < want && c.present() < c.settings.Max {
		return
	}
	for _, id := range slices.Clone(c.lost) {
		m := c.member(id)
		if m == nil || !c.stoppable(m) {
			continue
		}
		why := fmt.Sprintf("it has been %s for %s", m.State, now.Sub(c.out[id]).Round(time.Second))
		if s.drainLocked(c, now, m, why) {
			c.past.Stops[len(c.past.Stops)-1].Lost = true
			c.lost = slices.DeleteFunc(c.lost, func(l string) bool { return l == id })
			s.writeLocked()
		}
	}
}

// followStopsLocked stops members that have drained and forgets those that are
// gone.
func (s *Scaler) followStopsLocked(c *cluster, now time.Time) {
	for _, st := range slices.Clone(c.past.Stops) {
		m := c.member(st.Member)
		switch {
		case st.calling:
		case st.Accepted && m == nil:
			s.doneLocked(c, st)
		case st.Accepted && now.Sub(st.Ordered) > c.settings.StartupDelay:
			s.lingersLocked(c, now, st)
		case st.Accepted:
		case st.Order != nil:
			if !now.Before(st.retryAt) && c.calls < callsMax {
				s.giveStopLocked(c, st)
			}
		case m == nil:
			if s.doubt == "" {
				s.orderStopLocked(c, now, st, "it left by itself")
			}
		case m.State != "draining": // it was not there yet when this process took over
			s.fleet.Drain(c.key, st.Member, true)
		case !now.Before(st.Deadline):
			s.orderStopLocked(c, now, st, fmt.Sprintf("its %s to drain are over, %d requests and %d sessions are cut off", c.settings.Drain, m.InFlight, m.Sessions))
		case m.InFlight == 0 && m.Sessions == 0 && now.Sub(st.Since) >= idleFor:
			s.orderStopLocked(c, now, st, "it is idle")
		}
	}
}

func (s *Scaler) orderStopLocked(c *cluster, now time.Time, st *Stop, why string) {
	if c.calls >= callsMax {
		return
	}
	o := newOrder(c.key, ActionStop, c.nextSequence(now))
	o.Member, o.Host = st.Member, st.Host
	st.Order, st.Ordered = &o, now
	s.totals.Stopped++
	s.decideLocked(c, act(stop, "stop %s", st.Member), why, o.ID, zerolog.InfoLevel)
	s.giveStopLocked(c, st)
}

func (s *Scaler) giveStopLocked(c *cluster, st *Stop) {
	st.calling = true
	st.Tries++
	s.writeLocked()
	order, driver := *st.Order, c.driver
	s.callLocked(c, func(ctx context.Context) {
		err := ErrUnsure
		defer func() { s.stopGiven(c, order.ID, err) }()
		err = driver.Stop(ctx, order)
	})
}

// stopGiven takes in what the driver said.
func (s *Scaler) stopGiven(c *cluster, id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(c.past.Stops, func(st *Stop) bool { return st.Order != nil && st.Order.ID == id })
	if i < 0 {
		return
	}
	st, now := c.past.Stops[i], s.now()
	st.calling = false
	switch {
	case err == nil:
		st.Accepted = true
		if st.Member == "" || c.member(st.Member) == nil {
			s.doneLocked(c, st)
		}
	case errors.Is(err, ErrForeign):
		s.spareLocked(c, st, err.Error())
	default:
		s.decideLocked(c, act(stopFailed, "stop failed"), err.Error(), id, zerolog.WarnLevel)
		st.retryAt = now.Add(min(retryCall<<min(st.Tries-1, 10), backoffMost))
		if st.Tries >= stopsTried && st.Member != "" && c.member(st.Member) != nil {
			s.spareLocked(c, st, fmt.Sprintf("it could not be stopped %d times: %s", st.Tries, err))
		} else if st.Tries >= 2*stopsTried { // nobody whom anybody sees is left of it
			s.dropStopLocked(c, st)
		}
	}
	s.writeLocked()
}

// lingersLocked stops a member again that is still there although the driver
// has said that it stopped it.
func (s *Scaler) lingersLocked(c *cluster, now time.Time, st *Stop) {
	if st.Tries >= stopsTried {
		s.spareLocked(c, st, "it is still there although the driver stopped it")
		return
	}
	st.Accepted = false
	s.orderStopLocked(c, now, st, "it is still there although the driver stopped it")
}

// doneLocked forgets a member that is gone.
func (s *Scaler) doneLocked(c *cluster, st *Stop) {
	what := act(stopped, "stopped %s", st.Member)
	if st.Member == "" {
		what = act(cleared, "cleared what was left of %s", st.Order.Start)
	} else {
		s.fleet.Drain(c.key, st.Member, false)
	}
	s.dropStopLocked(c, st)
	s.decideLocked(c, what, fmt.Sprintf("%s after it began", s.now().Sub(st.Since).Round(100*time.Millisecond)), st.Order.ID, zerolog.InfoLevel)
	s.writeLocked()
}

// spareLocked puts a member back to work that cannot be stopped.
func (s *Scaler) spareLocked(c *cluster, st *Stop, why string) {
	if st.Member != "" {
		s.fleet.Drain(c.key, st.Member, false)
		if len(c.foreign) < foreignMax {
			c.foreign[st.Member] = true
		}
	}
	s.dropStopLocked(c, st)
	s.decideLocked(c, act(keep, "keep %s", st.Member), why, st.Order.ID, zerolog.WarnLevel)
}

func (s *Scaler) dropStopLocked(c *cluster, st *Stop) {
	c.past.Stops = slices.DeleteFunc(c.past.Stops, func(o *Stop) bool { return o == st })
}
