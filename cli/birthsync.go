package cli

import (
	"encoding/binary"
	"strings"
	"time"

	"jetway/balancer"
	"jetway/standby"
)

// grow keeps slow starts in step, so that whoever takes over neither begins
// them again nor gives a member that is new its whole share. births are ours.
// A value is how long a slow start takes, and when it began by the clock of
// whoever tells it: that only tells one from the next. What is left of it
// travels as the lifetime of the value.
func (s *memberSync) grow(births []balancer.Birth) {
	ours := map[string]bool{}
	for _, b := range births {
		key := s.node + "/" + b.Domain + "/" + b.ID
		ours[key] = true
		value := binary.AppendUvarint(nil, uint64(b.Full.Milliseconds()))
		s.births.Put(key, binary.AppendVarint(value, b.From), b.Left)
	}
	type birth struct {
		key, domain, id string
		full            time.Duration
		stamp           standby.Stamp
	}
	var over []string
	var news []birth
	seen := map[string]standby.Stamp{}
	s.births.Each(func(key string, value []byte, stamp standby.Stamp, origin string) bool {
		if origin == s.node {
			if !ours[key] {
				over = append(over, key)
			}
			return true
		}
		full, n := binary.Uvarint(value)
		domain, id, ok := strings.Cut(strings.TrimPrefix(key, origin+"/"), "/")
		switch {
		case s.born[key] == stamp:
			seen[key] = stamp
		case ok && n > 0 && full < uint64(time.Hour.Milliseconds()):
			news = append(news, birth{key, domain, id, time.Duration(full) * time.Millisecond, stamp})
		}
		return true
	})
	for _, b := range news {
		if s.router.Adopt(b.domain, b.id, b.full, s.births.Left(b.key)) { // otherwise the member is still to come
			seen[b.key] = b.stamp
		}
	}
	s.born = seen
	for _, key := range over {
		s.births.Delete(key)
	}
}
