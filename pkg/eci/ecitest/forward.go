package ecitest

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
)

// forwarding is one of Options.Forward.
type forwarding struct {
	name   string // what the group's hosts file calls the address of listen, "" where it has no name
	listen string // inside the group
	dial   string // outside
}

// CheckForwards tells the first mistake in what is to be Options.Forward.
func CheckForwards(addresses []string) error {
	_, err := parseForwards(addresses)
	return err
}

// parseForwards gives each name an address of the group's loopback to itself, so that
// two hosts may have the same port.
func parseForwards(addresses []string) ([]forwarding, error) {
	var forwardings []forwarding
	own := map[string]string{}
	for _, address := range addresses {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("%q: want HOST:PORT", address)
		}
		if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
			return nil, fmt.Errorf("%q: %q is no port", address, port)
		}
		f := forwarding{listen: address, dial: address}
		if ip, err := netip.ParseAddr(host); err != nil && host != "" && host != "localhost" {
			if own[host] == "" {
				own[host] = fmt.Sprintf("127.0.1.%d", len(own)+1)
			}
			f.name, f.listen = host, net.JoinHostPort(own[host], port)
		} else if err == nil && !ip.IsLoopback() {
			return nil, fmt.Errorf("%q: a group has addresses of the loopback alone; name the host instead", address)
		}
		forwardings = append(forwardings, f)
	}
	if len(own) > 254 {
		return nil, fmt.Errorf("%d names: at most 254", len(own))
	}
	return forwardings, nil
}

// hosts are the names of aliases and those of the forwarded hosts, by their addresses.
func (s *Server) hosts(aliases map[string][]string) map[string][]string {
	all := maps.Clone(aliases)
	if all == nil {
		all = map[string][]string{}
	}
	for _, f := range s.forwardings {
		if f.name != "" {
			ip, _, _ := net.SplitHostPort(f.listen) // it was joined here
			if !slices.Contains(all[ip], f.name) {
				all[ip] = append(slices.Clone(all[ip]), f.name)
			}
		}
	}
	return all
}

// forward proxies what connects inside the group to addr outside.
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
			out, err := g.s.opts.Dial(g.ctx, "tcp", addr)
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
