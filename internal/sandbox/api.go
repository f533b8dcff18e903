package sandbox

import (
	"io"
	"os"
	"time"
)

// GroupConfig describes one group: containers that share a network namespace
// and, where the host lets us write them, CPU and memory limits.
type GroupConfig struct {
	Name        string              // unique on the host; names the directory and the cgroup
	Hostname    string              // shown inside; Name when empty
	Hosts       map[string][]string // extra /etc/hosts lines: address -> names
	CPU         float64             // vCPU for the whole group, 0 = no limit
	MemoryBytes int64               // for the whole group, 0 = no limit
	TakenPorts  []int               // TCP ports that no container can bind, and on which nobody answers
}

// ContainerConfig describes one container of a group.
type ContainerConfig struct {
	Name                   string
	Layers                 []string // directories, topmost first, joined by overlayfs; never written to
	Args                   []string // argv; Args[0] is resolved inside the container along PATH of Env
	Env                    []string // KEY=VALUE, complete: nothing is inherited
	Dir                    string   // working directory, created if absent; "" = /
	User                   string   // "", "0", "1000:1000" or a name from the image's /etc/passwd; "" = root
	Capabilities           []string // beside ECI's default ones: NET_ADMIN, SYS_PTRACE; any other name adds nothing
	Privileged             bool     // every capability of this process, mounts too; devices and /proc stay as they are
	Mounts                 []Mount
	Stdin                  bool      // open, and nothing ever comes; false = /dev/null
	Log                    io.Writer `json:"-"` // what PID 1 and its children write to stdout and stderr
	TerminationMessagePath string    // "" = /dev/termination-log; a 0666 file whose first 4 KiB become Status.Message
	CPU                    float64
	MemoryBytes            int64
	Rootless               bool // user namespaces, mounts inside them, and /dev/fuse where the host has it
}

// Mount is a bind mount of a host path, or a tmpfs where Tmpfs is set.
type Mount struct {
	Source   string // host directory or file
	Target   string // absolute path inside; created if absent
	ReadOnly bool
	Tmpfs    bool  // Source is unused; not shared between containers
	Size     int64 // of a tmpfs, 0 = kernel default
}

// Status is the state of a container's PID 1.
type Status struct {
	Running   bool
	ExitCode  int // 128+N for signal N, as ECI reports it
	Signal    int
	OOMKilled bool
	OOMKills  int    // how many of its processes were killed for memory
	Message   string // the termination message
	Started   time.Time
	Finished  time.Time
}

// ExecConfig describes one more process in a running container. It joins the
// container's namespaces with parent 0, as an exec of a container runtime does,
// and outlives whoever asked for it.
type ExecConfig struct {
	Args   []string
	Env    []string // added to the container's environment
	Stdin  *os.File // nil = /dev/null; each file is passed on, not closed
	Stdout *os.File
	Stderr *os.File
	TTY    bool // Stdin is a terminal and becomes the controlling one
}
