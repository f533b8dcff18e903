package ecitest

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/eci-executor/eci-executor/internal/sandbox"
)

const (
	defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	maxBackoff  = 5 * time.Minute

	// Of a log that stands for a termination message, as under the kubelet.
	maxLogMessage      = 2 << 10
	maxLogMessageLines = 80
)

// container is one container of a group; g.mu guards what is not of run alone.
type container struct {
	g     *group
	spec  *containerSpec
	tried chan struct{} // closed when the first attempt to start has an outcome

	// Of the goroutine of run alone.
	attempted func()        // closes tried, once
	backoff   time.Duration // before the next try

	started  bool // has run at least once
	final    bool // ended and will not be started again
	restarts int
	oomKills int // of the current start, as told by events
	current  containerState
	previous *containerState
	running  *sandbox.Container // nil unless PID 1 lives
	image    Image              // zero until it is there
	log      *containerLog      // of this start, nil before the first
	lastLog  *containerLog      // of the start before
}

// containerState is CurrentState or PreviousState.
type containerState struct {
	State, Reason, Message string // State: Waiting, Running or Terminated
	ExitCode, Signal       int
	Start, Finish          time.Time
}

// run pulls, starts and restarts the container until it has ended for good or
// the group ends.
func (c *container) run() {
	g := c.g
	c.backoff, c.attempted = g.s.opts.Delays.Restart, sync.OnceFunc(func() { close(c.tried) })
	defer c.attempted()
	image, ok := c.pull()
	if !ok {
		return
	}
	g.mu.Lock()
	c.image = image
	g.mu.Unlock()
	for c.runOnce(image) {
	}
}

// wait is the pause before another try, longer each time; false when the group ends first.
func (c *container) wait() bool {
	ok := c.g.s.pause(c.g.ctx, c.backoff)
	c.backoff = min(2*c.backoff, maxBackoff)
	return ok
}

// runOnce starts the container and waits for its end, and for the pause before the next
// start. False where there is to be none.
func (c *container) runOnce(image Image) (again bool) {
	g := c.g
	sb, err := c.start(image)
	if config := (*configError)(nil); errors.As(err, &config) {
		c.configFailed(config)
		c.attempted()
		return c.wait()
	}
	c.attempted()
	if err != nil {
		c.startFailed(err)
	} else {
		<-sb.Done()
		c.ended(sb.Status())
	}
	if c.final || g.ctx.Err() != nil {
		return false
	}
	if c.restarts > 0 { // the first restart comes at once
		c.set(containerState{State: "Waiting", Reason: "CrashLoopBackOff", Message: "back-off " + c.backoff.String() + " restarting failed container"})
		g.event("Warning", "BackOff", c.spec.Name, "Back-off restarting failed container "+c.spec.Name)
		if !c.wait() {
			return false
		}
	}
	g.mu.Lock()
	c.restarts++
	g.mu.Unlock()
	return true
}

// start runs the container's PID 1.
func (c *container) start(image Image) (*sandbox.Container, error) {
	g := c.g
	g.mu.Lock()
	sb, volumes := g.sandbox, g.volumes
	g.mu.Unlock()
	mounts, err := g.s.bindMounts(*c.spec, volumes)
	if err != nil {
		return nil, err
	}
	g.event("Normal", "Created", c.spec.Name, "Created container "+c.spec.Name)
	cfg := sandbox.ContainerConfig{
		Name: c.spec.Name, Layers: image.Layers, Args: c.argv(image), Env: c.env(image),
		Dir: image.WorkingDir, User: c.user(image), Capabilities: c.spec.Capabilities, Privileged: c.spec.Privileged, Mounts: mounts,
		Stdin: c.spec.Stdin, Log: c.openLog(),
		TerminationMessagePath: c.spec.TerminationMessagePath,
		CPU:                    c.spec.CPU, MemoryBytes: int64(c.spec.MemoryGiB * (1 << 30)),
		Rootless: g.s.opts.Switches.RootlessBuilds,
	}
	if c.spec.WorkingDir != "" {
		cfg.Dir = c.spec.WorkingDir
	}
	run, err := sb.StartContainer(cfg)
	if err != nil {
		return nil, err
	}
	g.event("Normal", "Started", c.spec.Name, "Started container "+c.spec.Name) // before the state: who sees that has the event
	g.mu.Lock()
	c.running, c.started = run, true
	c.current = containerState{State: "Running", Start: time.Now()}
	g.modified = time.Now()
	g.mu.Unlock()
	g.notify()
	return run, nil
}

