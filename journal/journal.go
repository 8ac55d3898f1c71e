// Package journal writes lines to a file, a named pipe or standard output
// without ever making their producers wait: lines are collected in a few
// buffers in memory, one goroutine writes them, and while that one is stuck
// (a full disk, a reader that stopped) lines beyond the buffers are dropped
// and counted.
//
// A Writer owns its file; where it writes may change while it runs. Run writes
// until its context ends; nothing else is started. Lines of one producer keep
// their order, those of several may change places within FlushEvery.
package journal

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// FlushEvery is the longest that a line waits while the file takes them.
	FlushEvery = 200 * time.Millisecond
	// LineMax bounds one line in bytes; longer ones are dropped.
	LineMax = 32 << 10
	// bufferSize is that of one buffer, which is written once it is full or
	// FlushEvery is over. To wake the goroutine that writes, and its way into
	// the file system, which is in no cache of the processor by then, costs as
	// much as some hundred lines do; of more at a time the system also makes
	// larger pages.
	bufferSize = 256 << 10
	// buffersMax is their number; they are made when needed.
	buffersMax = 16
	// roomMin is what must be free in a buffer to begin a line in it.
	roomMin = 2 << 10
	// shardsMax bounds the shards that spread the producers, so that two of
	// them rarely meet: a power of two, like their number.
	shardsMax = 8
	// stopWait is how long a stuck file may hold up the end.
	stopWait = 2 * time.Second
)

// Writer is one journal. Safe for concurrent use.
type Writer struct {
	shards []shard
	bufs   buffers
	ready  chan struct{} // there is a full buffer
	change chan struct{}

	mu      sync.Mutex // guards all below
	now     target     // where Run writes
	next    target     // where it shall write
	pending bool       // next is meant

	lost, failures atomic.Uint64 // lost: by writing
	failing        atomic.Bool
}

// shard is the buffer that some of the producers fill.
type shard struct {
	mu             sync.Mutex // guards all below
	buf            []byte     // nil: none
	lines, dropped uint64
	_              [80]byte // two cores that fill two shards share no cache line
}

// Stats are what a journal counts.
type Stats struct {
	Lines    uint64 // taken
	Dropped  uint64 // lost: the buffers were full, or the file did not take them
	Failures uint64 // of writing
	Failing  bool   // the newest write failed
}

// New returns a Writer that writes nowhere yet.
func New() *Writer {
	n := 1 // shards: as many as there can be producers at a time, or a bit more
	for n < min(runtime.GOMAXPROCS(0), shardsMax) {
		n *= 2
	}
	return &Writer{shards: make([]shard, n), ready: make(chan struct{}, 1), change: make(chan struct{}, 1)}
}

// Prepare opens a file for appending, or makes it; empty is none. A named pipe
// need not have a reader. Lines go there from commit on; exactly one of commit
// and abort must be called. Neither waits for the file before.
func (w *Writer) Prepare(path string) (commit, abort func(), err error) {
	if w.Path() == path {
		return func() {}, func() {}, nil
	}
	t := target{path: path}
	if path != "" {
		if t.file, err = open(path); err != nil {
			return nil, nil, err
		}
	}
	return func() { w.use(t) }, func() { t.close() }, nil
}

// use has Run write to t from now on.
func (w *Writer) use(t target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pending {
		w.next.close()
	}
	w.next, w.pending = t, true
	w.now.giveUp(time.Now().Add(FlushEvery))
	select {
	case w.change <- struct{}{}:
	default: // Run knows that there is something to do
	}
}

// Reopen opens the path anew, after a rotation moved the file away. Where that
// fails the old file stays in use.
func (w *Writer) Reopen() error {
	path := w.Path()
	if path == "" || path == Stdout {
		return nil
	}
	f, err := open(path)
	if err == nil {
		w.use(target{path, f})
	}
	return err
}

// Path returns where the lines go, or will in a moment.
func (w *Writer) Path() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pending {
		return w.next.path
	}
	return w.now.path
}

// Stats returns what was counted so far.
func (w *Writer) Stats() Stats {
	st := Stats{Dropped: w.lost.Load(), Failures: w.failures.Load(), Failing: w.failing.Load()}
	for i := range w.shards {
		sh := &w.shards[i]
		sh.mu.Lock()
		st.Lines += sh.lines
		st.Dropped += sh.dropped
		sh.mu.Unlock()
	}
	return st
}

// Append takes a line with its newline. It never blocks on the file; false
// means that there was no room. The producer chooses its shard, any number, and
// keeps to it where the order of its lines matters. line is copied.
func (w *Writer) Append(producer uint32, line []byte) bool {
	l, b, ok := w.Begin(producer)
	if !ok {
		return false
	}
	defer l.End()
	return l.Keep(append(b, line...))
}

// Line is one that its producer makes where it is collected: Begin, Keep, End.
type Line struct {
	w  *Writer
	sh *shard
}

