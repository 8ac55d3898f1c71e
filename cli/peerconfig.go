package cli

import (
	"fmt"

	"jetway/standby"
)

// compareConfigs says it once where a peer's configuration is another one, and
// which is newer, and again when it is the same.
func (p *peers) compareConfigs() {
	states := map[string]string{}
	for _, v := range p.mesh.Peers() {
		if !v.Connected || v.Version == "" { // it has not said yet how it is
			continue
		}
		before, known := p.configs[v.Node]
		states[v.Node] = v.ConfigState
		if v.ConfigState == before || !known && v.SameConfig {
			continue
		}
		e := p.log.Warn()
		if v.SameConfig {
			e = p.log.Info()
		}
		e.Str("peer", v.Name).Str("node", v.Node).Str("config", v.ConfigState).Msg("configuration of a peer")
	}
	p.configs = states
}

// differing names the peers that are connected and have another configuration.
func differing(all []standby.PeerView) (list []string) {
	for i := range all {
		if v := &all[i]; v.Connected && v.Version != "" && !v.SameConfig {
			list = append(list, fmt.Sprintf("%s has version %s (%s)", v.Name, v.Config, v.ConfigState))
		}
	}
	return list
}

// behind names a peer that is connected and has a newer configuration; empty:
// nobody.
func behind(all []standby.PeerView) string {
	for i := range all {
		if v := &all[i]; v.Connected && v.ConfigState == standby.ConfigNewer {
			return fmt.Sprintf("%s has a newer configuration", v.Name)
		}
	}
	return ""
}
