package standby

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

const (
	warmLag   = 100 * time.Millisecond // beyond, a peer's changes come too late
	warmAfter = 3 * time.Second        // of less
	aloneFor  = 5 * time.Second        // without any peer we know all there is to know
)

// status completes what we tell the peers.
func (m *Mesh) status() Status {
	s := m.opts.Status()
	s.Warm = m.warm.Load()
	return s
}

// warmthLocked finds out whether we know what the peers know.
func (m *Mesh) warmthLocked(now time.Time) {
	was := m.warm.Load()
	connected, cold := 0, ""
	for _, p := range m.peers {
		if p.conn == nil {
			continue
		}
		connected++
		v := p.conn.link.view(now)
		lag := time.Duration(v.Status.LagMillis) * time.Millisecond
		switch {
		case v.Missing > 0:
			p.good = time.Time{}
			cold = fmt.Sprintf("%d shards of %s are not copied yet", v.Missing, p.name)
		case lag >= warmLag:
			p.good = time.Time{}
			cold = fmt.Sprintf("changes of %s come %v late", p.name, lag)
		case p.good.IsZero():
			p.good = now
		}
		if was && !v.Status.Warm {
			continue // it has nothing that we must wait for
		}
		if p.good.IsZero() || now.Sub(p.good) < warmAfter {
			was = false
			if cold == "" {
				cold = fmt.Sprintf("in step with %s for less than %v", p.name, warmAfter)
			}
		}
	}
	warm := was
	switch {
	case m.warm.Load():
	case connected > 0:
		warm = cold == ""
	case now.Sub(m.started) >= aloneFor:
		warm = true // nobody to learn from
	default:
		cold = "looking for peers"
	}
	if warm {
		cold = ""
	}
	m.why = cold
	if m.warm.Swap(warm) != warm {
		m.log.Info().Bool("warm", warm).Str("reason", cold).Int("peers", connected).Msg("standby state changed")
		m.announceLocked()
	}
}

// Announce tells the peers at once how we are doing, instead of within a heartbeat.
func (m *Mesh) Announce() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.announceLocked()
}

func (m *Mesh) announceLocked() {
	for _, p := range m.peers {
		if p.conn != nil {
			p.conn.link.announce()
			p.conn.poke()
		}
	}
}

// Warm reports whether this Jetway knows what its peers know, and if not, what
// is missing.
func (m *Mesh) Warm() (bool, string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.warm.Load(), m.why
}

// PeerView is a peer as operators see it.
type PeerView struct {
	Name       string    `json:"name"`
	Node       string    `json:"node"`
	Address    string    `json:"address"`
	Connected  bool      `json:"connected"`
	Since      time.Time `json:"since"` // connected or lost
	Reason     string    `json:"reason,omitempty"`
	Generation uint64    `json:"generation"`
	Version    string    `json:"version"`
	Admin      string    `json:"admin,omitempty"` // its admin API

	Ready    bool `json:"ready"`
	Draining bool `json:"draining"`
	Active   bool `json:"active"` // holds the virtual address
	Told     bool `json:"told"`   // by keepalived, whether it does
	Warm     bool `json:"warm"`
	Handing  bool `json:"handing_over"`
	Acting   bool `json:"acting"` // does what must happen once per installation

	Priority    int     `json:"priority"`
	InFlight    uint32  `json:"in_flight"`
	Config      string  `json:"config"` // hash of what must be equal, in hex
	ConfigEpoch uint64  `json:"config_epoch"`
	SameConfig  bool    `json:"same_config"`
	ConfigState string  `json:"config_state"`         // same, newer or older than ours, or other
	Lag         float64 `json:"lag_seconds"`          // how late it learns from us
	LagFrom     float64 `json:"lag_from_seconds"`     // how late we learn from it
	Divergence  int     `json:"divergent_shards"`     // at the last look
	Missing     int     `json:"missing_shards"`       // we have not copied yet
	Walking     int     `json:"walking_shards"`       // it is being taught whole
	ClockAhead  float64 `json:"clock_offset_seconds"` // of its clock, with what the way takes
	Counts      Counts  `json:"-"`
}

