package discovery

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"jetway/balancer"
)

// The tags that Jetway reads; design.md section 6. Others are ignored.
const (
	tagRole         = "role"
	tagInstallation = "installation"
	tagDomain       = "domain"
	tagSubDomain    = "sub_domain"
	tagHTTP         = "http"
	tagHTTPS        = "https"
	tagMapping      = "port.mapping." // and the public port
	tagHost         = "host"
	tagWeight       = "weight"
	tagZone         = "zone"
	tagID           = "id"
	tagState        = "state"
	tagSignature    = "sig"
)

const (
	roleBalancer        = "lb"
	stateUp             = "up"
	stateDraining       = "draining"
	defaultInstallation = "default"

	tagsMax       = 512 // bytes of all tags, encoded; memberlist's MetaMaxSize
	domainMax     = 253
	labelMax      = 63
	subDomainsMax = 16
	mappingsMax   = 32
)

// What each kind of tag must hold, for error messages.
const (
	wantDomain = "a domain name such as as.shared.domain"
	wantSub    = "distinct names of letters, digits, - and _, separated by commas"
	wantPort   = "a port, 1..65535"
	wantWeight = "a number, 1..1000"
	wantID     = "1..128 printable ASCII characters without blanks"
)

// errNotMember is what load balancers and nodes without our tags are.
var errNotMember = errors.New("not a member")

// announcement is what a node of the pool says about itself.
type announcement struct {
	Name string
	Addr netip.Addr
	Tags map[string]string
	Now  time.Time // signatures that expired before are refused
}

// policy is what an announcement is held against.
type policy struct {
	loopback     bool           // gossip itself is on loopback
	allowed      []netip.Prefix // where members may be; empty: everywhere
	reserved     func(host string, port uint16) bool
	installation string
	verifier     *verifier // who may serve; nil: everybody
}

// parseTags turns an announcement into a member, or says which tag is wrong,
// or returns errNotMember. All of its input is hostile.
func parseTags(a announcement, p policy) (balancer.Member, error) {
	if a.Tags[tagRole] == roleBalancer || !announces(a.Tags) {
		return balancer.Member{}, errNotMember
	}
	r := tagReader{tags: a.Tags}
	if theirs, ok := a.Tags[tagInstallation]; ok && theirs != p.installation {
		r.fail(tagInstallation, theirs, strconv.Quote(p.installation))
	}
	m := balancer.Member{
		Domain:     r.text(tagDomain, "", isDomain, wantDomain),
		SubDomains: r.subDomains(),
		HTTP:       r.port(tagHTTP),
		HTTPS:      r.port(tagHTTPS),
		Ports:      r.mappings(),
		Weight:     r.number(tagWeight, 1, balancer.MaxWeight, wantWeight),
		Zone:       r.text(tagZone, "", isID, wantID),
		ID:         r.text(tagID, a.Name, isID, wantID),
		Draining:   r.text(tagState, stateUp, isState, "up or draining") == stateDraining,
		Source:     balancer.SourceGossip,
	}
	host := r.host(a.Addr, p)
	m.Host = host.String()
	if r.err == nil && len(ports(&m)) == 0 {
		r.err = errors.New("cannot use announcement without a port: expected a tag http, https or port.mapping.P")
	}
	if r.err != nil {
		return balancer.Member{}, r.err
	}
	for _, port := range ports(&m) {
		if p.reserved != nil && p.reserved(m.Host, port) {
			return balancer.Member{}, fmt.Errorf("cannot use address %q: it is a listener of Jetway itself; expected the application's", m.Address(port))
		}
	}
	var err error
	if m.Signed, err = p.verifier.verify(a.Name, &m, a.Tags[tagSignature], a.Now); err != nil {
		return balancer.Member{}, err
	}
	return m, nil
}

// announces reports whether a node means to be a member: plain agents of the
// pool are none of our business.
func announces(tags map[string]string) bool {
	for name := range tags {
		switch name {
		case tagDomain, tagSubDomain, tagHTTP, tagHTTPS:
			return true
		}
		if strings.HasPrefix(name, tagMapping) {
			return true
		}
	}
	return false
}

// ports lists every port of a member, without repeats.
func ports(m *balancer.Member) []uint16 {
	all := append(make([]uint16, 0, 2+len(m.Ports)), m.HTTP, m.HTTPS)
	for _, p := range m.Ports {
		all = append(all, p.To)
	}
	all = slices.DeleteFunc(all, func(p uint16) bool { return p == 0 })
	slices.Sort(all)
	return slices.Compact(all)
}

// tagReader reads tags and keeps the first error.
type tagReader struct {
	tags map[string]string
	err  error
}

func (r *tagReader) fail(tag, value, want string) {
	if r.err == nil {
		r.err = fmt.Errorf("cannot use tag %q with value %q: expected %s", clip(tag), clip(value), want)
	}
}

