package ecitest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/eci-executor/eci-executor/internal/passthrough"
	"github.com/eci-executor/eci-executor/internal/sandbox"
)

// localIP is the only address that a group has.
const localIP = "127.0.0.1"

// group is one container group and its state machine:
// Scheduling -> Pending -> Running -> Succeeded or Failed, Scheduling ->
// ScheduleFailed, and Terminating from anywhere.
type group struct {
	s       *Server
	id      string
	seq     int
	spec    *groupSpec
	created time.Time
	ctx     context.Context // ends with delete, deadline and Close
	cancel  context.CancelFunc
	gone    chan struct{} // closed when nothing of it runs any more
	up      chan struct{} // closed when it is Running
	rush    chan struct{} // closed when it is to end by KILL alone
	changed chan struct{} // capacity 1: a container has changed state
	fault   GroupFault    // set before run

	mu         sync.Mutex
	shown      time.Time // in describe answers from then on; zero = the fault is not known yet
	phase      string    // all but Terminating
	placed     time.Time // when it was Pending first
	end        string    // phase that it ends in when ctx ends; "" = Failed
	billed     time.Time // from then on; zero = not yet
	deleting   bool
	deleted    time.Time // asked to be
	abrupt     bool      // rush is closed
	expired    bool      // by its active deadline
	finished   time.Time
	modified   time.Time
	sandbox    *sandbox.Group
	volumes    map[string]volume
	apart      *passthrough.Server // between containers and volumes; nil where nothing is
	containers []*container
	events     []event
	listeners  []net.Listener
	images     map[string]Image // on its machine: from an image cache, or pulled
}

type event struct {
	Type, Reason, Name, Message string
	Count                       int
	First, Last                 time.Time
}

func newGroup(s *Server, seq int, spec *groupSpec) *group {
	g := &group{
		s: s, id: newID("eci"), seq: seq, spec: spec, created: time.Now(), modified: time.Now(), phase: "Scheduling",
		images: map[string]Image{}, gone: make(chan struct{}), rush: make(chan struct{}), changed: make(chan struct{}, 1), up: make(chan struct{}),
	}
	g.ctx, g.cancel = context.WithCancel(s.ctx)
	for i := range spec.Containers {
		g.containers = append(g.containers, &container{
			g: g, spec: &spec.Containers[i], tried: make(chan struct{}),
			current: containerState{State: "Waiting", Reason: "ContainerCreating"},
		})
	}
	return g
}

// run is the group's life from Scheduling until nothing of it runs.
func (g *group) run() {
	defer close(g.gone)
	defer g.cancel()
	schedule := g.s.opts.Delays.Schedule
	if g.fault.Schedule > 0 {
		schedule = g.fault.Schedule
	}
	if !g.s.pause(g.ctx, schedule) || !g.await(g.fault.ScheduleUntil) {
		g.finish("Failed")
		return
	}
	if g.fault.ScheduleFailed != "" {
		g.event("Warning", g.fault.ScheduleFailed, "", g.fault.Message)
		g.finish("ScheduleFailed")
		return
	}
	if g.spec.NoCapacity != nil {
		g.event("Warning", capacityEvent(g.spec.NoCapacity.Code), "", g.spec.NoCapacity.Message)
		g.finish("ScheduleFailed")
		return
	}
	g.placementEvents()
	g.s.matchCache(g)
	g.setPhase("Pending")
	g.mu.Lock()
	g.placed = time.Now()
	g.mu.Unlock()
	g.event("Normal", "Scheduled", "", "Successfully assigned "+g.spec.Name+" to local machine")
	for _, e := range g.fault.Events {
		g.event(e.Type, e.Reason, e.Name, e.Message)
	}
	var work sync.WaitGroup
	switch err := g.setUp(); {
	case err != nil:
		g.event("Warning", "FailedMount", "", err.Error()) // and Pending stays, as on ECI
	case !g.fault.PendingForever:
		work.Go(func() { g.startContainers(&work) })
		work.Go(g.strike)
	}
	phase := g.watch()
	g.cancel() // no restarts from here on
	g.stopContainers()
	g.tearDown()
	work.Wait()
	g.s.pause(g.s.ctx, g.deleteDelay())
	g.finish(phase)
}

// placementEvents tell of an instance type that was asked for, and of a spot group that became
// pay-as-you-go.
func (g *group) placementEvents() {
	if g.spec.InstanceType != "" {
		g.event("Normal", "UserInstanceTypeSpec", "", fmt.Sprintf(
			"[eci.containergroup]The user-specified instanceType for current eci instance is %s", g.spec.InstanceType))
	}
	if g.spec.SpotDegraded {
		g.event("Warning", "SpotDegraded", "", "The spot instance is out of stock, a pay-as-you-go instance is created instead")
	}
}

// deleteDelay applies to deleted groups alone.
func (g *group) deleteDelay() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.deleting {
		return 0
	}
	return g.s.opts.Delays.Delete
}

// setUp makes the group's sandbox, volumes and forwarded addresses.
func (g *group) setUp() error {
	if g.fault.Mount != "" {
		return errors.New(g.fault.Mount)
	}
	volumes, err := g.s.makeVolumes(g.volumeDir(), g.spec.Volumes)
	if err != nil {
		return err
	}
	hostname := g.spec.HostName
	if hostname == "" {
		hostname = g.id
	}
	sb, err := g.s.host.CreateGroup(sandbox.GroupConfig{
		Name: g.id, Hostname: hostname, Hosts: g.s.hosts(g.spec.Hosts),
		CPU: g.spec.CPU, MemoryBytes: int64(g.spec.MemoryGiB * (1 << 30)), TakenPorts: systemPorts(),
	})
	if err != nil {
		return fmt.Errorf("create sandbox: %w", err)
	}
	shown := g.s.showApart(g.volumeDir(), g.spec, volumes)
	g.mu.Lock()
	g.sandbox, g.volumes, g.apart = sb, volumes, shown
	g.mu.Unlock()
	for _, f := range g.s.forwardings {
		l, err := sb.Listen(f.listen)
		if err != nil {
			return fmt.Errorf("forward %s: %w", f.dial, err)
		}
		g.mu.Lock()
		g.listeners = append(g.listeners, l)
		g.mu.Unlock()
		if !g.s.start(func() { g.forward(l, f.dial) }) {
			return errors.New("the server is closing")
		}
	}
	return nil
}

