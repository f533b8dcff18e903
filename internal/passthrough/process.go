package passthrough

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// processName is argv[0] of the process that serves.
const processName = "eci-passthrough"

// order is what the process reads from its stdin, whose end is its own.
type order struct {
	Dir    string
	Mounts []Mount
}

// report is what it answers once, on stdout.
type report struct {
	Error string `json:",omitempty"`
}

// init catches the process; in any other it does no more than look at argv[0].
func init() {
	if len(os.Args) == 0 || os.Args[0] != processName {
		return
	}
	var o order
	err := json.NewDecoder(os.Stdin).Decode(&o)
	if err == nil {
		err = o.serve()
	}
	answer := report{}
	if err != nil {
		answer.Error = err.Error()
	}
	_ = json.NewEncoder(os.Stdout).Encode(answer)
	if err == nil {
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
	o.unmount()
	os.Exit(0)
}

// serve mounts all, locks the process into the directory, and answers in the background.
func (o order) serve() error {
	unix.Umask(0) // the callers' has been applied by the kernel
	var connections []int
	for _, m := range o.Mounts {
		fd, err := mount(filepath.Join(o.Dir, m.Target))
		if err != nil {
			return fmt.Errorf("mount %s: %w", m.Target, err)
		}
		connections = append(connections, fd)
	}
	// A job may put links to anywhere into its volumes.
	if err := unix.Chroot(o.Dir); err != nil {
		return fmt.Errorf("enter %s: %w", o.Dir, err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter %s: %w", o.Dir, err)
	}
	for i, m := range o.Mounts {
		if err := serve(connections[i], filepath.Join("/", m.Source)); err != nil {
			return fmt.Errorf("serve %s: %w", m.Source, err)
		}
	}
	return nil
}

// unmount takes away what nobody else has unmounted yet.
func (o order) unmount() {
	for _, m := range o.Mounts {
		_ = unix.Unmount(filepath.Join("/", m.Target), unix.MNT_DETACH)
	}
}

// mount puts an empty FUSE file system on a directory and returns its connection.
func mount(target string) (int, error) {
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("%s: %w", device, err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=%o,user_id=%d,group_id=%d,default_permissions,allow_other", fd, unix.S_IFDIR, os.Getuid(), os.Getgid())
	return fd, unix.Mount("volume", target, "fuse.volume", unix.MS_NOSUID|unix.MS_NODEV, options)
}

// serve answers the requests of a connection from the directory source.
func serve(fd int, source string) error {
	loopback, err := fs.NewLoopbackRoot(source)
	if err != nil {
		return err
	}
	root := &node{loopback.(*fs.LoopbackNode)}
	// No timeouts: nothing is kept that another mount of the directory may have changed.
	raw := fs.NewNodeFS(root, &fs.Options{})
	server, err := fuse.NewServer(raw, fmt.Sprintf("/dev/fd/%d", fd), &fuse.MountOptions{
		FsName: "volume", AllowOther: true, Options: []string{"default_permissions"},
		DisableSplice: true, // it needs a /dev/null
	})
	if err != nil {
		return err
	}
	go server.Serve()
	return nil
}

// node is a file whose bytes the kernel does not keep either.
type node struct{ *fs.LoopbackNode }

func (n *node) WrapChild(_ context.Context, child fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{child.(*fs.LoopbackNode)}
}

func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	f, how, errno := n.LoopbackNode.Open(ctx, flags)
	return f, how | fuse.FOPEN_DIRECT_IO, errno
}

func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	inode, f, how, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	return inode, f, how | fuse.FOPEN_DIRECT_IO, errno
}
