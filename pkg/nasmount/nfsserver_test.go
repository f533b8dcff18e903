package nasmount

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-git/go-billy/v5"
	"github.com/go-git/go-billy/v5/osfs"
	nfs "github.com/willscott/go-nfs"
	"github.com/willscott/go-nfs/helpers"
)

// export is a directory that the NFS server of these tests exports.
type export struct {
	dir      string
	readOnly bool
	denied   bool                  // nobody may write, by the modes of the directory
	status   nfs.MountStatus       // other than OK: the answer to MNT
	squash   uint32                // other than 0: the owner of all that is in it
	before   func(op string) error // is told of each write to the directory; an error refuses it
}

// exports is the handler of a real NFSv3 server in user space (willscott/go-nfs),
// which serves MOUNT and NFS at one port, as a mount target of NAS does.
type exports map[string]export

func (e exports) Mount(_ context.Context, _ net.Conn, r nfs.MountRequest) (nfs.MountStatus, billy.Filesystem, []nfs.AuthFlavor) {
	x, ok := e[string(r.Dirpath)]
	if !ok {
		x.status = nfs.MountStatusErrNoEnt
	}
	// The server asks for a file system even where it answers without.
	return x.status, &exportFS{Filesystem: osfs.New(x.dir), export: x}, []nfs.AuthFlavor{nfs.AuthFlavorUnix}
}

func (e exports) Change(f billy.Filesystem) billy.Change {
	c, _ := f.(billy.Change)
	return c
}

// freeBytes is what FSSTAT answers.
const freeBytes = 123 << 20

func (e exports) FSStat(_ context.Context, _ billy.Filesystem, s *nfs.FSStat) error {
	s.AvailableSize = freeBytes
	return nil
}

// The caching handler that wraps exports answers these.
func (e exports) ToHandle(billy.Filesystem, []string) []byte { return nil }
func (e exports) FromHandle([]byte) (billy.Filesystem, []string, error) {
	return nil, nil, errors.New("not used")
}
func (e exports) InvalidateHandle(billy.Filesystem, []byte) error { return nil }
func (e exports) HandleLimit() int                                { return -1 }

// exportFS is a directory of this machine under the rules of its export.
type exportFS struct {
	billy.Filesystem
	export
}

func (f *exportFS) Capabilities() billy.Capability {
	if f.readOnly {
		return billy.ReadCapability | billy.SeekCapability
	}
	return billy.DefaultCapabilities
}

func (f *exportFS) tell(op string) error {
	if f.before == nil {
		return nil
	}
	return f.before(op)
}

func (f *exportFS) Create(name string) (billy.File, error) {
	if err := f.tell("create"); err != nil {
		return nil, err
	}
	if f.denied {
		return nil, os.ErrPermission
	}
	return f.Filesystem.Create(name)
}

func (f *exportFS) OpenFile(name string, flag int, mode os.FileMode) (billy.File, error) {
	if flag&os.O_RDWR != 0 {
		if err := f.tell("write"); err != nil {
			return nil, err
		}
	}
	return f.Filesystem.OpenFile(name, flag, mode)
}

func (f *exportFS) Remove(name string) error {
	if err := f.tell("remove"); err != nil {
		return err
	}
	return f.Filesystem.Remove(name)
}

func (f *exportFS) Lstat(name string) (fs.FileInfo, error) {
	info, err := f.Filesystem.Lstat(name)
	if err != nil || f.squash == 0 {
		return info, err
	}
	stat := *info.Sys().(*syscall.Stat_t)
	stat.Uid = f.squash
	return squashed{info, &stat}, nil
}

type squashed struct {
	fs.FileInfo
	stat *syscall.Stat_t
}

func (s squashed) Sys() any { return s.stat }

func (f *exportFS) real(name string) string { return filepath.Join(f.dir, name) }

func (f *exportFS) Chmod(name string, mode os.FileMode) error { return os.Chmod(f.real(name), mode) }
func (f *exportFS) Lchown(name string, uid, gid int) error {
	return os.Lchown(f.real(name), uid, gid)
}
func (f *exportFS) Chown(name string, uid, gid int) error { return os.Chown(f.real(name), uid, gid) }
func (f *exportFS) Chtimes(name string, atime, mtime time.Time) error {
	return os.Chtimes(f.real(name), atime, mtime)
}

// nfsServer serves exports on a loopback port and can be taken away and put back
// with its file handles, as a mount target that fails over.
type nfsServer struct {
	address string
	handler nfs.Handler

	mu       sync.Mutex
	listener *trackingListener
	served   chan struct{} // closed when the listener is done
}

func startNFS(t testing.TB, e exports) *nfsServer {
	t.Helper()
	s := &nfsServer{address: "127.0.0.1:0", handler: helpers.NewCachingHandler(e, 4096)}
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	return s
}

func (s *nfsServer) start() error {
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.address = l.Addr().String()
	s.listener, s.served = &trackingListener{Listener: l}, make(chan struct{})
	go func(l net.Listener, served chan struct{}) {
		nfs.Serve(l, s.handler)
		close(served)
	}(s.listener, s.served)
	return nil
}

// stop closes the port and every connection.
func (s *nfsServer) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener.Close()
	<-s.served
	s.listener.closeAll()
}

// dial stands for the network: the server's port is 2049 there, and no other is open.
func (s *nfsServer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if _, port, _ := net.SplitHostPort(address); port != "2049" {
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	return new(net.Dialer).DialContext(ctx, network, s.address)
}

// trackingListener knows the connections it accepted.
type trackingListener struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (l *trackingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		l.conns = append(l.conns, c)
		l.mu.Unlock()
	}
	return c, err
}

func (l *trackingListener) closeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		c.Close()
	}
}
