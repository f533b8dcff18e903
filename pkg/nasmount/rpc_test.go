package nasmount

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/buildbarn/go-xdr/pkg/protocols/mount"
	"github.com/buildbarn/go-xdr/pkg/protocols/nfsv3"
	"github.com/buildbarn/go-xdr/pkg/protocols/rpcv2"
)

// rpcAnswer writes the reply of an RPC server to the call that it reads.
func rpcAnswer(c net.Conn, status rpcv2.AcceptStat, results ...byte) bool {
	return rpcServe(c, func(rpcv2.CallBody) (rpcv2.AcceptStat, []byte) { return status, results })
}

func rpcServe(c net.Conn, answer func(rpcv2.CallBody) (rpcv2.AcceptStat, []byte)) bool {
	record, err := readRecord(c)
	if err != nil {
		return false
	}
	var message rpcv2.RpcMsg
	if _, err := message.ReadFrom(bytes.NewReader(record)); err != nil {
		return false
	}
	status, results := answer(message.Body.(*rpcv2.RpcMsgBody_CALL).Cbody)
	var b bytes.Buffer
	var data rpcv2.AcceptedReplyData = &rpcv2.AcceptedReplyData_SUCCESS{}
	if status != rpcv2.SUCCESS {
		data = &rpcv2.AcceptedReplyData_default{Stat: status}
	}
	reply := rpcv2.RpcMsg{Xid: message.Xid, Body: &rpcv2.RpcMsgBody_REPLY{Rbody: &rpcv2.ReplyBody_MSG_ACCEPTED{
		Areply: rpcv2.AcceptedReply{ReplyData: data}}}}
	reply.WriteTo(&b)
	b.Write(results)
	sendRecord(c, b.Bytes(), b.Len())
	return true
}

// sendRecord sends a record in fragments of at most size bytes.
func sendRecord(w io.Writer, record []byte, size int) {
	for len(record) > 0 {
		n := min(size, len(record))
		mark := uint32(n)
		if n == len(record) {
			mark |= 1 << 31
		}
		w.Write(binary.BigEndian.AppendUint32(nil, mark))
		w.Write(record[:n])
		record = record[n:]
	}
}

// A server that has MOUNT at a port of its own, as many have, tells it through its
// portmapper.
func TestProbeAsksThePortmapper(t *testing.T) {
	dir := t.TempDir()
	server := startNFS(t, exports{"/": {dir: dir}})
	portmapper := func(mountPort, nfsPort uint32) func(net.Conn) {
		return func(c net.Conn) {
			rpcAnswer(c, rpcv2.SUCCESS, binary.BigEndian.AppendUint32(nil, mountPort)...)
			rpcAnswer(c, rpcv2.SUCCESS, binary.BigEndian.AppendUint32(nil, nfsPort)...)
		}
	}
	mountless := func(c net.Conn) {
		for rpcAnswer(c, rpcv2.PROG_UNAVAIL) {
		}
	}
	tests := []struct {
		name    string
		at2049  func(net.Conn) // nil: closed
		at111   func(net.Conn)
		wantErr string
	}{
		{"MOUNT elsewhere", mountless, portmapper(20048, 2050), ""},
		{"2049 closed", nil, portmapper(20048, 2050), ""},
		{"nothing registered", mountless, portmapper(0, 0), "knows no NFSv3"},
		{"port out of range", mountless, portmapper(1<<16, 2050), "port 65536"},
		{"no portmapper either", mountless, mountless, "PROG_UNAVAIL"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			network := map[string]func(context.Context, string, string) (net.Conn, error){"20048": server.dial, "2050": server.dial}
			if tt.at2049 != nil {
				network["2049"] = scripted(t, tt.at2049)
			}
			network["111"] = scripted(t, tt.at111)
			report, err := Prober{Dial: func(ctx context.Context, proto, address string) (net.Conn, error) {
				_, port, _ := net.SplitHostPort(address)
				dial, ok := network[port]
				if !ok {
					return server.dial(ctx, proto, "nas:"+port) // refused
				}
				return dial(ctx, proto, "nas:2049")
			}}.Probe(t.Context(), Target{Server: "nas", Path: "/"})
			if tt.wantErr != "" {
				if !errors.Is(err, ErrNotNFS) || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("error %v, want one with %q", err, tt.wantErr)
				}
				return
			}
			if err != nil || !report.Writable {
				t.Errorf("report %+v, %v", report, err)
			}
			nothingIn(t, dir)
		})
	}
}

