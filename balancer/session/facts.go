package session

import (
	"sync"
	"sync/atomic"
	"time"
)

// timeout is kept in seconds, rounded up; longer than 36 hours is kept as that.
func (e *entry) timeout() time.Duration { return time.Duration(e.facts&timeoutMask) * time.Second }

func (e *entry) setTimeout(d time.Duration) {
	seconds := min((d+time.Second-1)/time.Second, timeoutMask)
	e.facts = e.facts&^timeoutMask | uint32(seconds)
}

const (
	memberRowsMax = 1 << 20
	originRowsMax = originMask + 1
)

// rows give the numbers of members and origins short ones, which entries hold.
// A row is never given to somebody else: entries may still mean it.
type rows[T comparable] struct {
	max  int
	all  atomic.Pointer[[]*row[T]]
	mu   sync.RWMutex // guards byID, and all against two writers
	byID map[T]uint32
}

type row[T comparable] struct {
	id    T
	count atomic.Int64
}

// known returns the row of an id that has one.
func (r *rows[T]) known(id T) (uint32, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	i, ok := r.byID[id]
	return i, ok
}

// index returns the row of an id, a new one if need be; false when there are
// too many.
func (r *rows[T]) index(id T) (uint32, bool) {
	if i, ok := r.known(id); ok {
		return i, true
	}
	return r.add(id)
}

func (r *rows[T]) add(id T) (uint32, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i, ok := r.byID[id]; ok {
		return i, true
	}
	var all []*row[T]
	if p := r.all.Load(); p != nil {
		all = *p
	}
	if len(all) >= r.max {
		return 0, false
	}
	if r.byID == nil {
		r.byID = map[T]uint32{}
	}
	// Readers hold a shorter slice of the same array: what is appended is
	// beyond their end.
	all = append(all, &row[T]{id: id})
	r.byID[id] = uint32(len(all) - 1)
	r.all.Store(&all)
	return uint32(len(all) - 1), true
}

func (r *rows[T]) row(i uint32) *row[T] { return (*r.all.Load())[i] }
func (r *rows[T]) id(i uint32) T        { return r.row(i).id }

// tenantRows count the sessions of every tenant that has any. Entries hold
// row numbers; a row is somebody else's once its last entry is gone.
type tenantRows struct {
	active atomic.Int64
	chunks atomic.Pointer[[]*tenantChunk]
	mu     sync.Mutex // guards top, free and the growth of chunks; taken inside of a part's
	top    uint32
	free   []uint32
	parts  [Shards]struct {
		mu  sync.Mutex // guards row, and that each row in it has an entry
		row map[uint32]uint32
		_   [48]byte
	}
}

const tenantChunkRows = 1024

type tenantChunk [tenantChunkRows]struct {
	id    uint32
	count atomic.Int32
}

// enter counts a session in and returns its tenant's row.
func (t *tenantRows) enter(tenant uint32) uint32 {
	p := &t.parts[tenant%Shards]
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.row[tenant]
	if !ok {
		if p.row == nil {
			p.row = map[uint32]uint32{}
		}
		i = t.take()
		p.row[tenant] = i
		(*t.chunks.Load())[i/tenantChunkRows][i%tenantChunkRows].id = tenant
		t.active.Add(1)
	}
	(*t.chunks.Load())[i/tenantChunkRows][i%tenantChunkRows].count.Add(1)
	return i
}

// leave counts a session out.
func (t *tenantRows) leave(i uint32) {
	row := &(*t.chunks.Load())[i/tenantChunkRows][i%tenantChunkRows]
	tenant := row.id // stays while an entry has the row
	p := &t.parts[tenant%Shards]
	p.mu.Lock()
	defer p.mu.Unlock()
	if row.count.Add(-1) > 0 {
		return
	}
	delete(p.row, tenant)
	t.active.Add(-1)
	t.mu.Lock()
	t.free = append(t.free, i)
	t.mu.Unlock()
}

// take returns a row that nobody has. There are never more than entries.
func (t *tenantRows) take() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.free); n > 0 {
		i := t.free[n-1]
		t.free = t.free[:n-1]
		return i
	}
	var chunks []*tenantChunk
	if p := t.chunks.Load(); p != nil {
		chunks = *p
	}
	if int(t.top) == len(chunks)*tenantChunkRows {
		chunks = append(chunks, new(tenantChunk))
		t.chunks.Store(&chunks)
	}
	t.top++
	return t.top - 1
}

func (t *tenantRows) id(i uint32) uint32 {
	return (*t.chunks.Load())[i/tenantChunkRows][i%tenantChunkRows].id
}

// count returns the sessions of a row that an entry has.
func (t *tenantRows) count(i uint32) int {
	return int((*t.chunks.Load())[i/tenantChunkRows][i%tenantChunkRows].count.Load())
}

// find returns the row and the sessions of a tenant; none without any.
func (t *tenantRows) find(tenant uint32) (i uint32, count int) {
	p := &t.parts[tenant%Shards]
	p.mu.Lock()
	defer p.mu.Unlock()
	if i, ok := p.row[tenant]; ok {
		return i, t.count(i)
	}
	return none, 0
}

func (t *tenantRows) len() int { return int(t.active.Load()) }