// argv follows Docker's rule: Command replaces ENTRYPOINT and drops CMD.
func (c *container) argv(image Image) []string {
	switch {
	case len(c.spec.Command) > 0:
		return slices.Concat(c.spec.Command, c.spec.Args)
	case len(c.spec.Args) > 0:
		return slices.Concat(image.Entrypoint, c.spec.Args)
	default:
		return slices.Concat(image.Entrypoint, image.Cmd)
	}
}

// user is the container's, else the image's. Where the container sets a group alone, that
// goes with the image's user.
func (c *container) user(image Image) string {
	user, group := cmp.Or(c.spec.User, image.User), c.spec.Group
	if group == "" {
		return user
	}
	user, _, _ = strings.Cut(user, ":")
	return cmp.Or(user, "0") + ":" + group
}

// env is the image's environment with the container's laid over.
func (c *container) env(image Image) []string {
	env := []string{"PATH=" + defaultPath}
	set := func(name, value string) {
		env = slices.DeleteFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
		env = append(env, name+"="+value)
	}
	for _, e := range image.Env {
		name, value, _ := strings.Cut(e, "=")
		set(name, value)
	}
	for _, e := range c.spec.Env {
		set(e.Key, e.Value)
	}
	return env
}

// configError is why a container can't be created yet, in the kubelet's words.
type configError struct{ message string }

func (e *configError) Error() string { return e.message }

// configFailed tells of it; the container goes on waiting.
func (c *container) configFailed(e *configError) {
	c.g.event("Warning", "Failed", c.spec.Name, "Error: "+e.message)
	c.set(containerState{State: "Waiting", Reason: "CreateContainerConfigError", Message: e.message})
}

// startFailed records a PID 1 that could not be exec'd: exit code 128, as runtimes report it.
func (c *container) startFailed(err error) {
	c.g.event("Warning", "Failed", c.spec.Name, "Error: failed to start container: "+err.Error())
	now := time.Now()
	c.terminated(containerState{
		State: "Terminated", Reason: "StartError", Message: err.Error(), ExitCode: 128, Start: now, Finish: now,
	})
}

func (c *container) ended(st sandbox.Status) {
	state := containerState{
		State: "Terminated", Reason: "Completed", Message: st.Message,
		ExitCode: st.ExitCode, Signal: st.Signal, Start: st.Started, Finish: st.Finished,
	}
	switches := c.g.s.opts.Switches
	oom := c.endOOM(st)
	switch {
	case oom && st.ExitCode != 0:
		state.Reason = switches.OOMReason
	case st.ExitCode != 0 && switches.DeadlineReason != "" && c.g.overdue():
		state.Reason = switches.DeadlineReason
	case st.ExitCode != 0:
		state.Reason = "Error"
	}
	if c.spec.MessageFromLog && st.ExitCode != 0 && state.Message == "" {
		state.Message = c.log.end(maxLogMessageLines, maxLogMessage)
	}
	c.terminated(state)
	if oom && switches.OOMEndsGroup && c.final {
		c.g.cancel()
	}
}

func (c *container) terminated(state containerState) {
	policy := c.g.spec.RestartPolicy
	c.g.mu.Lock()
	c.started, c.running = true, nil
	if c.current.State == "Terminated" {
		previous := c.current
		c.previous = &previous
	}
	c.current = state
	c.final = policy == "Never" || (policy == "OnFailure" && state.ExitCode == 0)
	c.g.modified = time.Now()
	c.g.mu.Unlock()
	c.g.notify()
}

// set replaces the current state; a Terminated one becomes the previous.
func (c *container) set(state containerState) {
	c.g.mu.Lock()
	defer c.g.mu.Unlock()
	if c.current.State == "Terminated" {
		previous := c.current
		c.previous = &previous
	}
	c.current = state
	c.g.modified = time.Now()
}

// notify wakes the group's watch.
func (g *group) notify() {
	select {
	case g.changed <- struct{}{}:
	default: // it will look anyway
	}
}

// logWriter shows what PID 1 prints in the server's log.
type logWriter struct{ c *container }

func (w logWriter) Write(b []byte) (int, error) {
	w.c.g.s.opts.Log("ecitest: %s/%s: %s", w.c.g.spec.Name, w.c.spec.Name, strings.TrimRight(string(b), "\n"))
	return len(b), nil
}
