package tenant

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"strings"
)

// Entry is one tenant of the directory.
type Entry struct {
	Name     string // lower case, see ValidName
	ID       ID
	Inactive bool
	Plan     string // "": none
}

// List is a directory held whole in memory. Immutable.
type List struct {
	seed  maphash.Seed
	table *table
}

// NewList builds the directory. Names are lower-cased; a bad name, a name or
// an id that stands twice, and an id below 1 are errors that name the entry.
// numbers may be nil where no entry has a plan.
func NewList(entries []Entry, numbers *Plans) (*List, error) {
	l := &List{seed: maphash.MakeSeed(), table: newTable(len(entries))}
	for i := range entries {
		e := &entries[i]
		name := strings.ToLower(e.Name)
		if err := checkEntry(name, e.ID); err != nil {
			return nil, fmt.Errorf("entry %d: %w", i+1, err)
		}
		var k key
		k.set(l.seed, []byte(name))
		at, there := l.table.find(&k)
		if there {
			return nil, fmt.Errorf("entry %d: tenant %q stands twice", i+1, name)
		}
		l.table.insert(at, &k, Facts{e.ID, numbers.Number(e.Plan), e.Inactive}, 0, 0)
	}
	return l, repeatedID(entries)
}

// repeatedID finds two entries with one id.
func repeatedID(entries []Entry) error {
	sorted := make([]int32, len(entries))
	ascending := true
	for i := range sorted {
		sorted[i] = int32(i)
		ascending = ascending && (i == 0 || entries[i-1].ID < entries[i].ID)
	}
	if ascending {
		return nil
	}
	slices.SortFunc(sorted, func(a, b int32) int { return cmp.Or(cmp.Compare(entries[a].ID, entries[b].ID), cmp.Compare(a, b)) })
	for i := 1; i < len(sorted); i++ {
		if a, b := &entries[sorted[i-1]], &entries[sorted[i]]; a.ID == b.ID {
			return fmt.Errorf("entry %d: tenants %q and %q have the same id %d", sorted[i]+1,
				strings.ToLower(a.Name), strings.ToLower(b.Name), a.ID)
		}
	}
	return nil
}

// Check reports whether name and id can be those of a tenant.
func (e *Entry) Check() error { return checkEntry(e.Name, e.ID) }

func checkEntry(name string, id ID) error {
	if !ValidName(name) {
		return fmt.Errorf("%q is not a tenant name; expected letters, digits, dots, hyphens and underscores, beginning with a letter or digit, at most %d", name, MaxName)
	}
	if id < 1 || id > maxID {
		return fmt.Errorf("tenant %q has the id %d; expected a number from 1 to %d", name, id, int64(maxID))
	}
	return nil
}

// Lookup implements Directory; it never has to ask.
func (l *List) Lookup(name []byte, _ int64) (Facts, Outcome) {
	if l == nil {
		return Facts{}, Unknown
	}
	var k key
	k.set(l.seed, name)
	at, there := l.table.find(&k)
	if !there {
		return Facts{}, Unknown
	}
	line := &l.table.lines[at]
	f := factsOf(line.meta.Load(), line.id.Load())
	return f, outcomeOf(f)
}

// Ask implements Directory.
func (l *List) Ask(name []byte) (Facts, Outcome) { return l.Lookup(name, 0) }

// Len returns the number of tenants.
func (l *List) Len() int {
	if l == nil {
		return 0
	}
	return l.table.count
}

// Lost returns how many tenants of l are not in next.
func (l *List) Lost(next *List) int {
	if l == nil {
		return 0
	}
	lost := 0
	var buf [MaxName]byte
	for i := range l.table.lines {
		name := l.table.nameAt(i, buf[:0])
		if len(name) == 0 {
			continue
		}
		if _, o := next.Lookup(name, 0); o == Unknown {
			lost++
		}
	}
	return lost
}

// columns are where the fields of a CSV line stand; -1: nowhere.
type columns struct{ active, plan int }

