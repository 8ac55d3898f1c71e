package autoscale

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"
)

const (
	// backoffFirst is how long nothing is ordered after a start that failed,
	// doubled each time in a row up to backoffMost.
	backoffFirst = 10 * time.Second
	backoffMost  = 5 * time.Minute
	// holdAfter is how many starts may fail in a row before somebody has to look.
	holdAfter = 5
	// retryCall is how soon an order is given again of which it is not known
	// whether it arrived; doubled each time up to backoffMost.
	retryCall = 2 * time.Second
	// listEvery is how often a driver with a complete list is asked while
	// members boot: one that died need not be waited for.
	listEvery  = 5 * time.Second
	stopsTried = 3
)

// actLocked brings a cluster nearer to what is wanted. room is how many more
// members all clusters may have.
func (s *Scaler) actLocked(c *cluster, now time.Time, room *int) {
	if !c.acting() {
		s.onlySayLocked(c)
		return
	}
	if !c.listed {
		s.listLocked(c, now)
		return
	}
	s.expireLocked(c, now)
	s.repeatLocked(c, now)
	s.followStopsLocked(c, now)
	if len(c.past.Starts) > 0 && c.exact && !now.Before(c.listAt) {
		s.listLocked(c, now)
	}
	want, current := c.want(), c.input.Ready+c.booting()
	switch {
	case c.past.Held != "" && c.past.Manual == nil:
		if want != current {
			s.sayLocked(c, act(held, "held"), c.past.Held)
		}
	case want > current:
		s.growLocked(c, now, want-current, room)
	case want < current:
		s.shrinkLocked(c, now, current-want)
	case len(c.lost) == 0:
		c.said = ""
	}
	s.discardLocked(c, now, want)
}

// onlySayLocked is what a dry run does.
func (s *Scaler) onlySayLocked(c *cluster) {
	switch want, current := c.want(), c.input.Ready; {
	case want > current:
		s.sayLocked(c, act(dryRun, "dry run: would start %d", want-current), c.advice.Reason)
	case want < current:
		s.sayLocked(c, act(dryRun, "dry run: would stop %d", current-want), c.advice.Reason)
	default:
		c.said = ""
	}
}

// growLocked orders n members, or calls back such as are about to go.
func (s *Scaler) growLocked(c *cluster, now time.Time, n int, room *int) {
	free := c.settings.Max - c.present()
	for _, st := range slices.Clone(c.past.Stops) {
		if n > 0 && st.Order == nil && !st.Lost && c.member(st.Member) != nil {
			s.fleet.Drain(c.key, st.Member, false)
			s.dropStopLocked(c, st)
			s.decideLocked(c, act(keep, "keep %s", st.Member), "it is needed again", "", zerolog.InfoLevel)
			n--
			free--
		}
	}
	allowed := min(n, *room, free)
	switch {
	case n <= 0:
		return
	case free <= 0:
		s.sayLocked(c, act(limited, "limited"), fmt.Sprintf("%d members that serve nobody count towards max_app_instances", len(c.lost)))
		return
	case now.Before(c.past.RetryAt):
		s.sayLocked(c, act(wait, "wait"), fmt.Sprintf("%d starts failed in a row, the next at %s", c.past.Failures, c.past.RetryAt.Format(time.TimeOnly)))
		return
	case allowed <= 0:
		s.sayLocked(c, act(limited, "limited"), fmt.Sprintf("all clusters together have the %d members of autoscale.max_members", s.cfg.MaxMembers))
		return
	case c.calls >= callsMax:
		s.sayLocked(c, act(wait, "wait"), fmt.Sprintf("%d calls of the driver are under way", c.calls))
		return
	}
	*room -= allowed
	st := &Start{Order: newOrder(c.key, ActionStart, c.nextSequence(now)), At: now, Known: ids(c.members), retryAt: now}
	st.Order.Count = allowed
	for _, other := range c.past.Starts {
		for _, id := range other.Joined {
			if !slices.Contains(st.Known, id) {
				st.Known = append(st.Known, id)
			}
		}
	}
	c.past.Starts = append(c.past.Starts, st)
	s.totals.Started += uint64(allowed)
	c.said = ""
	s.decideLocked(c, act(start, "start %d", allowed), c.advice.Reason, st.Order.ID, zerolog.InfoLevel)
	s.giveStartLocked(c, st)
}

