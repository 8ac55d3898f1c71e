package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/serf/serf"
	"github.com/rs/zerolog"

	"jetway/balancer"
)

// zone is a DNS of tests: what it answers by name; a name without addresses
// does not exist.
type zone struct {
	mu    sync.Mutex // guards all
	names map[string]string
	slow  time.Duration
	asked int
}

func (z *zone) set(names map[string]string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.names = names
}

func (z *zone) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	z.mu.Lock()
	text, slow := z.names[host], z.slow
	z.asked++
	z.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-ctx.Done():
		return nil, &net.DNSError{IsTimeout: true}
	}
	var addrs []netip.Addr
	for f := range strings.FieldsSeq(text) {
		if f == "broken" {
			return nil, &net.DNSError{Err: "server misbehaving", IsTemporary: true}
		}
		addrs = append(addrs, netip.MustParseAddr(f))
	}
	if text == "" {
		return nil, &net.DNSError{IsNotFound: true}
	}
	return addrs, nil
}

func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{}
		n := NewNames(DNSConfig{}, zerolog.Nop())
		n.resolver.lookup = z.lookup
		var list string
		lists := 0
		publish := n.Source("static", func(members []balancer.Member) {
			lists++
			var all []string
			for _, m := range members {
				all = append(all, m.ID+"="+m.Host+"/"+m.HostName)
			}
			list = strings.Join(all, " ")
		})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); n.Run(ctx) }()
		defer func() { stop(); <-done }()
		f := func(after time.Duration, want string, troubles int) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if list != want || len(n.Troubles()) != troubles {
				t.Fatalf("%q, troubles %v; want %q, %d", list, n.Troubles(), want, troubles)
			}
		}
		named := func(hosts ...string) (members []balancer.Member) {
			for i, h := range hosts {
				members = append(members, balancer.Member{ID: fmt.Sprint("m", i), Domain: "d", Host: h, HTTP: 80})
			}
			return members
		}
		publish(named("10.0.0.1", "::1"))
		f(0, "m0=10.0.0.1/ m1=::1/", 0)
		z.set(map[string]string{"a": "10.0.0.2"})
		publish(named("a", "10.0.0.1"))
		f(0, "m0=10.0.0.2/a m1=10.0.0.1/", 0)
		z.set(map[string]string{"a": "10.0.0.4 10.0.0.3 fd00::1 ::ffff:10.0.0.3 0.0.0.0 224.0.0.1"})
		f(13*time.Second, "m0@10.0.0.3=10.0.0.3/a m0@10.0.0.4=10.0.0.4/a m1=10.0.0.1/", 0)
		z.set(map[string]string{"a": "fd00::1"})
		f(13*time.Second, "m0=fd00::1/a m1=10.0.0.1/", 0)

		// Whatever fails changes nothing; it is asked again sooner.
		for _, answer := range []string{"", "broken", "0.0.0.0"} {
			z.set(map[string]string{"a": answer})
			before := lists
			f(time.Minute, "m0=fd00::1/a m1=10.0.0.1/", 1)
			if lists != before {
				t.Fatalf("%q: published although nothing changed", answer)
			}
		}
		z.set(map[string]string{"a": "10.0.0.5"})
		f(13*time.Second, "m0=10.0.0.5/a m1=10.0.0.1/", 0)
		z.mu.Lock()
		z.slow = time.Hour
		z.mu.Unlock()
		f(time.Minute, "m0=10.0.0.5/a m1=10.0.0.1/", 1)

		// A new name waits for the answer, but not for long; one that nobody
		// wants is asked for no more.
		started := time.Now()
		publish(named("b"))
		if took := time.Since(started); took > resolveFirst {
			t.Fatalf("publishing took %v", took)
		}
		f(0, "", 1)
		z.mu.Lock()
		z.slow, z.names = 0, map[string]string{"b": "10.0.0.6"}
		z.mu.Unlock()
		f(13*time.Second, "m0=10.0.0.6/b", 0)
		publish(nil)
		f(0, "", 0)
		asked := z.asked
		f(time.Hour, "", 0)
		if z.asked != asked {
			t.Fatal("a name is asked for that nobody wants")
		}
	})
}

