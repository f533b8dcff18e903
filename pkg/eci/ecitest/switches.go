package ecitest

import "time"

// Switches decide what the documentation leaves open. The zero value is the reading
// nearest to the documentation; a driver must work under each setting.
// docs/architecture.md lists them all ("What nobody documents"), says where this one
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
	// ExecResizes takes the size of a terminal from channel 4, as Kubernetes does;
	// otherwise that is ignored.
	ExecResizes bool
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
	// ExecIdle is how long a socket may be without a frame or ping before it is closed;
	// 0 = 60 s, as one client has found.
	ExecIdle time.Duration
	// ExecPingsIgnored lets pings not count for ExecIdle.
	ExecPingsIgnored bool
	// ExecLifetime is how long a socket lives at most; 0 = no limit.
	ExecLifetime time.Duration
	// ExecMaxSessions is how many sockets into one group may be open at once; the
	// handshake of one more is refused (503). 0 = no limit.
	ExecMaxSessions int

	// ExecSubprotocol is what becomes of subprotocols that a handshake offers: "" =
	// they are ignored; SubprotocolRefused = status 400; else the one that is taken
	// where it is offered, SubprotocolV4 or SubprotocolV5, with what Kubernetes
	// means by it.
	ExecSubprotocol string

	// ExecLongCommandAllowed accepts Commands above the documented 20 items of 256
	// characters.
	ExecLongCommandAllowed bool
	// ExecCommandBytes bounds the whole Command parameter in bytes; 0 = no such
	// bound. Others have observed 2048.
	ExecCommandBytes int

	// ExecBashNeedsTTY refuses an exec of /bin/bash alone without TTY.
	ExecBashNeedsTTY bool

	// ExecSyncExitError is the error code for a Sync command that exits with
	// another status than 0; "" = its output alone.
	ExecSyncExitError string
	// ExecSyncBytes is where SyncResponse is cut; 0 = 1 MiB.
	ExecSyncBytes int
	// ExecSyncLimit answers 408 to a Sync command that takes longer; 0 = no limit.
	ExecSyncLimit time.Duration

	// A group's life, and its containers.

	// NewGroupHiddenFor is how long a new group is left out of describe answers.
	NewGroupHiddenFor time.Duration
	// DeletedGroupStaysVisible is how long a deleted group that is gone is still in
	// describe answers, with status Terminating.
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

	// SchedulingTime is how long a new group stays Scheduling where Delays say nothing.
	SchedulingTime time.Duration
	// CreatesAtOnce is how many groups may be on their way to Running at once; the create
	// of one more is refused with ThrottlingCode. 0 = no limit.
	CreatesAtOnce int
	// DefaultMaxCPU is the vCPU quota of a region where Stock has none; 0 = none.
	DefaultMaxCPU float64
	// FirstVSwitchDecides refuses a create whose first vSwitch has no address left;
	// otherwise the next ones are tried, as they are for lack of stock.
	FirstVSwitchDecides bool
	// StrictSpotIgnored lets StrictSpot change nothing; otherwise such a group is
	// never made as pay-as-you-go.
	StrictSpotIgnored bool
	// MaxPendingMinuteIgnored lets MaxPendingMinute change nothing; otherwise a group that
	// has been Pending for that long becomes Failed, instead of after the documented 4 h.
	MaxPendingMinuteIgnored bool

	// ForceDeleteRefused answers UnsupportedOperation to DeleteContainerGroup with Force.
	ForceDeleteRefused bool
	// DeleteWhileScheduling is the error code for deleting a group that is still
	// Scheduling; "" = success. IncorrectStatus and OperationConflict are
	// documented without their causes.
	DeleteWhileScheduling string
	// DeleteWhileTerminating is the error code for deleting a group once more
	// before it is gone; "" = success.
	DeleteWhileTerminating string
	// BillingStopsAtDelete ends a group's bill with the call that deletes it; otherwise
	// it runs until the group is gone, as the documentation has it for Terminating.
	BillingStopsAtDelete bool
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
	// MissingSubPath is what becomes of a SubPath that its volume does not have: "" =
	// it is made, with mode 0755; SubPathOpen = with mode 0777; SubPathRefused = the
	// container can't be created, which is tried again and again.
	MissingSubPath string
	// FlexVolumeRO makes a NAS volume read-only by ro among its FlexVolume's options;
	// otherwise ReadOnly of a VolumeMount alone does that.
	FlexVolumeRO bool
	// OSSOptionsRefused refuses options of FlexVolume alicloud/oss but bucket and url,
	// the only ones that are documented for ECI; otherwise any are taken.
	OSSOptionsRefused bool
	// MemoryDirUncounted keeps what lies in an EmptyDir in memory out of the memory of
	// the container that writes it; otherwise it counts, as under the kubelet.
	MemoryDirUncounted bool
	// MemoryDirSize bounds an EmptyDir in memory without SizeLimit, in bytes; 0 = half
	// of the machine's memory, as Linux has it.
	MemoryDirSize int64
	// FIFOsApart keeps a FIFO or socket in an EmptyDir from joining two containers.
	FIFOsApart bool
	// EmptyDirClosed lets root alone write to a new EmptyDir; otherwise any user may.
	EmptyDirClosed bool
	// RootlessBuilds lets containers make user namespaces and mount inside them, and
	// gives them /dev/fuse, as builders of images without root want it.
	RootlessBuilds bool
	// SpotDegrades makes a spot group for which there is no stock a pay-as-you-go group,
	// with the event SpotDegraded, unless StrictSpot is set; otherwise the create is
	// refused.
	SpotDegrades bool

	// What a request may hold.

	// MaxURL bounds the bytes of a request's URL, answered by 414; 0 = no limit
	// but Go's own of 1 MiB.
	MaxURL int
	// MaxBody bounds the bytes of its form body, answered by 413; 0 = no limit
	// but the 4 MiB of this server.
	MaxBody int
	// BogusProbeIgnored accepts the probes that the older SDK's typed request sends
	// with each container, asked for or not; otherwise they are refused.
	BogusProbeIgnored bool
	// UnknownParametersIgnored accepts parameters that the action does not have.
	UnknownParametersIgnored bool
	// LongEnvAllowed accepts environment values above the documented 256 characters.
	LongEnvAllowed bool
	// EmptyEnvRefused refuses environment variables without a value, though 0 characters
	// are documented.
	EmptyEnvRefused bool
	// ConfigFileLimitsEncoded measures 32 KB and 60 KB on the base64 text.
	ConfigFileLimitsEncoded bool
	// ConfigFileModeDecimal reads the modes of config files as decimal numbers
	// (0644 is sent as 420); otherwise as octal digits.
	ConfigFileModeDecimal bool
	// LongCommandAllowed accepts any Command and Arg of a container; otherwise 20
	// and 10 items of 256 characters.
	LongCommandAllowed bool

	// ClientTokenLifetime is how long a client token is remembered; 0 = for ever.
	ClientTokenLifetime time.Duration
	// ClientTokenFreedByRefusal frees the token of a create that was refused for
	// lack of capacity; otherwise that token gives the same refusal again.
	ClientTokenFreedByRefusal bool
	// DryRunCode answers a dry run that passes; "" = DryRunOperation (the SDK),
	// the other one is DryRun.Success (API metadata).
	DryRunCode string

	// ThrottlingCode refuses calls above Options.Rates; "" = Throttling.User.
	ThrottlingCode string
	// ThrottlingRetryAfter is sent as the header Retry-After with it; 0 = none.
	ThrottlingRetryAfter time.Duration
	// ThrottledPerRegion counts the calls of each region by themselves; otherwise all
	// of the account.
	ThrottledPerRegion bool
	// UnpublishedPerMinute is the limit of actions for which none is published; 0 = none.
	UnpublishedPerMinute int

	// What answers look like.

	// UnknownIDOnLog is the error code for the log of an unknown group or
	// container; "" = InvalidParameter.NotFound.
	UnknownIDOnLog string
	// LogTimestampLayout is the layout, as of package time, of log timestamps;
	// "" = RFC 3339 with nanoseconds, as the kubelet's.
	LogTimestampLayout string
	// LogLimitKeepsEnd makes LimitBytes cut the oldest bytes; otherwise the newest,
	// as the kubelet does.
	LogLimitKeepsEnd bool
	// LogGoneAfterEnd refuses the logs of terminal groups with IncorrectStatus.
	LogGoneAfterEnd bool
	// LogGoneWithContainer refuses the log of a container that has ended, with
	// IncorrectStatus, while others of its group run.
	LogGoneWithContainer bool
	// UnknownImageCacheID is the error code for updating or deleting an image cache
	// that does not exist; "" = InvalidParameter.NotFound.
	UnknownImageCacheID string
	// EventKeysLowerCamel writes the keys of DescribeContainerGroupEvents' events
	// with a small first letter, as the user guide does and the SDK does not.
	EventKeysLowerCamel bool
	// PricePerHour makes the price of a size that of an hour; otherwise a second's, as
	// the documentation's sample has it.
	PricePerHour bool
	// PriceListsFlat writes DetailInfos, Rules and SpotPrices of a price as lists,
	// which the older SDK expects; otherwise as objects around a list, as the API
	// metadata and the newer SDK have it.
	PriceListsFlat bool
}

