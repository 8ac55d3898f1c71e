package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// sink is a file of the tests; it takes writes only while open.
type sink struct {
	mu   sync.Mutex // guards all
	buf  bytes.Buffer
	fail error
	gate chan struct{} // nil: takes all
}

func (s *sink) Write(p []byte) (int, error) {
	if s.gate != nil {
		<-s.gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return 0, s.fail
	}
	return s.buf.Write(p)
}

func (s *sink) Close() error { return nil }

func (s *sink) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Split(strings.TrimSuffix(s.buf.String(), "\n"), "\n")
}

func writerTo(path string, s *sink) *Writer {
	w := New()
	w.use(target{path, s})
	return w
}

func TestLinesComeWholeAndInOrder(t *testing.T) {
	s := &sink{}
	w := writerTo("x", s)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.Run(ctx, func(error) {}) }()
	const producers, each = 16, 5000
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			for i := range each {
				line := fmt.Appendf(nil, "%d %d %s\n", p, i, strings.Repeat("x", i%50))
				for !w.Append(uint32(p), line) {
					time.Sleep(time.Millisecond) // a real producer drops it
				}
			}
		})
	}
	wg.Wait()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	next := map[int]int{}
	for _, l := range s.lines() {
		var p, i int
		var pad string
		fmt.Sscanf(l, "%d %d %s", &p, &i, &pad)
		if next[p] != i || len(pad) != i%50 {
			t.Fatalf("line %q: want number %d of producer %d", l, next[p], p)
		}
		next[p]++
	}
	if st := w.Stats(); len(next) != producers || st.Lines != producers*each {
		t.Fatalf("%d producers, %+v", len(next), st)
	}
}

// A sink that takes nothing costs lines and no time.
func TestStuckSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{gate: make(chan struct{})}
		w := writerTo("x", s)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- w.Run(ctx, func(error) {}) }()
		time.Sleep(time.Second)
		line := []byte(strings.Repeat("y", 999) + "\n")
		taken := 0
		for i := range 20000 {
			if w.Append(uint32(i), line) {
				taken++
			}
		}
		if max := (buffersMax + 1) * bufferSize / len(line); taken > max || taken < max/2 {
			t.Fatalf("%d lines taken while stuck, want at most %d", taken, max)
		}
		if st := w.Stats(); st.Dropped != uint64(20000-taken) {
			t.Fatalf("%+v, %d taken", st, taken)
		}
		close(s.gate)
		time.Sleep(time.Second)
		if !w.Append(1, line) {
			t.Fatal("no room after the sink came back")
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got := len(s.lines()); got != taken+1 {
			t.Fatalf("%d lines written, want %d", got, taken+1)
		}
	})
}

// A sink that is stuck at the end holds nobody up for long.
func TestStuckAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{gate: make(chan struct{})}
		w := writerTo("x", s)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- w.Run(ctx, func(error) {}) }()
		w.Append(1, []byte("line\n"))
		time.Sleep(time.Second)
		began := time.Now()
		cancel()
		if err := <-done; err == nil || time.Since(began) != stopWait {
			t.Fatalf("%v after %s", err, time.Since(began))
		}
		close(s.gate)
	})
}

func TestReports(t *testing.T) {
	s := &sink{fail: errors.New("disk full")}
	w := writerTo("x.log", s)
	var said []string
	report := func(err error) { said = append(said, fmt.Sprint(err)) }
	w.swap()
	w.put([]byte("a\nb\n"), report)
	w.put([]byte("c\n"), report)
	s.fail = nil
	w.put([]byte("d\n"), report)
	if got := strings.Join(said, "|"); got != `cannot write log "x.log": disk full|<nil>` {
		t.Fatalf("said %s", got)
	}
	if st := w.Stats(); st.Dropped != 3 || st.Failures != 2 || st.Failing {
		t.Fatalf("%+v", st)
	}
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	w := New()
	commit, _, err := w.Prepare(path)
	if err != nil {
		t.Fatal(err)
	}
	commit()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.Run(ctx, func(err error) { t.Error(err) }) }()
	w.Append(0, []byte("first\n"))
	await(t, "the first line", func() bool { b, _ := os.ReadFile(path); return string(b) == "first\n" })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := w.Reopen(); err != nil {
		t.Fatal(err)
	}
	await(t, "the new file", func() bool { _, err := os.Stat(path); return err == nil })
	await(t, "lines in the new file", func() bool { // those of a moment may still go to the old one
		w.Append(0, []byte("second\n"))
		b, _ := os.ReadFile(path)
		return strings.HasPrefix(string(b), "second\n")
	})
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path + ".1"); !strings.HasPrefix(string(b), "first\n") {
		t.Fatalf("the old file holds %q", b)
	}
}