// Peers returns all peers known, by name.
func (m *Mesh) Peers() []PeerView {
	now := time.Now()
	own := m.opts.Status()
	m.mu.Lock()
	defer m.mu.Unlock()
	acting := m.actingLocked(now)
	list := make([]PeerView, 0, len(m.peers))
	for _, p := range m.peers {
		v := p.last
		if p.conn != nil {
			v = p.conn.link.view(now)
		}
		s := &v.Status
		e := PeerView{Name: p.name, Node: p.node, Address: p.address, Connected: p.conn != nil, Since: p.changed.UTC(),
			Generation: p.generation, Version: s.Version, Admin: s.Admin, Ready: s.Ready, Draining: s.Draining,
			Active: s.Active, Told: s.Told, Warm: s.Warm, Handing: s.Handing, Acting: acting == p.node, Priority: int(s.Priority),
			InFlight: s.InFlight, Config: fmt.Sprintf("%x", s.Config[:8]), ConfigEpoch: s.ConfigEpoch, SameConfig: s.Config == own.Config,
			Divergence: v.Divergent, Missing: v.Missing, Walking: v.Walking, Lag: v.Lag.Seconds(), LagFrom: float64(s.LagMillis) / 1000}
		e.Counts = p.counts
		if p.conn != nil {
			e.Counts.add(&v.Counts)
		}
		e.ConfigState = configState(own.Config, s.Config, own.ConfigEpoch, s.ConfigEpoch)
		if s.Clock != 0 {
			e.ClockAhead = s.Clock.Time().Sub(v.Heard).Seconds()
		}
		if p.conn == nil {
			e.Reason, e.Ready, e.Active, e.Warm, e.Handing = p.lost, false, false, false, false
		}
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b PeerView) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Node, b.Node)) })
	return list
}

// What a peer's configuration is to ours.
const (
	ConfigSame  = "same"
	ConfigNewer = "newer"
	ConfigOlder = "older"
	ConfigOther = "other" // which is newer cannot be told
)

// configState compares hashes first: files that are the same may have been
// written at different times.
func configState(ours, theirs [32]byte, own, epoch uint64) string {
	switch {
	case ours == theirs:
		return ConfigSame
	case own == epoch || own == 0 || epoch == 0:
		return ConfigOther
	case epoch > own:
		return ConfigNewer
	}
	return ConfigOlder
}

// Acting reports whether this Jetway is the one that does what must happen
// once per installation: the active one, or where nobody was told who that is,
// the first warm one by priority and name.
func (m *Mesh) Acting() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.actingLocked(time.Now()) == m.own.node
}

// candidate is somebody who might act.
type candidate struct {
	node, name string
	Status
}

func (m *Mesh) actingLocked(now time.Time) string {
	all := []candidate{{m.own.node, m.own.name, m.status()}}
	for _, p := range m.peers {
		if p.conn == nil {
			continue
		}
		all = append(all, candidate{p.node, p.name, p.conn.link.view(now).Status})
	}
	return acting(all)
}

// acting returns the node that acts, empty for none.
func acting(all []candidate) string {
	told := slices.ContainsFunc(all, func(c candidate) bool { return c.Told })
	fit := func(c candidate) bool { return c.Active }
	if !told {
		fit = func(c candidate) bool { return c.Warm && !c.Draining }
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.name, b.name), cmp.Compare(a.node, b.node))
	})
	if i := slices.IndexFunc(all, fit); i >= 0 {
		return all[i].node
	}
	return ""
}

// Node returns our own id.
func (m *Mesh) Node() string { return m.own.node }

// Live reports whether a node is connected or is ourselves.
func (m *Mesh) Live(node string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peers[node]
	return node == m.own.node || p != nil && p.conn != nil
}

// Taught reports whether every peer that is connected has all that was changed
// here so far.
func (m *Mesh) Taught() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.peers {
		if p.conn != nil && !p.conn.link.taughtAll() {
			return false
		}
	}
	return true
}

// Refused returns how many connections were refused, by reason.
func (m *Mesh) Refused() map[string]uint64 {
	counts := map[string]uint64{}
	for i, name := range []string{"stranger", "installation", "version", "many", "frame"} {
		counts[name] = m.refused[i].Load()
	}
	return counts
}

// ClockAhead returns how many stamps were far ahead of our time.
func (m *Mesh) ClockAhead() uint64 { return m.opts.Clock.Ahead() }
