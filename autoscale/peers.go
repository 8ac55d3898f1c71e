package autoscale

import (
	"time"

	"jetway/balancer"
)

// Peers are the other load balancers of the installation.
type Peers interface {
	// Acts reports whether this process is the one that gives orders now.
	Acts() bool
	// Exchange hands over what this process knows and returns the newest report
	// of every other one that is alive. It is called once a second, when a
	// request waits for an empty cluster, and with every change of the history,
	// before the order is sent that it is about. It must not block, nor call
	// the Scaler.
	Exchange(own Report) []Report
}

// Report is what one load balancer tells the others. A lost one costs nothing:
// its numbers only grow, and the history is whole each time.
type Report struct {
	Node string        // unique among the peers; empty in one's own, which Exchange fills in
	At   time.Duration // of the numbers, by the clock of its sender
	Age  time.Duration // since it came in
	// Loads of its elastic clusters; nil: as they were.
	Loads []Load
	// Serial and History are of the orders under way, see History. The highest
	// Serial is the newest; one that does not act passes on what it has.
	Serial  uint64
	History []byte
}

// Load is what one load balancer measured of one cluster.
type Load struct {
	Key balancer.Key
	balancer.Totals
}

// Alone is what a load balancer without others has.
type Alone struct{}

// Acts is true: nobody else could.
func (Alone) Acts() bool { return true }

// Exchange returns nothing.
func (Alone) Exchange(Report) []Report { return nil }
