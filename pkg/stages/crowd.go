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
	boardEvery  = time.Second      // how old the board must be to be renewed
	boardTrust  = 15 * time.Second // after which a prepare looks for itself
	markerFresh = time.Minute      // a marker that was not touched for longer is of a dead process
)

// crowd is the prepares of this host that wait now.
type crowd struct {
	stage  *Stage
	marker string
	posted string    // state of the own group on the board when last looked at itself
	seen   string    // and as it was seen then
	own    time.Time // when that was
}

const markerSuffix = ".waiting"

func (s *Stage) joinCrowd() *crowd {
	c := &crowd{stage: s, marker: strings.TrimSuffix(s.store().recordPath(s.Job), ".attempt.json") + markerSuffix}
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
	return n
}

// silent tells that the board shows nothing new about the group, so that it need
// not be asked for.
func (c *crowd) silent(ctx context.Context, id string) bool {
	now := c.stage.Clock.Now()
	if c.count() < many || now.Sub(c.own) > boardTrust {
		return false
	}
	board := c.stage.board(ctx)
	state, listed := board.Groups[id]
	if listed && now.Sub(board.At) <= boardTrust && (state == c.posted || state == c.seen) {
		return true
	}
	c.posted = state
	return false
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
	At     time.Time         `json:"at"`
	Groups map[string]string `json:"groups"` // id -> all that can change
}

// board reads the board, after renewing it where it is old and nobody else does
// so right now.
func (s *Stage) board(ctx context.Context) board {
	path := filepath.Join(s.Config.StateDir, "status-"+label(s.Config.Region+"-"+s.Job.Instance+"-"+runnerName(s.Config, s.Job))+".json")
	var b board
	loadCache(path, &b)
	if s.Clock.Now().Sub(b.At) < boardEvery {
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
	loadCache(path, &b) // somebody may have renewed it in between
	if s.Clock.Now().Sub(b.At) < boardEvery {
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
	b = board{At: asked, Groups: map[string]string{}}
	for _, g := range groups {
		b.Groups[g.ID] = stateText(g)
	}
	saveCache(path, b)
	return b
}

// stateText is a status in which every change shows.
func stateText(g eci.GroupStatus) string {
	parts := []string{g.Status}
	for _, name := range slices.Sorted(maps.Keys(g.Containers)) {
		parts = append(parts, name+" "+g.Containers[name])
	}
	return strings.Join(parts, "; ")
}
