package discovery

import (
	"crypto/ed25519"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jetway/balancer"
)

// domainKey writes a fresh pair and returns it.
func domainKey(t testing.TB) (private ed25519.PrivateKey, public ed25519.PublicKey, file string) {
	t.Helper()
	priv, pub, err := NewDomainKey()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file = filepath.Join(dir, "domain.key")
	if err := os.WriteFile(file, []byte(priv), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "domain.pub"), []byte(pub), 0o644); err != nil {
		t.Fatal(err)
	}
	private, exposed, err := ReadDomainKey(file)
	if err != nil || exposed {
		t.Fatal(err, exposed)
	}
	keys, err := ReadDomainPublicKeys(filepath.Join(dir, "domain.pub"))
	if err != nil || len(keys) != 1 || !keys[0].Equal(private.Public()) {
		t.Fatal(err, keys)
	}
	return private, keys[0], file
}

func TestSignature(t *testing.T) {
	key, public, _ := domainKey(t)
	rogue, _, _ := domainKey(t)
	now := time.Now()
	v := &verifier{keys: DomainKeys{{Domain: "d", SubDomain: "worker"}: {public}}}
	p := policy{installation: "default", verifier: v}
	member := balancer.Member{Domain: "d", Host: "10.0.0.21", HTTP: 9763, Ports: []balancer.PortMapping{{From: 1, To: 2}}}
	sign := func(k ed25519.PrivateKey, m balancer.Member, valid time.Duration) string {
		t.Helper()
		s, err := Sign(k, "web1", m, now.Add(valid))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	good := sign(key, member, time.Hour)
	f := func(signature, want string, change ...string) {
		t.Helper()
		a := announcement{Name: "web1", Addr: netip.MustParseAddr("10.0.0.21"), Now: now,
			Tags: map[string]string{"domain": "d", "http": "9763", "port.mapping.1": "2"}}
		if signature != "" {
			a.Tags["sig"] = signature
		}
		for _, c := range change {
			k, value, _ := strings.Cut(c, "=")
			switch k {
			case "name":
				a.Name = value
			case "addr":
				a.Addr = netip.MustParseAddr(value)
			case "later":
				d, _ := time.ParseDuration(value)
				a.Now = now.Add(d)
			default:
				a.Tags[k] = value
			}
		}
		m, err := parseTags(a, p)
		if want == "" {
			if err != nil || !m.Signed {
				t.Fatalf("%v: %+v, %v", change, m, err)
			}
			return
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%v: %+v, %v; want %q", change, m, err, want)
		}
	}
	const wrong = "is not of domain"
	f(good, "")
	f(good, "", "weight=9", "zone=z", "state=draining") // not covered
	f(good, "", "later=59m")
	f(good, "expired", "later=1h")
	f("", "without a signature")
	f(sign(rogue, member, time.Hour), wrong)
	f(good, wrong, "name=web2")
	f(good, wrong, "id=other")
	f(good, wrong, "addr=10.0.0.22") // the gossip address is the application's
	f(good, wrong, "host=10.0.0.22")
	f(good, "", "host=10.0.0.21", "addr=10.0.0.22") // said in other words
	f(good, wrong, "http=9764")
	f(good, wrong, "https=9443")
	f(good, wrong, "port.mapping.1=3")
	f(good, wrong, "port.mapping.2=2")
	f(good, wrong, "sub_domain=mgt,worker")
	f(strings.Replace(good, "1.", "2.", 1), "as `jetway sign` prints it")
	f(good+"A", "as `jetway sign` prints it")
	f(good[:len(good)-1], "as `jetway sign` prints it")
	f("1.9.", "as `jetway sign` prints it")
	f("1.0"+good[2:], "as `jetway sign` prints it") // one spelling
	expiry := good[2 : 2+strings.IndexByte(good[2:], '.')]
	last := "9"
	if strings.HasSuffix(expiry, last) {
		last = "8"
	}
	f(strings.Replace(good, expiry, expiry[:len(expiry)-1]+last, 1), wrong) // another life

	// Where no key is asked for none is needed, and a bad one harms nobody.
	v.keys = DomainKeys{{Domain: "d", SubDomain: "mgt"}: {public}}
	if m, err := parseTags(announcement{Name: "web1", Addr: netip.MustParseAddr("10.0.0.21"), Now: now, Tags: map[string]string{"domain": "d", "http": "1", "sig": "x"}}, p); err != nil || m.Signed {
		t.Fatal(m, err)
	}
	// Of several sub-domains each needs its own; two keys of a rotation are both good.
	_, second, _ := domainKey(t)
	v.keys = DomainKeys{{Domain: "d", SubDomain: "worker"}: {second, public}, {Domain: "d", SubDomain: "mgt"}: {second}}
	f(good, "")
	both := member
	both.SubDomains = []string{"worker", "mgt"}
	f(sign(key, both, time.Hour), wrong, "sub_domain=mgt,worker")
	v.keys[balancer.Key{Domain: "d", SubDomain: "mgt"}] = []ed25519.PublicKey{public}
	f(sign(key, both, time.Hour), "", "sub_domain=mgt,worker")
}

func TestSignRefuses(t *testing.T) {
	key, _, _ := domainKey(t)
	f := func(m balancer.Member, want string) {
		t.Helper()
		if _, err := Sign(key, "web1", m, time.Now().Add(time.Hour)); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%+v: %v, want %q", m, err, want)
		}
	}
	f(balancer.Member{Domain: "d", HTTP: 80}, "address of the application")
	f(balancer.Member{Domain: "d", Host: "example.com", HTTP: 80}, "IP address")
	f(balancer.Member{Domain: "d", Host: "10.0.0.1"}, "without a port")
	f(balancer.Member{Domain: "d d", Host: "10.0.0.1", HTTP: 80}, "domain name")
}

