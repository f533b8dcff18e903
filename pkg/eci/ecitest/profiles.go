package ecitest

import (
	"fmt"
	"strings"
	"time"
)

// A profile answers every unknown at once.
const (
	ProfileDocs    = "docs"    // the reading nearest to the documentation
	ProfileKind    = "kind"    // the answer that is easiest for a client
	ProfileHostile = "hostile" // the answer that is hardest
)

// Profiles lists the names that Profile takes.
func Profiles() []string { return []string{ProfileDocs, ProfileKind, ProfileHostile} }

// Profile gives the switches of a profile.
func Profile(name string) (Switches, error) {
	switch name {
	case ProfileDocs:
		return Switches{}, nil
	case ProfileKind:
		return kind(), nil
	case ProfileHostile:
		return hostile(), nil
	}
	return Switches{}, fmt.Errorf("profile %q is not one of %s", name, strings.Join(Profiles(), ", "))
}

func kind() Switches {
	return Switches{
		ExecAllowedWhilePending:   true,
		ExecKilledAtDisconnect:    true,
		ExecErrorChannel:          true,
		ExecResizes:               true,
		ExecURIGood:               time.Hour,
		ExecIdle:                  24 * time.Hour,
		ExecLongCommandAllowed:    true,
		LongCommandAllowed:        true,
		LongEnvAllowed:            true,
		NFSMissingPathCreated:     true,
		SpotDegrades:              true,
		ClientTokenFreedByRefusal: true,
		UnknownParametersIgnored:  true,
		ExecSubprotocol:           SubprotocolV5,
		BillingStopsAtDelete:      true,
		StrictSpotIgnored:         true,
		MaxPendingMinuteIgnored:   true,
		FlexVolumeRO:              true,
		MissingSubPath:            SubPathOpen,
		RootlessBuilds:            true,
		BogusProbeIgnored:         true,
		ThrottledPerRegion:        true,
	}
}

// hostile keeps to what a client can survive: times are short, not zero.
func hostile() Switches {
	return Switches{
		ExecStartsAtCall:          true,
		ExecOrphanOutput:          OrphanBlock,
		ExecClosesAtExit:          true,
		ExecWithoutStdinEndsEarly: true,
		EmptyFirstFrame:           true,
		ExecTextFrames:            true,
		ExecNoChannelByte:         true,
		ExecMaxFrame:              32 << 10,
		ExecURIGood:               3 * time.Second,
		ExecIdle:                  20 * time.Second,
		ExecPingsIgnored:          true,
		ExecLifetime:              time.Minute,
		ExecMaxSessions:           2,
		ExecSubprotocol:           SubprotocolRefused,
		ExecCommandBytes:          2048,
		ExecBashNeedsTTY:          true,
		ExecSyncExitError:         "InternalError",
		ExecSyncBytes:             64 << 10,
		ExecSyncLimit:             5 * time.Second,

		NewGroupHiddenFor:        time.Second,
		DeletedGroupStaysVisible: time.Second,
		SchedulingTime:           200 * time.Millisecond,
		CreatesAtOnce:            100,
		DefaultMaxCPU:            1000,
		FirstVSwitchDecides:      true,
		UnknownIDOnDescribe:      "InvalidParameter.NotFound",
		UnknownIDOnDelete:        "InvalidParameter.NotFound",
		UnknownIDOnExec:          "IncorrectStatus",
		ForceDeleteRefused:       true,
		DeleteWhileScheduling:    "IncorrectStatus",
		DeleteWhileTerminating:   "OperationConflict",
		DeleteKillsAtOnce:        true,
		DefaultGracePeriod:       10 * time.Minute,
		DeadlineStatus:           "Succeeded",
		DeadlineReason:           "DeadlineExceeded",
		OOMReason:                "Error",
		OOMEndsGroup:             true,
		NoExitCodeFields:         true,
		ParallelContainerStart:   true,
		MissingSubPath:           SubPathRefused,
		OSSOptionsRefused:        true,
		FIFOsApart:               true,
		MemoryDirUncounted:       true,
		MemoryDirSize:            64 << 20,
		EmptyDirClosed:           true,

		EmptyEnvRefused:         true,
		MaxURL:                  8 << 10,
		MaxBody:                 128 << 10,
		ConfigFileLimitsEncoded: true,
		ConfigFileModeDecimal:   true,
		ClientTokenLifetime:     15 * time.Minute,
		DryRunCode:              "DryRun.Success",
		ThrottlingCode:          "Throttling",
		ThrottlingRetryAfter:    time.Second,
		UnpublishedPerMinute:    60,

		UnknownIDOnLog:       "IncorrectStatus",
		LogTimestampLayout:   time.DateTime,
		LogLimitKeepsEnd:     true,
		LogGoneAfterEnd:      true,
		LogGoneWithContainer: true,
		UnknownImageCacheID:  "IncorrectStatus",
		EventKeysLowerCamel:  true,
		PricePerHour:         true,
		PriceListsFlat:       true,
	}
}
