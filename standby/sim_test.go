package standby

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// The simulation: peers, their clocks and the network between them in virtual
// time, all of it drawn from one seed. JETWAY_SEED=n replays one run.

const (
	simStep   = 5 * time.Millisecond
	simKeys   = 120
	simRing   = 24
	simActive = 20 * time.Second // of changes and faults
	simCalm   = 5 * time.Second  // within which all must be equal again
)

type simNode struct {
	name       string
	generation uint64
	offset     time.Duration // of its clock
	clock      *Clock
	cells      *Cells
	owned      *Cells
	memories   map[string]*memory
	newest     map[string]Stamp // of every key, to see that none goes back
}

// simPipe is one direction of a connection.
type simPipe struct {
	frames [][]byte
	due    []time.Time
}

type simConn struct {
	a, b     int
	ends     [2]*link // of a and of b
	pipes    [2]simPipe
	latency  time.Duration
	perFrame time.Duration // a slow connection takes its time for each
}

type sim struct {
	t     *testing.T
	seed  uint64
	rnd   *rand.Rand
	now   time.Time
	nodes []*simNode
	conns map[[2]int]*simConn
	down  map[[2]int]time.Time // partitions and until when
	born  uint64
}

func newSim(t *testing.T, seed uint64, nodes int) *sim {
	s := &sim{t: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 7)), now: time.Unix(1_700_000_000, 0),
		conns: map[[2]int]*simConn{}, down: map[[2]int]time.Time{}}
	for i := range nodes {
		n := &simNode{name: fmt.Sprintf("lb%d-%08x", i+1, i)}
		s.nodes = append(s.nodes, n)
		s.start(n)
	}
	return s
}

// start makes a process of a node, without anything of the one before.
func (s *sim) start(n *simNode) {
	s.born++
	n.generation = s.born
	n.clock = &Clock{now: func() time.Time { return s.now.Add(n.offset) }, steady: func() time.Time { return s.now }}
	n.cells = NewCells(CellsConfig{Node: n.name, ring: simRing}, n.clock)
	n.owned = NewCells(CellsConfig{Node: n.name, ring: simRing, Owned: true}, n.clock)
	n.memories, n.newest = map[string]*memory{}, map[string]Stamp{}
}

func (n *simNode) kinds() []Kind {
	return []Kind{{KindSessions, "sessions", n.cells, n.cells}, {KindLoad, "load", n.owned, n.owned}}
}

func (n *simNode) hello() *hello {
	h := &hello{versionMin: 1, versionMax: 1, installation: "sim", node: n.name, generation: n.generation}
	for _, k := range n.kinds() {
		h.kinds = append(h.kinds, kindShards{k.ID, uint16(k.Shards())})
	}
	return h
}

func (n *simNode) memory(of *simNode) *memory {
	m := n.memories[of.name]
	if m == nil || m.generation != of.generation {
		m = newMemory(of.generation)
		n.memories[of.name] = m
	}
	return m
}

func (s *sim) connect(a, b int) {
	x, y := s.nodes[a], s.nodes[b]
	status := func() Status { return Status{} }
	c := &simConn{a: a, b: b, latency: time.Duration(s.rnd.IntN(20_000)) * time.Microsecond}
	if s.rnd.IntN(4) == 0 {
		c.perFrame = time.Duration(s.rnd.IntN(40)) * time.Millisecond
	}
	c.ends[0] = newLink(x.kinds(), y.hello(), x.generation, x.memory(y), status, x.clock, 1<<20, s.now)
	c.ends[1] = newLink(y.kinds(), x.hello(), y.generation, y.memory(x), status, y.clock, 1<<20, s.now)
	s.conns[[2]int{a, b}] = c
}

// cut ends the connections of a pair; what is under way is lost.
func (s *sim) cut(a, b int) { delete(s.conns, [2]int{a, b}) }

// step moves time on by one step.
func (s *sim) step() {
	s.now = s.now.Add(simStep)
	for a := range s.nodes {
		for b := a + 1; b < len(s.nodes); b++ {
			key := [2]int{a, b}
			if until, ok := s.down[key]; ok && s.now.Before(until) {
				continue
			}
			delete(s.down, key)
			if s.conns[key] == nil {
				s.connect(a, b)
			}
			s.carry(s.conns[key])
		}
	}
	for _, n := range s.nodes {
		n.cells.Expire(s.now)
		n.owned.Expire(s.now)
	}
}

func (s *sim) carry(c *simConn) {
	for end := range c.ends {
		p := &c.pipes[end]
		for range 32 {
			f := c.ends[end].next(s.now)
			if f == nil {
				break
			}
			due := s.now.Add(c.latency)
			if n := len(p.due); n > 0 && p.due[n-1].Add(c.perFrame).After(due) {
				due = p.due[n-1].Add(c.perFrame)
			}
			p.frames, p.due = append(p.frames, bytes.Clone(f)), append(p.due, due)
		}
	}
	for end := range c.ends {
		p := &c.pipes[end]
		for len(p.due) > 0 && !p.due[0].After(s.now) {
			t, body, err := readFrame(bytes.NewReader(p.frames[0]), nil, frameMax)
			if err == nil {
				err = c.ends[1-end].receive(s.now, t, body)
			}
			if err != nil {
				s.t.Fatalf("seed %d: node %d refuses a frame: %v", s.seed, 1-end, err)
			}
			p.frames, p.due = p.frames[1:], p.due[1:]
		}
	}
}

