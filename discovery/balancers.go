package discovery

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/hashicorp/serf/serf"
)

// tagStandby tells peers where a load balancer takes their connections.
const tagStandby = "standby"

// Balancer is another load balancer of the installation, as gossip tells.
type Balancer struct {
	Node    string
	Standby string // ip:port for peers
}

// balancersMax bounds what one pool may claim.
const balancersMax = 64

// Balancers returns the other load balancers of this installation that are
// alive and take peers. What gossip says of them is hostile: whoever connects
// there must prove both sides.
func (g *Gossip) Balancers() []Balancer {
	if list := g.balancers.Load(); list != nil {
		return *list
	}
	return nil
}

// others finds the load balancers among the nodes of a pool.
func (r *roster) others(nodes []serf.Member) []Balancer {
	var list []Balancer
	for _, n := range nodes {
		address := n.Tags[tagStandby]
		if n.Name == r.self || n.Status != serf.StatusAlive || n.Tags[tagRole] != roleBalancer ||
			n.Tags[tagInstallation] != r.policy.installation || address == "" {
			continue
		}
		a, err := netip.ParseAddrPort(address)
		if err != nil || a.Port() == 0 || a.Addr().IsUnspecified() || a.Addr().IsMulticast() || a.Addr().Zone() != "" || len(list) == balancersMax {
			continue
		}
		list = append(list, Balancer{n.Name, a.String()})
	}
	slices.SortFunc(list, func(a, b Balancer) int { return strings.Compare(a.Node, b.Node) })
	return list
}
