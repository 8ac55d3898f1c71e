package traffic

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"
	"sync/atomic"
)

// ledger is the truth about every request of a canary run: clients write down
// what they ask, members what they do about it.
type ledger struct {
	mu      sync.Mutex // guards records
	records map[uint64]*record
	wrong   complaints
}

// record is one request. What a client sets is set before it is sent.
type record struct {
	nonce  uint64
	method string
	length int // of its body

	mu         sync.Mutex // guards below
	executions []execution
}

// execution is one time that a member had the whole head.
type execution struct {
	member string
	length int    // of the answer that the member means to give
	whole  bool   // the request's body came whole
	plan   string // what the member does, for messages
}

// complaints counts what must not happen and keeps the first few.
type complaints struct {
	n    atomic.Int64
	mu   sync.Mutex // guards list
	list []string
}

func (c *complaints) add(format string, args ...any) {
	if c.n.Add(1) > 20 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, fmt.Sprintf(format, args...))
}

func newLedger() *ledger { return &ledger{records: map[uint64]*record{}} }

// open begins the record of a request.
func (l *ledger) open(nonce uint64, method string, length int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records[nonce] = &record{nonce: nonce, method: method, length: length}
}

// of returns a record, nil where no client ever asked that.
func (l *ledger) of(nonce uint64) *record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.records[nonce]
}

// executed counts an execution and returns its number, from 0.
func (r *record) executed(e execution) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.executions = append(r.executions, e)
	return len(r.executions) - 1
}

// bodyCame notes that the request's body was whole at the member.
func (r *record) bodyCame(i int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.executions[i].whole = true
}

// execution returns one of them; ok is false where there is none such.
func (r *record) execution(i int) (e execution, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i < 0 || i >= len(r.executions) {
		return e, false
	}
	return r.executions[i], true
}

// idempotent: what RFC 9110, 9.2.2 lets a proxy send again by itself.
func idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "PUT", "DELETE", "OPTIONS":
		return true
	}
	return false
}

// audit looks at all records after the run. attempts is retry.attempts; each
// may include the one resend of a kept connection that was stale.
func (l *ledger) audit(attempts int) (requests, executions, repeated int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.records {
		r.mu.Lock() // a member may still be at it
		done := slices.Clone(r.executions)
		r.mu.Unlock()
		n := len(done)
		requests++
		executions += n
		if n > 1 {
			repeated++
		}
		if limit := attempts + 1; idempotent(r.method) && n > limit {
			l.wrong.add("%s %x reached members %d times: %+v", r.method, r.nonce, n, done)
		} else if !idempotent(r.method) && n > 1 {
			l.wrong.add("%s %x was executed %d times: %+v", r.method, r.nonce, n, done)
		}
	}
	return requests, executions, repeated
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// pattern is a body that says in every 16 bytes whose it is and where in it
// they stand; salt keeps requests and executions apart.
func pattern(nonce, salt uint64, n int) []byte {
	b := make([]byte, (n+15)/16*16)
	for i := 0; i < len(b); i += 16 {
		binary.BigEndian.PutUint64(b[i:], nonce)
		binary.BigEndian.PutUint64(b[i+8:], salt<<40|uint64(i))
	}
	return b[:n]
}

// asked is the salt of request bodies; that of an answer is its execution.
const asked = 0xffffff

func sum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// count is the number of requests opened so far.
func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.records)
}
