package ecitest

import "time"

// Switches decide what the documentation leaves open (eci-api.md section 8,
// eci-exec.md). The zero value is the reading nearest to the documentation; a
// driver must work under each setting.
type Switches struct {
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
	// ExecCommandBytes bounds the whole Command parameter in bytes; 0 = only the
	// documented 20 items of 256. Others have observed 2048.
	ExecCommandBytes int
	// EmptyFirstFrame sends an empty stdout message first.
	EmptyFirstFrame bool

	// DeletedGroupStaysVisible keeps a deleted group in describe answers, with
	// status Terminating, for so long after it is gone.
	DeletedGroupStaysVisible time.Duration
	// NewGroupHiddenFor keeps a new group out of describe answers for so long.
	NewGroupHiddenFor time.Duration
	// UnknownIDOnDelete is the error code for deleting an id that does not
	// exist; "" = success.
	UnknownIDOnDelete string
	// UnknownIDOnExec is the error code for exec in an unknown group or
	// container; "" = InvalidParameter.NotFound.
	UnknownIDOnExec string
	// ForceDeleteRefused answers UnsupportedOperation to DeleteContainerGroup with Force.
	ForceDeleteRefused bool
	// DefaultGracePeriod is used without TerminationGracePeriodSeconds; 0 = 30 s.
	DefaultGracePeriod time.Duration
	// DeadlineStatus is the status after ActiveDeadlineSeconds; "" = Failed.
	DeadlineStatus string
	// NoExitCodeFields leaves ExitCode out of container states that are not Terminated.
	NoExitCodeFields bool

	// NFSMissingPathCreated creates a missing NFSVolume.Path; otherwise the
	// group stays Pending with a FailedMount event.
	NFSMissingPathCreated bool
	// ParallelContainerStart starts all containers at once, not in list order.
	ParallelContainerStart bool
	// LongEnvAllowed accepts environment values above the documented 256 characters.
	LongEnvAllowed bool
	// ConfigFileLimitsEncoded measures 32 KB and 60 KB on the base64 text.
	ConfigFileLimitsEncoded bool
	// UnknownParametersIgnored accepts parameters that the action does not have.
	UnknownParametersIgnored bool

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
	// UnpublishedPerMinute is the limit of actions for which none is published; 0 = none.
	UnpublishedPerMinute int
	// LongCommandAllowed accepts any Command and Arg on create; otherwise 20 and 10
	// items of 256 characters.
	LongCommandAllowed bool
	// ConfigFileModeDecimal reads the modes of config files as decimal numbers
	// (0644 is sent as 420); otherwise as octal digits.
	ConfigFileModeDecimal bool
	// SpotDegrades makes a pay-as-you-go group, with a SpotDegraded event, of a
	// spot group that can't be had, unless StrictSpot is set; otherwise the create
	// is refused.
	SpotDegrades bool
	// DeleteWhileScheduling is the error code for deleting a group that is still
	// Scheduling, e.g. OperationConflict; "" = success.
	DeleteWhileScheduling string
	// DeleteWhileTerminating is the error code for deleting a group once more
	// before it is gone; "" = success.
	DeleteWhileTerminating string
	// UnknownIDOnLog is the error code for the log of an unknown group or
	// container; "" = InvalidParameter.NotFound.
	UnknownIDOnLog string
	// UnknownImageCacheID is the error code for updating or deleting an image cache
	// that does not exist; "" = InvalidParameter.NotFound.
	UnknownImageCacheID string
	// LogTimestampLayout is the layout, as of package time, of log timestamps;
	// "" = RFC 3339 with nanoseconds, as the kubelet's.
	LogTimestampLayout string
	// LogLimitKeepsEnd makes LimitBytes cut the oldest bytes; otherwise the newest,
	// as the kubelet does.
	LogLimitKeepsEnd bool
	// LogGoneAfterEnd refuses the logs of terminal groups with IncorrectStatus.
	LogGoneAfterEnd bool
	// ExecBashNeedsTTY refuses an exec of /bin/bash alone without TTY.
	ExecBashNeedsTTY bool
	// ExecSyncBytes bounds SyncResponse; 0 = 1 MiB.
	ExecSyncBytes int64
	// ExecSyncExitError is the error code for a Sync command that exits with
	// another status than 0; "" = its output alone.
	ExecSyncExitError string
	// EventKeysLowerCamel writes the keys of DescribeContainerGroupEvents' events
	// with a small first letter, as the user guide does and the SDK does not.
	EventKeysLowerCamel bool
	// PriceListsFlat writes DetailInfos, Rules and SpotPrices of a price as lists,
	// which the older SDK expects; otherwise as objects around a list, as the API
	// metadata and the newer SDK have it.
	PriceListsFlat bool
}

// OrphanOutput is what happens to the output of a command whose socket is lost.
type OrphanOutput int

const (
	OrphanDiscard OrphanOutput = iota // read and thrown away
	OrphanBlock                       // not read: the command blocks once the pipe is full
	OrphanClose                       // the pipe is closed: the command gets SIGPIPE
)