func TestDomainKeyFiles(t *testing.T) {
	_, _, file := domainKey(t)
	private, _ := os.ReadFile(file)
	public, _ := os.ReadFile(strings.TrimSuffix(file, ".key") + ".pub")
	f := func(data, want string) {
		t.Helper()
		if err := CheckDomainPublicKeys([]byte(data)); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Fatalf("%v, want %q", err, want)
		}
	}
	f(string(public), "")
	f(string(public)+string(public), "")
	f(string(private), "something else")
	f("", "no usable key")
	f(string(public)+"rest", "no usable key")
	f(strings.Repeat(string(public), domainKeysMax+1), "no usable key")
	if _, _, err := ReadDomainKey(strings.TrimSuffix(file, ".key") + ".pub"); err == nil {
		t.Fatal("a public key was taken for a private one")
	}
}

func FuzzParseSignature(f *testing.F) {
	key, _, _ := domainKey(f)
	s, _ := Sign(key, "n", balancer.Member{Domain: "d", Host: "10.0.0.1", HTTP: 80}, time.Unix(2e9, 0))
	f.Add(s)
	f.Add("1.1.")
	f.Fuzz(func(t *testing.T, s string) {
		expiry, signature, ok := parseSignature(s)
		if ok && (expiry <= 0 || len(signature) != ed25519.SignatureSize) {
			t.Fatalf("accepted %q", s)
		}
	})
}

