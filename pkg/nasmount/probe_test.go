package nasmount

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	nfs "github.com/willscott/go-nfs"

	"github.com/eci-executor/eci-executor/internal/testport"
)

// nothingIn fails where a probe left something behind.
func nothingIn(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v %v", entries, err)
	}
}

// steps is a clock that moves by the next of its steps at every second reading.
func steps(steps ...time.Duration) func() time.Time {
	now, n := time.Unix(0, 0), 0
	return func() time.Time {
		if n%2 == 1 {
			now = now.Add(steps[n/2%len(steps)])
		}
		n++
		return now
	}
}

func TestProbe(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o2751); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	want := Report{Path: "/ci", Local: "127.0.0.1", RoundTrip: 3 * time.Millisecond, UID: owner.Uid, GID: owner.Gid,
		Mode: 0o751, FreeBytes: freeBytes, Writable: true, Squashed: os.Getuid() != 0, FileUID: uint32(os.Getuid())}
	tests := []struct {
		name   string
		target Target
		export export
		change func(*Report)
	}{
		{"writable", Target{Path: "/ci"}, export{}, nil},
		{"not to be written", Target{Path: "/ci", ReadOnly: true}, export{},
			func(r *Report) { r.Writable, r.Squashed, r.FileUID = false, false, 0 }},
		{"read-only export, not to be written", Target{Path: "/ci", ReadOnly: true}, export{readOnly: true},
			func(r *Report) { r.Writable, r.Squashed, r.FileUID = false, false, 0 }},
		{"squashed", Target{Path: "/ci"}, export{squash: 65534},
			func(r *Report) { r.UID, r.Squashed, r.FileUID = 65534, true, 65534 }},
		{"made when a job starts", Target{Path: "/ci/cache/main", Made: true}, export{}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.export.dir = dir
			server := startNFS(t, exports{"/ci": tt.export})
			tt.target.Server = "nas"
			ms := time.Millisecond
			got, err := Prober{Dial: server.dial, Now: steps(9*ms, ms, 3*ms, 2*ms, 7*ms)}.Probe(t.Context(), tt.target)
			if err != nil {
				t.Fatal(err)
			}
			want := want
			if tt.change != nil {
				tt.change(&want)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			nothingIn(t, dir)
		})
	}
}

func TestProbeFails(t *testing.T) {
	tests := []struct {
		name   string
		target Target
		export export
		dial   func(*testing.T) func(context.Context, string, string) (net.Conn, error) // nil: the server's
		kind   error
		says   []string
	}{
		{"absent export", Target{Path: "/wrong"}, export{}, nil, ErrNoSuchPath,
			[]string{"nas:/wrong:", "NOENT", "Correct path", "On Extreme NAS every path starts with /share"}},
		{"wrong directory", Target{Path: "/ci/cahce/x"}, export{}, nil, ErrNoSuchPath,
			[]string{"The nearest directory that can be mounted is /ci", "plain NFSVolume"}},
		{"missing, where the server denies what it does not have", Target{Path: "/ci/denied"}, export{}, nil, ErrNoSuchPath,
			[]string{"ACCES", "The nearest directory that can be mounted is /ci"}},
		{"not exported to this host", Target{Path: "/ci"}, export{status: nfs.MountStatusErrAcces}, nil, ErrDenied,
			[]string{"ACCES", "Add a rule for this host (127.0.0.1)", "permission group"}},
		{"read-only export", Target{Path: "/ci"}, export{readOnly: true}, nil, ErrReadOnly,
			[]string{"CREATE: NFS3ERR_ROFS", "read and write access", "read_only = true"}},
		{"not writable, as where root is squashed", Target{Path: "/ci"}, export{denied: true, squash: 1000}, nil, ErrNotWritable,
			[]string{"CREATE: NFS3ERR_ACCES", "belongs to uid 1000 with mode 0755", "no_squash"}},
		{"closed port", Target{Path: "/ci"}, export{}, func(t *testing.T) func(context.Context, string, string) (net.Conn, error) {
			address := testport.Closed(t)
			return func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, address)
			}
		}, ErrClosedPort, []string{"connection refused", "port 111", "NFS (not SMB)"}},
		{"unknown name", Target{Path: "/ci"}, export{}, func(*testing.T) func(context.Context, string, string) (net.Conn, error) {
			return func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "nas", IsNotFound: true}}
			}
		}, ErrUnknownHost, []string{"no such host", "VPC's DNS"}},
		{"packets dropped", Target{Path: "/ci"}, export{}, func(*testing.T) func(context.Context, string, string) (net.Conn, error) {
			return func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}
			}
		}, ErrUnreachable, []string{"i/o timeout", "security group", "another VPC"}},
		{"another protocol", Target{Path: "/ci"}, export{}, answering("HTTP/1.1 400 Bad Request\r\n\r\n"), ErrNotNFS,
			[]string{"not one of ONC RPC", "type NFS"}},
		{"closed without a word", Target{Path: "/ci"}, export{}, answering(""), ErrUnreachable,
			[]string{"EOF", "permission group may have no rule for this host (127.0.0.1)"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			tt.export.dir = dir
			p := Prober{Dial: startNFS(t, exports{"/ci": tt.export, "/ci/denied": {status: nfs.MountStatusErrAcces}}).dial}
			if tt.dial != nil {
				p.Dial = tt.dial(t)
			}
			tt.target.Server = "nas"
			_, err := p.Probe(t.Context(), tt.target)
			var probe *ProbeError
			if !errors.Is(err, tt.kind) || !errors.As(err, &probe) {
				t.Fatalf("error %v, want kind %v", err, tt.kind)
			}
			for _, s := range tt.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
			nothingIn(t, dir)
		})
	}
}

// answering is a network on which every port reads a little and says text.
func answering(text string) func(*testing.T) func(context.Context, string, string) (net.Conn, error) {
	return func(t *testing.T) func(context.Context, string, string) (net.Conn, error) {
		return scripted(t, func(c net.Conn) {
			c.Read(make([]byte, 1024))
			io.WriteString(c, text)
		})
	}
}

// scripted is a network on which every port does serve with each connection.
func scripted(t *testing.T, serve func(net.Conn)) func(context.Context, string, string) (net.Conn, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, l.Addr().String())
	}
}

func TestTargetOfAMount(t *testing.T) {
	tests := []struct {
		name string
		m    Mount
		want Target
	}{
		{"plain", table(nil), Target{Server: server, Path: "/ci/cache", Made: true}},
		{"to the first placeholder", table(func(m *Mount) { m.Path = "/ci/p{project_id}/x" }), Target{Server: server, Path: "/ci", Made: true}},
		{"sub path", table(func(m *Mount) { m.SubPath = "a/{project_id}" }), Target{Server: server, Path: "/ci/cache/a", Made: true}},
		{"nothing but a placeholder", table(func(m *Mount) { m.Path = "/{project_path}" }), Target{Server: server, Path: "/", Made: true}},
		{"NFSVolume, read-only", table(func(m *Mount) { m.Options, m.ReadOnly = "", true }), Target{Server: server, Path: "/ci/cache", ReadOnly: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.m.Target(); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}
