package ecitest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/eci-executor/eci-executor/internal/sandbox"
)

// Image is what a container starts from.
type Image struct {
	Layers     []string // directories, topmost first; never written to
	Env        []string // KEY=VALUE
	User       string   // as in a Dockerfile: "", uid[:gid] or a name
	WorkingDir string
	Entrypoint []string
	Cmd        []string
}

// Delays are how long things take. The zero value is fast, not ECI's pace.
type Delays struct {
	API      time.Duration // added to each call
	Schedule time.Duration // a new group stays Scheduling
	Pull     time.Duration // pulling each image
	Delete   time.Duration // from the containers' end to the group's disappearance

	MaxPending time.Duration // Pending for longer becomes Failed; 0 = 4 h as documented
	Restart    time.Duration // second restart and second pull wait this long, doubling up to 5 min; 0 = 10 s, as the kubelet
}

func (d *Delays) setDefaults() {
	for _, f := range []struct {
		value *time.Duration
		def   time.Duration
	}{
		{&d.MaxPending, 4 * time.Hour}, {&d.Restart, 10 * time.Second},
	} {
		if *f.value == 0 {
			*f.value = f.def
		}
	}
}

// Options say how a Server behaves. Only Dir is required.
type Options struct {
	Dir     string           // its state: NAS directories (kept), volumes and containers (removed)
	Address string           // to listen on, default 127.0.0.1:0
	Images  map[string]Image // by reference; pulling any other reference fails as it does on ECI

	AccessKeyID     string // default "local"
	AccessKeySecret string // default "local-secret"

	// Forward names TCP addresses on the host's loopback, such as
	// "127.0.0.1:8929", that each group reaches under the same address.
	Forward []string

	Delays   Delays
	Switches Switches
	Faults   Faults
	Log      func(format string, args ...any) // nil = silent
}

// Server is a running local ECI.
type Server struct {
	opts   Options
	host   *sandbox.Host
	http   *http.Server
	addr   string
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // groups' and exec sessions' goroutines

	mu       sync.Mutex
	closed   bool
	faults   *decider
	groups   map[string]*group
	seq      int                     // of the last group created
	tokens   map[string]createdBy    // client token -> what it made
	sessions map[string]*execSession // exec token -> session not yet connected
	calls    []Call
	perCall  map[string]int // action -> calls so far
	execs    int            // exec addresses given out so far
	made     int            // groups so far
	sockets  map[string]int // open exec sockets by group
}

// Start sweeps what an earlier server left in opts.Dir and serves until Close.
func Start(opts Options) (*Server, error) {
	if opts.Dir == "" {
		return nil, errors.New("ecitest: Options.Dir is required")
	}
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("ecitest: %w", err)
	}
	opts.Dir = dir
	setDefault(&opts.Address, "127.0.0.1:0")
	setDefault(&opts.AccessKeyID, "local")
	setDefault(&opts.AccessKeySecret, "local-secret")
	opts.Delays.setDefaults()
	opts.Switches.setDefaults()
	if opts.Log == nil {
		opts.Log = func(string, ...any) {}
	}
	host, err := sandbox.NewHost(filepath.Join(dir, "sandbox"))
	if err != nil {
		return nil, fmt.Errorf("ecitest: %w", err)
	}
	// The sandbox's lock on the directory is ours from here on.
	if err := sweepVolumes(filepath.Join(dir, volumesDir)); err != nil {
		return nil, errors.Join(fmt.Errorf("ecitest: %w", err), host.Close())
	}
	l, err := net.Listen("tcp", opts.Address)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ecitest: %w", err), host.Close())
	}
	s := &Server{
		opts: opts, host: host, addr: l.Addr().String(), faults: newDecider(opts.Faults),
		groups: map[string]*group{}, tokens: map[string]createdBy{},
		sessions: map[string]*execSession{}, perCall: map[string]int{}, sockets: map[string]int{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	mux := http.NewServeMux()
	mux.HandleFunc("/", s.serveRPC)
	mux.HandleFunc("GET "+execPath, s.serveExec)
	s.http = &http.Server{
		Handler:           s.bounded(mux),
		ReadHeaderTimeout: 10 * time.Second,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	go func() {
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			opts.Log("ecitest: serve: %v", err)
		}
	}()
	return s, nil
}

// connKey is the context key of a request's TCP connection, which faults cut.
type connKey struct{}

func setDefault[T comparable](field *T, value T) {
	var none T
	if *field == none {
		*field = value
	}
}

// URL is where the API answers: http://127.0.0.1:port.
func (s *Server) URL() string { return "http://" + s.addr }

// Close ends all groups at once and removes all but the NAS directories. It may
// be called more than once.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	sessions := s.sessions
	s.sessions = map[string]*execSession{}
	s.mu.Unlock()

	s.cancel()
	err := s.http.Close()
	for _, x := range sessions {
		x.abandon()
	}
	err = errors.Join(err, s.host.Close()) // kills every process, so that all goroutines come to their end
	s.work.Wait()
	err = errors.Join(err, sweepVolumes(filepath.Join(s.opts.Dir, volumesDir)),
		os.RemoveAll(filepath.Join(s.opts.Dir, "sandbox")))
	if err != nil {
		return fmt.Errorf("ecitest: close: %w", err)
	}
	return nil
}