func (g *group) volumeDir() string { return filepath.Join(g.s.opts.Dir, volumesDir, g.id) }

// startContainers starts them in list order; one that can't be started yet does
// not keep the next waiting for longer than its first try.
func (g *group) startContainers(work *sync.WaitGroup) {
	for _, c := range g.containers {
		work.Go(c.run)
		if g.s.opts.Switches.ParallelContainerStart {
			continue
		}
		select {
		case <-c.tried:
		case <-g.ctx.Done():
			return
		}
	}
}

// watch returns when the group is to end, with the phase that it ends in.
func (g *group) watch() string {
	deadline := make(<-chan time.Time)
	if g.spec.Deadline > 0 {
		t := time.NewTimer(g.spec.Deadline)
		defer t.Stop()
		deadline = t.C
	}
	pending := time.NewTimer(g.spec.MaxPending)
	defer pending.Stop()
	oom := time.NewTicker(oomLook)
	defer oom.Stop()
	for {
		select {
		case <-g.ctx.Done():
			return g.lastPhase()
		case <-deadline:
			g.event("Warning", "DeadlineExceeded", "", "Container group was active longer than the specified deadline")
			g.mu.Lock()
			g.expired = true
			g.mu.Unlock()
			return g.s.opts.Switches.DeadlineStatus
		case <-pending.C:
			if g.update() == "Pending" {
				g.event("Warning", "PendingTimeout", "", "Container group was pending for too long")
				return "Failed"
			}
		case <-oom.C:
			g.lookForOOM()
		case <-g.changed:
			if phase := g.update(); phase == "Succeeded" || phase == "Failed" {
				return phase
			}
		}
	}
}

// lastPhase is what a group becomes that was told to end.
func (g *group) lastPhase() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.end != "" {
		return g.end
	}
	return "Failed"
}

// overdue tells whether the active deadline has ended the group.
func (g *group) overdue() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.expired
}

// update computes the phase from the containers.
func (g *group) update() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	ended, failed, created := true, false, true
	for _, c := range g.containers {
		created = created && c.started
		ended = ended && c.final
		failed = failed || c.current.ExitCode != 0
	}
	switch {
	case ended && failed:
		return "Failed" // told to the world by finish
	case ended:
		return "Succeeded"
	case created && g.phase == "Pending":
		g.phase, g.modified = "Running", time.Now()
		close(g.up)
	}
	return g.phase
}

func (g *group) setPhase(phase string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.phase, g.modified = phase, time.Now(); phase == "Pending" {
		g.billed = g.modified
	}
}

// status is what describe calls show. The caller holds mu.
func (g *group) status() string {
	if g.deleting {
		return "Terminating"
	}
	return g.phase
}

// over tells whether nothing runs and nothing is billed any more. The caller holds mu.
func (g *group) over() bool {
	return !g.finished.IsZero()
}

// stopContainers sends TERM, or what the image wants instead, to each PID 1, and
// KILL after the grace period. A PID 1 without a handler does not feel the TERM:
// that is the kernel's rule.
func (g *group) stopContainers() {
	g.mu.Lock()
	grace := g.spec.Grace
	if g.abrupt {
		grace = 0
	}
	running := map[*sandbox.Container]syscall.Signal{}
	for _, c := range g.containers {
		if c.running != nil {
			running[c.running] = c.image.stopSignal()
		}
	}
	g.mu.Unlock()
	if grace <= 0 || g.s.ctx.Err() != nil {
		return
	}
	for c, signal := range running {
		_ = c.Signal(signal) // fails only where it has ended
	}
	t := time.NewTimer(grace)
	defer t.Stop()
	for c := range running {
		select {
		case <-c.Done():
		case <-t.C:
			return
		case <-g.rush:
			return
		case <-g.s.ctx.Done():
			return
		}
	}
}

// hurry ends the wait for the grace period, or has none begin. The caller holds mu.
func (g *group) hurry() {
	if !g.abrupt {
		g.abrupt = true
		close(g.rush)
	}
}

// tearDown kills what is left and removes sandbox and volumes.
func (g *group) tearDown() {
	g.mu.Lock()
	sb, listeners, apart := g.sandbox, g.listeners, g.apart
	g.mu.Unlock()
	for _, l := range listeners {
		_ = l.Close()
	}
	var err error
	if sb != nil {
		err = sb.Destroy()
	}
	if apart != nil {
		err = errors.Join(err, apart.Close())
	}
	g.collect()
	if err = errors.Join(err, sweepVolumes(g.volumeDir())); err != nil && !errors.Is(err, os.ErrNotExist) {
		g.s.opts.Log("ecitest: tear down %s: %v", g.id, err)
	}
}

// running is the named container's sandbox, nil when it does not run.
func (g *group) running(name string) *sandbox.Container {
	c := g.container(name)
	if c == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return c.running
}

// container finds a container by name, nil if there is none.
func (g *group) container(name string) *container {
	for _, c := range g.containers {
		if c.spec.Name == name {
			return c
		}
	}
	return nil
}
