package ecitest

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/eci-executor/eci-executor/internal/pattern"
)

// What stands for a reason that a rule leaves out.
const (
	defaultPullFailure  = "rpc error: code = Unavailable desc = dial tcp 192.0.2.1:443: i/o timeout"
	defaultMountFailure = "mount.nfs: Connection timed out"
)

func callKeys() []ruleKey {
	return []ruleKey{
		{
			kind: kindCall, name: "error", value: "STATUS[/CODE]|CODE", help: "refuse it, with no effect",
			set: setError,
			get: func(r Rule) ([]string, bool) {
				return []string{fmt.Sprintf("%d/%s", r.Call.Status, r.Call.Code)}, r.Call.Code != ""
			},
		},
		textKey(kindCall, "message", "TEXT", "of that error", "", func(r *Rule) *string { return &r.Call.Message }),
		timeKey(kindCall, "delay", "before anything else", 1, func(r *Rule) *time.Duration { return &r.Call.Delay }),
		timeKey(kindCall, "delay-after", "after the effect, before the answer", 1, func(r *Rule) *time.Duration { return &r.Call.DelayAfter }),
		choiceKey(kindCall, "cut", "lose the connection before or after the effect, without an answer", []string{"before", "after"},
			func(r *Rule, v string) { r.Call.CutBefore, r.Call.CutAfter = v == "before", v == "after" },
			func(r Rule) string {
				switch {
				case r.Call.CutBefore:
					return "before"
				case r.Call.CutAfter:
					return "after"
				}
				return ""
			}),
		bytesKey(kindCall, "truncate", "lose the connection after so much of the answer's body",
			func(r *Rule) (*bool, *int64) { return &r.Call.Truncate, &r.Call.TruncateAfter }),
	}
}

// setError reads STATUS/CODE, or one of them where the other is known from it.
func setError(r *Rule, v string) error {
	status, code, both := strings.Cut(v, "/")
	if _, err := strconv.Atoi(status); err != nil && !both {
		status, code = strconv.Itoa(statusOf(v)), v
	}
	n, err := strconv.Atoi(status)
	if err != nil || n < 400 || n > 599 {
		return fmt.Errorf("%q is not an HTTP status from 400 to 599", status)
	}
	if !both {
		setDefault(&code, codeOf(n))
	}
	if !errorCode().MatchString(code) {
		return fmt.Errorf("%d needs a code of ECI, such as %d/Throttling.User", n, n)
	}
	r.Call.Status, r.Call.Code = n, code
	return nil
}

var errorCode = pattern.Lazy(`^[A-Za-z][A-Za-z0-9._-]*$`)

// statusOf is the HTTP status that goes with an error code (sources.md: codes).
func statusOf(code string) int {
	switch {
	case code == "InternalError":
		return http.StatusInternalServerError
	case code == "ServiceUnavailable":
		return http.StatusServiceUnavailable
	case strings.HasPrefix(code, "Forbidden"), strings.HasPrefix(code, "OperationDenied."),
		slices.Contains([]string{"QuotaExceeded", "NoPermission", "Spot.NotMatched", "Zone.NotOnSale", "Throttling.Vcpu.PerDay",
			"InvalidVSwitchId.IpNotEnough", "SignatureDoesNotMatch"}, code):
		return http.StatusForbidden
	}
	return http.StatusBadRequest
}

// codeOf is the code of a status that has one that is always the same.
func codeOf(status int) string {
	return map[int]string{
		http.StatusForbidden: "Forbidden", http.StatusTooManyRequests: "Throttling",
		http.StatusInternalServerError: "InternalError", http.StatusServiceUnavailable: "ServiceUnavailable",
	}[status]
}

