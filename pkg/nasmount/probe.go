package nasmount

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/buildbarn/go-xdr/pkg/protocols/nfsv3"
)

// Target is a directory of a mount target as a probe sees it.
type Target struct {
	Server   string // host of the mount target
	Path     string // absolute, without placeholders
	ReadOnly bool   // write nothing
	Made     bool   // ECI makes Path where it is missing, so that its nearest parent is probed instead
}

// Target is what can be known of m without a job: the directories of its path down
// to the first placeholder.
func (m Mount) Target() Target {
	known, _, found := strings.Cut(path.Join(m.Path, m.SubPath), "{")
	if found {
		known = path.Clean(known[:strings.LastIndex(known, "/")+1])
	}
	return Target{Server: m.Server, Path: known, ReadOnly: m.ReadOnly, Made: m.Options != ""}
}

// Report is what a probe found. After an error it holds what was found before it.
type Report struct {
	Path      string        // the directory that was probed: Target.Path, or its nearest parent
	Local     string        // IP address that this host speaks from, which permission groups go by
	RoundTrip time.Duration // median of roundTrips calls of GETATTR
	UID, GID  uint32        // owner of the directory
	Mode      fs.FileMode   // its permission bits
	FreeBytes uint64        // for users other than root
	Writable  bool          // a file was written, read back and removed
	Squashed  bool          // the file that uid 0 wrote belongs to FileUID instead
	FileUID   uint32
}

// Prober speaks NFSv3 to mount targets. Its zero value is ready for use.
type Prober struct {
	Dial  func(ctx context.Context, network, address string) (net.Conn, error) // nil: a net.Dialer's
	Now   func() time.Time                                                     // nil: time.Now
	After func(d time.Duration) <-chan time.Time                               // nil: time.After
}

const (
	nfsPort     = 2049
	portmapPort = 111
	roundTrips  = 5
	// dialTimeout is well above a round trip within a region, and leaves time to
	// try the other port.
	dialTimeout = 5 * time.Second
	// settleTime is how long a probe goes on after its context has ended, so that
	// nothing of it is left behind.
	settleTime = 5 * time.Second
	// lateAfter is when a CREATE whose connection was lost has surely taken effect.
	lateAfter = time.Second
)

// Probe mounts a directory as uid 0, looks at it, and writes, reads back and removes
// a small file there. It takes NFSv3 to mean that port 2049 serves MOUNT too, as it
// does on NAS, and asks the portmapper where it does not. An error is a *ProbeError.
// When ctx ends in the middle, Probe takes up to twice settleTime more to remove its
// file; where the server answers, as long as it takes to answer.
func (p Prober) Probe(ctx context.Context, t Target) (Report, error) {
	s := &probe{Prober: p, target: t, ports: ports{mount: nfsPort, nfs: nfsPort}}
	if s.Dial == nil {
		s.Dial = (&net.Dialer{}).DialContext
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.After == nil {
		s.After = time.After
	}
	err := s.run(ctx)
	return s.report, err
}

// probe is one run of a Prober.
type probe struct {
	Prober
	target Target
	ports  ports
	report Report
}

type ports struct{ mount, nfs uint16 }

func (s *probe) run(ctx context.Context) error {
	root, err := s.mount(ctx)
	if err != nil {
		return s.explain(err)
	}
	c := s.client(s.ports.nfs)
	defer c.close()
	err = s.look(ctx, c, root)
	if err == nil && !s.target.ReadOnly {
		err = s.write(ctx, c, root)
	}
	if err != nil {
		return s.explain(err)
	}
	return nil
}

func (s *probe) client(port uint16) *rpcClient {
	return &rpcClient{cred: asRoot(), dial: func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		conn, err := s.Dial(ctx, "tcp", net.JoinHostPort(s.target.Server, strconv.Itoa(int(port))))
		if err != nil {
			return nil, err
		}
		s.report.Local, _, _ = net.SplitHostPort(conn.LocalAddr().String())
		return conn, nil
	}}
}

// mount returns the handle of the directory, or of its nearest parent where it is missing and
// Target.Made is set.
func (s *probe) mount(ctx context.Context) (nfsv3.NfsFh3, error) {
	c := s.client(s.ports.mount)
	defer func() { c.close() }()
	root, err := mnt(ctx, c, s.target.Path)
	if elsewhere(err) {
		moved, portErr := s.askPortmapper(ctx)
		if portErr != nil {
			return root, fmt.Errorf("%w (and port %d: %w)", err, portmapPort, portErr)
		}
		s.ports = moved
		c.close()
		c = s.client(s.ports.mount)
		root, err = mnt(ctx, c, s.target.Path)
	}
	dir := s.target.Path
	missing := err
	// Some servers answer "access denied" for a directory that they don't have.
	for (isStatus(err, nfsv3.NFS3ERR_NOENT) || isStatus(err, nfsv3.NFS3ERR_ACCES)) && dir != "/" {
		dir = path.Dir(dir)
		root, err = mnt(ctx, c, dir)
	}
	if err == nil {
		s.report.Path = dir
		umnt(ctx, c, dir) //nolint:errcheck // a courtesy: the server forgets the client
	}
	if missing != nil && (err != nil || !s.target.Made) {
		return root, missing
	}
	return root, nil
}