// nextSequence numbers the orders of a cluster. Without any history they begin
// with the clock, so that a number that some process before has used is not
// used again for another order.
func (c *cluster) nextSequence(now time.Time) uint64 {
	if c.past.Sequence == 0 {
		c.past.Sequence = uint64(now.UnixMilli())
	}
	c.past.Sequence++
	return c.past.Sequence
}

// giveStartLocked gives an order to start, for the first time or again.
func (s *Scaler) giveStartLocked(c *cluster, st *Start) {
	st.calling = true
	st.tries++
	s.writeLocked()
	order, driver := st.Order, c.driver
	s.callLocked(c, func(ctx context.Context) {
		named, err := []string(nil), ErrUnsure // what a panic leaves
		defer func() { s.startGiven(c, order.ID, named, err) }()
		named, err = driver.Start(ctx, order)
	})
}

// startGiven takes in what the driver said.
func (s *Scaler) startGiven(c *cluster, id string, named []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(c.past.Starts, func(st *Start) bool { return st.Order.ID == id })
	if i < 0 {
		return // the history is another peer's now
	}
	st, now := c.past.Starts[i], s.now()
	st.calling = false
	switch {
	case err == nil:
		st.Accepted = true
		if len(named) > 0 {
			st.Order.Members = named[:min(len(named), st.Order.Count)]
			st.Order.Count = len(st.Order.Members) // of the others it says that they are not started
		}
		s.joinLocked(c)
	case errors.Is(err, ErrUnsure):
		st.retryAt = now.Add(min(retryCall<<min(st.tries-1, 10), backoffMost))
		s.decideLocked(c, act(startUnconfirmed, "start not confirmed"), err.Error(), id, zerolog.WarnLevel)
	default:
		c.past.Starts = slices.Delete(c.past.Starts, i, i+1)
		s.failedLocked(c, st, st.Order.Count, fmt.Sprintf("the driver could not start: %s", err))
	}
	s.writeLocked()
}

// failedLocked counts a start that failed, in whole or for n of its members.
// Starts that were under way together fail for the same reason: they are one
// failure.
func (s *Scaler) failedLocked(c *cluster, st *Start, n int, why string) {
	s.totals.Failed += uint64(n)
	now, order := s.now(), st.Order.ID
	if st.At.After(c.past.FailedAt) {
		c.past.Failures++
		c.past.FailedAt = now
		c.past.RetryAt = now.Add(min(backoffFirst<<min(c.past.Failures-1, 10), backoffMost))
	}
	if c.past.Failures < holdAfter || c.past.Held != "" {
		s.decideLocked(c, act(startFailed, "start failed"), why, order, zerolog.WarnLevel)
		return
	}
	c.past.Held = fmt.Sprintf("%d starts failed in a row, the last because %s", c.past.Failures, why)
	c.past.Alarm = true
	s.totals.Alarms++
	s.decideLocked(c, act(hold, "hold"), c.past.Held+"; \"jetway scale\" releases it", order, zerolog.ErrorLevel)
}

// joinLocked notes who has joined.
func (s *Scaler) joinLocked(c *cluster) {
	complete, changed := c.join()
	for _, st := range complete {
		c.past.Failures, c.past.FailedAt, c.past.RetryAt = 0, time.Time{}, time.Time{}
		s.decideLocked(c, act(joined, "joined %d", st.Order.Count), fmt.Sprintf("%s after the order", s.now().Sub(st.At).Round(100*time.Millisecond)),
			st.Order.ID, zerolog.InfoLevel)
	}
	if changed && s.acting {
		s.writeLocked()
	}
}

// expireLocked gives up on starts that did not join in time and has the driver
// stop what is left of them.
func (s *Scaler) expireLocked(c *cluster, now time.Time) {
	if s.doubt != "" {
		return // they may have joined
	}
	for _, st := range slices.Clone(c.past.Starts) {
		if now.Sub(st.At) > c.settings.StartupDelay && !st.calling {
			s.giveUpLocked(c, now, st, fmt.Sprintf("%d of %d did not join within %s", st.missing(), st.Order.Count, c.settings.StartupDelay))
		}
	}
}

