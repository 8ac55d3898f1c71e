package discovery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"jetway/balancer"
)

// listed is a member as a command prints it.
type listed struct {
	ID          string         `json:"id"`
	Domain      string         `json:"domain"`
	SubDomain   string         `json:"sub_domain"`
	Host        string         `json:"host"`
	HTTP        *int           `json:"http"`
	HTTPS       *int           `json:"https"`
	PortMapping map[string]int `json:"port_mapping"`
	Weight      *int           `json:"weight"`
	Zone        string         `json:"zone"`
	State       string         `json:"state"`
}

// ParseMembers reads a list of members as commands print it: a JSON array of
// objects with the keys of membership.static. It is taken whole or not at all;
// the error says what is wrong and where.
func ParseMembers(data []byte) ([]balancer.Member, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New(`it is empty; expected a JSON array of members, [] for none`)
	}
	list, at, err := decodeMembers(data)
	if err != nil {
		return nil, err
	}
	members := make([]balancer.Member, 0, len(list))
	ids := make(map[[2]string]int, len(list))
	for i := range list {
		line, _ := position(data, at[i])
		m, err := list[i].member()
		if err != nil {
			return nil, fmt.Errorf("line %d: member %d of the list: %w", line, i+1, err)
		}
		id := [2]string{m.Domain, m.ID}
		if first, ok := ids[id]; ok {
			return nil, fmt.Errorf("line %d: member %d of the list has id %q of domain %q, and so has member %d; expected an id of its own", line, i+1, m.ID, m.Domain, first)
		}
		ids[id] = i + 1
		members = append(members, m)
	}
	return members, nil
}

