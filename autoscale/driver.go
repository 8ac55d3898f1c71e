package autoscale

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"jetway/balancer"
)

// Driver starts and stops members. Its calls may take until ctx ends, and are
// made by several goroutines, for one cluster by one at a time.
//
// An order that is given again with the same id is the same order: it is not
// carried out twice.
type Driver interface {
	// Start begins to start members and returns their ids where it knows them.
	// An error means that none was started, unless it is ErrUnsure.
	Start(ctx context.Context, o Order) ([]string, error)
	// Stop ends the member of the order, or what is left of a start. That it is
	// gone already is no error.
	Stop(ctx context.Context, o Order) error
	// List tells what it has started for a cluster and not stopped, or ErrNoList.
	List(ctx context.Context, key balancer.Key) (Listing, error)
}

var (
	// ErrUnsure is the outcome of a call that may or may not have worked: the
	// same order is given again.
	ErrUnsure = errors.New("it is not known whether it worked")
	// ErrNoList is the answer of drivers that keep no list.
	ErrNoList = errors.New("the driver keeps no list")
	// ErrForeign is the answer of Stop where the member is not the driver's.
	ErrForeign = errors.New("the member was not started by this driver")
)

// Action is what an order asks for.
type Action string

const (
	ActionStart Action = "start"
	ActionStop  Action = "stop"
	ActionList  Action = "list"
)

// Order is what drivers are asked, and the JSON that scripts and webhooks get.
type Order struct {
	Version   int    `json:"version"` // of this form: 1
	ID        string `json:"id"`      // domain/sub-domain/sequence; empty for list
	Action    Action `json:"action"`
	Domain    string `json:"domain"`
	SubDomain string `json:"sub_domain"`
	Sequence  uint64 `json:"sequence"`
	// Count is how many members to start, or how many of a start are missing.
	Count int `json:"count,omitempty"`
	// Member is whom to stop, and Host where it is.
	Member string `json:"member,omitempty"`
	Host   string `json:"host,omitempty"`
	// Start is the id of the start whose members did not join and are to be
	// stopped, but for those that did, which are Joined.
	Start   string   `json:"start,omitempty"`
	Members []string `json:"members,omitempty"` // of Start, as far as the driver named them
	Joined  []string `json:"joined,omitempty"`
}

// Key returns the cluster of the order.
func (o *Order) Key() balancer.Key { return balancer.Key{Domain: o.Domain, SubDomain: o.SubDomain} }

func newOrder(key balancer.Key, action Action, sequence uint64) Order {
	return Order{Version: 1, ID: key.String() + "/" + strconv.FormatUint(sequence, 10), Action: action,
		Domain: key.Domain, SubDomain: key.SubDomain, Sequence: sequence}
}

// Listing is what a driver has started for a cluster.
type Listing struct {
	// Complete: nobody else starts members of the cluster that this driver
	// could stop, and who is not listed does not run.
	Complete  bool
	Instances []Instance
	// Known are the ids of the starts of which the list is complete; nil: of all.
	Known []string
}

// tells reports whether those of a start that are not listed do not run.
func (l *Listing) tells(order string) bool {
	return l.Complete && (l.Known == nil || slices.Contains(l.Known, order))
}

// Instance is one started member, whether it has joined or not.
type Instance struct {
	Order    string `json:"order"`    // id of its start
	Sequence uint64 `json:"sequence"` // of its start
	Member   string `json:"member"`   // id with which it joins; empty: not known
}

// DriverConfig says which driver a cluster has; at most one is not nil, none
// where it is only watched.
type DriverConfig struct {
	Exec    *ExecConfig
	Webhook *WebhookConfig
	Process *ProcessConfig
}

// Any reports whether there is a driver.
func (c *DriverConfig) Any() bool { return c.Exec != nil || c.Webhook != nil || c.Process != nil }

// ExecConfig is the driver "exec": commands of the operator's.
type ExecConfig struct {
	Start, Stop []string
	List        []string // empty: it keeps no list
	Timeout     time.Duration
}

// WebhookConfig is the driver "webhook": a service that orders are posted to.
type WebhookConfig struct {
	URL        string
	Secret     string // signs what is posted; empty: not signed
	SecretFile string // holds it, instead; read when the configuration is put to use
	CAFile     string // PEM; empty: the system's authorities
	Timeout    time.Duration
	List       bool // it answers orders to list
}

// ProcessConfig is the driver "process": processes of this machine.
type ProcessConfig struct {
	Command            []string // {id}, {port}, {domain}, {sub_domain} and {order} are replaced
	Directory          string   // where they run; empty: as Jetway
	PortFirst, PortEnd uint16   // {port} is a free one of these; 0: none is chosen
	StopWait           time.Duration
}
