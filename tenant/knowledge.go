package tenant

import (
	"bufio"
	"encoding/csv"
	"io"
	"strconv"
	"time"
)

// Knowledge is what a directory can say of a name, and how well.
type Knowledge struct {
	Facts
	Outcome Outcome       // as Lookup's
	Asked   bool          // it is an answer of a source that is asked name by name
	Age     time.Duration // of that answer; negative: not known, see Kept
	Told    bool          // a peer's directory gave the answer
	Kept    bool          // the source could not confirm it since: it is the last good answer
	Fresh   bool          // it is not due to be asked for again
}

// Knows is a Directory that can tell how it knows, for operators.
type Knows interface {
	Directory
	// Know is Lookup without any effect. now is in unix nanoseconds.
	Know(name []byte, now int64) Knowledge
	// Each calls f with all tenants that are known, in no order, until it
	// returns false.
	Each(f func(name []byte, facts Facts) bool)
}

// Know implements Knows.
func (l *List) Know(name []byte, now int64) Knowledge {
	f, o := l.Lookup(name, now)
	return Knowledge{Facts: f, Outcome: o, Fresh: true}
}

// Each implements Knows.
func (l *List) Each(f func(name []byte, facts Facts) bool) {
	if l != nil {
		l.table.each(f)
	}
}

// Know implements Knows.
func (c *Cache) Know(name []byte, now int64) Knowledge {
	var k key
	sh := c.shard(&k, name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if l := sh.known.get(&k); l != nil {
		until := l.until.Load()
		n := Knowledge{Facts: l.facts(), Asked: true, Fresh: now < until, Kept: l.state()&kept != 0, Told: l.state()&told != 0}
		n.Outcome, n.Age = outcomeOf(n.Facts), time.Duration(now-(until-c.life(&k)))
		if n.Kept || until == 0 {
			n.Age = -1
		}
		return n
	}
	if l := sh.unknown.get(&k); l != nil && now < l.until.Load() {
		if l.state()&failing != 0 {
			return Knowledge{Outcome: Failed, Asked: true, Fresh: true, Age: -1}
		}
		return Knowledge{Outcome: Unknown, Asked: true, Fresh: true, Age: -1}
	}
	return Knowledge{Outcome: Asking}
}

// Each implements Knows. A shard is locked while it is walked through.
func (c *Cache) Each(f func(name []byte, facts Facts) bool) {
	for i := range c.shards {
		sh := &c.shards[i]
		sh.mu.Lock()
		more := sh.known.table.Load().each(f)
		sh.mu.Unlock()
		if !more {
			return
		}
	}
}

func (t *table) each(f func(name []byte, facts Facts) bool) (more bool) {
	var buf [MaxName]byte
	for i := range t.lines {
		name := t.nameAt(i, buf[:0])
		if len(name) > 0 && !f(name, t.lines[i].facts()) {
			return false
		}
	}
	return true
}

// Know tells what is known of the name in f and how; the zero Knowledge where
// there is no directory.
func (r *Resolver) Know(f *Found, now int64) Knowledge {
	if d, ok := r.directory.(Knows); ok && f.n > 0 {
		return d.Know(f.Name(), now)
	}
	return Knowledge{Outcome: f.Outcome}
}

// Super returns the name of the super tenant.
func (r *Resolver) Super() string { return r.super }

// WriteCSV writes all tenants that are known as ReadCSV reads them; plans names
// the numbers of plans.
func WriteCSV(w io.Writer, d Knows, plans *Plans) error {
	// What a slow reader does must not hold up a shard: it is written after.
	var all []Entry
	names := plans.names()
	d.Each(func(name []byte, f Facts) bool {
		all = append(all, Entry{Name: string(name), ID: f.ID, Inactive: f.Inactive, Plan: names[f.Plan]})
		return true
	})
	buffered := bufio.NewWriterSize(w, 64<<10)
	out := csv.NewWriter(buffered)
	out.Write([]string{"name", "id", "active", "plan"})
	for i := range all {
		e := &all[i]
		out.Write([]string{e.Name, strconv.FormatInt(int64(e.ID), 10), strconv.FormatBool(!e.Inactive), e.Plan})
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return err
	}
	return buffered.Flush()
}

// names returns the plans by number; 0 is none.
func (p *Plans) names() map[uint8]string {
	names := map[uint8]string{}
	if p == nil {
		return names
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, n := range p.numbers {
		names[n] = name
	}
	return names
}
