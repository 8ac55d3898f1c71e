package balancer

// Evidence is what the requests themselves tell of a member. begun is when the
// attempt began and now when it ended, both in unix nanoseconds: what began
// before the newest verdict says nothing about the member as it is now.

// Unreachable notes that a connection to the member was refused or timed out,
// and ejects it at once: nobody can serve to whom nobody can connect.
func (v *View) Unreachable(e *Endpoint, begun, now int64, reason string) {
	u := e.Upstream
	u.failed.Add(1)
	if begun <= u.changed.Load() && u.note.Load()&noteEjected == 0 {
		return // it has returned since
	}
	u.eject(now, noteUnreachable, 0, reason)
}

// Broke notes an attempt that failed after the connection was made: reset,
// timed out, badly framed.
func (v *View) Broke(e *Endpoint, begun, now int64, reason string) {
	e.Upstream.failed.Add(1)
	v.failed(e.Upstream, begun, now, reason)
}

func (v *View) failed(u *Upstream, begun, now int64, reason string) {
	u.addGhost(now)
	if v.policy == PeakEWMA {
		u.observe(now, penalty)
	}
	if begun <= u.changed.Load() {
		return
	}
	if n := int(u.record.Add(1) &^ asleep); v.health.Failures > 0 && n >= v.health.Failures {
		u.eject(now, noteFailing, 0, failuresInARow(n, reason))
	}
}

// Answered notes that the head of an answer came, took nanoseconds after it
// was asked for.
func (v *View) Answered(e *Endpoint, status int, took, now int64) {
	if e.record.Load()&asleep != 0 {
		e.record.And(^uint32(asleep))
	}
	if status < 500 {
		if v.policy == PeakEWMA {
			e.Upstream.observe(now, took)
		}
		return
	}
	u := e.Upstream
	u.addGhost(now)
	if v.policy == PeakEWMA {
		u.observe(now, max(took, penalty))
	}
}

// Completed notes an answer that came to its end, or became a tunnel.
func (v *View) Completed(e *Endpoint, status int, begun, now int64) {
	if v.health.ServerErrors && serverError(status) {
		v.failed(e.Upstream, begun, now, "it answered with a server error")
		return
	}
	if e.failures() != 0 {
		e.record.And(asleep)
	}
	if e.load.Load()&noted == 0 {
		return
	}
	if u := e.Upstream; u.note.Load()&noteEjected != 0 && begun > u.changed.Load() {
		u.pardon(now, v.health.SlowStart, "it answers requests")
	}
}

// Sticky counts a request that went to e because it is bound to it: round
// robin gives the member one turn less. In flight it counts as any other.
func (v *View) Sticky(e *Endpoint) {
	if v.policy == RoundRobin && e.Upstream.prepaid.Load() == 0 {
		e.Upstream.prepaid.Store(1)
	}
}

// serverError reports statuses that say the member could not do its work; 501
// and 505 say that the request was at fault.
func serverError(status int) bool {
	return status == 500 || status >= 502 && status <= 504
}