// disturb does one of the things that happen.
func (s *sim) disturb() {
	pair := func() (int, int) {
		a, b := s.rnd.IntN(len(s.nodes)), s.rnd.IntN(len(s.nodes)-1)
		if b >= a {
			b++
		}
		return min(a, b), max(a, b)
	}
	n := s.nodes[s.rnd.IntN(len(s.nodes))]
	switch p := s.rnd.IntN(10_000); {
	case p < 9400:
		s.change(n)
	case p < 9900:
		n.owned.Put(fmt.Sprintf("%s/%d", n.name, s.rnd.IntN(8)), fmt.Append(nil, s.rnd.IntN(100)), time.Hour)
	case p < 9940:
		a, b := pair()
		s.cut(a, b)
	case p < 9965:
		a, b := pair()
		s.cut(a, b)
		s.down[[2]int{a, b}] = s.now.Add(time.Duration(s.rnd.IntN(8000)) * time.Millisecond)
	case p < 9975:
		n.lose()
	case p < 9990:
		n.offset = time.Duration(s.rnd.IntN(7200)-3600) * time.Second
	default:
		for i, other := range s.nodes {
			if other == n {
				for j := range s.nodes {
					s.cut(min(i, j), max(i, j))
				}
			}
		}
		s.start(n)
	}
}

// change writes or deletes a key and sees that this is newer than what was
// there.
func (s *sim) change(n *simNode) {
	key := "s" + strconv.Itoa(s.rnd.IntN(simKeys))
	before := n.record(key).stamp
	if s.rnd.IntN(4) == 0 {
		n.cells.Delete(key)
	} else {
		n.cells.Put(key, fmt.Append(nil, s.rnd.Uint64()), time.Hour)
	}
	if r := n.record(key); r.stamp < before {
		s.t.Fatalf("seed %d: a change of %q on %s is not newer than what it replaced", s.seed, key, n.name)
	}
}

// lose makes a node forget a record without a word, as a full table would.
func (n *simNode) lose() {
	c := n.cells
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.slots {
		if s := &c.slots[i]; s.key != "" {
			c.sum ^= s.digest()
			delete(c.byKey, s.key)
			delete(n.newest, s.key)
			*s = cell{}
			c.free = append(c.free, i)
			return
		}
	}
}

// record returns what a node holds of a key, deleted or not.
func (n *simNode) record(key string) (r cell) {
	n.cells.mu.Lock()
	defer n.cells.mu.Unlock()
	if i, ok := n.cells.byKey[key]; ok {
		r = n.cells.slots[i]
	}
	return r
}

// records returns all that a store holds.
func records(c *Cells) map[string]cell {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[string]cell, len(c.byKey))
	for key, i := range c.byKey {
		all[key] = c.slots[i]
	}
	return all
}

// forward fails if a key of any node went back to something older.
func (s *sim) forward() {
	for _, n := range s.nodes {
		for key, r := range records(n.cells) {
			if r.stamp < n.newest[key] {
				s.t.Fatalf("seed %d: %q went back on %s", s.seed, key, n.name)
			}
			n.newest[key] = r.stamp
		}
	}
}

// merged is what all nodes must have in the end: of each key the newest.
func (s *sim) merged() map[string]cell {
	all := map[string]cell{}
	for _, n := range s.nodes {
		for key, r := range records(n.cells) {
			if o, ok := all[key]; !ok || r.newer(&o) {
				all[key] = r
			}
		}
	}
	return all
}

func (s *sim) run() {
	for end := s.now.Add(simActive); s.now.Before(end); {
		for range s.rnd.IntN(6) {
			s.disturb()
		}
		s.step()
		if s.rnd.IntN(50) == 0 {
			s.forward()
		}
	}
	clear(s.down)
	for _, c := range s.conns { // what is under way arrives: it may be the last copy
		c.perFrame = 0
		for i := range c.pipes {
			for j := range c.pipes[i].due {
				c.pipes[i].due[j] = s.now
			}
		}
	}
	s.step()
	want := s.merged()
	for end := s.now.Add(simCalm); s.now.Before(end); {
		s.step()
	}
	s.forward()
	for _, n := range s.nodes {
		s.same(n, want)
	}
}

func (s *sim) same(n *simNode, want map[string]cell) {
	got := records(n.cells)
	for key, w := range want {
		g, ok := got[key]
		if !ok || g.stamp != w.stamp || g.origin != w.origin || g.deleted != w.deleted || !bytes.Equal(g.value, w.value) {
			s.t.Fatalf("seed %d: %s has %q %v %+v, want %+v", s.seed, n.name, key, ok, g, w)
		}
	}
	if len(got) != len(want) {
		s.t.Fatalf("seed %d: %s has %d records, want %d", s.seed, n.name, len(got), len(want))
	}
	a, _ := n.cells.Digest(0)
	b, _ := s.nodes[0].cells.Digest(0)
	c, _ := n.owned.Digest(0)
	d, _ := s.nodes[0].owned.Digest(0)
	if a != b || c != d {
		s.t.Fatalf("seed %d: digests of %s differ from those of %s", s.seed, n.name, s.nodes[0].name)
	}
}

// TestSimulation: whatever happens, after it all peers hold the same, of each
// key the newest, and no key ever goes back to something older, deleted ones
// included.
func TestSimulation(t *testing.T) {
	first, seeds := uint64(1), uint64(10)
	if os.Getenv("JETWAY_LONG") == "1" {
		seeds = 1000
	}
	if n, err := strconv.ParseUint(os.Getenv("JETWAY_SEED"), 10, 64); err == nil {
		first, seeds = n, 1
	}
	for seed := first; seed < first+seeds; seed++ {
		newSim(t, seed, 3).run()
	}
}
