package discovery

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/serf/serf"
	"github.com/rs/zerolog"
)

const (
	peersMax     = 256            // addresses remembered
	peersFileMax = 64 << 10       // bytes read of the file
	peersFor     = 72 * time.Hour // a node that was lost is tried so long
	peersEvery   = 30 * time.Second
	peersTried   = 4 // lost nodes tried at a time, beside the well-known addresses
	peersFile    = "gossip.nodes"
)

// peers remembers where nodes of the pool were, longer than Serf does and over
// restarts: ways back into it for one whose well-known addresses are all gone,
// and between two halves that were apart for days. Nodes that said good-bye
// are forgotten. Serf's own snapshot serves neither: it holds only who was
// alive at the end, is tried once, and a full disk breaks it for good.
type peers struct {
	path string // empty: nothing is kept
	log  zerolog.Logger

	mu      sync.Mutex // guards what follows
	at      map[netip.AddrPort]peer
	written string    // content of the file
	next    time.Time // when it may be written again
	failed  bool      // the newest try to write it did
}

type peer struct {
	name string
	seen time.Time // last known alive
	lost bool
}

func newPeers(stateDir string, log zerolog.Logger) *peers {
	p := &peers{log: log, at: map[netip.AddrPort]peer{}}
	if stateDir != "" {
		p.path = filepath.Join(stateDir, peersFile)
	}
	return p
}

// load reads the file of the run before. A broken one is only a warning.
func (p *peers) load(now time.Time) {
	if p.path == "" {
		return
	}
	data, _, err := readKeyFile(p.path, peersFileMax)
	if os.IsNotExist(err) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	bad := err != nil
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan() && len(p.at) < peersMax; {
		a, err := netip.ParseAddrPort(lines.Text())
		if err != nil || a.Port() == 0 {
			bad = true
			continue
		}
		p.at[a] = peer{seen: now, lost: true}
	}
	if bad {
		p.log.Warn().Str("file", p.path).Err(err).Int("usable", len(p.at)).Msg("addresses of gossip kept by the run before are damaged")
	}
}

// update takes over what Serf knows now.
func (p *peers) update(nodes []serf.Member, self string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	gone := map[string]bool{}
	for a, k := range p.at {
		k.lost = true
		p.at[a] = k
	}
	for _, n := range nodes {
		switch {
		case n.Name == self:
		case n.Status == serf.StatusAlive:
			p.at[gossipAddress(n)] = peer{name: n.Name, seen: now}
		case n.Status == serf.StatusLeft:
			gone[n.Name] = true
		}
	}
	maps.DeleteFunc(p.at, func(_ netip.AddrPort, k peer) bool {
		return k.lost && (gone[k.name] || now.Sub(k.seen) > peersFor)
	})
	if len(p.at) <= peersMax {
		return
	}
	for _, a := range p.sortedLocked()[peersMax:] {
		delete(p.at, a)
	}
}

// sortedLocked lists the newest first.
func (p *peers) sortedLocked() []netip.AddrPort {
	all := slices.Collect(maps.Keys(p.at))
	slices.SortFunc(all, func(a, b netip.AddrPort) int {
		return cmp.Or(p.at[b].seen.Compare(p.at[a].seen), a.Compare(b))
	})
	return all
}

// lost returns up to most nodes that are not in the pool now, drawn at random.
func (p *peers) lost(most int) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for a, k := range p.at {
		if k.lost {
			out = append(out, a.String())
		}
	}
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out[:min(len(out), most)]
}

// save writes the file if it would differ, at most once in a while unless it
// is the last time. It reports whether there is trouble.
func (p *peers) save(now time.Time, last bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.path == "" || !last && now.Before(p.next) {
		return nil
	}
	all := p.sortedLocked()
	slices.SortFunc(all, netip.AddrPort.Compare) // the same nodes, the same file
	var text strings.Builder
	for _, a := range all {
		text.WriteString(a.String() + "\n")
	}
	if text.String() == p.written || text.Len() == 0 {
		return nil // knowing nobody is no reason to forget who was known
	}
	p.next = now.Add(peersEvery)
	err := writeState(p.path, text.String())
	if err != nil {
		err = fmt.Errorf("cannot keep the addresses of gossip: %w", err)
		if !p.failed {
			p.log.Warn().Err(err).Msg("after a restart gossip has only its well-known addresses")
		}
	} else {
		p.written = text.String()
	}
	p.failed = err != nil
	return err
}

// writeState replaces a file whole or not at all.
func writeState(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	if _, err = f.WriteString(text); err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
