package nasmount

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/buildbarn/go-xdr/pkg/protocols/rpcv2"
)

// recordMax bounds a reply, in bytes. The largest that a probe asks for is some
// hundred.
const recordMax = 64 << 10

// rpcClient speaks ONC RPC (RFC 5531) over TCP, one call at a time. It dials at the
// first call and again after a connection was lost; it repeats no call.
type rpcClient struct {
	dial func(ctx context.Context) (net.Conn, error)
	cred rpcv2.OpaqueAuth
	conn net.Conn
	in   *bufio.Reader
}

// rpcRefusal is a refusal by the RPC layer: the service is not here, or not for this caller.
type rpcRefusal struct {
	text   string
	absent bool // the program is not served at this port
}

func (e *rpcRefusal) Error() string { return e.text }

// asRoot is the credential of uid 0 (AUTH_SYS): what the containers' helper is.
func asRoot() rpcv2.OpaqueAuth {
	parms := rpcv2.AuthsysParms{Machinename: "eci-executor"}
	var b bytes.Buffer
	parms.WriteTo(&b) //nolint:errcheck // a buffer takes all, and the name is short
	return rpcv2.OpaqueAuth{Flavor: rpcv2.AUTH_SYS, Body: b.Bytes()}
}

// call sends one call and returns the reader of its results. When ctx ends, so does
// the connection.
func (c *rpcClient) call(ctx context.Context, program, version, procedure uint32, args io.WriterTo) (io.Reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if c.conn == nil {
		conn, err := c.dial(ctx)
		if err != nil {
			return nil, err
		}
		c.conn, c.in = conn, bufio.NewReader(conn)
	}
	conn := c.conn
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) }) //nolint:errcheck // the call fails one way or the other
	results, err := c.exchange(rpcv2.CallBody{Rpcvers: 2, Prog: program, Vers: version, Proc: procedure, Cred: c.cred}, args)
	if !stop() {
		c.close() // its deadline is in the past
	}
	var refusal *rpcRefusal
	if err != nil && !errors.As(err, &refusal) {
		c.close() // what comes next on it is not known
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return results, err
}

func (c *rpcClient) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

func (c *rpcClient) exchange(body rpcv2.CallBody, args io.WriterTo) (io.Reader, error) {
	xid := rand.Uint32()
	var b bytes.Buffer
	b.Write(make([]byte, 4)) // the record's mark
	message := rpcv2.RpcMsg{Xid: xid, Body: &rpcv2.RpcMsgBody_CALL{Cbody: body}}
	_, err := message.WriteTo(&b)
	if err == nil && args != nil {
		_, err = args.WriteTo(&b)
	}
	if err != nil {
		return nil, fmt.Errorf("writing the call: %w", err)
	}
	const last = 1 << 31
	binary.BigEndian.PutUint32(b.Bytes(), uint32(b.Len()-4)|last)
	if _, err := c.conn.Write(b.Bytes()); err != nil {
		return nil, err
	}
	record, err := readRecord(c.in)
	if err != nil {
		return nil, err
	}
	return parseReply(record, xid)
}

// readRecord reads one record of the stream: fragments, each with its length, the
// last one marked (RFC 5531, 11).
func readRecord(r io.Reader) ([]byte, error) {
	var record bytes.Buffer
	for {
		var mark [4]byte
		if _, err := io.ReadFull(r, mark[:]); err != nil {
			return nil, err
		}
		n := binary.BigEndian.Uint32(mark[:])
		size := int64(n &^ (1 << 31))
		if size+int64(record.Len()) > recordMax {
			return nil, fmt.Errorf("%w: a reply of %d bytes", errNotRPC, size)
		}
		if _, err := io.CopyN(&record, r, size); err != nil {
			return nil, err
		}
		if n>>31 == 1 {
			return record.Bytes(), nil
		}
	}
}

var errNotRPC = errors.New("the answer is not one of ONC RPC")

// parseReply returns the reader of the results of a call that the server accepted.
func parseReply(record []byte, xid uint32) (io.Reader, error) {
	r := bytes.NewReader(record)
	var message rpcv2.RpcMsg
	if _, err := message.ReadFrom(r); err != nil {
		return nil, fmt.Errorf("%w: %w", errNotRPC, err)
	}
	reply, ok := message.Body.(*rpcv2.RpcMsgBody_REPLY)
	if !ok || message.Xid != xid {
		return nil, fmt.Errorf("%w to this call", errNotRPC)
	}
	switch body := reply.Rbody.(type) {
	case *rpcv2.ReplyBody_MSG_ACCEPTED:
		switch status := body.Areply.ReplyData.GetStat(); status {
		case rpcv2.SUCCESS:
			return r, nil
		case rpcv2.PROG_UNAVAIL, rpcv2.PROG_MISMATCH, rpcv2.PROC_UNAVAIL:
			return nil, &rpcRefusal{text: rpcv2.AcceptStat_name[status], absent: true}
		default:
			return nil, &rpcRefusal{text: fmt.Sprintf("%s (%d)", rpcv2.AcceptStat_name[status], status)}
		}
	case *rpcv2.ReplyBody_MSG_DENIED:
		if denied, ok := body.Rreply.(*rpcv2.RejectedReply_AUTH_ERROR); ok {
			return nil, &rpcRefusal{text: rpcv2.AuthStat_name[denied.Stat]}
		}
		return nil, &rpcRefusal{text: "RPC_MISMATCH"}
	}
	return nil, errNotRPC
}
