package remote

import "time"

// Settings are the times of a session; tests scale them.
type Settings struct {
	Heartbeat   time.Duration // eci-remote sends a record at least this often
	Idle        time.Duration // without a byte for this long, a connection is given up
	Greeting    time.Duration // a shared exec that has not answered for this long is given up
	BackoffMin  time.Duration // pause before an exec that replaces a lost one ...
	BackoffMax  time.Duration // ... which doubles up to this
	Diagnose    time.Duration // how often the caller is asked whether the group still lives
	Death       time.Duration // how long the caller may take to learn why a container has died
	StopConfirm time.Duration // how long a stop through the stream may stay unconfirmed
	StopLimit   time.Duration // how long a stop may take altogether
	Notice      time.Duration // a connection lost for longer is told in the job's log

	// Without a WebSocket each look at the log is an exec of its own.
	PollMin  time.Duration // pause between two while there is output, at first ...
	PollBusy time.Duration // ... and later
	PollMax  time.Duration // pause when nothing has happened for long; a death is seen late by as much
	PollHold time.Duration // how long one exec waits in the group for something to tell
}

// DefaultSettings are those for the cloud. ECI closes an exec after about 60 s
// of silence (sources.md: exec-clients), so a heartbeat comes four times as often.
func DefaultSettings() Settings {
	return Settings{
		Heartbeat:   15 * time.Second,
		Idle:        50 * time.Second,
		Greeting:    3 * time.Second,
		BackoffMin:  time.Second,
		BackoffMax:  30 * time.Second,
		Diagnose:    time.Minute,
		Death:       4 * time.Second,
		StopConfirm: 3 * time.Second,
		StopLimit:   40 * time.Second,
		Notice:      30 * time.Second,
		PollMin:     500 * time.Millisecond,
		PollBusy:    2 * time.Second,
		PollMax:     2 * time.Second,
		PollHold:    10 * time.Second,
	}
}

// Scaled divides every time by n.
func (s Settings) Scaled(n int) Settings {
	d := time.Duration(n)
	return Settings{s.Heartbeat / d, s.Idle / d, s.Greeting / d, s.BackoffMin / d, s.BackoffMax / d,
		s.Diagnose / d, s.Death / d, s.StopConfirm / d, s.StopLimit / d, s.Notice / d,
		s.PollMin / d, s.PollBusy / d, s.PollMax / d, s.PollHold / d}
}
