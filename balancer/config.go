package balancer

import (
	"net/netip"
	"time"

	"jetway/tenant"
)

// Config is everything of the configuration that routing depends on.
type Config struct {
	Listeners []Listener
	Clusters  []ClusterConfig
	Tenants   *tenant.Resolver // never nil
	FailOver  bool             // false: never another member after a failed connect
}

// Listener is what routing must know of an address on which clients arrive.
type Listener struct {
	Name       string
	PublicPort uint16 // the port that clients dial
	TLS        bool
}

// ClusterConfig is one cluster: a domain and sub-domain with all inherited
// values filled in.
type ClusterConfig struct {
	Service      string
	Key          Key
	Hosts        []string // host patterns in lower case: exact, or "*." and a suffix
	Ranges       tenant.Ranges
	Listeners    []string       // names of the listeners that may reach it; empty: all
	AllowFrom    []netip.Prefix // client addresses that may reach it; empty: everybody
	Balance      Policy
	HashBy       HashBy // of policy hash
	Health       Health
	Affinity     Affinity
	MemberScheme Scheme
	MemberTLS    MemberTLS
	Retry        Retry
	BodyLimit    int64         // bytes of a request body; 0: none
	TenantLimits tenant.Limits // but for Body
	DryRun       bool          // limits, that on bodies too, are only counted
	// RewriteLocation and RewriteCookies turn what names the member into what
	// names this address, in Location and Content-Location, and in the Domain
	// of Set-Cookie.
	RewriteLocation bool
	RewriteCookies  bool
	// Elastic clusters are measured (Signals), because their size follows.
	Elastic bool
	Wait    Wait
}

// Wait bounds the requests of one cluster that wait for a member to come. The
// zero Wait lets nobody wait.
type Wait struct {
	Time           time.Duration // for one request; 0: nobody waits
	Requests       int           // at a time
	TenantRequests int           // of one tenant at a time; 0: no limit of its own
	Bytes          int64         // of what they have sent so far
	PerMember      int           // requests in flight up to which a new member is given those that waited
}

// Policy names how a member is chosen among the fit ones.
type Policy string

const (
	LeastRequests Policy = "least_requests" // fewest requests in flight relative to weight
	RoundRobin    Policy = "round_robin"    // in turn, by weight
	Random        Policy = "random"         // by weight
	PeakEWMA      Policy = "peak_ewma"      // response time x requests in flight, the better of two
	Hash          Policy = "hash"           // equal keys to equal members
)

// Scheme names how members are spoken to.
type Scheme string

const (
	SchemeSame  Scheme = "same"  // as the client came
	SchemeHTTP  Scheme = "http"  // always in the clear: Jetway off-loads TLS
	SchemeHTTPS Scheme = "https" // always TLS
)

// MemberTLS says how a member's certificate is verified.
type MemberTLS struct {
	CAFile     string // PEM bundle; empty: the system's
	CASum      string // of its content: connections made under another one are not used
	ServerName string // name the certificate must carry; empty: the member's host
	Insecure   bool   // verify nothing
}

// Retry bounds repeated attempts.
type Retry struct {
	Attempts int     // members tried per request, the first included; default 2
	Budget   float64 // share of a cluster's requests that may be repeated, 0..1; default 0.2
}
