package cli

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"jetway/autoscale"
	"jetway/standby"
)

// scalingPeers carries what the autoscalers of all peers tell each other. It
// implements autoscale.Peers.
//
// A report may be larger than one value, so it goes in pieces, each with the
// number of the report that it belongs to. A report of which not all pieces
// are there is not given out; the one before it is.
type scalingPeers struct {
	cells *standby.Cells
	mesh  *standby.Mesh
	node  string

	mu     sync.Mutex // guards all below
	number uint32
	pieces int
	loads  []autoscale.Load // of our last report that had any
	at     time.Duration
	whole  map[string]received // by node
}

// received is the newest whole report of a node.
type received struct {
	number uint32
	at     time.Time
	report autoscale.Report
}

const (
	pieceMax   = 40 << 10
	piecesMax  = 32
	pieceHead  = 4 + 1       // number of the report, pieces
	reportKeep = time.Minute // what a peer said of its load is of no use later
)

func newScalingPeers(p *peers) *scalingPeers {
	return &scalingPeers{cells: p.scaling, mesh: p.mesh, node: p.lb.node, whole: map[string]received{}}
}

// Acts implements autoscale.Peers.
func (s *scalingPeers) Acts() bool { return s.mesh.Acting() }

// Exchange implements autoscale.Peers.
func (s *scalingPeers) Exchange(own autoscale.Report) []autoscale.Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tell(own)
	return s.hear(time.Now())
}

// tell writes our report for the others.
func (s *scalingPeers) tell(own autoscale.Report) {
	own.Node = s.node
	if own.Loads == nil { // as they were
		own.Loads, own.At = s.loads, s.at
	}
	s.loads, s.at = own.Loads, own.At
	text, err := json.Marshal(own)
	if err != nil || len(text) > piecesMax*pieceMax {
		return // larger than the scaler itself allows
	}
	s.number++
	n := max(1, (len(text)+pieceMax-1)/pieceMax)
	for i := range n {
		value := binary.LittleEndian.AppendUint32(nil, s.number)
		value = append(value, byte(n))
		value = append(value, text[i*pieceMax:min(len(text), (i+1)*pieceMax)]...)
		s.cells.Put(fmt.Sprintf("%s/%d", s.node, i), value, reportKeep)
	}
	for i := n; i < s.pieces; i++ {
		s.cells.Delete(fmt.Sprintf("%s/%d", s.node, i))
	}
	s.pieces = n
}

// hear puts together what the others told.
func (s *scalingPeers) hear(now time.Time) []autoscale.Report {
	pieces := map[string]map[string][]byte{}
	s.cells.Each(func(key string, value []byte, _ standby.Stamp, origin string) bool {
		if origin != s.node && len(value) >= pieceHead {
			if pieces[origin] == nil {
				pieces[origin] = map[string][]byte{}
			}
			pieces[origin][strings.TrimPrefix(key, origin+"/")] = value
		}
		return true
	})
	var reports []autoscale.Report
	for node, parts := range pieces {
		s.assemble(node, parts, now)
	}
	for node, r := range s.whole {
		if now.Sub(r.at) > reportKeep {
			delete(s.whole, node)
			continue
		}
		if s.mesh.Live(node) {
			r.report.Age = now.Sub(r.at)
			reports = append(reports, r.report)
		}
	}
	return reports
}

func (s *scalingPeers) assemble(node string, parts map[string][]byte, now time.Time) {
	first := parts["0"]
	if first == nil {
		return
	}
	number, n := binary.LittleEndian.Uint32(first), int(first[4])
	if before, ok := s.whole[node]; ok && before.number == number || n > piecesMax {
		return
	}
	var text []byte
	for i := range n {
		p := parts[fmt.Sprint(i)]
		if len(p) < pieceHead || binary.LittleEndian.Uint32(p) != number {
			return // the rest is under way
		}
		text = append(text, p[pieceHead:]...)
	}
	var r autoscale.Report
	if json.Unmarshal(text, &r) != nil {
		return
	}
	r.Node = node
	s.whole[node] = received{number, now, r}
}