// What a server may leave out of its answers, a probe asks for; and it removes its
// file where the file system is full.
func TestProbeOfATerseServer(t *testing.T) {
	handle := nfsv3.NfsFh3{Data: []byte("handle")}
	none := &nfsv3.PostOpAttr_FALSE{}
	wcc := nfsv3.WccData{Before: &nfsv3.PreOpAttr_FALSE{}, After: none}
	answers := map[uint32]io.WriterTo{
		getattr: &nfsv3.Getattr3res_NFS3_OK{},
		fsstat:  &nfsv3.Fsstat3res_NFS3_OK{Resok: nfsv3.Fsstat3resok{ObjAttributes: none}},
		create:  &nfsv3.Create3res_NFS3_OK{Resok: nfsv3.Create3resok{Obj: &nfsv3.PostOpFh3_FALSE{}, ObjAttributes: none, DirWcc: wcc}},
		lookup:  &nfsv3.Lookup3res_NFS3_OK{Resok: nfsv3.Lookup3resok{Object: handle, ObjAttributes: none, DirAttributes: none}},
		write:   &nfsv3.Write3res_default{Status: nfsv3.NFS3ERR_DQUOT, Resfail: nfsv3.Write3resfail{FileWcc: wcc}},
		remove:  &nfsv3.Remove3res_NFS3_OK{Resok: nfsv3.Remove3resok{DirWcc: wcc}},
	}
	var calls []string
	network := scripted(t, func(c net.Conn) {
		for rpcServe(c, func(call rpcv2.CallBody) (rpcv2.AcceptStat, []byte) {
			var b bytes.Buffer
			switch {
			case call.Prog != mountProgram:
				calls = append(calls, procedureName(call.Proc))
				answers[call.Proc].WriteTo(&b)
			case call.Proc == 1:
				(&mount.Mountres3_MNT3_OK{Mountinfo: mount.Mountres3Ok{Fhandle: handle.Data}}).WriteTo(&b)
			}
			return rpcv2.SUCCESS, b.Bytes()
		}) {
		}
	})
	_, err := Prober{Dial: network}.Probe(t.Context(), Target{Server: "nas", Path: "/"})
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "DQUOT") {
		t.Errorf("error %v, want full", err)
	}
	if got := strings.Join(calls[len(calls)-4:], " "); got != "CREATE LOOKUP WRITE REMOVE" {
		t.Errorf("calls %s", got)
	}
}

func TestReadRecord(t *testing.T) {
	var b bytes.Buffer
	record := []byte(strings.Repeat("0123456789", 20))
	sendRecord(&b, record, 7)
	if got, err := readRecord(&b); err != nil || !bytes.Equal(got, record) {
		t.Errorf("%q, %v", got, err)
	}
	sendRecord(&b, make([]byte, recordMax+1), recordMax)
	if _, err := readRecord(&b); !errors.Is(err, errNotRPC) {
		t.Errorf("a record without bound: %v", err)
	}
}

// Whatever a server sends, a reply is results or an error.
func FuzzReply(f *testing.F) {
	for _, body := range []rpcv2.ReplyBody{
		&rpcv2.ReplyBody_MSG_ACCEPTED{Areply: rpcv2.AcceptedReply{ReplyData: &rpcv2.AcceptedReplyData_SUCCESS{}}},
		&rpcv2.ReplyBody_MSG_ACCEPTED{Areply: rpcv2.AcceptedReply{ReplyData: &rpcv2.AcceptedReplyData_PROG_MISMATCH{}}},
		&rpcv2.ReplyBody_MSG_DENIED{Rreply: &rpcv2.RejectedReply_AUTH_ERROR{Stat: rpcv2.AUTH_TOOWEAK}},
		&rpcv2.ReplyBody_MSG_DENIED{Rreply: &rpcv2.RejectedReply_RPC_MISMATCH{}},
	} {
		var b bytes.Buffer
		m := rpcv2.RpcMsg{Xid: 7, Body: &rpcv2.RpcMsgBody_REPLY{Rbody: body}}
		m.WriteTo(&b)
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		r, err := parseReply(record, 7)
		if (r == nil) == (err == nil) {
			t.Fatalf("reader %v, error %v", r, err)
		}
		if err == nil {
			mount.ReadMountres3(r)
		}
	})
}