func (s *Switches) setDefaults() {
	setDefault(&s.ExecURIGood, 30*time.Second)
	setDefault(&s.ExecIdle, 60*time.Second)
	setDefault(&s.ExecSyncBytes, 1<<20)
	for _, code := range []*string{&s.UnknownIDOnExec, &s.UnknownIDOnLog, &s.UnknownImageCacheID} {
		setDefault(code, "InvalidParameter.NotFound")
	}
	setDefault(&s.DefaultGracePeriod, 30*time.Second)
	setDefault(&s.DeadlineStatus, "Failed")
	setDefault(&s.OOMReason, "OOMKilled")
	setDefault(&s.DryRunCode, "DryRunOperation")
	setDefault(&s.ThrottlingCode, "Throttling.User")
	setDefault(&s.LogTimestampLayout, time.RFC3339Nano)
}

// What Switches.ExecSubprotocol may be.
const (
	SubprotocolRefused = "refused"
	SubprotocolV4      = "v4.channel.k8s.io" // the status comes as JSON on channel 3
	SubprotocolV5      = "v5.channel.k8s.io" // and a message of 255 and a channel ends it
)

// What Switches.MissingSubPath may be.
const (
	SubPathOpen    = "open"
	SubPathRefused = "refused"
)

// OrphanOutput is what happens to the output of a command whose socket is lost.
type OrphanOutput int

const (
	OrphanDiscard OrphanOutput = iota // read and thrown away
	OrphanBlock                       // not read: the command blocks once the pipe is full
	OrphanClose                       // the pipe is closed: the command gets SIGPIPE
)
