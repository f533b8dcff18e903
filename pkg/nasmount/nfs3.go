package nasmount

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/buildbarn/go-xdr/pkg/protocols/mount"
	"github.com/buildbarn/go-xdr/pkg/protocols/nfsv3"
	"github.com/buildbarn/go-xdr/pkg/runtime"
)

// statusError is a refusal of the MOUNT or NFS program itself.
type statusError struct {
	call   string // e.g. CREATE
	status nfsv3.Nfsstat3
}

func (e *statusError) Error() string {
	name := nfsv3.Nfsstat3_name[e.status]
	if name == "" {
		name = "status"
	}
	return fmt.Sprintf("%s: %s (%d)", e.call, name, e.status)
}

// dirpath is a path as the MOUNT program takes it: bytes, not only ASCII.
type dirpath string

func (p dirpath) WriteTo(w io.Writer) (int64, error) {
	return runtime.WriteVariableLengthOpaque(w, mount.MNTPATHLEN, []byte(p))
}

// mapping asks the portmapper for a program's TCP port (RFC 1833, 3).
type mapping struct{ program, version uint32 }

func (m mapping) WriteTo(w io.Writer) (int64, error) {
	const tcp = 6
	err := binary.Write(w, binary.BigEndian, [4]uint32{m.program, m.version, tcp, 0})
	return 16, err
}

const (
	portmapProgram = 100000
	nfsProgram     = nfsv3.NFS_PROGRAM_PROGRAM_NUMBER
	mountProgram   = mount.MOUNT_PROGRAM_PROGRAM_NUMBER
)

// getPort is 0 where the program is not registered.
func getPort(ctx context.Context, c *rpcClient, program, version uint32) (uint16, error) {
	r, err := c.call(ctx, portmapProgram, 2, 3, mapping{program, version})
	if err != nil {
		return 0, fmt.Errorf("GETPORT: %w", err)
	}
	port, _, err := runtime.ReadUnsignedInt(r)
	if err == nil && port > math.MaxUint16 {
		err = fmt.Errorf("%w: port %d", errNotRPC, port)
	}
	return uint16(port), err
}

// mnt returns the handle of an exported directory. MOUNT's numbers of errors are
// those of NFS.
func mnt(ctx context.Context, c *rpcClient, path string) (nfsv3.NfsFh3, error) {
	r, err := c.call(ctx, mountProgram, 3, 1, dirpath(path))
	if err != nil {
		return nfsv3.NfsFh3{}, fmt.Errorf("MNT: %w", err)
	}
	result, _, err := mount.ReadMountres3(r)
	if err != nil {
		return nfsv3.NfsFh3{}, fmt.Errorf("MNT: %w: %w", errNotRPC, err)
	}
	ok, isOK := result.(*mount.Mountres3_MNT3_OK)
	if !isOK {
		return nfsv3.NfsFh3{}, &statusError{"MNT", nfsv3.Nfsstat3(result.GetFhsStatus())}
	}
	return nfsv3.NfsFh3{Data: ok.Mountinfo.Fhandle}, nil
}

func umnt(ctx context.Context, c *rpcClient, path string) error {
	_, err := c.call(ctx, mountProgram, 3, 3, dirpath(path))
	return err
}

// Procedures of NFSv3 (RFC 1813, 3.3).
const (
	getattr = 1
	lookup  = 3
	read    = 6
	write   = 7
	create  = 8
	remove  = 12
	fsstat  = 18
)

func procedureName(procedure uint32) string {
	return map[uint32]string{getattr: "GETATTR", lookup: "LOOKUP", read: "READ", write: "WRITE", create: "CREATE", remove: "REMOVE", fsstat: "FSSTAT"}[procedure]
}

// ask calls a procedure of NFSv3 and reads its results, which are a T where the
// server did as it was asked.
func ask[T any, R interface{ GetStatus() nfsv3.Nfsstat3 }](ctx context.Context, c *rpcClient, procedure uint32, args io.WriterTo, readResult func(io.Reader) (R, int64, error)) (*T, error) {
	name := procedureName(procedure)
	r, err := c.call(ctx, nfsProgram, 3, procedure, args)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	result, _, err := readResult(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, errNotRPC, err)
	}
	ok, isOK := any(result).(*T)
	if !isOK {
		return nil, &statusError{name, result.GetStatus()}
	}
	return ok, nil
}

