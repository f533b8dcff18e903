package stages

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// Many prepares of one host wait at the same time, each in a process of its own.
// From many on they look at a board, a file that one of them at a time renews by a
// single call about all groups, and ask for their own group only when the board
// shows a change, or nothing for long.
const (
	many        = 4
	boardTick   = 400 * time.Millisecond // between two looks at the board
	boardEvery  = time.Second            // how old the board must be to be renewed
	boardGood   = 5 * time.Second        // how old it may be to be believed
	countEvery  = 2 * time.Second        // how long a count of who waits is good
	ownTrouble  = 15 * time.Second       // after which a prepare looks for itself: where something is wrong, or it is not listed
	ownAlways   = 40 * time.Second       // and where nothing is
	markerFresh = time.Minute            // a marker that was not touched for longer is of a dead process
)

// crowd is the prepares of this host that wait now.
type crowd struct {
	stage  *Stage
	early  bool // a prepare may end before all runs
	marker string
	size   int       // when last counted
	at     time.Time // when that was
	board  board     // as last read
	posted string    // state of the own group on the board when last looked at itself
	seen   string    // and as it was seen then
	own    time.Time // when that was, or when the wait began
}

const markerSuffix = ".waiting"

func (s *Stage) joinCrowd(early bool) *crowd {
	c := &crowd{stage: s, early: early, own: s.Clock.Now(), marker: strings.TrimSuffix(s.store().recordPath(s.Job), ".attempt.json") + markerSuffix}
	if f, err := os.OpenFile(c.marker, os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
		f.Close()
	}
	return c
}

func (c *crowd) leave() {
	os.Remove(c.marker) //nolint:errcheck // it is old soon
}

// count is how many wait, this one included. Markers of dead processes go.
func (c *crowd) count() int {
	now := c.stage.Clock.Now()
	if !c.at.IsZero() && now.Sub(c.at) < countEvery {
		return c.size
	}
	os.Chtimes(c.marker, now, now) //nolint:errcheck // then it counts as dead, and others poll by themselves
	markers, _ := filepath.Glob(filepath.Join(c.stage.Config.StateDir, "*"+markerSuffix))
	n := 0
	for _, m := range markers {
		switch info, err := os.Stat(m); {
		case err != nil:
		case now.Sub(info.ModTime()) > markerFresh:
			os.Remove(m) //nolint:errcheck // another has
		default:
			n++
		}
	}
	c.size, c.at = n, now
	return n
}

// pause is for how long not to look where a prepare that is alone would not do so for d:
// the board costs nearly nothing.
func (c *crowd) pause(d time.Duration) time.Duration {
	if c.count() < many || !c.good() {
		return d
	}
	return min(max(d, boardTick), boardEvery)
}

// good tells whether the board is to be believed.
func (c *crowd) good() bool { return younger(c.stage.Clock.Now(), c.board.At, boardGood) }

// silent tells that the board shows nothing about the group for which it would have to
// be asked for, and its status there, if any.
func (c *crowd) silent(ctx context.Context, id string) (status string, silent bool) {
	if c.count() < many {
		return "", false
	}
	c.board = c.stage.board(ctx, c.board)
	if !c.good() {
		return "", false
	}
	alone := c.stage.Clock.Now().Sub(c.own)
	state, listed := c.board.Groups[id]
	switch text := stateText(state); {
	case !listed:
		return "", alone <= ownTrouble
	case dull(state):
		if c.early && state.Containers[helperContainer] == "Running" {
			return state.Status, text == c.seen && alone <= pullGrace
		}
		return state.Status, alone <= ownAlways
	case text == c.posted || text == c.seen:
		return state.Status, alone <= ownTrouble
	default:
		c.posted = text
		return "", false
	}
}

// dull tells that a group is on its way as it should be, and not there yet.
func dull(s eci.GroupStatus) bool {
	if s.Status == "Scheduling" {
		return true
	}
	running := 0
	for _, state := range s.Containers {
		switch strings.TrimPrefix(state, "Waiting ") {
		case "Running":
			running++
		case "", "Waiting", "ContainerCreating", "PodInitializing":
		default:
			return false
		}
	}
	return s.Status == "Pending" && running < len(s.Containers)
}

// looked takes in what the group itself has told.
func (c *crowd) looked(group *eci.Group) {
	s := eci.GroupStatus{Status: group.Status, Containers: map[string]string{}}
	for _, container := range group.Containers {
		s.Containers[container.Name] = strings.TrimSpace(container.State + " " + container.Reason)
	}
	c.seen, c.own = stateText(s), c.stage.Clock.Now()
}

// board is one answer about all groups of the runner.
type board struct {
	At     time.Time                  `json:"at"`
	Groups map[string]eci.GroupStatus `json:"groups"` // by id

	read time.Time // the time of the file
}

// board reads the board, known being what was read before, after renewing it where it
// is old and nobody else does so right now.
func (s *Stage) board(ctx context.Context, known board) board {
	path := filepath.Join(s.Config.StateDir, "status-"+label(s.Config.Region+"-"+s.Job.Instance+"-"+runnerName(s.Config, s.Job))+".json")
	b := known.again(path)
	if younger(s.Clock.Now(), b.At, boardEvery) {
		return b
	}
	lock, err := os.OpenFile(strings.TrimSuffix(path, ".json")+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return b
	}
	defer lock.Close() // and gives the lock back
	if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return b
	}
	b = b.again(path) // somebody may have renewed it in between
	if younger(s.Clock.Now(), b.At, boardEvery) {
		return b
	}
	tags := attemptTags(s.Config, s.Job)
	delete(tags, tagAttempt)
	asked := s.Clock.Now()
	groups, err := s.API.DescribeContainerGroupStatus(ctx, tags)
	if err != nil {
		s.Logger.WithError(err).Debug("asking for the status of all groups")
		return b
	}
	b = board{At: asked, Groups: map[string]eci.GroupStatus{}}
	for _, g := range groups {
		b.Groups[g.ID] = g
	}
	saveCache(path, b)
	return b
}

// again reads the board's file where it is another one than before.
func (b board) again(path string) board {
	info, err := os.Stat(path)
	if err != nil || info.ModTime().Equal(b.read) {
		return b
	}
	fresh := board{read: info.ModTime()}
	if !loadCache(path, &fresh) {
		return b
	}
	return fresh
}

// stateText is a status in which every change shows.
func stateText(g eci.GroupStatus) string {
	parts := []string{g.Status}
	for _, name := range slices.Sorted(maps.Keys(g.Containers)) {
		parts = append(parts, name+" "+g.Containers[name])
	}
	return strings.Join(parts, "; ")
}
