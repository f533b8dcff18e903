package ecitest

import (
	"context"
	"io"
	"net"
	"sync"
)

// forward proxies what connects inside the group to the same address outside.
func (g *group) forward(l net.Listener, addr string) {
	var work sync.WaitGroup
	defer work.Wait()
	for {
		in, err := l.Accept()
		if err != nil {
			return // closed by tearDown
		}
		work.Go(func() {
			defer in.Close()
			var d net.Dialer
			out, err := d.DialContext(g.ctx, "tcp", addr)
			if err != nil {
				return
			}
			defer out.Close()
			stop := context.AfterFunc(g.ctx, func() { _, _ = in.Close(), out.Close() })
			defer stop()
			var copies sync.WaitGroup
			copies.Go(func() { copyHalf(out, in) })
			copies.Go(func() { copyHalf(in, out) })
			copies.Wait()
		})
	}
}

// copyHalf copies one direction and passes its end on.
func copyHalf(dst, src net.Conn) {
	_, _ = io.Copy(dst, src)
	if c, ok := dst.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
}
