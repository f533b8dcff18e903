package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// argv[0] of the two children that this package starts from its own binary.
const (
	initName  = "eci-sandbox-init"
	probeName = "eci-sandbox-probe"
)

// Descriptors that a re-exec'd child inherits.
const (
	specFD   = 3 // init: initSpec as JSON
	reportFD = 4 // init: initReport as JSON, twice at most
	probeFD  = 3 // probe: a sentence where it fails
)

// initSpec is what init needs to become a container's PID 1.
type initSpec struct {
	Dir      string // the container's directory on the host
	UserNS   bool   // the host lives in a user namespace: ids and xattrs are restricted
	Hostname string
	Files    []Mount           // single files; left out where the image has no place for them
	Cgroups  map[string]string // host directory -> name below /sys/fs/cgroup
	Config   ContainerConfig   // Log is nil
}

// initReport is init's answer once everything but the exec is done; or Error.
type initReport struct {
	Error string      `json:",omitempty"`
	User  credentials // as resolved inside
	Env   []string    // with HOME
}

// init catches the children. It runs in every binary that imports the package
// and does no more than look at argv[0].
func init() {
	if len(os.Args) == 0 {
		return
	}
	switch os.Args[0] {
	case initName:
		initMain()
	case probeName:
		probeMain()
	}
}

// initMain never returns: it execs, or exits after a report.
func initMain() {
	runtime.LockOSThread() // rights and ids below belong to the thread
	// What whoever started this process ignores, as nohup does, a container does not: a
	// signal with a handler has its default action after exec.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM)
	unix.CloseOnExec(specFD)
	unix.CloseOnExec(reportFD)
	report := json.NewEncoder(os.NewFile(reportFD, "report"))
	err := runInit(os.NewFile(specFD, "spec"), report)
	_ = report.Encode(initReport{Error: err.Error()})
	os.Exit(127)
}

// runInit builds the container around this process and execs its command; it
// returns only with an error.
func runInit(in *os.File, report *json.Encoder) error {
	var spec initSpec
	if err := json.NewDecoder(in).Decode(&spec); err != nil {
		return fmt.Errorf("read spec: %w", err)
	}
	unix.Umask(0) // modes below are meant as written
	if err := buildRoot(spec); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
		return fmt.Errorf("set hostname: %w", err)
	}
	cfg := spec.Config
	user, err := resolveUser(cfg.User)
	if err != nil {
		return err
	}
	env := withHome(cfg.Env, user.Home)
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return fmt.Errorf("create working directory: %w", err)
	}
	if err := unix.Chdir(cfg.Dir); err != nil {
		return fmt.Errorf("working directory %s: %w", cfg.Dir, err)
	}
	path, err := lookPath(cfg.Args[0], env)
	if err != nil {
		return err
	}
	for fd := 1; fd <= 2; fd++ { // so that the user can open /dev/stdout
		if err := unix.Fchown(fd, user.UID, user.GID); err != nil && !spec.UserNS {
			return fmt.Errorf("hand over output: %w", err)
		}
	}
	unix.Umask(0o022)
	if err := user.drop(cfg, spec.UserNS); err != nil {
		return err
	}
	// The kernel forgets it with a change of ids. Should the parent have died in
	// between, the report fails and so does this process.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("set parent death signal: %w", err)
	}
	if err := report.Encode(initReport{User: user, Env: env}); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return execError(cfg.Args[0], syscall.Exec(path, cfg.Args, env))
}

// withHome adds HOME where env has none, as runc does.
func withHome(env []string, home string) []string {
	if slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "HOME=") }) {
		return env
	}
	return append(slices.Clone(env), "HOME="+home)
}

// execError says more than "no such file" for the two mistakes users meet.
func execError(name string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("exec: %q: its interpreter or loader is missing: %w", name, err)
	case errors.Is(err, unix.ENOEXEC):
		return fmt.Errorf("exec: %q: no #! line, or built for another machine: %w", name, err)
	}
	return fmt.Errorf("exec: %q: %w", name, err)
}

// probeMain tries what a container needs most, see Supported.
func probeMain() {
	out := os.NewFile(probeFD, "probe")
	if err := probe(); err != nil {
		_, _ = fmt.Fprint(out, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func probe() error {
	if err := privateMounts(); err != nil {
		return err
	}
	const at = "/tmp"
	if err := unix.Mount("tmpfs", at, "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w: allow mounts to this process (in docker: --privileged)", at, err)
	}
	for _, d := range []string{"lower", "upper", "work", "root"} {
		if err := os.Mkdir(at+"/"+d, 0o755); err != nil {
			return err
		}
	}
	opts := "lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work"
	if inUserNamespace() {
		opts += ",userxattr"
	}
	if err := unix.Mount("overlay", at+"/root", "overlay", 0, opts); err != nil {
		return fmt.Errorf("mount an overlay: %w: load the kernel module (modprobe overlay); without root it takes Linux 5.11", err)
	}
	if err := unix.Mount("proc", at+"/lower", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w: the /proc of this process is masked (in docker: --privileged)", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	runtime.LockOSThread()
	return installSeccomp()
}