// ReadCSV reads lines of name, id, active and plan; the last two may be left
// out. Lines that begin with "#" are comments. A first line "name,id,..." is a
// header that says what the further columns are; those that it calls neither
// active nor plan are ignored. Errors name the line. It reads to the end; the
// caller bounds the size.
func ReadCSV(r io.Reader) ([]Entry, error) {
	var all strings.Builder // copies once what knows its size, as files that were read do
	if sized, ok := r.(interface{ Len() int }); ok {
		all.Grow(sized.Len())
	}
	if _, err := io.Copy(&all, r); err != nil {
		return nil, err
	}
	text := strings.TrimPrefix(all.String(), "\ufeff") // names are parts of it
	entries := make([]Entry, 0, strings.Count(text, "\n")+1)
	cols := columns{active: 2, plan: 3}
	var rec []string
	for n, first := 0, true; text != ""; {
		n++
		var line string
		line, text, _ = strings.Cut(text, "\n")
		line = strings.TrimSuffix(line, "\r")
		if line == "" || line[0] == '#' {
			continue
		}
		var err error
		if rec, err = cutFields(rec, line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if first && len(rec) > 1 && strings.EqualFold(rec[0], "name") && strings.EqualFold(rec[1], "id") {
			cols, first = header(rec), false
			continue
		}
		first = false
		e, err := cols.entry(rec)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// cutFields cuts a line at its commas into rec, blanks around them removed. A
// line with quotes is read as RFC 4180 has it, but for line breaks in quotes:
// nothing here can hold one.
func cutFields(rec []string, line string) ([]string, error) {
	if strings.IndexByte(line, '"') >= 0 {
		c := csv.NewReader(strings.NewReader(line))
		c.FieldsPerRecord, c.TrimLeadingSpace = -1, true
		return c.Read()
	}
	rec = rec[:0]
	for more := true; more; {
		var field string
		field, line, more = strings.Cut(line, ",")
		rec = append(rec, strings.TrimSpace(field))
	}
	return rec, nil
}

// header finds the columns by name.
func header(rec []string) columns {
	cols := columns{-1, -1}
	for i := 2; i < len(rec); i++ {
		switch strings.ToLower(strings.TrimSpace(rec[i])) {
		case "active":
			cols.active = i
		case "plan":
			cols.plan = i
		}
	}
	return cols
}

func (c columns) entry(rec []string) (Entry, error) {
	if len(rec) < 2 {
		return Entry{}, fmt.Errorf("%q has no id; expected name,id", rec[0])
	}
	id, err := parseID(strings.TrimSpace(rec[1]))
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Name: strings.ToLower(strings.TrimSpace(rec[0])), ID: id}
	if c.active >= 0 && c.active < len(rec) {
		active, err := ParseActive(strings.TrimSpace(rec[c.active]))
		if err != nil {
			return Entry{}, err
		}
		e.Inactive = !active
	}
	if c.plan >= 0 && c.plan < len(rec) {
		e.Plan = strings.TrimSpace(rec[c.plan])
	}
	return e, checkEntry(e.Name, id)
}

// ParseActive reads whether a tenant is active, as people and databases write
// it; nothing is yes.
func ParseActive(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "", "1", "true", "t", "yes", "y", "active":
		return true, nil
	case "0", "false", "f", "no", "n", "inactive":
		return false, nil
	}
	return false, fmt.Errorf("%q does not say whether the tenant is active; expected true or false", s)
}

// ValidName reports whether name, already in lower case, is of the grammar of
// tenant names: [a-z0-9][a-z0-9._-]{0,252}, without an empty label ("..").
func ValidName[T string | []byte](name T) bool {
	b := []byte(name)
	if len(b) == 0 || len(b) > MaxName || b[0] == '.' || b[0] == '-' || b[0] == '_' {
		return false
	}
	for _, c := range b {
		if !nameByte(c) {
			return false
		}
	}
	return !bytes.Contains(b, []byte(".."))
}

func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_'
}