// text returns a tag's value, else missing; an empty missing needs no check,
// save for the domain, which must be there.
func (r *tagReader) text(tag, missing string, valid func(string) bool, want string) string {
	v, ok := r.tags[tag]
	if !ok {
		v = missing
	}
	if (ok || missing != "" || tag == tagDomain) && !valid(v) {
		r.fail(tag, v, want)
	}
	return v
}

// number returns a tag's value, or 1 where there is none; it takes decimal
// digits only, without a leading zero, so that no two spellings mean the same.
func (r *tagReader) number(tag string, low, high int, want string) int {
	v, ok := r.tags[tag]
	if !ok {
		return 1
	}
	n, ok := parseNumber(v, low, high)
	if !ok {
		r.fail(tag, v, want)
	}
	return n
}

func (r *tagReader) port(tag string) uint16 {
	if _, ok := r.tags[tag]; !ok {
		return 0
	}
	return uint16(r.number(tag, 1, 65535, wantPort))
}

func (r *tagReader) subDomains() []string {
	v, ok := r.tags[tagSubDomain]
	if !ok {
		return []string{balancer.Worker}
	}
	subs := strings.Split(v, ",")
	slices.Sort(subs)
	if len(subs) > subDomainsMax || len(slices.Compact(slices.Clone(subs))) < len(subs) || !all(subs, isLabel) {
		r.fail(tagSubDomain, v, wantSub)
	}
	return subs
}

func (r *tagReader) mappings() []balancer.PortMapping {
	var found []balancer.PortMapping
	var tags []string
	for tag := range r.tags {
		if strings.HasPrefix(tag, tagMapping) {
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags) // the same error each time
	for _, tag := range tags {
		from, ok := parseNumber(tag[len(tagMapping):], 1, 65535)
		if !ok {
			r.fail(tag, r.tags[tag], "a name of port.mapping. and the public port, 1..65535")
		}
		found = append(found, balancer.PortMapping{From: uint16(from), To: r.port(tag)})
	}
	if len(found) > mappingsMax {
		r.fail(tagMapping+"*", strconv.Itoa(len(found)), fmt.Sprintf("at most %d of them", mappingsMax))
	}
	slices.SortFunc(found, func(a, b balancer.PortMapping) int { return int(a.From) - int(b.From) })
	return found
}

// host returns where the member is dialled: the tag, else its gossip address.
func (r *tagReader) host(gossip netip.Addr, p policy) netip.Addr {
	addr, what, value := gossip, "gossip address", gossip.String()
	if v, ok := r.tags[tagHost]; ok {
		addr, _ = netip.ParseAddr(v[:min(len(v), nameMax)])
		what, value = "tag "+strconv.Quote(tagHost), v
	}
	addr = addr.Unmap()
	if want := p.refuses(addr); want != "" && r.err == nil {
		r.err = fmt.Errorf("cannot use %s with value %q: expected %s", what, clip(value), want)
	}
	return addr
}

// refuses says what was expected of an address instead, or nothing.
func (p policy) refuses(a netip.Addr) string {
	switch {
	case !a.IsValid() || a.Zone() != "":
		return "an IP address without zone"
	case a.IsUnspecified(), a.IsMulticast(), a.IsLinkLocalUnicast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "the address of one machine, not unspecified, link-local, multicast or broadcast"
	case a.IsLoopback() && !p.loopback:
		return "an address other than loopback, as gossip is not on loopback"
	case len(p.allowed) > 0 && !slices.ContainsFunc(p.allowed, func(c netip.Prefix) bool { return c.Contains(a) }):
		return "an address inside allowed_cidrs"
	}
	return ""
}

// tagsOf is the inverse of parseTags, for a node of that name. Tags that would
// repeat a default are left out: the room is small.
func tagsOf(m balancer.Member, node string) map[string]string {
	tags := map[string]string{tagDomain: m.Domain}
	put := func(tag, value, standard string) {
		if value != standard {
			tags[tag] = value
		}
	}
	if len(m.SubDomains) > 0 {
		put(tagSubDomain, strings.Join(m.SubDomains, ","), balancer.Worker)
	}
	put(tagHTTP, strconv.Itoa(int(m.HTTP)), "0")
	put(tagHTTPS, strconv.Itoa(int(m.HTTPS)), "0")
	for _, p := range m.Ports {
		tags[tagMapping+strconv.Itoa(int(p.From))] = strconv.Itoa(int(p.To))
	}
	put(tagHost, m.Host, "")
	put(tagWeight, strconv.Itoa(max(m.Weight, 1)), "1")
	put(tagZone, m.Zone, "")
	if m.ID != "" {
		put(tagID, m.ID, node)
	}
	if m.Draining {
		tags[tagState] = stateDraining
	}
	return tags
}