// elsewhere tells whether an error leaves it possible that MOUNT is served at another port.
func elsewhere(err error) bool {
	var refusal *rpcRefusal
	return (errors.As(err, &refusal) && refusal.absent) || isRefused(err) || errors.Is(err, errNotRPC)
}

func (s *probe) askPortmapper(ctx context.Context) (ports, error) {
	c := s.client(portmapPort)
	defer c.close()
	mountPort, err := getPort(ctx, c, mountProgram, 3)
	if err != nil {
		return ports{}, err
	}
	port, err := getPort(ctx, c, nfsProgram, 3)
	if err == nil && (mountPort == 0 || port == 0) {
		err = errors.New("the portmapper knows no NFSv3 over TCP")
	}
	return ports{mount: mountPort, nfs: port}, err
}

// look fills in the part of the report that takes no writing.
func (s *probe) look(ctx context.Context, c *rpcClient, root nfsv3.NfsFh3) error {
	var took []time.Duration
	for range roundTrips {
		sent := s.Now()
		a, err := attributes(ctx, c, root)
		if err != nil {
			return err
		}
		took = append(took, s.Now().Sub(sent))
		s.report.UID, s.report.GID, s.report.Mode = a.Uid, a.Gid, fs.FileMode(a.Mode).Perm()
	}
	slices.Sort(took)
	s.report.RoundTrip = took[len(took)/2]
	free, err := space(ctx, c, root)
	s.report.FreeBytes = free.Abytes
	return err
}

// write puts a file of a new name into the directory, reads it back and removes it.
func (s *probe) write(ctx context.Context, c *rpcClient, dir nfsv3.NfsFh3) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	token := make([]byte, 8)
	rand.Read(token) // never returns an error (Go 1.24)
	name := ".eci-executor-probe-" + hex.EncodeToString(token)
	// The answer is awaited past the end of ctx: it says whether there is a file.
	settle, cancel := s.afterwards(ctx)
	defer cancel()
	file, made, err := createFile(settle, c, dir, name)
	if err != nil && !made {
		return err
	}
	lost := err != nil
	defer func() {
		if removeErr := s.removeProbe(ctx, c, dir, name, lost); removeErr != nil {
			left := fmt.Errorf("%s may be left behind, remove it: %w", path.Join(s.report.Path, name), removeErr)
			if err != nil {
				left = fmt.Errorf("%w; %w", err, left)
			}
			err = left
		}
	}()
	if err != nil {
		return err
	}
	content := []byte("eci-executor " + name + "\n")
	if err := writeFile(ctx, c, file, content); err != nil {
		return err
	}
	got, err := readFile(ctx, c, file, len(content))
	if err != nil {
		return err
	}
	if !bytes.Equal(got, content) {
		return fmt.Errorf("READ: %w", errOtherContent)
	}
	a, err := attributes(ctx, c, file)
	if err != nil {
		return err
	}
	s.report.Writable, s.report.FileUID, s.report.Squashed = true, a.Uid, a.Uid != 0
	return nil
}

// removeProbe removes the file whether or not ctx has ended. Where the answer to
// its CREATE was lost it looks again later, as the call may still take effect.
func (s *probe) removeProbe(ctx context.Context, c *rpcClient, dir nfsv3.NfsFh3, name string, lost bool) error {
	ended, cancel := context.WithCancel(ctx)
	cancel()
	ctx, cancel = s.afterwards(ended)
	defer cancel()
	var err error
	for range 3 {
		err = removeFile(ctx, c, dir, name)
		switch {
		case err == nil, isStatus(err, nfsv3.NFS3ERR_NOENT) && !lost:
			return nil
		case isStatus(err, nfsv3.NFS3ERR_NOENT):
			lost = false
			select {
			case <-s.After(lateAfter):
			case <-ctx.Done():
			}
		case isRefusal(err):
			return err
		} // else the connection was lost
	}
	return err
}

// afterwards is a context that ends settleTime after ctx.
func (s *probe) afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	later, cancel := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		select {
		case <-ctx.Done():
		case <-later.Done():
			return
		}
		select {
		case <-s.After(settleTime):
		case <-later.Done():
		}
		cancel()
	}()
	return later, cancel
}
