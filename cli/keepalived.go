package cli

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	"jetway/config"
)

func keepalivedCommand() *cobra.Command {
	var file string
	var peers []string
	var slow bool
	c := &cobra.Command{
		Use:   "keepalived",
		Short: "Print a configuration for keepalived",
		Long: `Prints the configuration with which keepalived moves standby.virtual_address
between the peers: VRRP version 3, an advert every 100 ms by unicast, without
taking the address back from a peer that serves. The health of Jetway comes
from the file that "jetway guard" keeps.

The addresses of the other hosts are those of standby.peers; where gossip
finds the peers, name them with --peer. Without any, adverts are multicast.

--script lets keepalived ask "jetway health" itself instead, where Jetway does
not run under "jetway guard": up to a second and a half slower.`,
		Example: `  jetway keepalived -c /etc/jetway/loadbalancer.conf > /etc/keepalived/keepalived.conf
  jetway keepalived --peer 10.0.0.5`,
		Args: noCommand,
	}
	configFlag(c, &file)
	c.Flags().StringSliceVar(&peers, "peer", nil, "`address` of another host, besides those of standby.peers")
	c.Flags().BoolVar(&slow, "script", false, `ask "jetway health" instead of following "jetway guard"`)
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := config.Load(file)
		if err != nil {
			return err
		}
		k, err := keepalivedOf(cfg, file, peers)
		if err != nil {
			return err
		}
		k.Script = slow
		return k.print(c)
	}
	return c
}

// keepalived is what its configuration is made from.
type keepalived struct {
	Name, Exe, File, Interface, Virtual, Source string
	Router, Priority                            int
	Peers                                       []string
	Track, Cold                                 string
	Script                                      bool
}

func keepalivedOf(cfg *config.Config, file string, more []string) (*keepalived, error) {
	s := cfg.Standby
	if s == nil || !s.VirtualAddress.IsValid() {
		return nil, errors.New("cannot print a configuration of keepalived: standby.virtual_address is not set")
	}
	listen, err := netip.ParseAddrPort(s.Listen)
	if err != nil {
		return nil, fmt.Errorf("cannot use standby.listen %q: %w", s.Listen, err)
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("cannot find my own binary: %w", err)
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("cannot find %q: %w", file, err)
	}
	k := &keepalived{Name: cfg.Name, Exe: exe, File: abs, Interface: s.Interface, Virtual: s.VirtualAddress.String(),
		Router: s.VirtualRouterID, Priority: s.Priority, Track: trackFile(cfg), Cold: coldFile(trackFile(cfg))}
	for _, text := range []string{k.Name, k.Exe, k.File, k.Track} {
		if strings.ContainsAny(text, "\"\n\\") {
			return nil, fmt.Errorf("cannot print a configuration of keepalived: %q holds a quote or backslash", text)
		}
	}
	for _, p := range s.Peers {
		host, _, err := net.SplitHostPort(p)
		if err != nil {
			return nil, fmt.Errorf("cannot use standby.peers %q: %w", p, err)
		}
		more = append(more, host)
	}
	for _, p := range more {
		a, err := netip.ParseAddr(p)
		if err != nil {
			return nil, fmt.Errorf("cannot use peer %q: keepalived wants an IP address", p)
		}
		if a != listen.Addr() {
			k.Peers = append(k.Peers, a.String())
		}
	}
	if len(k.Peers) > 0 && listen.Addr().IsUnspecified() {
		return nil, fmt.Errorf("cannot send adverts from standby.listen %q: expected the address of this host", s.Listen)
	}
	k.Source = listen.Addr().String()
	return k, nil
}

// keepalivedText follows keepalived.conf(5) of version 2.2. A value other than
// 0 in a track_file of weight 0 is a fault; with a weight it is multiplied by
// it and added to the priority.
const keepalivedText = `# Made by "jetway keepalived" from {{.File}}.
# Start with: keepalived --vrrp --use-file=THIS_FILE
global_defs {
    router_id {{.Name}}
    vrrp_version 3
    script_user root
    enable_script_security
    vrrp_garp_master_repeat 3
    vrrp_garp_master_refresh 10     # for switches that forget
    vrrp_rt_priority 50             # adverts must not wait for anything
    vrrp_rlimit_rttime 1000000      # 10 ms, the default, ends keepalived on a busy host
    vrrp_no_swap
}

{{if .Script}}# The slow form: keepalived runs no script more often than once a second.
vrrp_script jetway {
    script "{{.Exe}} health -c {{.File}} --timeout 500ms"
    interval 1
    timeout 1
    fall 1
    rise 2
    init_fail
}
{{else}}# "jetway guard" writes 1 when Jetway must not hold the address: a fault.
track_file jetway {
    file "{{.Track}}"
    weight 0
    init_file 1
}

# By how much a cold Jetway, or one with an older configuration, is less
# wanted; it can still take over.
track_file jetway_cold {
    file "{{.Cold}}"
    weight -1
    init_file 0
}
{{end}}
vrrp_instance jetway {
    state BACKUP
    nopreempt                       # whoever serves goes on
    interface {{.Interface}}
    virtual_router_id {{.Router}}
    priority {{.Priority}}
    advert_int 0.1
{{- if .Peers}}
    unicast_src_ip {{.Source}}
    unicast_peer {
{{- range .Peers}}
        {{.}}
{{- end}}
    }
{{- end}}
    virtual_ipaddress {
        {{.Virtual}} dev {{.Interface}}
    }
{{- if .Script}}
    track_script {
        jetway
    }
{{- else}}
    track_file {
        jetway
        jetway_cold
    }
{{- end}}
    notify "{{.Exe}} notify -c {{.File}}"
}
`

func (k *keepalived) print(c *cobra.Command) error {
	t, err := template.New("keepalived").Parse(keepalivedText)
	if err != nil {
		return fmt.Errorf("BUG: the template does not parse: %w", err)
	}
	return t.Execute(c.OutOrStdout(), k)
}