func attributes(ctx context.Context, c *rpcClient, file nfsv3.NfsFh3) (nfsv3.Fattr3, error) {
	r, err := ask[nfsv3.Getattr3res_NFS3_OK](ctx, c, getattr, &nfsv3.Getattr3args{Object: file}, nfsv3.ReadGetattr3res)
	if err != nil {
		return nfsv3.Fattr3{}, err
	}
	return r.Resok.ObjAttributes, nil
}

func space(ctx context.Context, c *rpcClient, root nfsv3.NfsFh3) (nfsv3.Fsstat3resok, error) {
	r, err := ask[nfsv3.Fsstat3res_NFS3_OK](ctx, c, fsstat, &nfsv3.Fsstat3args{Fsroot: root}, nfsv3.ReadFsstat3res)
	if err != nil {
		return nfsv3.Fsstat3resok{}, err
	}
	return r.Resok, nil
}

// createFile makes an empty file of mode 0600, and fails where the name is taken. A
// file may be there unless made is false.
func createFile(ctx context.Context, c *rpcClient, dir nfsv3.NfsFh3, name string) (file nfsv3.NfsFh3, made bool, err error) {
	args := &nfsv3.Create3args{Where: nfsv3.Diropargs3{Dir: dir, Name: name}, How: &nfsv3.Createhow3_GUARDED{ObjAttributes: nfsv3.Sattr3{
		Mode: &nfsv3.SetMode3_TRUE{Mode: 0o600}, Uid: &nfsv3.SetUid3_default{}, Gid: &nfsv3.SetGid3_default{},
		Size: &nfsv3.SetSize3_default{}, Atime: &nfsv3.SetAtime_default{}, Mtime: &nfsv3.SetMtime_default{},
	}}}
	r, err := ask[nfsv3.Create3res_NFS3_OK](ctx, c, create, args, nfsv3.ReadCreate3res)
	if err != nil {
		return nfsv3.NfsFh3{}, !isRefusal(err), err
	}
	if handle, ok := r.Resok.Obj.(*nfsv3.PostOpFh3_TRUE); ok {
		return handle.Handle, true, nil
	}
	// A server need not tell the handle of what it made.
	found, err := ask[nfsv3.Lookup3res_NFS3_OK](ctx, c, lookup, &nfsv3.Lookup3args{What: args.Where}, nfsv3.ReadLookup3res)
	if err != nil {
		return nfsv3.NfsFh3{}, true, err
	}
	return found.Resok.Object, true, nil
}

// writeFile returns when the server has the data on stable storage.
func writeFile(ctx context.Context, c *rpcClient, file nfsv3.NfsFh3, data []byte) error {
	args := &nfsv3.Write3args{File: file, Count: uint32(len(data)), Stable: nfsv3.FILE_SYNC, Data: data}
	r, err := ask[nfsv3.Write3res_NFS3_OK](ctx, c, write, args, nfsv3.ReadWrite3res)
	if err == nil && r.Resok.Count != uint32(len(data)) {
		err = fmt.Errorf("WRITE: %d of %d bytes", r.Resok.Count, len(data))
	}
	return err
}

func readFile(ctx context.Context, c *rpcClient, file nfsv3.NfsFh3, size int) ([]byte, error) {
	r, err := ask[nfsv3.Read3res_NFS3_OK](ctx, c, read, &nfsv3.Read3args{File: file, Count: uint32(size)}, nfsv3.ReadRead3res)
	if err != nil {
		return nil, err
	}
	return r.Resok.Data, nil
}

func removeFile(ctx context.Context, c *rpcClient, dir nfsv3.NfsFh3, name string) error {
	args := &nfsv3.Remove3args{Object: nfsv3.Diropargs3{Dir: dir, Name: name}}
	_, err := ask[nfsv3.Remove3res_NFS3_OK](ctx, c, remove, args, nfsv3.ReadRemove3res)
	return err
}
