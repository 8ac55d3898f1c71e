package demo

import (
	"fmt"
	"net"
	"strconv"
)

const loopback = "127.0.0.1"

// ports finds free ports and holds them until their process is started, so
// that two demos started at once do not choose the same.
type ports struct {
	held map[int][]interface{ Close() error }
	used map[int]bool // taken or given up by us, not to be chosen again
}

func newPorts() *ports {
	return &ports{held: make(map[int][]interface{ Close() error }), used: make(map[int]bool)}
}

// take returns the usual port, or the next one that is free for TCP and UDP.
func (p *ports) take(usual int) (int, error) {
	const tries = 1000
	for port := usual; port < usual+tries && port <= 65535; port++ {
		if p.used[port] {
			continue
		}
		address := net.JoinHostPort(loopback, strconv.Itoa(port))
		tcp, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		udp, err := net.ListenPacket("udp", address)
		if err != nil {
			tcp.Close()
			continue
		}
		p.used[port] = true
		p.held[port] = []interface{ Close() error }{tcp, udp}
		return port, nil
	}
	return 0, fmt.Errorf("no free port on %s from %d to %d", loopback, usual, usual+tries)
}

// takeAll sets each variable to its usual port or another free one.
func (p *ports) takeAll(usual map[*int]int) error {
	for v, port := range usual {
		got, err := p.take(port)
		if err != nil {
			return err
		}
		*v = got
	}
	return nil
}

// release frees ports for the process that is about to listen on them.
func (p *ports) release(list ...int) {
	for _, port := range list {
		for _, c := range p.held[port] {
			c.Close()
		}
		delete(p.held, port)
	}
}

func (p *ports) releaseAll() {
	for port := range p.held {
		p.release(port)
	}
}