func execKeys() []ruleKey {
	drop := func(name, help string, halfOpen bool) ruleKey {
		k := bytesKey(kindExec, name, help, func(r *Rule) (*bool, *int64) { return &r.Exec.Drop, &r.Exec.DropAfter })
		set, get := k.set, k.get
		k.set = func(r *Rule, v string) error {
			if r.Exec.Drop {
				return errors.New("drop and half-open exclude each other")
			}
			r.Exec.HalfOpen = halfOpen
			return set(r, v)
		}
		k.get = func(r Rule) ([]string, bool) {
			values, on := get(r)
			return values, on && r.Exec.HalfOpen == halfOpen
		}
		return k
	}
	return []ruleKey{
		choiceKey(kindExec, "start", "when the command starts", []string{"call", "connect"},
			func(r *Rule, v string) { r.Exec.Start = v }, func(r Rule) string { return r.Exec.Start }),
		flagKey(kindExec, "unreachable", "the socket's host does not answer", func(r *Rule) *bool { return &r.Exec.Unreachable }),
		flagKey(kindExec, "expired", "the address is used too late", func(r *Rule) *bool { return &r.Exec.Expired }),
		flagKey(kindExec, "refuse", "answer the handshake with 502", func(r *Rule) *bool { return &r.Exec.RefuseHandshake }),
		timeKey(kindExec, "dial", "answer the handshake so late", 1, func(r *Rule) *time.Duration { return &r.Exec.Dial }),
		drop("drop", "lose the connection after so much of stdout", false),
		drop("half-open", "go silent after so much of stdout, the connection open", true),
		textKey(kindExec, "drop-from", "TEXT", "for these two: counted from that text in stdout", "", func(r *Rule) *string { return &r.Exec.DropFrom }),
		intKey(kindExec, "drop-from-skip", "from the text after so many of its kind", func(r *Rule) *int { return &r.Exec.DropFromSkip }),
		timeKey(kindExec, "drop-every", "lose the connection so long after it opened", 1, func(r *Rule) *time.Duration { return &r.Exec.DropEvery }),
		timeKey(kindExec, "idle", "lose it after so much silence", 1, func(r *Rule) *time.Duration { return &r.Exec.Idle }),
		intKey(kindExec, "split", "frames of at most so many bytes", func(r *Rule) *int { return &r.Exec.MaxFrame }),
		flagKey(kindExec, "merge", "what comes within 20 ms in one frame", func(r *Rule) *bool { return &r.Exec.Merge }),
		flagKey(kindExec, "text", "text frames in place of binary ones", func(r *Rule) *bool { return &r.Exec.Text }),
		flagKey(kindExec, "unprefixed", "no channel byte", func(r *Rule) *bool { return &r.Exec.Unprefixed }),
		flagKey(kindExec, "empty-frames", "an empty one before each frame", func(r *Rule) *bool { return &r.Exec.EmptyFrames }),
		{
			kind: kindExec, name: "swallow", value: "BYTES", help: "drop the last so many bytes of stdout and close as if all were well",
			set: func(r *Rule, v string) error {
				n, err := strconv.ParseUint(v, 10, 62)
				if err != nil || n == 0 {
					return fmt.Errorf("%q is not a number of bytes from 1", v)
				}
				r.Exec.SwallowFinal = int64(n)
				return nil
			},
			get: func(r Rule) ([]string, bool) {
				return []string{strconv.FormatInt(r.Exec.SwallowFinal, 10)}, r.Exec.SwallowFinal > 0
			},
		},
		bytesKey(kindExec, "stdin-stop", "swallow what comes after so much of stdin",
			func(r *Rule) (*bool, *int64) { return &r.Exec.DropStdin, &r.Exec.DropStdinAfter }),
		bytesKey(kindExec, "stdin-lose", "swallow the one byte after so much of stdin",
			func(r *Rule) (*bool, *int64) { return &r.Exec.LoseStdin, &r.Exec.LoseStdinAfter }),
		bytesKey(kindExec, "stdin-cut", "lose the connection after so much of stdin",
			func(r *Rule) (*bool, *int64) { return &r.Exec.CutStdin, &r.Exec.CutStdinAfter }),
	}
}