func (s *Scaler) giveUpLocked(c *cluster, now time.Time, st *Start, why string) {
	c.past.Starts = slices.DeleteFunc(c.past.Starts, func(o *Start) bool { return o == st })
	o := newOrder(c.key, ActionStop, c.nextSequence(now))
	o.Start, o.Count, o.Members, o.Joined = st.Order.ID, st.missing(), st.Order.Members, st.Joined
	stop := &Stop{Since: now, Deadline: now, Order: &o, Ordered: now}
	c.past.Stops = append(c.past.Stops, stop)
	s.failedLocked(c, st, st.missing(), why)
	s.giveStopLocked(c, stop)
}

// repeatLocked gives starts again of which it is not known whether they
// arrived: those of a process before, and those that hung.
func (s *Scaler) repeatLocked(c *cluster, now time.Time) {
	for _, st := range c.past.Starts {
		if !st.Accepted && !st.calling && !now.Before(st.retryAt) && c.calls < callsMax {
			s.decideLocked(c, act(start, "start %d again", st.Order.Count), "it is not known whether the order arrived; it keeps its id", st.Order.ID, zerolog.InfoLevel)
			s.giveStartLocked(c, st)
		}
	}
}

// listLocked asks the driver what is under way.
func (s *Scaler) listLocked(c *cluster, now time.Time) {
	if c.listing || now.Before(c.listAt) || c.calls >= callsMax {
		return
	}
	c.listing, c.listAt = true, now.Add(listEvery)
	key, driver := c.key, c.driver
	s.callLocked(c, func(ctx context.Context) {
		listing, err := Listing{}, ErrUnsure
		defer func() { s.listed(c, driver, listing, err) }()
		listing, err = driver.List(ctx, key)
	})
}

// listed compares what the driver has with the orders that are known.
func (s *Scaler) listed(c *cluster, driver Driver, l Listing, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.listing = false
	if driver != c.driver {
		return // another one since
	}
	if err != nil && !errors.Is(err, ErrNoList) {
		s.sayLocked(c, act(wait, "wait"), "the driver does not tell what is under way: "+err.Error())
		return
	}
	now := s.now()
	first := !c.listed
	c.listed, c.exact = true, l.Complete
	running := map[string]int{} // instances by order
	for _, in := range l.Instances {
		running[in.Order]++
		c.past.Sequence = max(c.past.Sequence, in.Sequence)
		if first && (in.Member == "" || c.member(in.Member) == nil) {
			s.adoptLocked(c, now, in)
		}
	}
	for _, st := range slices.Clone(c.past.Starts) {
		if n := running[st.Order.ID]; n > 0 {
			st.Accepted = true
		}
		if l.tells(st.Order.ID) && st.Accepted && !st.calling && running[st.Order.ID] < st.Order.Count {
			s.giveUpLocked(c, now, st, fmt.Sprintf("only %d of %d are still running", running[st.Order.ID], st.Order.Count))
		}
	}
	s.sendLocked()
	if !first {
		return
	}
	s.writeLocked()
	select {
	case s.nudge <- struct{}{}:
	default:
	}
}

// adoptLocked makes a start of one that some process before has ordered.
func (s *Scaler) adoptLocked(c *cluster, now time.Time, in Instance) {
	for _, st := range c.past.Starts {
		if st.Order.ID != in.Order {
			continue
		}
		if in.Member != "" && !slices.Contains(st.Order.Members, in.Member) {
			st.Order.Members = append(st.Order.Members, in.Member)
			st.Order.Count = max(st.Order.Count, len(st.Order.Members))
		}
		return
	}
	for _, st := range c.past.Stops {
		if st.Member == in.Member && in.Member != "" || st.Order != nil && st.Order.Start == in.Order {
			return
		}
	}
	st := &Start{Order: newOrder(c.key, ActionStart, in.Sequence), At: now, Accepted: true, Known: ids(c.members)}
	st.Order.ID, st.Order.Count = in.Order, 1
	if in.Member != "" {
		st.Order.Members = []string{in.Member}
	}
	c.past.Starts = append(c.past.Starts, st)
	s.decideLocked(c, act(adopt, "adopt 1"), "the driver has started it, it has not joined", in.Order, zerolog.InfoLevel)
}
