package standby

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// testPeer is a Mesh over real sockets with one store.
type testPeer struct {
	*Mesh
	cells *Cells
	log   *syncBuffer
	stop  func()
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func keyFile(t testing.TB, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "peer.key")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// newPeer starts a mesh; addresses returns where the others are.
func newPeer(t testing.TB, key, installation, node string, addresses func() []string) *testPeer {
	t.Helper()
	p := &testPeer{log: &syncBuffer{}}
	clock := NewClock()
	p.cells = NewCells(CellsConfig{Node: node}, clock)
	var err error
	p.Mesh, err = New(Config{Listen: "127.0.0.1:0", KeyFile: key, Priority: 100}, Self{installation, node, node},
		[]Kind{{KindOrders, "orders", p.cells, p.cells}},
		Options{Status: func() Status { return Status{Ready: true, Priority: 100} }, Candidates: addresses, Clock: clock}, zerolog.New(p.log))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx)
	}()
	var once sync.Once
	p.stop = func() { once.Do(func() { cancel(); <-done }) }
	t.Cleanup(func() {
		p.stop()
		if n := p.panics.Load(); n > 0 {
			t.Errorf("%d panics:\n%s", n, p.log)
		}
	})
	return p
}

func (p *testPeer) address() string { return p.Address().String() }

func (p *testPeer) connected() (n int) {
	for _, v := range p.Peers() {
		if v.Connected {
			n++
		}
	}
	return n
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// addressBook tells peers of each other once they are known.
type addressBook struct {
	mu  sync.Mutex
	all []string
}

func (b *addressBook) add(a string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = append(b.all, a)
}

func (b *addressBook) list() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.all...)
}

// TestMesh: three peers that all dial each other, and themselves, end with one
// connection per pair and the same state; so does one that restarts.
func TestMesh(t *testing.T) {
	key := keyFile(t, NewSecret())
	book := &addressBook{}
	var peers []*testPeer
	for i := range 3 {
		p := newPeer(t, key, "i", fmt.Sprintf("lb%d-1", i), book.list)
		p.cells.Put(fmt.Sprintf("k%d", i), []byte("v"), time.Hour)
		book.add(p.address())
		peers = append(peers, p)
	}
	same := func(n int) func() bool {
		return func() bool {
			first, _ := peers[0].cells.Digest(0)
			for _, p := range peers {
				sum, _ := p.cells.Digest(0)
				if p.connected() != 2 || sum != first || p.cells.Len() != n {
					return false
				}
			}
			return true
		}
	}
	eventually(t, "all three agree", same(3))
	eventually(t, "all are warm", func() bool {
		for _, p := range peers {
			if warm, _ := p.Warm(); !warm {
				return false
			}
		}
		return true
	})
	eventually(t, "the first by name acts", func() bool {
		return peers[0].Acting() && !peers[1].Acting() && !peers[2].Acting()
	})
	peers[1].cells.Delete("k0")
	peers[2].stop()
	peers[0].cells.Put("k3", []byte("v"), time.Hour)
	peers[2] = newPeer(t, key, "i", "lb2-1", book.list)
	book.add(peers[2].address())
	eventually(t, "all agree after a restart", same(4))
	if _, ok := peers[2].cells.Get("k0"); ok {
		t.Error("a deleted key came back")
	}
	for _, p := range peers {
		for i := range p.refused {
			late := i == refusedStranger && (strings.Contains(p.log.String(), "timeout") || strings.Contains(p.log.String(), "deadline"))
			if n := p.refused[i].Load(); n != 0 && !late { // on a machine that stood still
				t.Errorf("refused[%d] = %d:\n%s", i, n, p.log)
			}
		}
	}
}

// TestSecretRotation: peers connect if one shows a key that the other accepts.
func TestSecretRotation(t *testing.T) {
	old, fresh := NewSecret(), NewSecret()
	a := newPeer(t, keyFile(t, "# the old one first", old, fresh), "i", "a-1", nil)
	b := newPeer(t, keyFile(t, fresh, old), "i", "b-1", func() []string { return []string{a.address()} })
	eventually(t, "connected", func() bool { return a.connected() == 1 && b.connected() == 1 })
}

