package cli

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"jetway/balancer"
	"jetway/config"
	"jetway/discovery"
)

// memberFlags describe a member; "member" announces it and "sign" signs it.
type memberFlags struct {
	file                         string
	id, node, domain, host, zone string
	subDomains, maps             []string
	http, https                  uint16
	weight                       int
}

func (f *memberFlags) add(c *cobra.Command) {
	fs := c.Flags()
	fs.StringVarP(&f.file, "file", "f", "", "member `file`, in YAML; other flags replace what it says")
	fs.StringVar(&f.domain, "domain", "", "domain that the member serves (required, unless the file says it)")
	fs.StringSliceVar(&f.subDomains, "sub-domain", nil, "part of the domain that it serves, repeatable (default worker)")
	fs.Uint16Var(&f.http, "http", 0, "`port` of the application for HTTP")
	fs.Uint16Var(&f.https, "https", 0, "`port` of the application for HTTPS")
	fs.StringArrayVar(&f.maps, "map", nil, "`public=own` ports, as in 8280=9763: what comes in on the first goes to the second; repeatable")
	fs.StringVar(&f.host, "host", "", "`IP` address of the application (default: that of gossip)")
	fs.IntVar(&f.weight, "weight", 1, "share of the load relative to the others, 1 to 1000")
	fs.StringVar(&f.zone, "zone", "", "where the member is, shown to operators")
	fs.StringVar(&f.id, "id", "", "`name` that is unique in its domain and stays over restarts (default: host name and port)")
	fs.StringVar(&f.node, "node", "", "`name` in the gossip pool (default: id and domain, or host name and port)")
}

// load reads the file, if there is one, and puts the flags on top of it.
// hostname is asked for where nothing names the member.
func (f *memberFlags) load(c *cobra.Command, hostname func() (string, error)) (*config.Member, error) {
	m := &config.Member{}
	if f.file != "" {
		var err error
		if m, err = config.LoadMember(f.file); err != nil {
			return nil, err
		}
	}
	if err := f.overlay(c, m); err != nil {
		return nil, &usageError{err, c.CommandPath()}
	}
	return m, f.name(m, hostname)
}

// overlay replaces what flags were given for.
func (f *memberFlags) overlay(c *cobra.Command, cfg *config.Member) error {
	m := &cfg.Announcement.Member
	given := func(name string, set func()) {
		if c.Flags().Changed(name) || f.file == "" {
			set()
		}
	}
	given("id", func() { m.ID = f.id })
	given("node", func() { cfg.Node = f.node })
	given("domain", func() { m.Domain = f.domain })
	given("sub-domain", func() { m.SubDomains = f.subDomains })
	given("host", func() { m.Host = f.host })
	given("http", func() { m.HTTP = f.http })
	given("https", func() { m.HTTPS = f.https })
	given("weight", func() { m.Weight = f.weight })
	given("zone", func() { m.Zone = f.zone })
	if len(f.maps) > 0 {
		m.Ports = nil
	}
	for _, text := range f.maps {
		from, to, ok := strings.Cut(text, "=")
		p, err1 := strconv.ParseUint(from, 10, 16)
		q, err2 := strconv.ParseUint(to, 10, 16)
		if !ok || err1 != nil || err2 != nil || p == 0 || q == 0 {
			return fmt.Errorf("cannot use --map %q: expected public=own ports, as in 8280=9763", text)
		}
		m.Ports = append(m.Ports, balancer.PortMapping{From: uint16(p), To: uint16(q)})
	}
	switch {
	case m.Domain == "":
		return errors.New("--domain is missing")
	case somePort(m) == 0:
		return errors.New("no port is given: expected --http, --https or --map")
	}
	return nil
}

// name gives the node a name where neither file nor flags do.
func (f *memberFlags) name(cfg *config.Member, hostname func() (string, error)) error {
	m := &cfg.Announcement.Member
	switch {
	case cfg.Node != "":
	case m.ID != "":
		cfg.Node = m.ID + "." + m.Domain // unique in the pool, as the id is in its domain
	default:
		name, err := hostname()
		if err != nil {
			return fmt.Errorf("cannot find the host name, give --id: %w", err)
		}
		cfg.Node = name + "-" + strconv.Itoa(int(somePort(m)))
	}
	return nil
}

func somePort(m *balancer.Member) uint16 {
	var mapped uint16
	if len(m.Ports) > 0 {
		mapped = m.Ports[0].To
	}
	return cmp.Or(m.HTTP, m.HTTPS, mapped)
}

// signFlags say what a member is signed with.
type signFlags struct{ discovery.Signing }

func (f *signFlags) overlay(c *cobra.Command, s *discovery.Signing) error {
	fs := c.Flags()
	given := 0
	for _, name := range []string{"sign-key-file", "signature", "signature-file"} {
		if fs.Changed(name) {
			given++
		}
	}
	if given > 1 {
		return errors.New("the signature comes from two places: expected one of --sign-key-file, --signature and --signature-file")
	}
	if given == 1 {
		s.KeyFile, s.Signature, s.SignatureFile = f.KeyFile, f.Signature, f.SignatureFile
	}
	if fs.Changed("sign-valid") || s.Valid == 0 {
		s.Valid = f.Valid
	}
	return nil
}
