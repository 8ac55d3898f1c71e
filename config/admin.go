package config

import (
	"errors"
	"fmt"
	"os"

	"gopkg.in/yaml.v3"

	"jetway/admin"
)

// Admin is the operators' listener.
type Admin struct {
	Address      string
	Configured   bool // false: the default, where a busy port is no reason not to start
	CertFile     string
	KeyFile      string
	ClientCAFile string
	TokenFile    string
	Pprof        bool
	AuditLog     string // path of a journal; empty: none
}

// LoadAdmin reads what the file at path says of the operators' listener, for
// commands that look for a Jetway that runs. Everything else there may be
// wrong: that one runs with what stood there before, with an environment of its
// own and as a user who may read more. So nothing that the file names is opened.
func LoadAdmin(path string) (Admin, error) {
	data, err := readFileMax(path, sizeMax)
	if err != nil {
		return Admin{}, fmt.Errorf("cannot read configuration %q: %w", path, err)
	}
	d := newDecoder(path, os.LookupEnv, schema())
	root, problems := parseTree(path, data, "at least loadbalancer and services")
	if root == nil {
		return Admin{}, problems
	}
	o := d.open(root, "", "the configuration").section("loadbalancer")
	d.problems = nil
	var a Admin
	var claims claims
	d.admin(o.section("admin"), &a, &claims)
	if len(d.problems) > 0 {
		return Admin{}, d.problems.sorted()
	}
	if a.Address == "" { // there is not even the section around it
		a.Address = admin.DefaultAddress
	}
	return a, nil
}

// Listener returns what the admin package wants to know.
func (a *Admin) Listener() admin.Config {
	return admin.Config{Address: a.Address, Required: a.Configured, CertFile: a.CertFile, KeyFile: a.KeyFile,
		ClientCAFile: a.ClientCAFile, TokenFile: a.TokenFile, Pprof: a.Pprof}
}

// admin decodes where operators are listened to, and who may come.
func (d *decoder) admin(o object, a *Admin, claims *claims) {
	at := read(o, "address", &a.Address, parseListen)
	a.Configured = at != nil
	if at != nil {
		claims.add(d, at, a.Address)
	}
	if o.has("tls") {
		s := o.section("tls")
		cert := d.certificate(s)
		a.CertFile, a.KeyFile = cert.CertFile, cert.KeyFile
		readFile(s, "client_ca_file", &a.ClientCAFile, checkCertificates)
	}
	readFile(o, "token_file", &a.TokenFile, checkTokens)
	read(o, "pprof", &a.Pprof, parseBool)
	readLog(o, "audit_log", &a.AuditLog)
	d.checkAdmin(at, a)
}

// checkAdmin refuses an API that other machines reach and that asks nobody who
// he is.
func (d *decoder) checkAdmin(at *yaml.Node, a *Admin) {
	switch {
	case at == nil || admin.LoopbackAddress(a.Address):
	case a.CertFile == "":
		d.problem(at, "the admin listener is reachable from other machines, in the clear", "admin.tls with a certificate, or a loopback address")
	case a.TokenFile == "" && a.ClientCAFile == "":
		d.problem(at, "the admin listener is reachable from other machines and asks nobody who they are", "admin.token_file or admin.tls.client_ca_file, or a loopback address")
	}
}

func checkTokens(path string) error {
	data, err := readSmall(path)
	if err != nil {
		return err
	}
	if _, err := admin.ParseTokens(string(data)); err != nil {
		return errors.New("is no token file: " + err.Error())
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o007 != 0 {
		return errors.New("can be read by everybody on this machine; expected a mode such as 0600 or 0640")
	}
	return nil
}

func (c *Config) printAdmin(p printer) {
	a := &c.Admin
	admin := &yaml.Node{Kind: yaml.MappingNode}
	s := printer{admin, c.masked}
	if a.Configured {
		s.text("address", a.Address)
	} else { // written out it would no longer be the default
		admin.HeadComment = "# address: " + a.Address + ", the default"
	}
	if a.CertFile != "" {
		tls := s.section("tls")
		tls.text("cert_file", a.CertFile)
		tls.text("key_file", a.KeyFile)
		tls.text("client_ca_file", a.ClientCAFile)
	}
	s.text("token_file", a.TokenFile)
	s.plain("pprof", a.Pprof)
	s.text("audit_log", a.AuditLog)
	p.add("admin", admin)
}
