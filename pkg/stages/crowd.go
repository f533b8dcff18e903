package stages

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// Many prepares of one host may wait at the same time, each in a process of its own. Were
// each to ask for its own group, they would soon meet ECI's limits. So from `many` waiting
// processes on they share a board: a file with the status of all the runner's groups, which
// one process at a time renews by a single call. A prepare then describes its own group
// only when the board shows a change that matters, or has shown none for long.
//
// A process tells the others that it waits by a marker file beside its attempt's record.
const (
	many        = 4
	boardTick   = 400 * time.Millisecond // the shortest pause between two looks at the board
	boardEvery  = time.Second            // a board that is older is renewed
	boardGood   = 5 * time.Second        // a board that is older is not believed
	countEvery  = 2 * time.Second        // how long a count of the waiting processes is good
	ownTrouble  = 15 * time.Second       // a prepare looks itself after this where its group is in trouble, or not on the board
	ownAlways   = 40 * time.Second       // and after this in any case
	markerFresh = time.Minute            // a marker that was not touched for longer is a dead process's
)

// crowd is what one waiting prepare knows of the others, and of the board.
type crowd struct {
	stage    *Stage
	early    bool      // its wait may end before all containers run: see wait.meanwhile
	marker   string    // path of its marker
	size     int       // processes that wait, this one included ...
	counted  time.Time // ... when they were last counted
	board    board     // as last read
	posted   string    // what the board showed of the group when it was last described because of the board
	seen     string    // what the group itself showed when it was last described
	lookedAt time.Time // when that was, or when the wait began
}

const markerSuffix = ".waiting"

// joinCrowd lets the other prepares of this host know that this one waits.
func (s *Stage) joinCrowd(early bool) *crowd {
	c := &crowd{stage: s, early: early, lookedAt: s.Clock.Now(), marker: beside(s.store().recordPath(s.Job), markerSuffix)}
	if f, err := os.OpenFile(c.marker, os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
		f.Close()
	}
	return c
}

func (c *crowd) leave() {
	os.Remove(c.marker) //nolint:errcheck // a marker that stays counts for nothing after a minute
}

// count is how many prepares wait, this one included. It removes the markers of dead ones.
func (c *crowd) count() int {
	now := c.stage.Clock.Now()
	if !c.counted.IsZero() && now.Sub(c.counted) < countEvery {
		return c.size
	}
	os.Chtimes(c.marker, now, now)                    //nolint:errcheck // then this process counts as dead, and others may ask for themselves
	markers, _ := c.stage.store().files(markerSuffix) // where there are none to be read, nobody shares a board
	n := 0
	for _, m := range markers {
		switch info, err := os.Stat(m); {
		case err != nil:
		case now.Sub(info.ModTime()) > markerFresh:
			os.Remove(m) //nolint:errcheck // another process has removed it
		default:
			n++
		}
	}
	c.size, c.counted = n, now
	return n
}

// pause is how long to wait until the next look, where a prepare that is alone would wait
// for d. To look at the board costs nearly nothing, so that is done more often.
func (c *crowd) pause(d time.Duration) time.Duration {
	if c.count() < many || !c.good() {
		return d
	}
	return min(max(d, boardTick), boardEvery)
}

// good tells whether the board is to be believed.
func (c *crowd) good() bool { return younger(c.stage.Clock.Now(), c.board.At, boardGood) }

// silent tells whether there is no need to describe the group, by what the board shows of
// it, and gives its status there, "" where the board does not have it.
func (c *crowd) silent(ctx context.Context, id string) (status string, silent bool) {
	if c.count() < many {
		return "", false
	}
	c.board = c.stage.board(ctx, c.board)
	if !c.good() {
		return "", false
	}
	unseen := c.stage.Clock.Now().Sub(c.lookedAt)
	state, listed := c.board.Groups[id]
	switch text := stateText(state); {
	case !listed:
		return "", unseen <= ownTrouble
	case onItsWay(state):
		if c.early && state.Containers[helperContainer] == "Running" {
			return state.Status, text == c.seen && unseen <= pullGrace
		}
		return state.Status, unseen <= ownAlways
	case text == c.posted || text == c.seen:
		return state.Status, unseen <= ownTrouble
	default:
		c.posted = text
		return "", false
	}
}

// onItsWay tells whether a group starts as it should and does not run yet.
func onItsWay(s eci.GroupStatus) bool {
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

// looked takes in a group that was described.
func (c *crowd) looked(group *eci.Group) {
	s := eci.GroupStatus{Status: group.Status, Containers: map[string]string{}}
	for _, container := range group.Containers {
		s.Containers[container.Name] = strings.TrimSpace(container.State + " " + container.Reason)
	}
	c.seen, c.lookedAt = stateText(s), c.stage.Clock.Now()
}

// board is one answer about all groups of the runner.
type board struct {
	At     time.Time                  `json:"at"`     // when it was asked for
	Groups map[string]eci.GroupStatus `json:"groups"` // by id

	read time.Time // modification time of the file that this was read from
}

// board returns the board. Where it is old and no other process renews it right now, it
// asks ECI and writes it anew. known is the board as this process read it before.
func (s *Stage) board(ctx context.Context, known board) board {
	path := filepath.Join(s.Config.StateDir, "status-"+label(s.Config.Region+"-"+s.Job.Instance+"-"+runnerName(s.Config, s.Job))+".json")
	b := known.again(path)
	if younger(s.Clock.Now(), b.At, boardEvery) {
		return b
	}
	release, err := s.store().claim(path)
	if err != nil {
		return b // another process renews it
	}
	defer release()
	b = b.again(path) // that process may just have done so
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

// again reads the board's file unless it is the one that b was read from.
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

// stateText is a status as text, to be compared: any change of a container shows in it.
func stateText(g eci.GroupStatus) string {
	parts := []string{g.Status}
	for _, name := range slices.Sorted(maps.Keys(g.Containers)) {
		parts = append(parts, name+" "+g.Containers[name])
	}
	return strings.Join(parts, "; ")
}
