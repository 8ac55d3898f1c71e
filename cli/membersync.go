package cli

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"jetway/balancer"
	"jetway/standby"
)

// memberSync keeps what operators said of members equal on all peers, and
// tells peers which members we set aside by what we saw ourselves.
//
// It compares three states of each member: what the router has, what the peers
// agreed on, and what both were when they were last equal. Whichever differs
// from the last has changed and is carried over to the other.
type memberSync struct {
	router *balancer.Router
	orders *standby.Cells
	advice *standby.Cells
	births *standby.Cells
	node   string
	log    zerolog.Logger

	equal   map[string]order // by domain/id, when both were equal
	advised map[string]time.Time
	born    map[string]standby.Stamp // slow starts of peers that were taken over
}

// order is what an operator wants of a member.
type order struct {
	Drained bool `json:"drained,omitempty"`
	Weight  int  `json:"weight,omitempty"`
}

func (s *memberSync) sync(now time.Time) {
	if s.equal == nil {
		s.equal, s.advised = map[string]order{}, map[string]time.Time{}
	}
	ours := map[string]order{}
	ejected := map[string]bool{}
	for _, f := range s.router.Facts(now.UnixNano()) {
		key := f.Domain + "/" + f.ID
		if o := (order{f.Drained, f.Weight}); o != (order{}) {
			ours[key] = o
		}
		if f.Ejected > 0 {
			ejected[s.node+"/"+key] = true
			s.advice.Put(s.node+"/"+key, []byte(f.Reason), f.Ejected)
		}
	}
	s.settle(ours)
	s.heed(now, ejected)
	s.grow(s.router.Births(now.UnixNano()))
}

// settle carries orders between the router and the peers.
func (s *memberSync) settle(ours map[string]order) {
	agreed := map[string]order{}
	s.orders.Each(func(key string, value []byte, _ standby.Stamp, _ string) bool {
		var o order
		if json.Unmarshal(value, &o) == nil {
			agreed[key] = o
		}
		return true
	})
	keys := map[string]bool{} // each once: settling it makes what was read stale
	for _, all := range []map[string]order{ours, agreed, s.equal} {
		for key := range all {
			keys[key] = true
		}
	}
	for key := range keys {
		s.settleOne(key, ours[key], agreed[key])
	}
}

func (s *memberSync) settleOne(key string, here, there order) {
	last := s.equal[key]
	switch {
	case here == there:
		s.note(key, here)
		s.renew(key, here)
	case here != last: // an operator, here
		s.tell(key, here)
		s.note(key, here)
	default: // an operator, elsewhere
		if s.follow(key, here, there) {
			s.note(key, there)
		}
	}
}

func (s *memberSync) note(key string, o order) {
	if o == (order{}) {
		delete(s.equal, key)
		return
	}
	s.equal[key] = o
}

// renew keeps an order alive for as long as it is in force.
func (s *memberSync) renew(key string, o order) {
	if o != (order{}) {
		s.tell(key, o)
	}
}

func (s *memberSync) tell(key string, o order) {
	if o == (order{}) {
		s.orders.Delete(key)
		return
	}
	value, err := json.Marshal(o)
	if err != nil {
		panic("BUG: an order that is no JSON: " + err.Error())
	}
	s.orders.Put(key, value, keepOrder)
}

// follow does here what was ordered elsewhere. False: the member is not known
// here yet.
func (s *memberSync) follow(key string, here, there order) bool {
	var err error
	if here.Drained != there.Drained {
		_, err = s.router.Drain(key, there.Drained)
	}
	if err == nil && here.Weight != there.Weight {
		_, err = s.router.SetWeight(key, there.Weight)
	}
	if errors.Is(err, balancer.ErrUnknownMember) {
		return false
	}
	e := s.log.Info()
	if err != nil {
		e = s.log.Warn().Err(err)
	}
	e.Str("member", key).Bool("drained", there.Drained).Int("weight", there.Weight).Msg("member changed by an operator of a peer")
	return true
}

// heed takes peers' ejections as advice, each once.
func (s *memberSync) heed(now time.Time, ejected map[string]bool) {
	seen := map[string]time.Time{}
	var back []string
	s.advice.Each(func(key string, _ []byte, stamp standby.Stamp, origin string) bool {
		if origin == s.node {
			if !ejected[key] {
				back = append(back, key)
			}
			return true
		}
		at := stamp.Time()
		seen[key] = at
		if domain, id, ok := strings.Cut(strings.TrimPrefix(key, origin+"/"), "/"); ok && !s.advised[key].Equal(at) {
			s.router.Advise(domain, id, now.Add(adviceFor))
		}
		return true
	})
	s.advised = seen
	for _, key := range back {
		s.advice.Delete(key)
	}
}

// adviceFor is how long a peer's ejection counts without evidence of our own.
const adviceFor = 10 * time.Second

// appendCount writes a number for other peers.
func appendCount(b []byte, n int64) []byte { return binary.AppendVarint(b, n) }

func readCount(b []byte) int64 {
	n, size := binary.Varint(b)
	if size <= 0 {
		return 0
	}
	return n
}
