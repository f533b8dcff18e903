package ecitest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
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
	StopSignal string // "" = TERM; a name such as SIGQUIT, or a number

	id string // digest of its configuration, "" where it has none
}

// Delays are how long things take. The zero value is fast, not ECI's pace.
type Delays struct {
	API      time.Duration // added to each call
	Schedule time.Duration // a new group stays Scheduling
	Pull     time.Duration // pulling each image
	Delete   time.Duration // from the containers' end to the group's disappearance
	Cache    time.Duration // making an image cache, its pulls included

	MaxPending time.Duration // Pending for longer becomes Failed; 0 = 4 h as documented
	Restart    time.Duration // second restart and second pull wait this long, doubling up to 5 min; 0 = 10 s, as the kubelet
	Keep       time.Duration // how long a terminal group is listed when it is not among the latest 100; 0 = 1 h
}

func (d *Delays) setDefaults() {
	setDefault(&d.MaxPending, 4*time.Hour)
	setDefault(&d.Restart, 10*time.Second)
	setDefault(&d.Keep, time.Hour)
}

// Options say how a Server behaves. Only Dir is required.
type Options struct {
	Dir     string           // its state: NAS directories and unpacked images (kept), volumes and containers (removed)
	Address string           // to listen on, default 127.0.0.1:0
	Images  map[string]Image // by reference
	Layouts []Layout         // OCI layouts, for references that Images does not have
	Pull    bool             // all other references are pulled from their registry; without it that fails as for an image that is not there

	AccessKeyID     string // default "local"
	AccessKeySecret string // default "local-secret"

	// Privileged admits the account to privileged containers, which may then do to
	// this machine what this process may. Without it a request for one is refused.
	Privileged bool

	// Forward names TCP addresses that each group reaches under the same address:
	// of the host's loopback, such as "127.0.0.1:8929", or of another host by its
	// name, such as "gitlab.com:443", which the group's hosts file then has.
	Forward []string
	// Dial connects to these; default (*net.Dialer).DialContext.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	Stock       Stock         // what the account can get; the zero value is everything
	Rates       Rates         // limits of calls; the zero value is none
	ClockOffset time.Duration // how far the server's clock is ahead of this machine's

	Delays   Delays
	Switches Switches
	Faults   Faults
	Log      func(format string, args ...any) // nil = silent
}

// Server is a running local ECI.
type Server struct {
	opts        Options
	forwardings []forwarding // parsed from opts.Forward
	actions     map[string]action
	host        *sandbox.Host
	sources     sources
	http        *http.Server
	addr        string
	ctx         context.Context // ends with Close
	cancel      context.CancelFunc
	work        sync.WaitGroup // groups' and exec sessions' goroutines

	mu       sync.Mutex
	closed   bool
	faults   *decider
	groups   map[string]*group
	seq      int // of the last group created
	stock    Stock
	tokens   map[string]*outcome     // action, region and client token -> what came of it
	caches   []*imageCache           // oldest first
	recent   map[string][]time.Time  // action, and perhaps region -> calls within Rates.Window
	sessions map[string]*execSession // exec token -> session not yet connected
	calls    []Call
	bills    []Bill
	perCall  map[string]int // action -> calls so far
	execs    int            // exec addresses given out so far
	made     int            // groups so far
	sockets  map[string]int // open exec sockets by group

	collected map[[2]string][]Collected // by project and logstore
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
	opts.setDefaults()
	forwardings, err := parseForwards(opts.Forward)
	if err != nil {
		return nil, fmt.Errorf("ecitest: Options.Forward: %w", err)
	}
	host, err := sandbox.NewHost(filepath.Join(dir, "sandbox"))
	if err != nil {
		return nil, fmt.Errorf("ecitest: %w", err)
	}
	// The sandbox's lock on the directory is ours from here on.
	if err := sweepVolumes(filepath.Join(dir, volumesDir)); err != nil {
		return nil, errors.Join(fmt.Errorf("ecitest: %w", err), host.Close())
	}
	sources, err := newSources(opts, filepath.Join(dir, imagesDir))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ecitest: %w", err), host.Close())
	}
	l, err := net.Listen("tcp", opts.Address)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ecitest: %w", err), host.Close())
	}
	s := &Server{
		opts: opts, host: host, forwardings: forwardings, sources: sources, addr: l.Addr().String(), faults: newDecider(opts.Faults),
		actions: allActions(), stock: opts.Stock, recent: map[string][]time.Time{},
		groups: map[string]*group{}, tokens: map[string]*outcome{},
		sessions: map[string]*execSession{}, perCall: map[string]int{}, sockets: map[string]int{}, collected: map[[2]string][]Collected{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.serve(l)
	return s, nil
}

// Sweep ends and unmounts what a process that was killed left in a directory that had the
// Dir of its server, "eci", in it, and removes the directory. Where the server still lives,
// that is an error.
func Sweep(dir string) error {
	host, err := sandbox.NewHost(filepath.Join(dir, "eci", "sandbox"))
	if err != nil {
		return fmt.Errorf("ecitest: %w", err)
	}
	if err := errors.Join(host.Close(), sweepVolumes(dir)); err != nil {
		return fmt.Errorf("ecitest: %w", err)
	}
	return nil
}

func (o *Options) setDefaults() {
	setDefault(&o.Address, "127.0.0.1:0")
	setDefault(&o.AccessKeyID, "local")
	setDefault(&o.AccessKeySecret, "local-secret")
	o.Delays.setDefaults()
	o.Switches.setDefaults()
	setDefault(&o.Delays.Schedule, o.Switches.SchedulingTime)
	setDefault(&o.Rates.Window, time.Minute)
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
}

// serve answers the API's calls and the sockets of execs at l.
func (s *Server) serve(l net.Listener) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{$}", s.serveRPC)
	mux.HandleFunc("GET /{$}", s.serveRPC)
	mux.HandleFunc("GET "+execPath, s.serveExec)
	s.http = &http.Server{
		Handler:           s.bounded(mux),
		ReadHeaderTimeout: 10 * time.Second,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	go func() {
		if err := s.http.Serve(burstListener{l}); !errors.Is(err, http.ErrServerClosed) {
			s.opts.Log("ecitest: serve: %v", err)
		}
	}()
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

// OSSDir is the host directory behind a bucket. It may not exist: then nothing can
// mount it. It is kept as NAS directories are.
func (s *Server) OSSDir(bucket string) string {
	return filepath.Join(s.opts.Dir, "oss", "_"+strings.ReplaceAll(bucket, "/", "_"))
}

// KillContainer sends SIGKILL to PID 1 of a running container.
func (s *Server) KillContainer(groupID, name string) error {
	g, err := s.lookUp(groupID)
	if err != nil {
		return err
	}
	return g.kill(name)
}

// StarveContainer does the same in the way the kernel does when memory runs out.
func (s *Server) StarveContainer(groupID, name string) error {
	g, err := s.lookUp(groupID)
	if err != nil {
		return err
	}
	return g.starve(name)
}

// SetStock replaces Options.Stock from now on.
func (s *Server) SetStock(stock Stock) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stock = stock
}

// now is the time that the API shows and checks.
func (s *Server) now() time.Time { return time.Now().Add(s.opts.ClockOffset) }

// SetFaults replaces the faults; counts of calls go on.
func (s *Server) SetFaults(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = newDecider(f)
}
