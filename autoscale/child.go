package autoscale

import "strconv"

// child is one process. A pid alone names nobody, since pids are used again;
// together with the time when the process started it does.
type child struct {
	Order     string `json:"order"`
	Sequence  uint64 `json:"sequence"`
	Index     int    `json:"index"` // within its order
	Domain    string `json:"domain"`
	SubDomain string `json:"sub_domain"`
	Member    string `json:"member"`
	Port      uint16 `json:"port,omitempty"`
	PID       int    `json:"pid"`     // 0: about to be started
	Started   string `json:"started"` // as the system says, see startTime
	Dead      bool   `json:"dead,omitempty"`

	ended chan struct{} // closed when a process of our own ended; nil: adopted
}

// environment tells a child by what it was started with.
func (c *child) environment() string { return "JETWAY_CHILD=" + c.Order + "#" + strconv.Itoa(c.Index) }

// alive reports whether it is still this process that has its pid.
func (c *child) alive() bool {
	return !c.Dead && c.PID > 0 && c.Started != "" && startTime(c.PID) == c.Started
}

// aliveLocked also notes that it has ended.
func (c *child) aliveLocked(n *nursery) bool {
	if c.Dead {
		return false
	}
	if !c.alive() {
		if c.ended == nil {
			c.Dead = true
			n.saveLocked()
		}
		return false
	}
	return true
}
