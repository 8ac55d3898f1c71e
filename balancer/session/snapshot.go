package session

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Owner says whose sessions a snapshot holds: another installation's, or ones
// named under other keys, are of no use.
type Owner struct {
	Installation string
	Keys         []uint64 // Ring.Fingerprints of all rings in use
}

// A snapshot is a head, blocks of records each with its checksum, and an empty
// block that tells how many records there were:
//
//	head   magic, unix milliseconds, length and installation, number and fingerprints of keys, CRC-32C
//	block  number of records (4 bytes), records, CRC-32C of both
//	end    0 (4 bytes), records in all (8 bytes), CRC-32C of both
//
// Numbers are little-endian. A record is 49 bytes: key 16, member 8, tenant 4,
// stamp 8, origin 4, what it has left in units 4, timeout in seconds 4, rank
// and deleted 1.
const (
	snapshotMagic = "jetway sessions 1\n"
	recordBytes   = 49
	blockRecords  = 512
	// headMax bounds what is believed of a head.
	nameMax, fingerprintsMax = 1024, 1024
)

// Save writes all sessions to a file, through one beside it that replaces it
// once it is on disk. It returns how many there were. The store is held for
// some microseconds at a time.
func (s *Store) Save(path string, owner Owner, now time.Time) (n int, err error) {
	removeLeftovers(path, now)
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return 0, fmt.Errorf("cannot save sessions: %w", err)
	}
	n, err = s.write(f, owner, now)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return 0, fmt.Errorf("cannot save sessions: %w", err)
	}
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		dir.Sync() // so that the name lasts as well; not every file system can
		dir.Close()
	}
	return n, nil
}

// abandoned is how long nobody has written to a file that nobody will rename
// any more.
const abandoned = time.Minute

// removeLeftovers removes what processes that were killed while they saved left
// beside a file: each may be as large as the file itself.
func removeLeftovers(path string, now time.Time) {
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return // so will be what comes next, and that is told
	}
	for _, f := range files {
		rest, ours := strings.CutPrefix(f.Name(), filepath.Base(path)+".")
		if !ours || !strings.HasSuffix(rest, ".tmp") {
			continue
		}
		if info, err := f.Info(); err == nil && info.Mode().IsRegular() && now.Sub(info.ModTime()) > abandoned {
			os.Remove(filepath.Join(filepath.Dir(path), f.Name()))
		}
	}
}

func (s *Store) write(w io.Writer, owner Owner, now time.Time) (total int, err error) {
	b := bufio.NewWriterSize(w, 256<<10)
	head := binary.LittleEndian.AppendUint64([]byte(snapshotMagic), uint64(now.UnixMilli()))
	head = binary.LittleEndian.AppendUint32(head, uint32(len(owner.Installation)))
	head = append(head, owner.Installation...)
	keys := owner.Keys[:min(len(owner.Keys), fingerprintsMax)]
	head = binary.LittleEndian.AppendUint32(head, uint32(len(keys)))
	for _, k := range keys {
		head = binary.LittleEndian.AppendUint64(head, k)
	}
	b.Write(checked(head)) // errors stick and show at Flush
	records := make([]Record, blockRecords)
	block := make([]byte, 0, 4+blockRecords*recordBytes+4)
	for shard := range Shards {
		for at, more := uint64(0), true; more; {
			var n int
			n, at, more = s.Walk(shard, at, now, records)
			if n == 0 {
				continue
			}
			block = binary.LittleEndian.AppendUint32(block[:0], uint32(n))
			for i := range records[:n] {
				block = records[i].append(block)
			}
			if _, err := b.Write(checked(block)); err != nil {
				return 0, err
			}
			total += n
		}
	}
	end := binary.LittleEndian.AppendUint64(make([]byte, 4), uint64(total))
	b.Write(checked(end))
	return total, b.Flush()
}