func groupKeys() []ruleKey {
	return []ruleKey{
		timeKey(kindGroup, "hidden", "not listed for so long", 1, func(r *Rule) *time.Duration { return &r.Group.HiddenFor }),
		timeKey(kindGroup, "schedule", "Scheduling for so long", 1, func(r *Rule) *time.Duration { return &r.Group.Schedule }),
		flagKey(kindGroup, "pending", "Pending for ever", func(r *Rule) *bool { return &r.Group.PendingForever }),
		textKey(kindGroup, "schedule-failed", "REASON", "ScheduleFailed, with an event of that reason", "", func(r *Rule) *string { return &r.Group.ScheduleFailed }),
		textKey(kindGroup, "message", "TEXT", "of that event", "", func(r *Rule) *string { return &r.Group.Message }),
		pullKey(), pullTimeKey(),
		textKey(kindGroup, "mount", "WHY", "a volume can't be mounted", defaultMountFailure, func(r *Rule) *string { return &r.Group.Mount }),
		eventKey(),
		textKey(kindGroup, "kill", "CONTAINER", "SIGKILL to its PID 1", "", func(r *Rule) *string { return &r.Group.Kill }),
		flagKey(kindGroup, "oom", "for kill: shown as one for memory", func(r *Rule) *bool { return &r.Group.OOM }),
		flagKey(kindGroup, "reclaim", "the spot instance is taken away", func(r *Rule) *bool { return &r.Group.Reclaim }),
		flagKey(kindGroup, "delete", "somebody else deletes it", func(r *Rule) *bool { return &r.Group.Delete }),
		timeKey(kindGroup, "after", "for kill, reclaim and delete: so long after it is Running", 0, func(r *Rule) *time.Duration { return &r.Group.After }),
		timeKey(kindGroup, "notice", "for reclaim: between the event and the end", 0, func(r *Rule) *time.Duration { return &r.Group.Notice }),
	}
}

func pullKey() ruleKey {
	return ruleKey{
		kind: kindGroup, name: "pull", value: "IMAGE[ WHY]", optional: true, repeats: true,
		help: "the image can't be pulled, nor any where none is named",
		set: func(r *Rule, v string) error {
			image, why, _ := strings.Cut(v, " ")
			setDefault(&image, "*")
			setDefault(&why, defaultPullFailure)
			if _, twice := r.Group.Pull[image]; twice {
				return fmt.Errorf("%s is given twice", image)
			}
			if r.Group.Pull == nil {
				r.Group.Pull = map[string]string{}
			}
			r.Group.Pull[image] = why
			return nil
		},
		get: func(r Rule) (values []string, set bool) {
			for _, image := range slices.Sorted(maps.Keys(r.Group.Pull)) {
				values = append(values, image+" "+r.Group.Pull[image])
			}
			return values, len(values) > 0
		},
	}
}

func pullTimeKey() ruleKey {
	return ruleKey{
		kind: kindGroup, name: "pull-time", value: "IMAGE TIME", repeats: true, help: "pulling the image takes so long",
		set: func(r *Rule, v string) error {
			image, text, _ := strings.Cut(v, " ")
			d, err := time.ParseDuration(text)
			if err != nil || d < 0 || image == "" {
				return fmt.Errorf("%q is not an image and a time", v)
			}
			if _, twice := r.Group.PullTime[image]; twice {
				return fmt.Errorf("%s is given twice", image)
			}
			if r.Group.PullTime == nil {
				r.Group.PullTime = map[string]time.Duration{}
			}
			r.Group.PullTime[image] = d
			return nil
		},
		get: func(r Rule) (values []string, set bool) {
			for _, image := range slices.Sorted(maps.Keys(r.Group.PullTime)) {
				values = append(values, image+" "+r.Group.PullTime[image].String())
			}
			return values, len(values) > 0
		},
	}
}

func eventKey() ruleKey {
	return ruleKey{
		kind: kindGroup, name: "event", value: "TYPE REASON[@NAME] MESSAGE", repeats: true, help: "one more event",
		set: func(r *Rule, v string) error {
			words := strings.SplitN(v, " ", 3)
			if len(words) < 3 || words[0] != "Normal" && words[0] != "Warning" {
				return fmt.Errorf("%q is not Normal or Warning, a reason, and a message", v)
			}
			reason, name, _ := strings.Cut(words[1], "@")
			if reason == "" {
				return fmt.Errorf("%q has no reason", v)
			}
			r.Group.Events = append(r.Group.Events, GroupEvent{words[0], reason, name, words[2]})
			return nil
		},
		get: func(r Rule) (values []string, set bool) {
			for _, e := range r.Group.Events {
				if e.Name != "" {
					e.Reason += "@" + e.Name
				}
				values = append(values, e.Type+" "+e.Reason+" "+e.Message)
			}
			return values, len(values) > 0
		},
	}
}