func TestParseMembers(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		members, err := ParseMembers([]byte(text))
		var have string
		if err != nil {
			have = "error: " + err.Error()
		}
		for _, m := range members {
			have += fmt.Sprintf("%s@%s %v %s %d %d %v %d %s %v;", m.ID, m.Domain, m.SubDomains, m.Host, m.HTTP, m.HTTPS, m.Ports, m.Weight, m.Zone, m.Draining)
			if m.Source != balancer.SourceExec {
				t.Fatalf("source %q", m.Source)
			}
		}
		if have != want && !(strings.HasPrefix(have, "error: ") && want != "" && strings.Contains(have, want)) {
			t.Fatalf("%s:\n got %s\nwant %s", text, have, want)
		}
	}
	f("[]", "")
	f(`[{"domain": "d", "host": "10.0.0.1", "http": 80}]`, "10.0.0.1:80@d [worker] 10.0.0.1 80 0 [] 1  false;")
	f(`[{"id": "a", "domain": "d", "sub_domain": "worker,mgt", "host": "web.example.com.", "https": 443, "port_mapping": {"8281": 9, "1": 2}, "weight": 5, "zone": "z", "state": "draining"}]`,
		"a@d [mgt worker] web.example.com 0 443 [{1 2} {8281 9}] 5 z true;")
	f("", "it is empty; expected a JSON array")
	f("null", "it is null")
	f("{}", "line 1 column 2: object stands there; expected a JSON array")
	f("[\n{\"domain\": 5}]", `line 2 column`)
	f("[\n{\"domain\": 5}]", `number stands in "domain"; expected a text`)
	f(`[{"http": "80"}]`, `string stands in "http"; expected a whole number`)
	f("[{}\n,]", "line 2 column 2")
	f("[{", "it ends too early")
	f("[] []", "line 1 column 4: ")
	f(`[{"hots": "x"}]`, `unknown field "hots"`)
	good := `{"domain": "d", "host": "10.0.0.1", "http": 80}`
	// Each error names the line, also far down.
	f("[\n"+good+",\n{\"domain\": \"d\",\n \"hots\": 1}]", `line 4 column 2: unknown field "hots"`)
	f("[\n"+good+",\n{\"domain\": \"d\",\n \"http\": \"80\"}]", `line 4 column`)
	f("[\n"+good+",\n\n  {\"domain\": \"d\", \"host\": \"10.0.0.2\", \"http\": 99999}]", `line 4: member 2 of the list: cannot use http "99999": expected`)
	f("[\n"+good+",\n"+good+"]", "line 3: member 2 of the list has id")
	f("[\n"+good+",\nnull]", "line 3 column 1: null stands there")
	f("[\n"+good+",\n[]]", "line 3 column")
	f("[\n"+good+",\n7]", "line 3 column")
	f("[\n"+good, "line 2 column 48: it ends too early")
	f("[\n"+good+"\n"+good+"]", "line 3 column")
	f("[\n"+good+",\n{\"port_mapping\": [1]}]", `array stands in "port_mapping"; expected an object`)
	f("[\n"+good+",\n{\"port_mapping\": {\"80\": \"x\"}}]", "line 3 column")
	f("[{\"weight\": 1.5}]", `expected a whole number`)
	f("[{\"http\": 99999999999999999999}]", `expected a whole number`)
	f("\xff\xfe", "line 1 column")
	f("<html>", "line 1 column 1: invalid character '<'")
	one := func(more, want string) {
		t.Helper()
		f(`[{"domain": "d", "host": "10.0.0.1", "http": 80`+more+`}]`, want)
	}
	one(`, "weight": 0`, `cannot use weight "0"`)
	one(`, "weight": 1001`, `cannot use weight "1001"`)
	one(`, "https": 65536`, `cannot use https "65536"`)
	one(`, "port_mapping": {"01": 2}`, `cannot use port_mapping "01: 2"`)
	one(`, "state": "down"`, `expected up or draining`)
	one(`, "sub_domain": "a,a"`, `cannot use sub_domain "a,a"`)
	one(`, "id": "a b"`, `cannot use id "a b"`)
	f(`[{"domain": "d", "host": "10.0.0.1"}]`, "member 1 of the list: it has no port")
	f(`[{"domain": "d d", "host": "10.0.0.1", "http": 1}]`, `cannot use domain "d d"`)
	for _, host := range []string{"", "0.0.0.0", "224.0.0.1", "fe80::1%eth0", "10.0.0.1:80", "1.2.3", "a b"} {
		f(`[{"domain": "d", "host": "`+host+`", "http": 1}]`, "cannot use host")
	}
	f(`[{"domain": "d", "id": "a", "host": "10.0.0.1", "http": 1}, {"domain": "d", "id": "a", "host": "10.0.0.2", "http": 1}]`, "and so has member 1")
}