// Begin returns an empty slice to append one line to, at once: until End, which
// must follow whatever happens, other producers of the same shard wait. false
// means that there is no room, that the line counts as dropped and that there
// is nothing to end. A line may grow out of the slice.
func (w *Writer) Begin(producer uint32) (l Line, b []byte, ok bool) {
	sh := &w.shards[producer&uint32(len(w.shards)-1)]
	sh.mu.Lock()
	if cap(sh.buf)-len(sh.buf) < roomMin && !w.turnLocked(sh) {
		sh.dropped++
		sh.mu.Unlock()
		return l, nil, false
	}
	return Line{w, sh}, sh.buf[len(sh.buf):], true
}

// Keep takes the line, with its newline, that was appended to the slice of
// Begin. It is called once, or not at all where there is none; false means that
// it was dropped.
func (l Line) Keep(b []byte) bool {
	sh := l.sh
	grown := cap(b) != cap(sh.buf)-len(sh.buf)
	if len(b) > LineMax || grown && !l.w.turnLocked(sh) {
		sh.dropped++
		return false
	}
	if grown {
		sh.buf = append(sh.buf, b...)
	} else {
		sh.buf = sh.buf[:len(sh.buf)+len(b)]
	}
	sh.lines++
	return true
}

// End lets other producers go on.
func (l Line) End() { l.sh.mu.Unlock() }

// turnLocked hands the buffer of a shard to the writer and gets another one.
func (w *Writer) turnLocked(sh *shard) bool {
	next, ok := w.bufs.take()
	if !ok {
		return false
	}
	if sh.buf != nil {
		w.bufs.fill(sh.buf)
		select {
		case w.ready <- struct{}{}:
		default: // it is awake, or will be
		}
	}
	sh.buf = next
	return true
}

// buffers are those that no shard has.
type buffers struct {
	mu   sync.Mutex // guards all below
	idle [][]byte   // the newest last: it is taken first, because the processor still has it in its cache
	full [][]byte   // on their way to the file, the oldest first
	made int
}

// take returns an empty buffer; false: all are in use.
func (f *buffers) take() ([]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.idle); n > 0 {
		b := f.idle[n-1]
		f.idle = f.idle[:n-1]
		return b, true
	}
	if f.made == buffersMax {
		return nil, false
	}
	f.made++
	return make([]byte, 0, bufferSize), true
}

// fill adds one that is to be written.
func (f *buffers) fill(b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.full = append(f.full, b)
}

// waiting returns how many are to be written.
func (f *buffers) waiting() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.full)
}

// next returns one that is to be written; there must be one.
func (f *buffers) next() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.full[0]
	f.full = slices.Delete(f.full, 0, 1)
	return b
}

func (f *buffers) giveBack(b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.idle = append(f.idle, b[:0])
}

// Run writes until ctx ends, then writes what is left and closes the file.
// report is told when writing begins to fail (with the error) and works again
// (with nil), by Run's goroutine. Run may be called once.
func (w *Writer) Run(ctx context.Context, report func(error)) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.write(ctx, report)
	}()
	<-ctx.Done()
	stop := time.NewTimer(stopWait)
	defer stop.Stop()
	select {
	case <-ended:
		return nil
	case <-stop.C:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.giveUp(time.Unix(1, 0))
	return fmt.Errorf("cannot write the end of log %q: it takes nothing", w.now.path)
}

func (w *Writer) write(ctx context.Context, report func(error)) {
	tick := time.NewTicker(FlushEvery)
	defer tick.Stop()
	w.swap()
	for {
		select {
		case <-w.ready:
			w.flush(report)
		case <-tick.C:
			w.drain(report)
		case <-w.change:
			w.drain(report) // what came before the change belongs to the old file
			w.swap()
		case <-ctx.Done():
			w.drain(report)
			w.swap()
			w.mu.Lock()
			w.now.close()
			w.mu.Unlock()
			return
		}
	}
}

// swap begins with the file that is meant now.
func (w *Writer) swap() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.pending {
		return
	}
	w.now.close()
	w.now, w.next, w.pending = w.next, target{}, false
}

// drain writes what is there.
func (w *Writer) drain(report func(error)) {
	for i := range w.shards {
		sh := &w.shards[i]
		sh.mu.Lock()
		if len(sh.buf) > 0 {
			w.bufs.fill(sh.buf)
			sh.buf = nil
		}
		sh.mu.Unlock()
	}
	w.flush(report)
}

// flush writes the buffers that are full now.
func (w *Writer) flush(report func(error)) {
	for range w.bufs.waiting() {
		b := w.bufs.next()
		w.put(b, report)
		w.bufs.giveBack(b)
	}
}

// put writes b whole or counts its lines as lost.
func (w *Writer) put(b []byte, report func(error)) {
	w.mu.Lock()
	to := w.now
	w.mu.Unlock()
	if to.file == nil || len(b) == 0 {
		return
	}
	n, err := to.file.Write(b)
	if err != nil {
		w.failures.Add(1)
		w.lost.Add(countLines(b[n:]))
	}
	if failing := err != nil; failing != w.failing.Swap(failing) {
		if failing {
			err = fmt.Errorf("cannot write log %q: %w", to.path, cause(err))
		}
		report(err)
	}
}

func countLines(b []byte) (n uint64) {
	for _, c := range b {
		if c == '\n' {
			n++
		}
	}
	return n
}
