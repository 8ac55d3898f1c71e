package standby

import (
	"errors"
	"fmt"
	"slices"
)

// hello is who somebody is and what it speaks.
type hello struct {
	versionMin, versionMax uint8
	features               uint64 // none yet
	installation           string
	node                   string // name and digits, unique in the installation
	name                   string
	generation             uint64 // of the process: a later start has a greater one
	kinds                  []kindShards
}

// kindShards is a kind that somebody replicates, and how it is cut.
type kindShards struct {
	id     KindID
	shards uint16
}

func (h *hello) append(w *writer) {
	at := w.begin(frameHello)
	w.u32(magic)
	w.u8(h.versionMin)
	w.u8(h.versionMax)
	w.u64(h.features)
	w.text(h.installation)
	w.text(h.node)
	w.text(h.name)
	w.u64(h.generation)
	w.u8(uint8(len(h.kinds)))
	for _, k := range h.kinds {
		w.u8(uint8(k.id))
		w.u16(k.shards)
	}
	w.end(at)
}

func parseHello(body []byte) (h hello, err error) {
	r := reader{b: body}
	if r.u32() != magic {
		return h, errors.New("not a peer of Jetway: the magic number is wrong")
	}
	h.versionMin, h.versionMax = r.u8(), r.u8()
	h.features = r.u64()
	h.installation, h.node, h.name = r.text(), r.text(), r.text()
	h.generation = r.u64()
	n := int(r.u8())
	for range min(n, kindsMax) {
		h.kinds = append(h.kinds, kindShards{KindID(r.u8()), r.u16()})
	}
	if r.bad || n > kindsMax || h.versionMin > h.versionMax || h.node == "" {
		return h, fmt.Errorf("hello: %w", errFrame)
	}
	return h, nil
}

// refuse says why h cannot be a peer of own; nil: it can.
func (h *hello) refuse(own *hello) error {
	switch {
	case h.installation != own.installation:
		return fmt.Errorf("%w: it belongs to installation %q, this is %q", errForeign, h.installation, own.installation)
	case h.versionMin > own.versionMax || h.versionMax < own.versionMin:
		return fmt.Errorf("%w: it speaks protocol %d to %d, we speak %d to %d", errVersion, h.versionMin, h.versionMax, own.versionMin, own.versionMax)
	case h.node == own.node && h.generation == own.generation:
		return errSelf
	case h.node == own.node:
		return fmt.Errorf("%w: node id %q is ours as well; give each load balancer a name or state_dir of its own", errForeign, h.node)
	}
	return nil
}

// Why a connection is refused, for counters.
var (
	errForeign   = errors.New("not of this installation")
	errVersion   = errors.New("no common version")
	errSelf      = errors.New("this is ourselves")
	errDuplicate = errors.New("another connection to the same peer is kept")
	errOlder     = errors.New("the peer has restarted since")
)

// Status is how a Jetway is doing, as it tells its peers twice a second.
type Status struct {
	Ready    bool // knows its members and accepts clients
	Draining bool // stopping
	Active   bool // holds the virtual address
	Told     bool // somebody told it whether it is active (keepalived)
	Warm     bool // knows what its peers know
	Handing  bool // handing the address over, or has just done so

	Priority    uint8
	InFlight    uint32
	Config      [32]byte // hash of what must be equal on all peers
	ConfigEpoch uint64   // greater is newer
	Clock       Stamp
	Admin       string // host:port of the admin API, empty: none
	Version     string // of the program
	// LagMillis is how late the receiver learns from the sender; the receiver
	// cannot measure that itself.
	LagMillis uint32
}

const (
	flagReady = 1 << iota
	flagDraining
	flagActive
	flagTold
	flagWarm
	flagHanding
)

func (s *Status) flags() (f uint8) {
	for i, set := range []bool{s.Ready, s.Draining, s.Active, s.Told, s.Warm, s.Handing} {
		if set {
			f |= 1 << i
		}
	}
	return f
}

func (s *Status) append(w *writer) {
	at := w.begin(frameStatus)
	w.u8(s.flags())
	w.u8(s.Priority)
	w.u32(s.InFlight)
	w.bytes(s.Config[:])
	w.u64(s.ConfigEpoch)
	w.u64(uint64(s.Clock))
	w.u32(s.LagMillis)
	w.text(s.Admin)
	w.text(s.Version)
	w.end(at)
}

func parseStatus(body []byte) (Status, error) {
	r := reader{b: body}
	f := r.u8()
	s := Status{Ready: f&flagReady != 0, Draining: f&flagDraining != 0, Active: f&flagActive != 0,
		Told: f&flagTold != 0, Warm: f&flagWarm != 0, Handing: f&flagHanding != 0}
	s.Priority, s.InFlight = r.u8(), r.u32()
	copy(s.Config[:], r.take(32))
	s.ConfigEpoch, s.Clock, s.LagMillis = r.u64(), Stamp(r.u64()), r.u32()
	s.Admin, s.Version = r.text(), r.text()
	if r.bad {
		return s, fmt.Errorf("status: %w", errFrame)
	}
	return s, nil
}

// bye is why a connection ends.
type bye struct {
	code uint8
	text string
}

// Codes of bye. The receiver of one that is not here reads the text.
const (
	byeStopping  = 1
	byeForeign   = 2
	byeVersion   = 3
	byeDuplicate = 4
	byeFault     = 5
)

func (b *bye) append(w *writer) {
	at := w.begin(frameBye)
	w.u8(b.code)
	w.text(b.text)
	w.end(at)
}

func parseBye(body []byte) (bye, error) {
	r := reader{b: body}
	b := bye{r.u8(), r.text()}
	if r.bad {
		return b, fmt.Errorf("bye: %w", errFrame)
	}
	return b, nil
}

// byeFor returns what to tell a peer that is refused with err.
func byeFor(err error) bye {
	code := uint8(byeFault)
	for _, c := range []struct {
		err  error
		code uint8
	}{{errForeign, byeForeign}, {errVersion, byeVersion}, {errDuplicate, byeDuplicate}, {errOlder, byeDuplicate}, {errSelf, byeDuplicate}} {
		if errors.Is(err, c.err) {
			code = c.code
		}
	}
	return bye{code, err.Error()}
}

// shardsOf returns how many shards h has of a kind, 0 for none.
func (h *hello) shardsOf(id KindID) int {
	i := slices.IndexFunc(h.kinds, func(k kindShards) bool { return k.id == id })
	if i < 0 {
		return 0
	}
	return int(h.kinds[i].shards)
}
