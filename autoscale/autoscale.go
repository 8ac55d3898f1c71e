// Package autoscale sizes clusters: it turns the load that Jetway itself knows
// exactly into members that are started and stopped.
//
// A Policy (concurrency.go, wso2.go) is a pure function of what was measured
// and the clock: it says how many members a cluster should have and shows its
// sums. The Scaler (scaler.go) asks it once a second for every elastic cluster
// and turns the difference into orders, within the limits of the
// configuration and with everything that makes it safe: orders have ids, are
// written down before they are sent (history.go), are followed up until the
// members have joined or are gone (orders.go), and are only given by the one
// process of the installation that acts (peers.go). A Driver (exec.go,
// webhook.go, process.go) carries them out.
//
// The package owns the history and its file, and the local processes that the
// process driver started, which outlive Jetway. New starts nothing; Run is the
// only thing that does, and starts a goroutine per call of a driver.
package autoscale

import (
	"time"

	"jetway/balancer"
)

// Config is everything that the configuration says about scaling.
type Config struct {
	StateDir   string // empty: orders are not remembered over restarts
	MaxMembers int    // of all elastic clusters together; 0: no limit
	Clusters   []ClusterConfig
}

// ClusterConfig is one elastic cluster.
type ClusterConfig struct {
	Key      balancer.Key
	Settings Settings
}

// Settings say how one cluster is sized.
type Settings struct {
	Policy       PolicyName
	Min, Max     int           // members, booting ones included
	StartupDelay time.Duration // a start that did not join within it has failed
	Drain        time.Duration // how long a member that is to go may keep its requests and sessions
	DryRun       bool          // decide and log only
	Concurrency  ConcurrencyConfig
	WSO2         WSO2Config
	Driver       DriverConfig
	// PeerExpiry is how long the load that another load balancer reported
	// counts when it falls silent.
	PeerExpiry time.Duration
}

// PolicyName names a policy.
type PolicyName string

const (
	PolicyConcurrency PolicyName = "concurrency"
	PolicyWSO2        PolicyName = "wso2"
)

// Policy says how many members a cluster should have. It starts nothing, reads
// no clock and is used by one goroutine.
type Policy interface {
	// Decide takes in what was measured since the call before. It is called
	// about once a second.
	Decide(in Input) Advice
}

// Input is what a policy knows of a cluster.
type Input struct {
	Now      time.Time
	Since    time.Duration // since the Input before; 0: this is the first
	Demand   float64       // mean requests in flight over Since; held and refused ones count
	InFlight int64         // at Now, held ones included
	Ready    int           // members that serve, those that are doubted included
	Booting  int           // ordered, not there yet
	Stopping int           // drained or told to stop, still there
	Min, Max int
	// Blind: what was measured may be less than what there is. Then the
	// cluster must not shrink, nor count this time as calm.
	Blind bool
}

// current is how many members there will be if nothing is done.
func (in *Input) current() int { return in.Ready + in.Booting }

// Advice is what a policy wants.
type Advice struct {
	Want    int    // members, within Min and Max
	Need    int    // what the load alone asks for
	Formula string // how Need came about
	Reason  string // what Want is where it is not Need
}

// clamp keeps n within the limits of the cluster.
func (in *Input) clamp(n int) int { return max(min(n, in.Max), in.Min) }

// NewPolicy returns the policy that s names.
func NewPolicy(s *Settings) Policy {
	if s.Policy == PolicyWSO2 {
		return NewWSO2(s.WSO2)
	}
	return NewConcurrency(s.Concurrency)
}
