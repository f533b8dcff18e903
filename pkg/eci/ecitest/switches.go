package ecitest

import "time"

// Switches decide what the documentation leaves open (eci-api.md section 8,
// eci-exec.md). The zero value is the reading nearest to the documentation; a
// driver must work under each setting. docs/architecture.md says where this one
// depends on which, and how to find out on the live service.
type Switches struct {
	// ExecContainerCommand and its sockets.

	// ExecStartsAtCall starts the command when ExecContainerCommand is called;
	// otherwise when the socket is opened.
	ExecStartsAtCall bool
	// ExecAllowedWhilePending lets a running container of a Pending group be
	// exec'd into; otherwise that is IncorrectStatus.
	ExecAllowedWhilePending bool
	// ExecKilledAtDisconnect kills the command when its socket is lost; by
	// default it runs on, as under the kubelet.
	ExecKilledAtDisconnect bool
	// ExecOrphanOutput is what becomes of output after the socket is lost.
	ExecOrphanOutput OrphanOutput
	// ExecClosesAtExit closes the socket when the command has ended even if its
	// children still hold its output; by default it waits for them.
	ExecClosesAtExit bool
	// ExecErrorChannel sends the kubelet's text on channel 3 for a non-zero exit.
	ExecErrorChannel bool
	// ExecWithoutStdinEndsEarly closes the socket of an exec with Stdin=false
	// after its first output, as Kata sandboxes do; the command runs on.
	ExecWithoutStdinEndsEarly bool

	// EmptyFirstFrame sends an empty stdout message first.
	EmptyFirstFrame bool
	// ExecTextFrames sends text messages instead of binary ones.
	ExecTextFrames bool
	// ExecNoChannelByte leaves the channel byte out of the server's messages.
	ExecNoChannelByte bool
	// ExecMaxFrame is the largest message, channel byte included, that a client
	// may send; a larger one closes the socket with status 1009. 0 = no limit.
	ExecMaxFrame int

	// ExecURIGood is how long a WebSocketUri can be used; 0 = 30 s, which is
	// documented for HttpUrl alone.
	ExecURIGood time.Duration
	// ExecIdle closes a socket without a frame or ping for so long; 0 = 60 s, as
	// one client has found.
	ExecIdle time.Duration
	// ExecPingsIgnored lets pings not count for ExecIdle.
	ExecPingsIgnored bool
	// ExecLifetime closes a socket so long after its opening; 0 = never.
	ExecLifetime time.Duration
	// ExecMaxSessions refuses the handshake (503) of one more socket than so many
	// into one group; 0 = no limit.
	ExecMaxSessions int

	// ExecLongWordsAllowed accepts Commands above the documented 20 items of 256
	// characters.
	ExecLongWordsAllowed bool
	// ExecCommandBytes bounds the whole Command parameter in bytes; 0 = no such
	// bound. Others have observed 2048.
	ExecCommandBytes int

	// SyncFailureRefused answers InternalError to a Sync command that exits with
	// another status than 0; otherwise its output is the answer.
	SyncFailureRefused bool
	// SyncOutputBytes is where SyncResponse is cut; 0 = 1 MiB.
	SyncOutputBytes int
	// SyncLimit answers 408 to a Sync command that takes longer; 0 = no limit.
	SyncLimit time.Duration

	// A group's life, and its containers.

	// NewGroupHiddenFor keeps a new group out of describe answers for so long.
	NewGroupHiddenFor time.Duration
	// DeletedGroupStaysVisible keeps a deleted group in describe answers, with
	// status Terminating, for so long after it is gone.
	DeletedGroupStaysVisible time.Duration

	// UnknownIDOnDescribe is the error code for describing an id that is not
	// listed; "" = an answer without it.
	UnknownIDOnDescribe string
	// UnknownIDOnDelete is the error code for deleting an id that does not
	// exist; "" = success.
	UnknownIDOnDelete string
	// UnknownIDOnExec is the error code for exec in an unknown group or
	// container; "" = InvalidParameter.NotFound.
	UnknownIDOnExec string

	// ForceDeleteRefused answers UnsupportedOperation to DeleteContainerGroup with Force.
	ForceDeleteRefused bool
	// DeleteRefusedWhile is a group status in which a delete is IncorrectStatus;
	// "" = none.
	DeleteRefusedWhile string
	// DeleteTwice is the error code for deleting a group that is on its way;
	// "" = success. OperationConflict is documented without its cause.
	DeleteTwice string
	// DeleteKillsAtOnce ends containers by KILL alone, without TERM and grace period.
	DeleteKillsAtOnce bool
	// DefaultGracePeriod is used without TerminationGracePeriodSeconds; 0 = 30 s.
	DefaultGracePeriod time.Duration

	// DeadlineStatus is the status after ActiveDeadlineSeconds; "" = Failed.
	DeadlineStatus string
	// DeadlineReason is the reason of containers that the deadline has ended;
	// "" = that of any container so killed, Error.
	DeadlineReason string
	// OOMReason is the reason of a container that was killed for memory; "" = OOMKilled.
	OOMReason string
	// OOMEndsGroup ends the group, Failed, with the first container that was
	// killed for memory and is not started again.
	OOMEndsGroup bool
	// NoExitCodeFields leaves ExitCode out of container states that are not Terminated.
	NoExitCodeFields bool
	// ParallelContainerStart starts all containers at once, not in list order.
	ParallelContainerStart bool
	// NFSMissingPathCreated creates a missing NFSVolume.Path; otherwise the
	// group stays Pending with a FailedMount event.
	NFSMissingPathCreated bool

	// What a request may hold.

	// MaxURL bounds the bytes of a request's URL, answered by 414; 0 = no limit
	// but Go's own of 1 MiB.
	MaxURL int
	// MaxBody bounds the bytes of its form body, answered by 413; 0 = no limit
	// but the 4 MiB of this server.
	MaxBody int
	// UnknownParametersIgnored accepts parameters that the action does not have.
	UnknownParametersIgnored bool
	// LongEnvAllowed accepts environment values above the documented 256 characters.
	LongEnvAllowed bool
	// ConfigFileLimitsEncoded measures 32 KB and 60 KB on the base64 text.
	ConfigFileLimitsEncoded bool
}

func (s *Switches) setDefaults() {
	setDefault(&s.ExecURIGood, 30*time.Second)
	setDefault(&s.ExecIdle, 60*time.Second)
	setDefault(&s.SyncOutputBytes, 1<<20)
	setDefault(&s.UnknownIDOnExec, "InvalidParameter.NotFound")
	setDefault(&s.DefaultGracePeriod, 30*time.Second)
	setDefault(&s.DeadlineStatus, "Failed")
	setDefault(&s.OOMReason, "OOMKilled")
}

// OrphanOutput is what happens to the output of a command whose socket is lost.
type OrphanOutput int

const (
	OrphanDiscard OrphanOutput = iota // read and thrown away
	OrphanBlock                       // not read: the command blocks once the pipe is full
	OrphanClose                       // the pipe is closed: the command gets SIGPIPE
)