// The agent signs what it announces, renews, and follows what changes.
func TestAgentAnnounces(t *testing.T) {
	_, public, file := domainKey(t)
	a, err := NewAgent(AgentConfig{Gossip: GossipConfig{Bind: "127.0.0.1:0"}, Node: "web1",
		Announcement: Announcement{Member: balancer.Member{Domain: "d", HTTP: 80}, Signing: Signing{KeyFile: file, Valid: time.Hour}}}, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	a.pool.addr = netip.MustParseAddrPort("127.0.0.1:7946")
	p := policy{loopback: true, installation: "default", verifier: &verifier{keys: DomainKeys{{Domain: "d", SubDomain: "worker"}: {public}}}}
	now := time.Now()
	f := func(after time.Duration, want func(balancer.Member) bool) map[string]string {
		t.Helper()
		now = now.Add(after)
		tags, _ := a.compose(now)
		m, err := parseTags(announcement{Name: "web1", Addr: netip.MustParseAddr("127.0.0.1"), Tags: tags, Now: now}, p)
		if err != nil || !m.Signed || !want(m) {
			t.Fatalf("%v: %+v, %v", tags, m, err)
		}
		return tags
	}
	up := func(m balancer.Member) bool { return !m.Draining }
	first := f(0, up)
	if again := f(30*time.Minute, up); !maps.Equal(first, again) {
		t.Fatal("signed anew too soon")
	}
	renewed := f(15*time.Minute, up)
	if maps.Equal(first, renewed) {
		t.Fatal("not signed anew in time")
	}
	a.Drain(true)
	f(0, func(m balancer.Member) bool { return m.Draining })
	a.Drain(false)
	next := a.now
	next.Member.Weight, next.Member.HTTP = 5, 81
	if err := a.Announce(next); err != nil {
		t.Fatal(err)
	}
	f(0, func(m balancer.Member) bool { return m.Weight == 5 && m.HTTP == 81 && !m.Draining })
	next.Member.HTTP = 0
	if err := a.Announce(next); err == nil {
		t.Fatal("announced a member without a port")
	}
	f(0, func(m balancer.Member) bool { return m.HTTP == 81 })
	next.Member.HTTP, next.Member.Draining = 81, true
	if err := a.Announce(next); err != nil {
		t.Fatal(err)
	}
	f(0, func(m balancer.Member) bool { return m.Draining })
}

// A signature is renewed before it ends, however short it is good.
func TestAgentRenewsInTime(t *testing.T) {
	_, _, file := domainKey(t)
	f := func(valid time.Duration, want string) {
		t.Helper()
		a, err := NewAgent(AgentConfig{Gossip: GossipConfig{Bind: "127.0.0.1:0"}, Node: "web1",
			Announcement: Announcement{Member: balancer.Member{Domain: "d", HTTP: 80}, Signing: Signing{KeyFile: file, Valid: valid}}}, testLog(t))
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("%s: %v, want %q", valid, err, want)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if late := a.now.Signing.Valid*2/3 + 2*a.lookAfter(); late > a.now.Signing.Valid*9/10 {
			t.Fatalf("good for %s, looked at every %s: renewed after %s", a.now.Signing.Valid, a.lookAfter(), late)
		}
	}
	f(time.Minute, "")
	f(2*time.Minute, "")
	f(time.Hour, "")
	f(0, "") // the default
	f(59*time.Second, "expected at least 1m0s")
	f(1, "expected at least 1m0s")
}

// A member is announced once its application works, drains after fall
// failures, and is back after rise good checks.
func TestAgentJudges(t *testing.T) {
	a, err := NewAgent(AgentConfig{Gossip: GossipConfig{Bind: "127.0.0.1:0"}, Node: "web1",
		Announcement: Announcement{Member: balancer.Member{Domain: "d", HTTP: 80}, Check: LocalCheck{Type: "tcp"}}}, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	check := a.now.Check
	if check.Port != 80 || check.Host != "127.0.0.1" || check.Fall != 3 || check.Rise != 2 {
		t.Fatalf("%+v", check)
	}
	count := checkCount{of: check}
	f := func(err error, want string) {
		t.Helper()
		a.judge(&count, err)
		have := "unknown"
		if tags, _ := a.compose(time.Now()); tags != nil {
			if have = "up"; tags["state"] != "" {
				have = tags["state"]
			}
		}
		if have != want {
			t.Fatalf("%s, want %s", have, want)
		}
	}
	bad := os.ErrDeadlineExceeded
	f(bad, "unknown")
	f(nil, "up")
	f(bad, "up")
	f(bad, "up")
	f(bad, "draining")
	f(nil, "draining")
	f(bad, "draining")
	f(nil, "draining")
	f(nil, "up")
}
