package autoscale

import (
	"encoding/json"
	"time"
)

// exchange tells the others what this process knows, and learns from them.
func (s *Scaler) exchange(now time.Time, seen []Observation) []Report {
	own := Report{At: now.Sub(s.origin), Loads: make([]Load, len(seen))}
	for i := range seen {
		own.Loads[i] = Load{seen[i].Key, seen[i].Totals}
	}
	s.mu.Lock()
	own.Serial, own.History = s.serial, s.written
	s.mu.Unlock()
	reports := s.peers.Exchange(own)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range reports {
		if r := &reports[i]; r.Serial > s.serial && len(r.History) > 0 && !s.acting {
			s.learnLocked(r)
		}
	}
	return reports
}

// learnLocked takes over the history of the one that acts.
func (s *Scaler) learnLocked(r *Report) {
	past, err := parseHistory(r.History)
	if err != nil {
		s.log.Warn().Str("peer", r.Node).Err(err).Msg("history of orders from a peer is of no use")
		return
	}
	s.serial, s.written, s.idle = r.Serial, r.History, map[string]*ClusterHistory{}
	for name, h := range past.Clusters {
		s.idle[name] = h
	}
	for key, c := range s.clusters {
		c.past = s.idle[key.String()]
		delete(s.idle, key.String())
		if c.past == nil {
			c.past = &ClusterHistory{}
		}
	}
	s.keepLocked(r.History)
}

// takeOverLocked begins or ends to give orders.
func (s *Scaler) takeOverLocked(acts bool) {
	s.acting = acts
	if !acts {
		s.log.Info().Msg("another load balancer sizes the clusters")
		return
	}
	s.log.Info().Int("clusters", len(s.clusters)).Msg("this load balancer sizes the clusters")
	for _, c := range s.clusters {
		c.listed, c.listAt = false, time.Time{}
		for _, st := range c.past.Stops { // the drains of the one before may be known to it alone
			if st.Member != "" {
				s.fleet.Drain(c.key, st.Member, true) // one that is gone is found out by followStops
			}
		}
	}
}

// writeLocked notes the history, and the file has it before any order is sent.
func (s *Scaler) writeLocked() {
	h := History{Version: historyVersion, Serial: s.serial + 1, Clusters: map[string]*ClusterHistory{}}
	for name, c := range s.idle {
		h.Clusters[name] = c
	}
	for key, c := range s.clusters {
		if !c.past.empty() {
			h.Clusters[key.String()] = c.past
		}
	}
	b, err := json.Marshal(h)
	if err != nil {
		panic("BUG: a history that is no JSON: " + err.Error())
	}
	s.serial, s.written = h.Serial, b
	s.keepLocked(b)
	if s.acting {
		s.peers.Exchange(Report{At: s.now().Sub(s.origin), Serial: s.serial, History: s.written})
	}
}

// keepLocked writes the history into its file.
func (s *Scaler) keepLocked(b []byte) {
	why := ""
	if err := s.store.save(b); err != nil {
		why = err.Error()
	}
	if why != s.unsaved && why != "" {
		s.log.Error().Str("error", why).Msg("orders under way cannot be written down: after a restart they could be given twice")
	}
	s.unsaved = why
}

func (h *ClusterHistory) empty() bool {
	return h.Sequence == 0 && h.Held == "" && h.Manual == nil && h.Failures == 0
}
