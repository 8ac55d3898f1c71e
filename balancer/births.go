package balancer

import "time"

// Birth is a slow start under way.
type Birth struct {
	Domain, ID string
	From       int64         // when it began, unix nanoseconds
	Full, Left time.Duration // how long it takes, and how long still
}

// Births returns all slow starts under way at now (unix nanoseconds). Whatever
// time has decided is settled first, also of members that get no requests here:
// a standby must not find out only once it takes over.
func (r *Router) Births(now int64) []Birth {
	var births []Birth
	for _, u := range r.Table().upstreams {
		if u.note.Load()&^noteGhosts == 0 {
			continue
		}
		u.settle(now)
		from, full := u.slowFrom.Load(), u.slowFor.Load()
		if left := from + full - now; u.note.Load()&noteSlow != 0 && left > 0 {
			births = append(births, Birth{u.key.domain, u.key.id, from, time.Duration(full), time.Duration(left)})
		}
	}
	return births
}

// birthsApart is by how much slow starts must differ to be two: what peers tell
// each other of the same one differs by what is under way.
const birthsApart = time.Second

// Adopt takes a peer's word that a member is in slow start, of which left
// remains of full: the member is as new as the peer that has known it says. It
// never shortens a slow start of our own, never brings back whom we ejected
// ourselves, and never lasts longer than the configuration here says. False:
// there is no such member.
func (r *Router) Adopt(domain, id string, full, left time.Duration) bool {
	now, known := r.now(), false
	for _, u := range r.Table().upstreams {
		if u.key.domain == domain && u.key.id == id {
			known = true
			u.adopt(now, full, left)
		}
	}
	return known
}

func (u *Upstream) adopt(now int64, full, left time.Duration) {
	u.settle(now)
	if u.note.Load()&noteEjected == noteAdvised { // on that peer's word, which says now that it is back
		u.pardon(now, 0, "a peer says that it is back")
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	full = min(full, u.verdict.slow)
	left = min(left, full)
	n := u.note.Load()
	if left < birthsApart || n&noteEjected != 0 {
		return
	}
	if n&noteSlow != 0 && u.slowFrom.Load()+u.slowFor.Load()-now >= int64(left-birthsApart) {
		return
	}
	u.slowLocked(now-int64(full-left), full)
}
