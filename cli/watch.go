package cli

import (
	"maps"
	"os"
	"time"

	"jetway/config"
)

// watchEvery is how often files are looked at. Looking beats being notified:
// it works on every file system, and through editors that replace the file and
// platforms that swap a symbolic link to its directory.
const watchEvery = time.Second

// mark is what tells one state of a file from another.
type mark struct {
	changed time.Time
	size    int64
	file    uint64 // inode, where there are such
	missing bool
}

// watcher finds out whether files differ from what was loaded. It is not safe
// for concurrent use.
type watcher struct {
	stat   func(path string) mark
	loaded map[string]mark // as they were just before they were last read, for better or worse
	seen   map[string]mark // at the newest poll
}

func newWatcher(stat func(string) mark) *watcher {
	return &watcher{stat: stat, loaded: map[string]mark{}}
}

// poll reports whether a file differs from what was loaded and all of them
// have been the same for two polls: a file that is still being written waits.
func (w *watcher) poll(files []string) bool {
	now := make(map[string]mark, len(files))
	differs := false
	for _, f := range files {
		now[f] = w.stat(f)
		differs = differs || w.loaded[f] != now[f]
	}
	steady := maps.Equal(now, w.seen)
	w.seen = now
	return differs && steady
}

// loading notes the files as they are, to be called just before they are read.
func (w *watcher) loading(files []string) {
	clear(w.loaded)
	w.found(files)
}

// found notes files that turned out to be read as well.
func (w *watcher) found(files []string) {
	for _, f := range files {
		if _, ok := w.loaded[f]; !ok {
			w.loaded[f] = w.stat(f)
		}
	}
}

func statFile(path string) mark {
	info, err := os.Stat(path)
	if err != nil {
		return mark{missing: true}
	}
	return mark{changed: info.ModTime(), size: info.Size(), file: inode(info)}
}

// filesOf lists every file that a configuration is made of.
func filesOf(c *config.Config) []string {
	files := []string{c.File}
	add := func(path string) {
		if path != "" {
			files = append(files, path)
		}
	}
	add(c.Tenants.Directory.File)
	add(c.Tenants.SecretFile)
	add(c.Tenants.TokenFile)
	if h := c.Tenants.Directory.HTTP; h != nil {
		add(h.CAFile)
	}
	for _, l := range c.Proxy.Listeners {
		if l.TLS == nil {
			continue
		}
		for _, pair := range l.TLS.Certificates {
			add(pair.CertFile)
			add(pair.KeyFile)
		}
		add(l.TLS.ClientCAFile)
		add(l.TLS.TicketKeyFile)
	}
	add(c.Admin.CertFile)
	add(c.Admin.KeyFile)
	add(c.Admin.ClientCAFile)
	add(c.Admin.TokenFile)
	for _, cluster := range c.Clusters {
		add(cluster.MemberTLS.CAFile)
		add(c.Signatures[cluster.Key])
		add(cluster.Affinity.KeyFile)
	}
	if c.Gossip != nil {
		add(c.Gossip.KeyFile)
	}
	return files
}