// A pipe that nobody reads does not keep the lines from another file.
func TestChangeAwayFromStuckPipe(t *testing.T) {
	dir := t.TempDir()
	pipe, file := filepath.Join(dir, "pipe"), filepath.Join(dir, "file")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip(err)
	}
	w := New()
	use := func(path string) {
		commit, _, err := w.Prepare(path)
		if err != nil {
			t.Fatal(err)
		}
		commit()
	}
	use(pipe)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.Run(ctx, func(error) {}) }()
	line := []byte(strings.Repeat("z", 999) + "\n")
	for range 20000 {
		w.Append(0, line)
	}
	use(file)
	await(t, "room", func() bool { return w.Append(0, line) })
	await(t, "lines in the file", func() bool { b, _ := os.ReadFile(file); return len(b) > 0 })
	use("")
	await(t, "no path", func() bool { return w.Path() == "" })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestPipeWithoutReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip(err)
	}
	w := New()
	commit, _, err := w.Prepare(path)
	if err != nil {
		t.Fatal(err)
	}
	commit()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.Run(ctx, func(error) {}) }()
	line := []byte(strings.Repeat("z", 999) + "\n")
	for range 20000 { // far more than pipe and buffers take
		w.Append(0, line)
	}
	if w.Stats().Dropped == 0 {
		t.Fatal("nothing dropped though nobody reads")
	}
	r, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, r)
	await(t, "room once somebody reads", func() bool { return w.Append(0, line) })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.Close()
}

func TestOpenSaysWhy(t *testing.T) {
	_, _, err := New().Prepare(filepath.Join(t.TempDir(), "no", "such", "dir"))
	if err == nil || !strings.Contains(err.Error(), "cannot open log") {
		t.Fatal(err)
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	w := writerTo("x", &sink{})
	line := []byte("a line\n")
	w.Append(0, line)
	if n := testing.AllocsPerRun(1000, func() { w.Append(0, line) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func await(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for range 1000 {
		if ready() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("no %s", what)
}

func BenchmarkAppend(b *testing.B) {
	w := writerTo("x", &sink{})
	ctx, cancel := context.WithCancel(context.Background())
	go w.Run(ctx, func(error) {})
	defer cancel()
	line := []byte(strings.Repeat("y", 399) + "\n")
	b.RunParallel(func(pb *testing.PB) {
		n := uint32(time.Now().UnixNano())
		for pb.Next() {
			n++
			w.Append(n, line)
		}
	})
}

// A line may be made in the buffer: one that outgrows it is taken all the same,
// one that is too long is not, and a producer that panics leaves nothing behind.
func TestLinesMadeInPlace(t *testing.T) {
	s := &sink{}
	w := writerTo("x", s)
	w.swap()
	add := func(n int) (kept bool) {
		l, b, ok := w.Begin(3)
		if !ok {
			t.Fatal("no room")
		}
		defer l.End()
		for range n - 1 {
			b = append(b, 'z')
		}
		return l.Keep(append(b, '\n'))
	}
	panics := func() {
		defer func() { recover() }()
		l, b, _ := w.Begin(3)
		defer l.End()
		_ = append(b, "half"...)
		panic("a mistake")
	}
	var want []int
	for i := range 60 {
		n := i*617%LineMax + 1
		if panics(); !add(n) {
			t.Fatalf("a line of %d bytes is dropped", n)
		}
		want = append(want, n-1)
	}
	if add(LineMax + 1) {
		t.Fatal("too long a line is kept")
	}
	w.drain(func(err error) { t.Error(err) })
	var got []int
	for _, l := range s.lines() {
		if strings.Trim(l, "z") != "" {
			t.Fatalf("line %q", l)
		}
		got = append(got, len(l))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("lines of %d bytes, want %d", got, want)
	}
	if st := w.Stats(); st.Lines != 60 || st.Dropped != 1 {
		t.Fatalf("%+v", st)
	}
}

// Lines wait for others, but not for long.
func TestWrittenInBatchesOrInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		w := writerTo("x", s)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- w.Run(ctx, func(error) {}) }()
		synctest.Wait()
		line := []byte(strings.Repeat("y", 999) + "\n")
		written := func() int {
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.buf.Len()
		}
		for n := 0; n < bufferSize*9/10; n += len(line) {
			w.Append(0, line)
		}
		if n := written(); n > 0 {
			t.Fatalf("%d bytes are written before it is worth it", n)
		}
		for n := 0; n < bufferSize/4; n += len(line) {
			w.Append(0, line)
		}
		if n := written(); n < bufferSize-roomMin-len(line) {
			t.Fatalf("only %d bytes are written", n)
		}
		time.Sleep(FlushEvery + time.Millisecond)
		if n, all := written(), int(w.Stats().Lines)*len(line); n != all {
			t.Fatalf("%d of %d bytes are written in time", n, all)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}