// TestRefused: nobody without the key, of another installation, of another
// version or with frames that are none gets in, and each is counted.
func TestRefused(t *testing.T) {
	secret := NewSecret()
	key := keyFile(t, secret)
	a := newPeer(t, key, "i", "a-1", nil)
	a.cells.Put("k", []byte("v"), time.Hour)
	before, _ := a.cells.Digest(0)
	f := func(kind int, try func(t *testing.T)) {
		t.Helper()
		was := a.refused[kind].Load()
		try(t)
		eventually(t, fmt.Sprintf("refusal %d is counted", kind), func() bool { return a.refused[kind].Load() > was })
	}
	dialA := func() []string { return []string{a.address()} }
	f(refusedStranger, func(t *testing.T) { newPeer(t, keyFile(t, NewSecret()), "i", "b-1", dialA) })
	f(refusedForeign, func(t *testing.T) { newPeer(t, key, "other", "c-1", dialA) })
	f(refusedForeign, func(t *testing.T) { newPeer(t, key, "i", "a-1", dialA) }) // our own node id
	f(refusedStranger, func(t *testing.T) {
		c, err := net.Dial("tcp", a.address())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "GET / HTTP/1.1\r\n\r\n")
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		c.Read(make([]byte, 1))
	})
	tr, err := newTrust(&Config{KeyFile: key})
	if err != nil {
		t.Fatal(err)
	}
	speak := func(frames ...[]byte) func(*testing.T) {
		return func(t *testing.T) {
			t.Helper()
			c, err := tls.Dial("tcp", a.address(), tr.client)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for _, fr := range frames {
				c.Write(fr)
			}
			c.SetReadDeadline(time.Now().Add(5 * time.Second))
			for { // until it hangs up
				if _, err := c.Read(make([]byte, 4096)); err != nil {
					return
				}
			}
		}
	}
	frame := func(f func(w *writer)) []byte {
		var w writer
		f(&w)
		return w.b
	}
	good := hello{versionMin: 1, versionMax: 1, installation: "i", node: "x-1", name: "x", generation: 9, kinds: []kindShards{{KindOrders, 1}}}
	newer := good
	newer.versionMin, newer.versionMax = 7, 9
	f(refusedVersion, speak(frame(newer.append)))
	f(refusedFrame, speak([]byte{0xff, 0xff, 0xff, 0x7f, 1}))                                 // oversized
	f(refusedFrame, speak([]byte{0, 0, 0, 0, 1}))                                             // empty
	f(refusedFrame, speak(frame(good.append), []byte{0xff, 0xff, 0xff, 0x7f, 8}))             // oversized later
	f(refusedFrame, speak(frame(good.append), []byte{4, 0, 0, 0, byte(frameDelta), 2, 1, 1})) // broken record
	eventually(t, "nobody is connected", func() bool { return a.connected() == 0 })
	if after, _ := a.cells.Digest(0); after != before {
		t.Errorf("something changed: %x to %x", before, after)
	}
}

// TestReplay: what a peer sent once opens nothing when it is sent again.
func TestReplay(t *testing.T) {
	key := keyFile(t, NewSecret())
	a := newPeer(t, key, "i", "a-1", nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	recorded := make(chan []byte, 1)
	go func() { // a relay that keeps what b says
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		up, err := net.Dial("tcp", a.address())
		if err != nil {
			return
		}
		defer up.Close()
		go func() {
			buf := make([]byte, 4096)
			for {
				n, err := up.Read(buf)
				if err != nil {
					return
				}
				c.Write(buf[:n])
			}
		}()
		var all []byte
		buf := make([]byte, 4096)
		for len(all) < 3000 {
			n, err := c.Read(buf)
			if err != nil {
				break
			}
			all = append(all, buf[:n]...)
			up.Write(buf[:n])
		}
		recorded <- all
	}()
	b := newPeer(t, key, "i", "b-1", func() []string { return []string{l.Addr().String()} })
	b.cells.Put("k", bytes.Repeat([]byte("v"), 4000), time.Hour)
	said := <-recorded
	b.stop()
	eventually(t, "b is gone", func() bool { return a.connected() == 0 })
	was := a.refused[refusedStranger].Load()
	c, err := net.Dial("tcp", a.address())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write(said)
	eventually(t, "the replay is refused", func() bool { return a.refused[refusedStranger].Load() > was })
	if a.connected() != 0 {
		t.Error("a replay was taken for a peer")
	}
}
