package ecitest

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"time"
)

func describeContainerLogAction() action {
	return action{
		perMinute: 500, serve: (*Server).describeContainerLog,
		params: "ContainerGroupId ContainerName Tail LimitBytes SinceSeconds StartTime Timestamps LastTime",
	}
}

const (
	defaultTail  = 500
	maxTail      = 2000
	maxLogAnswer = 1 << 20
	maxLogKept   = 10 << 20 // as the kubelet's rotation
	maxLogLine   = 64 << 10 // a longer line is kept, and counted, as several
)

// describeContainerLog answers with what PID 1 and its children wrote to stdout
// and stderr, in the order in which it came, as the last Tail lines of what
// SinceSeconds and StartTime leave. LastTime shows the container before its last
// restart. There is no cursor.
func (s *Server) describeContainerLog(p *params) (map[string]any, *apiError) {
	id, name := p.required("ContainerGroupId"), p.required("ContainerName")
	tail := p.integer("Tail", defaultTail, 1, maxTail)
	limit := p.integer("LimitBytes", maxLogAnswer, 1, maxLogAnswer)
	since := p.instant("StartTime").Add(-s.opts.ClockOffset)
	if seconds := p.integer("SinceSeconds", 0, 1, maxInt32); seconds > 0 {
		if t := time.Now().Add(-time.Duration(seconds) * time.Second); t.After(since) {
			since = t
		}
	}
	last, stamps := p.boolean("LastTime", false), p.boolean("Timestamps", false)
	if p.err != nil {
		return nil, p.err
	}
	log, refusal := s.logOf(p.str("RegionId"), id, name, last)
	if refusal != nil {
		return nil, refusal
	}
	layout := ""
	if stamps {
		layout = s.opts.Switches.LogTimestampLayout
	}
	content := log.text(since, int(tail), layout, s.opts.ClockOffset)
	if cut := int64(len(content)) - limit; cut > 0 {
		if s.opts.Switches.LogLimitKeepsEnd {
			content = content[cut:]
		} else {
			content = content[:limit]
		}
	}
	return map[string]any{"ContainerName": name, "Content": content}, nil
}

// logOf finds a container's log. One that has not started has none yet, which is
// an error, as under the kubelet.
func (s *Server) logOf(region, id, name string, last bool) (*containerLog, *apiError) {
	code := s.opts.Switches.UnknownIDOnLog
	g := s.group(region, id)
	if g == nil {
		return nil, unknown(code, "the container group %s does not exist", id)
	}
	c := g.container(name)
	if c == nil {
		return nil, unknown(code, "the container %s does not exist in %s", name, id)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	log := c.log
	if last {
		log = c.lastLog
	}
	switch {
	case g.over() && s.opts.Switches.LogGoneAfterEnd:
		return nil, invalid("IncorrectStatus", "the container group is %s", g.status())
	case c.current.State == "Terminated" && !last && s.opts.Switches.LogGoneWithContainer:
		return nil, invalid("IncorrectStatus", "the container %s is %s", name, c.current.State)
	case log == nil && last:
		return nil, invalid("InvalidParameter", "the container %s has no previous instance", name)
	case log == nil:
		return nil, invalid("IncorrectStatus", "the container %s is waiting to start: %s", name, c.current.Reason)
	}
	return log, nil
}

// openLog makes the log of a new start; the one before becomes the last.
func (c *container) openLog() io.Writer {
	c.g.mu.Lock()
	defer c.g.mu.Unlock()
	c.lastLog, c.log = c.log, &containerLog{}
	return io.MultiWriter(logWriter{c}, c.log)
}

// containerLog keeps as many of the newest lines as an answer may show.
type containerLog struct {
	mu    sync.Mutex
	lines []logLine
	size  int
}

type logLine struct {
	at   time.Time // of its first byte
	text []byte    // with its newline, unless more may come
}

// open tells whether what comes next belongs to the line.
func (l logLine) open() bool {
	return !bytes.HasSuffix(l.text, []byte("\n")) && len(l.text) < maxLogLine
}

func (l *containerLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(b)
	for len(b) > 0 {
		part := b
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			part = b[:i+1]
		}
		part = part[:min(len(part), maxLogLine)]
		b = b[len(part):]
		if k := len(l.lines) - 1; k >= 0 && l.lines[k].open() {
			l.lines[k].text = append(l.lines[k].text, part...)
		} else {
			l.lines = append(l.lines, logLine{time.Now(), bytes.Clone(part)})
		}
		l.size += len(part)
	}
	for len(l.lines) > maxTail || (l.size > maxLogKept && len(l.lines) > 1) {
		l.size -= len(l.lines[0].text)
		l.lines = l.lines[1:]
	}
	return n, nil
}

// text is the last tail lines since a time; with a layout each has its time.
func (l *containerLog) text(since time.Time, tail int, layout string, offset time.Duration) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.lines
	for len(lines) > 0 && lines[0].at.Before(since) {
		lines = lines[1:]
	}
	var b strings.Builder
	for _, line := range lines[max(0, len(lines)-tail):] {
		if layout != "" {
			b.WriteString(line.at.Add(offset).UTC().Format(layout) + " ")
		}
		b.Write(line.text)
	}
	return b.String()
}

// end is the last lines, in at most so many bytes.
func (l *containerLog) end(lines, bytes int) string {
	text := l.text(time.Time{}, lines, "", 0)
	return text[max(0, len(text)-bytes):]
}