// start runs f in a goroutine that Close waits for; false after Close.
func (s *Server) start(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.work.Go(f)
	return true
}

// GroupInfo is a group as a test sees it.
type GroupInfo struct {
	ID, Name, Status string
	Tags             map[string]string
	Containers       map[string]string // name -> Waiting, Running or Terminated
}

// Groups lists all groups that a describe call could show, oldest first.
func (s *Server) Groups() []GroupInfo {
	var infos []GroupInfo
	for _, g := range s.sortedGroups() {
		g.mu.Lock()
		info := GroupInfo{
			ID: g.id, Name: g.spec.Name, Status: g.status(), Tags: map[string]string{}, Containers: map[string]string{},
		}
		for _, t := range g.spec.Tags {
			info.Tags[t.Key] = t.Value
		}
		for _, c := range g.containers {
			info.Containers[c.spec.Name] = c.current.State
		}
		g.mu.Unlock()
		infos = append(infos, info)
	}
	return infos
}

// Live lists the ids of the groups that are billed or on the way to it: neither
// terminal nor deleted. Tests end with none.
func (s *Server) Live() []string {
	live := []string{}
	for _, g := range s.sortedGroups() {
		g.mu.Lock()
		if !g.over() {
			live = append(live, g.id)
		}
		g.mu.Unlock()
	}
	return live
}

func (s *Server) sortedGroups() []*group {
	s.mu.Lock()
	defer s.mu.Unlock()
	groups := make([]*group, 0, len(s.groups))
	for _, g := range s.groups {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b *group) int { return a.seq - b.seq })
	return groups
}

// Call is one API call that arrived, refused or not.
type Call struct {
	Action     string
	Time       time.Time
	Duration   time.Duration
	Params     url.Values
	InQuery    []string // names of the parameters that came in the URL
	Code       string   // error code; "" on success, "cut" where a fault cut the connection
	HTTPStatus int      // 0 where the connection was cut
}

// Calls lists all calls so far in the order of their answers.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// NASDir is the host directory behind a path of a NAS mount target. It may not
// exist yet, and is kept over groups and servers of the same Options.Dir.
func (s *Server) NASDir(server, path string) string {
	name := strings.Map(func(r rune) rune {
		if r == '/' || r == 0 {
			return '_'
		}
		return r
	}, server)
	return filepath.Join(s.opts.Dir, "nas", "_"+name, filepath.Clean("/"+path))
}

// KillContainer sends SIGKILL to PID 1 of a running container.
func (s *Server) KillContainer(groupID, name string) error {
	g, err := s.lookUp(groupID)
	if err != nil {
		return err
	}
	return g.kill(name)
}

// SetFaults replaces the faults; counts of calls go on.
func (s *Server) SetFaults(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = newDecider(f)
}
