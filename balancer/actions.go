package balancer

import (
	"errors"
	"fmt"
	"time"
)

// ErrUnknownMember is returned for a member id that no cluster has.
var ErrUnknownMember = errors.New("no such member")

type memberKey struct{ domain, id string }

// wish is what operators want of a member, remembered for one that comes back.
type wish struct {
	drained bool
	weight  int // 0: the announced one
}

// wishesMax bounds the memory of operators' wishes.
const wishesMax = 10_000

// Drain keeps new requests off a member, or ends that. id is a member's id, or
// "domain/id" where two domains use the same one. It returns the members
// meant, or ErrUnknownMember.
func (r *Router) Drain(id string, drain bool) ([]*Upstream, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	hit, err := r.findLocked(id)
	if err != nil {
		return nil, err
	}
	if err := r.wishLocked(hit, func(w *wish) { w.drained = drain }); err != nil {
		return nil, fmt.Errorf("cannot drain %q: %w", id, err)
	}
	for _, u := range hit {
		u.setNote(r.now(), noteDrained, drain, "by an operator")
	}
	return hit, nil
}

// SetWeight puts a weight from 1 to MaxWeight in force, or with 0 the one that
// the member announces. It returns the members meant.
func (r *Router) SetWeight(id string, weight int) ([]*Upstream, error) {
	if weight < 0 || weight > MaxWeight {
		return nil, fmt.Errorf("cannot set weight %d of member %q: expected 1 to %d, or 0 for the announced one", weight, id, MaxWeight)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	hit, err := r.findLocked(id)
	if err != nil {
		return nil, err
	}
	if err := r.wishLocked(hit, func(w *wish) { w.weight = weight }); err != nil {
		return nil, fmt.Errorf("cannot set the weight of member %q: %w", id, err)
	}
	r.rebuildLocked()
	return hit, nil
}

// Eject sets a member aside for a time, up to a day; its sessions move too.
// Nothing but Restore or the time ends that. It returns the members meant.
func (r *Router) Eject(id string, d time.Duration) ([]*Upstream, error) {
	if d <= 0 || d > setAsideMax {
		return nil, fmt.Errorf("cannot eject member %q for %s: expected up to %s", id, d, setAsideMax)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	hit, err := r.findLocked(id)
	for _, u := range hit {
		u.eject(r.now(), noteSetAside, d, "by an operator")
	}
	return hit, err
}

// Restore ends the ejection of a member, whoever made it, without slow start.
// Checks that fail keep it down. It returns the members meant.
func (r *Router) Restore(id string) ([]*Upstream, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	hit, err := r.findLocked(id)
	for _, u := range hit {
		u.change(r.now(), "restored by an operator", 0, func() bool {
			had := u.note.Load()&(noteEjected|noteSlow) != 0
			u.returnLocked(r.now(), 0)
			u.verdict.times = 0
			u.mark(0, noteSlow)
			return had
		})
	}
	return hit, err
}

// Forget drops what operators wanted of a member that is gone for good.
func (r *Router) Forget(domain, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.wishes, memberKey{domain, id})
}

// Advise takes a peer's word that a member is out: for at most ten seconds,
// and until the member proves the contrary to ourselves. It reports whether
// that changed anything.
func (r *Router) Advise(domain, id string, until time.Time) bool {
	now := r.now()
	d := min(until.Sub(time.Unix(0, now)), adviceMax)
	if d <= 0 {
		return false
	}
	changed := false
	for _, u := range r.Table().upstreams {
		if u.key.domain == domain && u.key.id == id {
			changed = u.eject(now, noteAdvised, d, "a peer ejected it") || changed
		}
	}
	return changed
}

// Fact is what a load balancer's peers should know of a member.
type Fact struct {
	Domain, ID string
	Drained    bool
	Weight     int           // an operator's; 0: the announced one
	Ejected    time.Duration // that is left of an ejection by own evidence or an operator; 0: not ejected
	Down       bool          // by own checks
	Reason     string
	SlowStart  time.Duration // that is left of it
}

// Facts returns all members of which there is something to tell at now (unix
// nanoseconds).
func (r *Router) Facts(now int64) []Fact {
	r.mu.Lock()
	wishes := make(map[memberKey]wish, len(r.wishes))
	for k, w := range r.wishes {
		wishes[k] = w
	}
	r.mu.Unlock()
	var facts []Fact
	for _, u := range r.Table().upstreams {
		key := memberKey{u.key.domain, u.key.id}
		w := wishes[key]
		delete(wishes, key)
		f := Fact{Domain: key.domain, ID: key.id, Drained: w.drained, Weight: w.weight}
		if n := u.note.Load(); n&^noteGhosts != 0 {
			u.factOf(&f, n, now)
		}
		if f != (Fact{Domain: key.domain, ID: key.id}) {
			facts = append(facts, f)
		}
	}
	for key, w := range wishes {
		facts = append(facts, Fact{Domain: key.domain, ID: key.id, Drained: w.drained, Weight: w.weight})
	}
	return facts
}

func (u *Upstream) factOf(f *Fact, notes uint64, now int64) {
	if notes&(noteFailing|noteUnreachable|noteSetAside) != 0 {
		f.Ejected = max(0, time.Duration(u.outUntil.Load()-now))
	}
	f.Down = notes&(notesDead|notesSick) != 0
	if notes&noteSlow != 0 {
		f.SlowStart = max(0, time.Duration(u.slowFrom.Load()+u.slowFor.Load()-now))
	}
	if f.Ejected > 0 || f.Down {
		u.mu.Lock()
		f.Reason = u.verdict.reason
		u.mu.Unlock()
	}
}

// findLocked returns the one member that id means; one that announces itself
// from several addresses is several upstreams.
func (r *Router) findLocked(id string) ([]*Upstream, error) {
	var hit []*Upstream
	for _, u := range r.Table().upstreams {
		if u.key.id == id || u.key.domain+"/"+u.key.id == id {
			hit = append(hit, u)
		}
	}
	if len(hit) == 0 {
		return nil, fmt.Errorf("cannot find member %q: %w", id, ErrUnknownMember)
	}
	for _, u := range hit[1:] {
		if u.key.domain != hit[0].key.domain {
			return nil, fmt.Errorf("cannot tell which member %q is meant: several domains have one; expected domain/id", id)
		}
	}
	return hit, nil
}

// wishLocked notes what is wanted of the members in hit, which are one by name.
func (r *Router) wishLocked(hit []*Upstream, set func(*wish)) error {
	key := memberKey{hit[0].key.domain, hit[0].key.id}
	w, known := r.wishes[key]
	set(&w)
	if w == (wish{}) {
		delete(r.wishes, key)
		return nil
	}
	if !known && len(r.wishes) >= wishesMax {
		return fmt.Errorf("%d members are drained or weighted already", wishesMax)
	}
	r.wishes[key] = w
	return nil
}

// setNote switches one note on or off.
func (u *Upstream) setNote(now int64, note uint64, on bool, reason string) {
	u.change(now, reason, 0, func() bool {
		if (u.note.Load()&note != 0) == on {
			return false
		}
		if on {
			u.mark(note, 0)
		} else {
			u.mark(0, note)
		}
		switch drains := u.note.Load()&(noteDrained|noteDraining) != 0; {
		case !drains:
			u.drainFrom.Store(0)
		case u.drainFrom.Load() == 0:
			u.drainFrom.Store(now)
		}
		return true
	})
}