// decodeMembers reads the array and notes where each member begins.
func decodeMembers(data []byte) (list []listed, at []int64, err error) {
	var texts []json.RawMessage
	if err := json.Unmarshal(data, &texts); err != nil {
		return nil, nil, jsonError(data, 0, err)
	}
	if texts == nil {
		return nil, nil, errors.New(`it is null; expected a JSON array of members, [] for none`)
	}
	if len(texts) > nodesMax {
		return nil, nil, fmt.Errorf("it has %d members; expected at most %d", len(texts), nodesMax)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.Token() // the bracket: all of it was read before
	for _, text := range texts {
		var l *listed
		if err := d.Decode(&text); err != nil {
			return nil, nil, err
		}
		begin := d.InputOffset() - int64(len(text))
		one := json.NewDecoder(bytes.NewReader(text))
		one.DisallowUnknownFields()
		if err := one.Decode(&l); err != nil {
			return nil, nil, jsonError(data, begin+unknownAt(text, err), err)
		}
		if l == nil {
			line, column := position(data, begin)
			return nil, nil, fmt.Errorf("line %d column %d: null stands there; expected a member, such as {...}", line, column)
		}
		list, at = append(list, *l), append(at, begin)
	}
	return list, at, nil
}

// unknownAt is where the key stands that err says nobody knows.
func unknownAt(text []byte, err error) int64 {
	_, key, ok := strings.Cut(err.Error(), "unknown field ")
	if !ok {
		return 0
	}
	return int64(max(0, bytes.Index(text, []byte(key))))
}

// jsonError says where and what in the words of the list's author. at is where
// the text begins that the error is about.
func jsonError(data []byte, at int64, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		at += syntax.Offset - 1 // of the byte that is wrong
		if err = errors.New(syntax.Error()); strings.Contains(syntax.Error(), "unexpected end") {
			at, err = int64(len(data)), errors.New("it ends too early")
		}
	case errors.As(err, &kind):
		at += kind.Offset
		if kind.Field == "" {
			err = fmt.Errorf("%s stands there; expected a JSON array of members, such as [{...}]", kind.Value)
		} else {
			err = fmt.Errorf("%s stands in %q; expected %s", kind.Value, kind.Field, kindOf(kind.Type.String()))
		}
	default:
		err = errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	line, column := position(data, at)
	return fmt.Errorf("line %d column %d: %w", line, column, err)
}

func kindOf(goType string) string {
	switch {
	case strings.Contains(goType, "map"):
		return `an object such as {"8280": 9763}`
	case strings.Contains(goType, "int"):
		return "a whole number"
	case goType == "string":
		return "a text"
	}
	return "an object"
}

// position turns an offset into a line and column, both from 1.
func position(data []byte, offset int64) (line, column int) {
	before := data[:max(0, min(offset, int64(len(data))))]
	return 1 + bytes.Count(before, []byte("\n")), 1 + len(before) - (bytes.LastIndexByte(before, '\n') + 1)
}

// member checks what was printed, as strictly as tags are.
func (l *listed) member() (balancer.Member, error) {
	m := balancer.Member{ID: l.ID, Domain: l.Domain, Zone: l.Zone, Weight: 1, Source: balancer.SourceExec,
		Draining: l.State == stateDraining, SubDomains: []string{balancer.Worker}}
	if !isDomain(l.Domain) {
		return m, unusable("domain", l.Domain, wantDomain)
	}
	if l.SubDomain != "" {
		m.SubDomains = strings.Split(l.SubDomain, ",")
		slices.Sort(m.SubDomains)
		if len(m.SubDomains) > subDomainsMax || len(slices.Compact(slices.Clone(m.SubDomains))) < len(m.SubDomains) || !all(m.SubDomains, isLabel) {
			return m, unusable("sub_domain", l.SubDomain, wantSub)
		}
	}
	if a, err := netip.ParseAddr(l.Host); err == nil && a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast() {
		m.Host = a.Unmap().String()
	} else if name := strings.TrimSuffix(l.Host, "."); err != nil && isDomain(name) && strings.Trim(name, "0123456789.") != "" {
		m.Host = name
	} else {
		return m, unusable("host", l.Host, "the IP address or DNS name of one machine, without port")
	}
	if err := l.ports(&m); err != nil {
		return m, err
	}
	if l.Weight != nil {
		if m.Weight = *l.Weight; m.Weight < 1 || m.Weight > balancer.MaxWeight {
			return m, unusable("weight", strconv.Itoa(m.Weight), wantWeight)
		}
	}
	switch {
	case !isID(m.ID):
		return m, unusable("id", m.ID, wantID)
	case m.Zone != "" && !isID(m.Zone):
		return m, unusable("zone", m.Zone, wantID)
	case l.State != "" && !isState(l.State):
		return m, unusable("state", l.State, "up or draining")
	}
	return m, nil
}

// ports fills in the ports, and the id where only they can tell.
func (l *listed) ports(m *balancer.Member) error {
	for _, p := range []struct {
		key  string
		from *int
		to   *uint16
	}{{"http", l.HTTP, &m.HTTP}, {"https", l.HTTPS, &m.HTTPS}} {
		if p.from == nil {
			continue
		}
		if *p.from < 1 || *p.from > 65535 {
			return unusable(p.key, strconv.Itoa(*p.from), wantPort)
		}
		*p.to = uint16(*p.from)
	}
	for public, own := range l.PortMapping {
		from, ok := parseNumber(public, 1, 65535)
		if !ok || own < 1 || own > 65535 {
			return unusable("port_mapping", fmt.Sprintf("%s: %d", public, own), "a public port and one of the member, each 1..65535")
		}
		m.Ports = append(m.Ports, balancer.PortMapping{From: uint16(from), To: uint16(own)})
	}
	if len(m.Ports) > mappingsMax {
		return unusable("port_mapping", strconv.Itoa(len(m.Ports)), fmt.Sprintf("at most %d of them", mappingsMax))
	}
	slices.SortFunc(m.Ports, func(a, b balancer.PortMapping) int { return int(a.From) - int(b.From) })
	some := ports(m)
	if len(some) == 0 {
		return errors.New("it has no port: expected http, https or port_mapping")
	}
	if m.ID == "" {
		m.ID = m.Address(firstOf(m.HTTP, m.HTTPS, some[0]))
	}
	return nil
}

func unusable(key, value, want string) error {
	return fmt.Errorf("cannot use %s %q: expected %s", key, clip(value), want)
}

func firstOf(ports ...uint16) uint16 {
	for _, p := range ports {
		if p != 0 {
			return p
		}
	}
	return 0
}
