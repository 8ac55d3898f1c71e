package standby

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// goldenFrames are one of each type, as this version writes them. Files of
// versions that are still spoken stay in testdata for ever.
func goldenFrames() map[string]func(w *writer) {
	h := hello{versionMin: 1, versionMax: 1, features: 3, installation: "prod", node: "lb1-0badcafe", name: "lb1",
		generation: 42, kinds: []kindShards{{KindSessions, 64}, {KindOrders, 1}}}
	s := Status{Ready: true, Active: true, Told: true, Warm: true, Priority: 100, InFlight: 7, Config: [32]byte{1, 2, 3},
		ConfigEpoch: 5, Clock: 6 << 16, Admin: "127.0.0.1:9280", Version: "v1", LagMillis: 12}
	b := bye{byeStopping, "stopping"}
	on := func(f func(l *link, k *kindLink, w *writer)) func(w *writer) {
		return func(w *writer) {
			l, k := goldenLink()
			f(l, k, w)
		}
	}
	at := time.Unix(1000, 0)
	return map[string]func(w *writer){
		"hello":  h.append,
		"status": s.append,
		"bye":    b.append,
		"ping":   on(func(l *link, _ *kindLink, w *writer) { l.echo(w, framePing, 99) }),
		"pong":   on(func(l *link, _ *kindLink, w *writer) { l.echo(w, framePong, 99) }),
		"have":   on(func(_ *link, k *kindLink, w *writer) { k.have(w) }),
		"digest": on(func(_ *link, k *kindLink, w *writer) { k.digests(w) }),
		"ack": on(func(l *link, k *kindLink, w *writer) {
			l.learnedFrames = 3
			k.ackLocked(0)
			l.ack(w)
		}),
		"delta": on(func(l *link, _ *kindLink, w *writer) { l.changes(w, at) }),
		"begin": on(func(l *link, k *kindLink, w *writer) {
			k.rewalk(0)
			l.ask(w, at)
		}),
		"chunk": on(func(l *link, k *kindLink, w *writer) {
			k.rewalk(0)
			k.begins = nil
			l.piece(w)
		}),
		"resync": on(func(l *link, k *kindLink, w *writer) {
			k.resync(0)
			l.ask(w, at)
		}),
	}
}

// goldenLink is a link whose every value is fixed.
func goldenLink() (*link, *kindLink) {
	at := time.Unix(1000, 0)
	clock := &Clock{now: func() time.Time { return at }, steady: func() time.Time { return at }}
	c := NewCells(CellsConfig{Node: "lb1-0badcafe"}, clock)
	c.Put("as.example/w1", []byte("drain"), time.Minute)
	c.Put("as.example/w2", []byte("gone"), time.Minute)
	c.Delete("as.example/w2")
	kinds := []Kind{{KindOrders, "orders", c, c}}
	peer := &hello{generation: 8, kinds: []kindShards{{KindOrders, 1}}}
	l := newLink(kinds, peer, 42, newMemory(8), func() Status { return Status{} }, clock, 1<<20, at)
	l.kinds[0].told = true
	return l, l.kinds[0]
}

// TestGolden: frames are written as they ever were.
func TestGolden(t *testing.T) {
	for name, write := range goldenFrames() {
		var w writer
		write(&w)
		path := filepath.Join("testdata", "v1", name+".hex")
		got := hex.EncodeToString(w.b) + "\n"
		if update := flag.Lookup("update"); update != nil && update.Value.String() == "true" {
			os.MkdirAll(filepath.Dir(path), 0o755)
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s is written as\n%swant\n%s", name, got, want)
		}
	}
}

// TestGoldenRead: what the golden frames say is understood, and a peer that is
// told all of it has what the teller had.
func TestGoldenRead(t *testing.T) {
	read := func(name string) (frameType, []byte) {
		text, err := os.ReadFile(filepath.Join("testdata", "v1", name+".hex"))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		ft, body, err := readFrame(bytes.NewReader(raw), nil, frameMax)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return ft, body
	}
	_, body := read("hello")
	h, err := parseHello(append(body, "what a later version adds"...))
	if err != nil || h.node != "lb1-0badcafe" || h.shardsOf(KindSessions) != 64 || h.generation != 42 {
		t.Errorf("hello is read as %+v, %v", h, err)
	}
	_, body = read("status")
	if s, err := parseStatus(append(body, 1, 2)); err != nil || !s.Warm || !s.Active || s.Draining || s.Admin != "127.0.0.1:9280" || s.LagMillis != 12 {
		t.Errorf("status is read as %+v, %v", s, err)
	}
	clock := NewClock()
	c := NewCells(CellsConfig{Node: "lb2"}, clock)
	l := newLink([]Kind{{KindOrders, "orders", c, c}}, &h, 8, newMemory(42), func() Status { return Status{} }, clock, 1, time.Now())
	for _, name := range []string{"begin", "chunk", "delta", "status", "ping", "digest", "resync"} {
		ft, body := read(name)
		if err := l.receive(time.Now(), ft, body); err != nil {
			t.Errorf("%s is refused: %v", name, err)
		}
	}
	if v, ok := c.Get("as.example/w1"); !ok || string(v) != "drain" || c.Len() != 2 {
		t.Errorf("learned %q %v, %d keys", v, ok, c.Len())
	}
	if !l.learnedAll() {
		t.Error("the walk did not count as whole")
	}
}

// TestReadFrame: frames over the limit and broken off ones are errors.
func TestReadFrame(t *testing.T) {
	f := func(in string, most int, want error) {
		t.Helper()
		if _, _, err := readFrame(strings.NewReader(in), nil, most); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", in, err, want)
		}
	}
	f("\x02\x00\x00\x00\x03x", 2, nil)
	f("\x03\x00\x00\x00\x03xx", 2, errOversized)
	f("\xff\xff\xff\xff\x03xx", frameMax, errOversized)
	f("\x00\x00\x00\x00\x03", 2, errFrame)
}

// FuzzReceive: whatever a peer sends, in whatever order, costs an error at most.
func FuzzReceive(f *testing.F) {
	files, _ := filepath.Glob("testdata/v1/*.hex")
	var all []byte
	for _, file := range files {
		text, _ := os.ReadFile(file)
		raw, _ := hex.DecodeString(strings.TrimSpace(string(text)))
		f.Add(raw)
		all = append(all, raw...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, data []byte) {
		l, k := goldenLink()
		k.told = false
		in := bytes.NewReader(data)
		now := time.Unix(2000, 0)
		var buf []byte
		for {
			ft, body, err := readFrame(in, buf, frameMax)
			if err != nil {
				break
			}
			buf = body
			if ft == frameHello {
				parseHello(body)
			}
			if l.receive(now, ft, body) != nil {
				break
			}
			now = now.Add(time.Millisecond)
			for range 8 {
				frame := l.next(now)
				if frame == nil {
					break
				}
				if len(frame) > frameMax+4 {
					t.Fatalf("frame of %d bytes", len(frame))
				}
			}
		}
		if n := len(k.resyncs) + len(k.begins) + len(k.acks); n > 64 {
			t.Fatalf("%d things to say to one peer about one shard", n)
		}
	})
}
