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
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Stdout as a path is standard output.
const Stdout = "-"

const (
	// FlushEvery is the longest that a line waits while the file takes them.
	FlushEvery = 200 * time.Millisecond
	// LineMax bounds one line in bytes; longer ones are dropped.
	LineMax = 32 << 10
	// bufferSize is that of one buffer, buffersMax their number, made when needed.
	bufferSize = 64 << 10
	buffersMax = 64
	// shards spread the producers, so that two of them rarely meet.
	shards = 8
	// stopWait is how long a stuck file may hold up the end.
	stopWait = 2 * time.Second
)

// Writer is one journal. Safe for concurrent use.
type Writer struct {
	shards [shards]shard
	free   buffers
	full   chan []byte // on their way to the file; never more than there are buffers
	change chan struct{}

	mu      sync.Mutex // guards all below
	now     target     // where Run writes
	next    target     // where it shall write
	pending bool       // next is meant

	lines, dropped, failures atomic.Uint64
	failing                  atomic.Bool
}

// target is a place for lines.
type target struct {
	path string
	file io.WriteCloser // nil: lines are thrown away
}

// shard is the buffer that some of the producers fill.
type shard struct {
	mu  sync.Mutex // guards buf
	buf []byte     // nil: none
	_   [96]byte   // two cores that fill two shards share no cache line
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
	return &Writer{full: make(chan []byte, buffersMax), change: make(chan struct{}, 1)}
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

func (t *target) close() {
	if t.file != nil {
		t.file.Close() // nothing is buffered in it
	}
}

// giveUp lets a write that is stuck, which only pipes can be, end at a time.
func (t *target) giveUp(at time.Time) {
	if f, ok := t.file.(interface{ SetWriteDeadline(time.Time) error }); ok {
		f.SetWriteDeadline(at) // files of other kinds have none and refuse
	}
}

func open(path string) (io.WriteCloser, error) {
	if path == Stdout {
		return stdout{}, nil
	}
	flags := os.O_WRONLY | os.O_APPEND | os.O_CREATE
	if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeNamedPipe != 0 {
		flags = os.O_RDWR // so that the open does not wait for a reader, nor the write fail without one
	}
	f, err := os.OpenFile(path, flags|nonBlock, 0o640)
	if err != nil {
		return nil, fmt.Errorf("cannot open log %q: %w", path, cause(err))
	}
	return f, nil
}

func cause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// stdout is not ours to close.
type stdout struct{}

func (stdout) Write(p []byte) (int, error) { return os.Stdout.Write(p) }
func (stdout) Close() error                { return nil }

// Stats returns what was counted so far.
func (w *Writer) Stats() Stats {
	return Stats{w.lines.Load(), w.dropped.Load(), w.failures.Load(), w.failing.Load()}
}

// Append takes a line with its newline. It never blocks on the file; false
// means that there was no room. The producer chooses its shard, any number, and
// keeps to it where the order of its lines matters. line is copied.
func (w *Writer) Append(producer uint32, line []byte) bool {
	sh := &w.shards[producer%shards]
	sh.mu.Lock()
	if len(sh.buf)+len(line) > cap(sh.buf) && !w.turnLocked(sh) || len(line) > LineMax {
		sh.mu.Unlock()
		w.dropped.Add(1)
		return false
	}
	sh.buf = append(sh.buf, line...)
	sh.mu.Unlock()
	w.lines.Add(1)
	return true
}

// turnLocked hands the buffer of a shard to the writer and gets another one.
func (w *Writer) turnLocked(sh *shard) bool {
	next, ok := w.free.take()
	if !ok {
		return false
	}
	if sh.buf != nil {
		w.full <- sh.buf // has room for all buffers
	}
	sh.buf = next
	return true
}

// buffers are those that nobody uses, the newest last: that is taken first,
// because the processor still has it in its cache.
type buffers struct {
	mu   sync.Mutex // guards all below
	idle [][]byte
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
		case b := <-w.full:
			w.put(b, report)
			w.free.giveBack(b)
		case <-tick.C:
			w.collect()
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
	w.collect()
	for {
		select {
		case b := <-w.full:
			w.put(b, report)
			w.free.giveBack(b)
		default:
			return
		}
	}
}

// collect sends what is in the shards on its way, behind what is there already.
func (w *Writer) collect() {
	for i := range w.shards {
		sh := &w.shards[i]
		sh.mu.Lock()
		if len(sh.buf) > 0 {
			w.full <- sh.buf // has room for all buffers
			sh.buf = nil
		}
		sh.mu.Unlock()
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
		w.dropped.Add(countLines(b[n:]))
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
