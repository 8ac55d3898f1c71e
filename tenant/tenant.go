// Package tenant answers whose request this is: it finds a tenant's name in a
// request, looks up what is known of it, holds the ranges of ids that domains
// serve, and admits or refuses by what a tenant may take.
//
// Identifiers, lists, ranges and Resolvers are immutable once built: a change
// of the rules makes a new Resolver, which travels to the requests inside the
// routing table. What changes per request is beside it and survives: Cache,
// the answers of a directory that is asked name by name, and Admission, who is
// busy now. Both are sharded and bounded; their Run does what goes on in the
// background. The package knows neither members nor HTTP beyond the bytes of a
// request; where tenants are kept (a Source) is the matter of tenant/directory.
package tenant

import "fmt"

// Outcome tells how far the search for a request's tenant came.
type Outcome uint8

const (
	None     Outcome = iota // the request names no tenant
	Super                   // it names the super tenant
	Known                   // it names a tenant of the directory; ID holds
	Unknown                 // it names one that the directory does not have, or no possible name
	Inactive                // it names a tenant that the directory has switched off; ID holds
	Asking                  // the directory has to be asked: Resolver.Ask
	Failed                  // the directory could not be asked, which is not the same as Unknown
)

// String returns the outcome in one lower-case word.
func (o Outcome) String() string {
	words := [...]string{"none", "super", "known", "unknown", "inactive", "asking", "failed"}
	if int(o) < len(words) {
		return words[o]
	}
	return "invalid"
}

// MaxName bounds a tenant's name in bytes: that of a domain name (RFC 1035, 2.3.4).
const MaxName = 253

// Facts are what a directory knows of a tenant.
type Facts struct {
	ID       ID
	Plan     uint8 // number of its plan, see Plans; 0: none
	Inactive bool
}

// Found is the answer of Resolver.Resolve. Callers keep one per connection
// and pass it again: it is fixed in size, so that resolving allocates nothing.
type Found struct {
	Outcome Outcome
	Facts   // valid where Outcome is Known or Inactive
	n       uint8
	rule    uint8 // that found the name, from 1; 0: none did
	name    [MaxName]byte
}

// Name is the lower-cased name; it is valid until the next Resolve with the
// same Found, and empty where none was named or the name breaks the grammar.
func (f *Found) Name() []byte { return f.name[:f.n] }

// Directory knows tenants by name.
type Directory interface {
	// Lookup answers at once, without allocating: Known, Inactive, Unknown,
	// Failed, or Asking where only Ask can tell. now is in unix nanoseconds.
	Lookup(name []byte, now int64) (Facts, Outcome)
	// Ask answers anything but Asking, and may block for as long as the
	// directory's deadline.
	Ask(name []byte) (Facts, Outcome)
	// Len returns how many tenants are known by now.
	Len() int
}

// Config says where tenants are named and what becomes of the special ones.
type Config struct {
	Identify      []Rule            // tried in order, the first that finds a name wins; Query rules after all others
	Services      map[string][]Rule // instead of Identify, by service
	Super         string            // name of the super tenant, which goes where no tenant goes; default "carbon.super"
	RefuseUnknown bool              // refuse unknown tenants instead of sending them to "*"
}

// Resolver finds the tenant of a request.
type Resolver struct {
	standard      *Identifier
	services      map[string]*Identifier
	super         string
	refuseUnknown bool
	directory     Directory // nil: knows nobody
	plans         planLimits
}

// NewResolver compiles the rules. A nil directory knows no tenant.
func NewResolver(cfg Config, d Directory) (*Resolver, error) {
	r := &Resolver{super: cfg.Super, refuseUnknown: cfg.RefuseUnknown, directory: d, services: map[string]*Identifier{}}
	if r.super == "" {
		r.super = "carbon.super"
	}
	var err error
	if r.standard, err = NewIdentifier(cfg.Identify); err != nil {
		return nil, err
	}
	for service, rules := range cfg.Services {
		if r.services[service], err = NewIdentifier(rules); err != nil {
			return nil, fmt.Errorf("service %q: %w", service, err)
		}
	}
	return r, nil
}

// Identifier returns the rules that count for a service.
func (r *Resolver) Identifier(service string) *Identifier {
	if own := r.services[service]; own != nil {
		return own
	}
	return r.standard
}

// Resolve finds the name by the rules of id and looks it up. Where the outcome
// is Asking, Ask completes it. Nothing of req is kept; nothing is allocated.
func (r *Resolver) Resolve(f *Found, id *Identifier, req *Request) {
	f.Outcome, f.Facts = None, Facts{}
	if id.Find(f, req) {
		f.Facts, f.Outcome = r.lookup(f.Name(), req.Now)
	}
}

// Ask asks the directory for the name in f and waits for at most its deadline.
func (r *Resolver) Ask(f *Found) {
	f.Facts, f.Outcome = r.directory.Ask(f.Name())
}

// lookup turns a name into an outcome. An empty name was present but
// impossible.
func (r *Resolver) lookup(name []byte, now int64) (Facts, Outcome) {
	switch {
	case string(name) == r.super:
		return Facts{}, Super
	case len(name) == 0 || r.directory == nil:
		return Facts{}, Unknown
	}
	return r.directory.Lookup(name, now)
}

// RefuseUnknown reports whether requests of unknown tenants are to be refused.
func (r *Resolver) RefuseUnknown() bool { return r.refuseUnknown }

// Tenants returns how many tenants the directory is known to hold.
func (r *Resolver) Tenants() int {
	if r.directory == nil {
		return 0
	}
	return r.directory.Len()
}