// checked appends the checksum.
func checked(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

func (r *Record) append(b []byte) []byte {
	left := r.Left
	if !r.Deleted {
		left -= r.Timeout / 4 // that is for peers
	}
	b = append(b, r.Key[:]...)
	b = binary.LittleEndian.AppendUint64(b, r.Member)
	b = binary.LittleEndian.AppendUint32(b, r.Tenant)
	b = binary.LittleEndian.AppendUint64(b, r.Stamp)
	b = binary.LittleEndian.AppendUint32(b, r.Origin)
	b = binary.LittleEndian.AppendUint32(b, uint32(max(left/unit, 0)))
	b = binary.LittleEndian.AppendUint32(b, uint32(r.Timeout/time.Second))
	flags := r.Rank << 1
	if r.Deleted {
		flags |= 1
	}
	return append(b, flags)
}

func (r *Record) read(b []byte) {
	copy(r.Key[:], b)
	r.Member = binary.LittleEndian.Uint64(b[16:])
	r.Tenant = binary.LittleEndian.Uint32(b[24:])
	r.Stamp = binary.LittleEndian.Uint64(b[28:])
	r.Origin = binary.LittleEndian.Uint32(b[36:])
	r.Left = time.Duration(binary.LittleEndian.Uint32(b[40:])) * unit
	r.Timeout = time.Duration(binary.LittleEndian.Uint32(b[44:])) * time.Second
	r.Rank, r.Deleted = b[48]>>1, b[48]&1 != 0
}

// Restore takes over the sessions of a file that are still alive, and returns
// how many. The file is looked through first: one that is damaged or somebody
// else's changes nothing. The error wraps fs.ErrNotExist where there is none.
func (s *Store) Restore(path string, owner Owner, now time.Time) (n int, err error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return 0, fmt.Errorf("cannot use saved sessions %q: it is no file", path) // opening a pipe would wait for ever
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("cannot read saved sessions: %w", err)
	}
	defer f.Close()
	for _, apply := range [...]bool{false, true} {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return 0, fmt.Errorf("cannot read saved sessions %q: %w", path, err)
		}
		if n, err = s.read(bufio.NewReaderSize(f, 256<<10), owner, now, apply); err != nil {
			return 0, fmt.Errorf("cannot use saved sessions %q: %w", path, err)
		}
	}
	return n, nil
}

var errDamaged = errors.New("the file is damaged or was cut off")

func (s *Store) read(r io.Reader, owner Owner, now time.Time, apply bool) (n int, err error) {
	saved, err := readHead(r, owner)
	if err != nil {
		return 0, err
	}
	// A clock that was set back makes nothing younger.
	away := max(now.Sub(saved), 0)
	block := make([]byte, 4+blockRecords*recordBytes+4)
	records := make([]Record, blockRecords)
	for total := uint64(0); ; {
		if _, err := io.ReadFull(r, block[:4]); err != nil {
			return 0, errDamaged
		}
		count := int(binary.LittleEndian.Uint32(block))
		if count > blockRecords {
			return 0, errDamaged
		}
		size := 4 + count*recordBytes
		if count == 0 {
			size += 8
		}
		if _, err := io.ReadFull(r, block[4:size+4]); err != nil || !bytes.Equal(checked(slices.Clip(block[:size])), block[:size+4]) {
			return 0, errDamaged
		}
		if count == 0 {
			if binary.LittleEndian.Uint64(block[4:]) != total {
				return 0, errDamaged
			}
			return n, nil
		}
		total += uint64(count)
		for i := range count {
			records[i].read(block[4+i*recordBytes:])
			records[i].Left -= away
		}
		if apply {
			n += s.Apply(records[:count], now)
		}
	}
}

func readHead(r io.Reader, owner Owner) (saved time.Time, err error) {
	head := make([]byte, len(snapshotMagic)+8+4)
	if _, err := io.ReadFull(r, head); err != nil || string(head[:len(snapshotMagic)]) != snapshotMagic {
		return saved, errors.New("it is no file of saved sessions, or one of another version")
	}
	more := func(n uint32, most uint32) bool {
		if n > most {
			return false
		}
		at := len(head)
		head = append(head, make([]byte, n)...)
		_, err := io.ReadFull(r, head[at:])
		return err == nil
	}
	milliseconds := binary.LittleEndian.Uint64(head[len(snapshotMagic):])
	name := binary.LittleEndian.Uint32(head[len(head)-4:])
	at := len(head)
	if !more(name, nameMax) || !more(4, 4) {
		return saved, errDamaged
	}
	installation := string(head[at : at+int(name)])
	keys := binary.LittleEndian.Uint32(head[len(head)-4:])
	at = len(head)
	if keys > fingerprintsMax || !more(8*keys, 8*fingerprintsMax) {
		return saved, errDamaged
	}
	known := false
	for i := range int(keys) {
		known = known || slices.Contains(owner.Keys, binary.LittleEndian.Uint64(head[at+8*i:]))
	}
	size := len(head)
	if !more(4, 4) || !bytes.Equal(checked(slices.Clip(head[:size])), head) {
		return saved, errDamaged
	}
	if installation != owner.Installation {
		return saved, fmt.Errorf("it is of installation %q", installation)
	}
	if !known {
		return saved, errors.New("its sessions were named under another key (affinity.key_file)")
	}
	return time.UnixMilli(int64(milliseconds)), nil
}
