//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// newSetup writes what the configurations of one proxy refer to and returns
// what they are filled from.
func (b *bench) newSetup(pt *point, proxy string, members []int) (setup, error) {
	files := descriptors()
	s := setup{Members: members, Tenants: pt.Tenants, Half: pt.Tenants / 2, AboveHalf: pt.Tenants/2 + 1,
		Clusters: []string{"bench"}, Sticky: pt.Sticky, Learned: pt.Load.Learned, TLS: pt.Load.TLS != "", Socket: pt.Load.Socket, Bulk: pt.Units < 1 || pt.Units > 1,
		Master: pt.Reload > 0, Profiled: b.own != "", Log: pt.Log, Connections: (files - 300) / 2, Files: files - 100, Pool: max(1024, 4*len(members)),
		HashSize: max(4096, 4*pt.Tenants, 4*pt.Hosts), Weight: 1}
	if s.Bulk {
		s.Connections -= 600 // for pipes
	}
	if pt.Tenants > 0 {
		s.Clusters = append(s.Clusters, "low", "high")
	}
	for i := range pt.Hosts {
		s.Hosts = append(s.Hosts, strings.ReplaceAll(pt.Load.Host, "%d", fmt.Sprint(i)))
	}
	var err error
	if s.Dir, err = os.MkdirTemp(b.dir, proxy+"-"); err != nil {
		return s, fmt.Errorf("cannot make a directory: %w", err)
	}
	// Workers of nginx run as nobody.
	for dir := s.Dir; len(dir) >= len(b.dir); dir = filepath.Dir(dir) {
		os.Chmod(dir, 0o755)
	}
	for _, port := range []*int{&s.HTTP, &s.HTTPS, &s.Admin} {
		if *port, err = b.freePort(); err != nil {
			return s, err
		}
	}
	if err := makeCertificate(s.Dir, benchHost); err != nil {
		return s, err
	}
	if err := s.writeList("hosts.lst", len(s.Hosts), func(i int) string { return s.Hosts[i] }); err != nil {
		return s, err
	}
	return s, s.writeTenants()
}

// writeTenants writes the directory of tenants in the form of each proxy.
func (s *setup) writeTenants() error {
	cluster := func(i int) string {
		if i < s.Half {
			return "low"
		}
		return "high"
	}
	for name, line := range map[string]func(i int) string{
		"tenants.csv":    func(i int) string { return fmt.Sprintf("tenant%d,%d", i, i+1) },
		"ids.map":        func(i int) string { return fmt.Sprintf("tenant%d %d", i, i+1) },
		"ids.nginx":      func(i int) string { return fmt.Sprintf("tenant%d %d;", i, i+1) },
		"clusters.nginx": func(i int) string { return fmt.Sprintf("tenant%d %s;", i, cluster(i)) },
	} {
		if err := s.writeList(name, s.Tenants, line); err != nil {
			return err
		}
	}
	return nil
}

func (s *setup) writeList(name string, n int, line func(i int) string) error {
	f, err := os.Create(filepath.Join(s.Dir, name))
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", name, err)
	}
	w := bufio.NewWriter(f)
	if name == "tenants.csv" {
		fmt.Fprintln(w, "name,id")
	}
	for i := range n {
		fmt.Fprintln(w, line(i))
	}
	return errors.Join(w.Flush(), f.Close())
}

// freePort returns a port below those that the kernel gives to clients, so
// that none of them can take it meanwhile.
func (b *bench) freePort() (int, error) {
	for range 2000 {
		if b.port++; b.port >= 32000 {
			b.port = 20000
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", b.port))
		if err == nil {
			l.Close()
			return b.port, nil
		}
	}
	return 0, errors.New("cannot find a free port")
}

// descriptors raises the limit on descriptors as far as it may be, which what
// is started inherits, and returns it.
func descriptors() int {
	l := syscall.Rlimit{Cur: 65536, Max: 65536}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l) != nil && syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) == nil {
		l.Cur = min(l.Max, 65536)
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
	}
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 1024
	}
	return int(l.Cur)
}
