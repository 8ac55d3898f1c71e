// Package tenant answers whose request this is: it finds a tenant's name in a
// request, looks its numeric id up, and holds the ranges of ids that domains
// serve.
//
// Everything here is immutable once built and safe for concurrent use: a
// change of the rules or of the tenants file makes a new Resolver, which
// travels to the requests inside the routing table. The package starts
// nothing and knows neither members nor HTTP beyond the bytes of a request
// target.
package tenant

// Outcome tells how far the search for a request's tenant came.
type Outcome uint8

const (
	None    Outcome = iota // the request names no tenant
	Super                  // it names the super tenant
	Known                  // it names a tenant of the directory; ID holds
	Unknown                // it names one that the directory does not have, or no possible name
)

// String returns the outcome in one lower-case word.
func (o Outcome) String() string {
	switch o {
	case None:
		return "none"
	case Super:
		return "super"
	case Known:
		return "known"
	}
	return "unknown"
}

// MaxName bounds a tenant's name in bytes: that of a domain name (RFC 1035, 2.3.4).
const MaxName = 253

// Found is the answer of Resolver.Resolve. Callers keep one per connection
// and pass it again: it is fixed in size, so that resolving allocates nothing.
type Found struct {
	Outcome Outcome
	ID      ID // valid where Outcome is Known
	n       uint8
	name    [MaxName]byte
}

// Name is the lower-cased name; it is valid until the next Resolve with the
// same Found, and empty where none was named or the name breaks the grammar.
func (f *Found) Name() []byte { return f.name[:f.n] }

// Config says where tenants are named and what becomes of the special ones.
type Config struct {
	Identify      []Rule // tried in order, the first that finds a name wins
	Super         string // name of the super tenant, which goes where no tenant goes; default "carbon.super"
	RefuseUnknown bool   // refuse unknown tenants instead of sending them to "*"
}

// Resolver finds the tenant of a request.
type Resolver struct {
	rules         []rule
	super         string
	refuseUnknown bool
	list          *List
}

// NewResolver compiles the rules. A nil list knows no tenant.
func NewResolver(cfg Config, list *List) (*Resolver, error) {
	r := &Resolver{super: cfg.Super, refuseUnknown: cfg.RefuseUnknown, list: list}
	if r.super == "" {
		r.super = "carbon.super"
	}
	for _, c := range cfg.Identify {
		compiled, err := compileRule(c)
		if err != nil {
			return nil, err
		}
		r.rules = append(r.rules, compiled)
	}
	return r, nil
}

// RefuseUnknown reports whether requests of unknown tenants are to be refused.
func (r *Resolver) RefuseUnknown() bool { return r.refuseUnknown }

// Tenants returns how many tenants the directory holds.
func (r *Resolver) Tenants() int { return r.list.Len() }