func FuzzParseMembers(f *testing.F) {
	f.Add([]byte(`[{"id": "a", "domain": "d", "sub_domain": "w", "host": "h", "http": 1, "https": 2, "port_mapping": {"3": 4}, "weight": 5, "zone": "z", "state": "up"}]`))
	f.Add([]byte("[{},"))
	f.Fuzz(func(t *testing.T, data []byte) {
		members, err := ParseMembers(data)
		if err != nil && len(err.Error()) > 4096 {
			t.Fatalf("message of %d bytes", len(err.Error()))
		}
		for _, m := range members {
			if m.ID == "" || m.Host == "" || len(ports(&m)) == 0 || m.Weight < 1 || len(m.SubDomains) == 0 {
				t.Fatalf("accepted %+v", m)
			}
		}
	})
}

func pooledAll(texts ...string) (nodes []serf.Member) {
	for _, text := range texts {
		nodes = append(nodes, pooled(text))
	}
	return nodes
}

// The addresses of the pool survive a restart, a broken file, and days apart.
func TestPeers(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	p := newPeers(dir, zerolog.Nop())
	p.load(now)
	if err := p.save(now, true); err != nil {
		t.Fatal(err)
	}
	p.update(nil, "lb1", now)
	nodes := pooledAll("lb1 10.0.0.9 alive", "a 10.0.0.1 alive", "b 10.0.0.2 failed", "c 10.0.0.3 alive")
	p.update(nodes, "lb1", now)
	if err := p.save(now, false); err != nil || len(p.lost(9)) != 0 {
		t.Fatal(err, p.lost(9))
	}
	p.update(pooledAll("a 10.0.0.1 failed", "c 10.0.0.3 left"), "lb1", now)
	if l := p.lost(9); len(l) != 1 || l[0] != "10.0.0.1:7946" {
		t.Fatalf("lost %v", l)
	}
	again := newPeers(dir, zerolog.Nop())
	again.load(now)
	if l := again.lost(9); len(l) != 2 { // as it was when last written
		t.Fatalf("after a restart %v", l)
	}
	if err := p.save(now, true); err != nil {
		t.Fatal(err)
	}
	again = newPeers(dir, zerolog.Nop())
	again.load(now)
	if l := again.lost(9); len(l) != 1 {
		t.Fatalf("after a restart %v", l)
	}
	p.update(nil, "lb1", now.Add(25*time.Hour))
	if len(p.lost(9)) != 1 {
		t.Fatal("forgotten after a day")
	}
	p.update(nil, "lb1", now.Add(peersFor+time.Minute))
	if len(p.lost(9)) != 0 {
		t.Fatal("never forgotten")
	}
	if err := writeState(dir+"/"+peersFile, "\x00\xff\n10.0.0.7:1\n:0\n"+strings.Repeat("x", 1<<17)); err != nil {
		t.Fatal(err)
	}
	again.load(now)
	if l := again.lost(9); len(l) != 2 {
		t.Fatalf("of a broken file %v", l)
	}
	bad := newPeers("/dev/null/x", zerolog.Nop())
	bad.update(nodes, "lb1", now)
	if err := bad.save(now, true); err == nil {
		t.Fatal("written to nowhere")
	}
}

// A process that stood still does not believe that the others died.
func TestSteadiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s steadiness
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		noted := ""
		go func() {
			defer close(done)
			s.watch(ctx, zerolog.Nop(), func(what string) { noted = what })
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		if s.stalls.Load() != 0 || s.doubtful(time.Now()) {
			t.Fatal("a stall out of nothing")
		}
		stop()
		<-done
		if noted != "" {
			t.Fatal(noted)
		}
	})
}

func TestShortDNS(t *testing.T) {
	f := func(err error, want string) {
		t.Helper()
		if got := shortDNS(err).Error(); got != want {
			t.Fatalf("%q, want %q", got, want)
		}
	}
	f(errors.New("test"), "test")
	f(&net.DNSError{IsNotFound: true, Server: "1.2.3.4:53"}, "no such host")
	f(&net.DNSError{IsTimeout: true, Err: "read udp 1.2.3.4:5->..."}, "no answer in time")
	f(&net.DNSError{Err: "server misbehaving", Server: "x"}, "server misbehaving")
}
