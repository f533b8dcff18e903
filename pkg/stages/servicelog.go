package stages

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// servicesPatience bounds the time that a stage spends on the job's services at its end.
const servicesPatience = 10 * time.Second

// ServiceSeen is what the job's log has of a service.
type ServiceSeen struct {
	Ended bool    `json:"ended,omitempty"` // that it has ended
	Log   logMark `json:"log,omitzero"`    // with CI_DEBUG_SERVICES
}

// tellServices tells in the job's log, once, which services have ended, and shows with
// CI_DEBUG_SERVICES what is new in their logs. What can't be had is left out: no stage
// fails by it.
func (s *Stage) tellServices(ctx context.Context, id string) {
	if len(s.Job.Services) == 0 || ctx.Err() != nil {
		return
	}
	asking, cancel := context.WithTimeout(ctx, servicesPatience)
	defer cancel()
	groups, err := s.API.DescribeContainerGroups(asking, eci.Query{IDs: []string{id}})
	if err != nil || len(groups) == 0 {
		s.Logger.WithError(err).Debug("looking at the services")
		return
	}
	s.tellServicesOf(ctx, &groups[0])
}

func (s *Stage) tellServicesOf(ctx context.Context, group *eci.Group) {
	if len(s.Job.Services) == 0 {
		return
	}
	record, err := s.store().loadRecord(s.Job)
	if err != nil || record == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, servicesPatience)
	defer cancel()
	seen := map[string]ServiceSeen{}
	for i, name := range serviceNames(s.Job) {
		c := group.Container(name)
		if c == nil {
			continue
		}
		before := record.Services[name]
		now := before
		if s.Job.debugs(i) {
			now.Log = s.showServiceLog(ctx, group.ID, c, before.Log)
		}
		if now.Ended = c.State == "Terminated"; now.Ended && !before.Ended {
			s.tellServiceEnd(ctx, group.ID, c, i)
		}
		if now != before {
			seen[name] = now
		}
	}
	s.noteServices(seen)
}

// debugs tells whether the log of the i-th service is to be shown: by the job's variable for
// all services, by a service's own for that one.
func (job *Job) debugs(i int) bool {
	const variable = "CI_DEBUG_SERVICES"
	own, _ := strconv.ParseBool(job.Services[i].own(variable))
	return own || job.on(variable)
}

// noteServices records what the job's log has of services, so that it is told once.
func (s *Stage) noteServices(seen map[string]ServiceSeen) {
	if len(seen) == 0 {
		return
	}
	_, err := s.amend(func(r *Record) {
		all := maps.Clone(r.Services)
		if all == nil {
			all = map[string]ServiceSeen{}
		}
		maps.Copy(all, seen)
		r.Services = all
	})
	if err != nil {
		s.Logger.WithError(err).Warn("recording what was told of the services: it will be told again")
	}
}

// tellServiceEnd tells how the i-th service has ended, and why as far as its log says it.
func (s *Stage) tellServiceEnd(ctx context.Context, group string, c *eci.ContainerStatus, i int) {
	how := fmt.Sprintf("exit code %d", c.ExitCode)
	if c.Reason != "" && c.Reason != "Completed" && c.Reason != "Error" {
		how += ", " + eci.OneLine(c.Reason)
	}
	s.printf("Service %s (image %s) has ended (%s)\n", c.Name, s.Job.Services[i].Name, how)
	if !s.Job.debugs(i) { // else its log stands above
		s.printServiceLines(c.Name, s.lastWords(ctx, group, c.Name))
	}
}

// showServiceLog shows what a service's log has more than was shown before, and returns the
// new mark. While the service runs, a last line without its newline waits for the rest.
func (s *Stage) showServiceLog(ctx context.Context, group string, c *eci.ContainerStatus, before logMark) logMark {
	text, err := s.ownLog(ctx, group, c.Name)
	if err != nil {
		s.Logger.WithError(err).WithField("service", c.Name).Warn("reading a service's log")
		return before
	}
	if c.State != "Terminated" {
		text = text[:strings.LastIndexByte(text, '\n')+1]
	}
	added, whole := before.after(text)
	if !whole {
		s.printServiceLines(c.Name, "(more was written than ECI tells at once: lines are missing here)")
	}
	s.printServiceLines(c.Name, added)
	return before.next(text)
}

// printServiceLines prints lines as the runner's own executors print a service's.
func (s *Stage) printServiceLines(name, text string) {
	if text == "" {
		return
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		s.printf("\x1b[0;37m[service:%s] %s\x1b[0;m\n", name, line)
	}
}

// logMark is how far a container's log was shown, for a later process to go on from there.
// ECI has no cursor for that, and what jobs print must not lie in state_dir, so the place is
// found again by digests: of the whole text, and of its last lines for when ECI has dropped
// the beginning since. (appended, of logs.go, compares the texts themselves, which one
// process has; that also finds the place among lines that are all the same.)
type logMark struct {
	Length int    `json:"length"` // bytes of the text
	Sum    string `json:"sum"`    // its digest
	Lines  int    `json:"lines"`  // how many of its last lines Tail is of
	Tail   string `json:"tail"`   // their digest
}

// markLines is how many lines are enough to find a place of a log by.
const markLines = 20

func markOf(text string) logMark {
	lines := linesOf(text)
	tail := lines[max(0, len(lines)-markLines):]
	return logMark{len(text), digest(text), len(tail), digest(strings.Join(tail, ""))}
}

// after is what text has beyond the mark. whole is false where the marked place is not in
// text, so that lines in between are lost.
func (m logMark) after(text string) (added string, whole bool) {
	if m.Length <= len(text) && (m.Length == 0 || digest(text[:m.Length]) == m.Sum) {
		return text[m.Length:], true
	}
	lines := linesOf(text)
	for i := 0; i+m.Lines <= len(lines); i++ {
		if digest(strings.Join(lines[i:i+m.Lines], "")) == m.Tail {
			return strings.Join(lines[i+m.Lines:], ""), true
		}
	}
	return text, text == ""
}

// next is the mark once text was shown. An empty text, which ECI may give once for a log that
// is there, leaves the mark as it is.
func (m logMark) next(text string) logMark {
	if text == "" {
		return m
	}
	return markOf(text)
}

func linesOf(text string) []string {
	lines := strings.SplitAfter(text, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
