package eci

import (
	"fmt"
	"strings"
)

// EventKind is one row of the table of events: what an event says in words, and
// what can be done where ECI gives a group up with it (status ScheduleFailed).
type EventKind struct {
	Reason string
	Class  Class  // of a group that was given up; Unknown where another attempt may do better or not
	Words  string // "" where the event's own message says it
	Advice string // what a person must do; "" where nothing is to be done
}

// EventKinds is the table (sources.md: events; an older copy of that page too).
// docs/errors.md shows it.
func EventKinds() []EventKind {
	const (
		stock = "Add vSwitches in other zones to vswitch_ids, or other instance types to [capacity] instance_types."
		quota = "Raise the quota in the Quota Center of the Alibaba Cloud console, or run fewer jobs at once (concurrent in config.toml)."
		later = "Retry the job; should it fail for long, ask Alibaba Cloud by a ticket with the group's id."
		cpu   = "Take the CPU options out of [group] request, or choose other [capacity] instance_types."
	)
	return []EventKind{
		{"NoStock", Capacity, "the zone is out of stock", stock},
		{"StockClose", Capacity, "the zone takes no new groups", stock},
		{"StockExhaust", Capacity, "the zone's stock is nearly used up", stock},
		{"ResourceInsufficient", Capacity, "the zone is out of stock", stock},

		{"ImageCacheNotFound", NoCache, "the image cache does not exist", "Set snapshot_id in [image_cache] to an image cache that is Ready, or to \"\"."},
		{"ImageCacheNotComplete", NoCache, "the image cache is not ready yet", "Wait until the image cache is Ready, or set snapshot_id in [image_cache] to \"\"."},

		{"InsufficientBalance", Stop, "the account has not enough money", "Top up the account, then retry the job."},
		{"QuotaExceeded", Stop, "a quota of the account is used up", quota},
		{"QuotaFull", Stop, "a quota of the account is used up", quota},
		{"DiskCapacityQuotaFull", Stop, "the disk quota of the account is used up", quota},
		{"Unauthorized", Stop, "ECI's own service role lacks a right", "Create the service-linked role AliyunServiceRoleForECI anew, with a user that may do ram:CreateServiceLinkedRole."},
		{"CpuOptionsNotSupported", Config, "the instance type takes no CPU options", cpu},
		{"CpuOptionsNotValid", Config, "the CPU options do not fit the instance type", cpu},

		{"FailedScheduling", Unknown, "ECI found no place for the group", later},
		{"UnknownError", Unknown, "ECI has a fault or too much to do", later},
		{"Throttling", Unknown, "ECI holds back new groups for a while", later},
		{"CreateBackoff", Unknown, "ECI tries again later", later},
		{"StartingFailed", Unknown, "ECI could not start the group", later},
		{"SYSTEM_FAILURE", Unknown, "the machine below the group failed", later},
		{"SystemFailureReboot", Unknown, "the machine below the group failed", later},
		{"SystemReboot", Unknown, "the machine below the group must be restarted", later},
		{"AttachDiskFailed", Unknown, "a disk could not be attached", later},

		{"SpotDegraded", Unknown, "no spot instance is to be had, so this one is pay-as-you-go", ""},
		{"SpotToBeReleased", Unknown, "the spot instance is about to be reclaimed", ""},
		{"OOMKilled", Unknown, "the group's memory is used up", "Ask for more memory: ECI_MEMORY, or [build] memory."},

		{"SuccessfulHitImageCache", Unknown, "an image cache is used", ""},
		{"ImageCacheMissed", Unknown, "no image cache fits, so the images are pulled", ""},
		{"ImageCacheAutoCreated", Unknown, "an image cache is made for the next time", ""},
		{"UserInstanceTypeSpec", Unknown, "the size that was asked for", ""},

		{"FailedMount", Unknown, "a volume can't be mounted", ""},
		{"BackOff", Unknown, "ECI waits before it tries again", ""},
	}
}

// Kind finds the event's row of the table: one with its reason alone where there
// is none, as ECI adds events.
func (e Event) Kind() EventKind {
	for _, k := range EventKinds() {
		if k.Reason == e.Reason {
			return k
		}
	}
	return EventKind{Reason: e.Reason}
}

// Words is the event as one line for a person: in words where the table has them,
// and always with what ECI itself said.
func (e Event) Words() string {
	message := OneLine(e.Message)
	for _, part := range []string{"[eci.imagecache]", "[eci.containergroup]"} {
		message = strings.TrimPrefix(message, part)
	}
	switch words := e.Kind().Words; {
	case words != "":
		return strings.TrimSuffix(fmt.Sprintf("%s (%s: %s", words, OneLine(e.Reason), message), ": ") + ")"
	case e.Type == "Warning" && e.Reason != "", message == "":
		return strings.TrimSuffix(OneLine(e.Reason)+": "+message, ": ")
	}
	return message
}

// OneLine keeps what others wrote from ending the line or steering a terminal.
func OneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r >= 0x80 && r <= 0x9f }), " ")
}
