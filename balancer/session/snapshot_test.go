package session

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSaveRestore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions")
	owner := Owner{"default", []uint64{7, 8}}
	a := newStore(t, Options{Node: 1, Replicated: true})
	now := time.Now()
	if _, err := a.Restore(path, owner, now); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("without a file: %v", err)
	}
	const n = 20_000
	for i := range n {
		a.Learn(Session{Key: key(i), Member: uint64(1 + i%5), Tenant: uint32(i % 30), Timeout: time.Duration(1+i%2) * time.Minute}, now)
	}
	a.Delete(key(0), now)
	if got, err := a.Save(path, owner, now); err != nil || got != n {
		t.Fatalf("%d saved, %v", got, err)
	}
	b := newStore(t, Options{Node: 1, Replicated: true})
	later := now.Add(90 * time.Second)
	got, err := b.Restore(path, Owner{"default", []uint64{9, 8}}, later)
	if err != nil || got != n/2+1 && got != n/2 {
		t.Fatalf("%d restored, %v; half of them were alive", got, err)
	}
	for i := 1; i < n; i++ {
		m, ok := b.Get(key(i), later)
		if ok != (i%2 == 1) || ok && m != uint64(1+i%5) {
			t.Fatalf("session %d: %d %v", i, m, ok)
		}
	}
	if _, ok := b.Get(key(1), now.Add(2*time.Minute+2*unit)); ok {
		t.Fatal("a restored session lives longer than it had left")
	}
	checkCounts(t, b)
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
		t.Fatalf("%d files are left", len(files))
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Fatalf("the file has mode %v", info.Mode())
	}
}

// TestRestoreRotated: sessions saved under the key of before are of use to whoever
// still has it, whether rotation or restart came first.
func TestRestoreRotated(t *testing.T) {
	path, now := filepath.Join(t.TempDir(), "sessions"), time.Now()
	f := func(saved, restored string, want bool) {
		t.Helper()
		a := newStore(t, Options{})
		a.Learn(Session{Key: key(1), Member: 1, Timeout: time.Hour}, now)
		if _, err := a.Save(path, Owner{"default", ring(t, saved).Fingerprints()}, now); err != nil {
			t.Fatal(err)
		}
		n, err := newStore(t, Options{}).Restore(path, Owner{"default", ring(t, restored).Fingerprints()}, now)
		if (n == 1 && err == nil) != want {
			t.Fatalf("%d restored, %v", n, err)
		}
	}
	second := NewSecret()
	f(testSecret, second+"\n"+testSecret, true)
	f(second+"\n"+testSecret, second, true)
	f(second+"\n"+testSecret, second+"\n"+testSecret, true)
	f(testSecret, second, false)

	a := newStore(t, Options{})
	many := make([]uint64, 2*fingerprintsMax)
	if _, err := a.Save(path, Owner{"default", many}, now); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Restore(path, Owner{"default", many}, now); err != nil {
		t.Fatal(err)
	}
}

// TestSaveLeftovers: what a killed process left is removed, what another one
// may be writing is not, nor what is nobody's.
func TestSaveLeftovers(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	path := filepath.Join(dir, "sessions")
	for _, name := range []string{"sessions.1.tmp", "sessions.2.tmp", "sessions.old", "other.1.tmp"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		at := now.Add(-time.Hour)
		if name == "sessions.2.tmp" {
			at = now
		}
		if err := os.Chtimes(filepath.Join(dir, name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := newStore(t, Options{}).Save(path, Owner{"default", []uint64{7}}, now); err != nil {
		t.Fatal(err)
	}
	left, _ := os.ReadDir(dir)
	var names []string
	for _, f := range left {
		names = append(names, f.Name())
	}
	if got := strings.Join(names, " "); got != "other.1.tmp sessions sessions.2.tmp sessions.old" {
		t.Fatalf("left are %s", got)
	}
}

// TestRestoreRefuses: a damaged or foreign file changes nothing, and says why.
func TestRestoreRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sessions")
	owner := Owner{"default", []uint64{7}}
	a := newStore(t, Options{})
	now := time.Now()
	for i := range 2000 {
		a.Learn(Session{Key: key(i), Member: 1, Timeout: time.Hour}, now)
	}
	if _, err := a.Save(path, owner, now); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f := func(data []byte, owner Owner, want string) {
		t.Helper()
		file := filepath.Join(dir, "changed")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s := newStore(t, Options{})
		if _, err := s.Restore(file, owner, now); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%v, expected %q", err, want)
		}
		if st := s.Stats(); st.Sessions != 0 {
			t.Fatalf("%d sessions came through", st.Sessions)
		}
	}
	if _, err := newStore(t, Options{}).Restore(dir, owner, now); err == nil || !strings.Contains(err.Error(), "it is no file") {
		t.Fatalf("a directory: %v", err)
	}
	f(nil, owner, "no file of saved sessions")
	f([]byte("something else entirely, of some length"), owner, "no file of saved sessions")
	f(good, Owner{"other", []uint64{7}}, `installation "default"`)
	f(good, Owner{"default", []uint64{6}}, "another key")
	for _, n := range []int{len(good) - 1, len(good) / 2, 40, 25} {
		f(good[:n], owner, "")
	}
	for i := 0; i < len(good); i += 1 + len(good)/150 {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		f(bad, owner, "")
	}
}

// FuzzRestore: whatever stands in the file, reading ends and takes little.
func FuzzRestore(f *testing.F) {
	var good bytes.Buffer
	a := newStore(f, Options{})
	now := time.Unix(1760000000, 0)
	for i := range 10 {
		a.Learn(Session{Key: key(i), Member: 1, Timeout: time.Hour}, now)
	}
	a.write(&good, Owner{"default", []uint64{7}}, now)
	f.Add(good.Bytes())
	f.Add(good.Bytes()[:60])
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newStore(t, Options{Max: 1000})
		s.read(bytes.NewReader(data), Owner{"default", []uint64{7}}, now, true)
		checkCounts(t, s)
	})
}
