package proxy

import "syscall"

// pipe carries bytes of a body between two sockets inside the kernel.
type pipe struct {
	r, w  int
	holds int // bytes in it
}

const (
	setPipeSize = 1031 // F_SETPIPE_SZ
	spliceFlags = 0x3  // SPLICE_F_MOVE, SPLICE_F_NONBLOCK
)

// newPipe returns nil where the system gives none.
func newPipe() *pipe {
	var fds [2]int
	if syscall.Pipe2(fds[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK) != nil {
		return nil
	}
	syscall.Syscall(syscall.SYS_FCNTL, uintptr(fds[1]), setPipeSize, spliceStep) // a wish
	return &pipe{r: fds[0], w: fds[1]}
}

func (p *pipe) close() {
	syscall.Close(p.r)
	syscall.Close(p.w)
}

// fill waits for bytes on from and takes up to most of them into the pipe,
// which must be empty. 0 without an error is the end of the stream.
func (p *pipe) fill(from syscall.RawConn, most int) (n int, err error) {
	waited := from.Read(func(fd uintptr) bool {
		n, err = move(int(fd), p.w, most)
		return err != syscall.EAGAIN
	})
	if waited != nil {
		return 0, waited
	}
	p.holds = n
	return n, err
}

// empty writes what is in the pipe to to, waiting where that takes no more.
func (p *pipe) empty(to syscall.RawConn) (err error) {
	waited := to.Write(func(fd uintptr) bool {
		for p.holds > 0 {
			var n int
			if n, err = move(p.r, int(fd), p.holds); err != nil {
				return err != syscall.EAGAIN
			}
			p.holds -= n
		}
		return true
	})
	if waited != nil {
		return waited
	}
	return err
}

// read takes bytes out of the pipe.
func (p *pipe) read(b []byte) (int, error) {
	n, err := syscall.Read(p.r, b)
	p.holds -= max(n, 0)
	return n, err
}

// move is splice(2) without an interrupted call. 0 and no error is the end.
func move(from, to, most int) (int, error) {
	for {
		n, err := syscall.Splice(from, nil, to, nil, most, spliceFlags)
		if err != syscall.EINTR {
			return max(int(n), 0), err
		}
	}
}
