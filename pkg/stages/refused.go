package stages

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// refusedFor is how often in a row the API may refuse an exec before the stage ends. A single
// refusal may pass: a key was just exchanged, a RAM policy has yet to take effect.
const refusedFor = 3

// refusals are the execs of a stage that were refused in a row, by the API or before it, as
// by a proxy or for want of credentials. A busy API and a lost connection are waited out.
type refusals struct {
	clock Clock

	mu    sync.Mutex
	asked error // what came of the last exec, whatever that was
	last  error // the last refusal
	n     int
	since time.Time
}

// heard takes in what came of an exec.
func (r *refusals) heard(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = err
	switch class := eci.ClassOf(err); {
	case err == nil:
		r.last, r.n = nil, 0
	case errors.As(err, new(*eci.Error)) && class != eci.Retry:
		if r.n == 0 {
			r.since = r.clock.Now()
		}
		r.last, r.n = err, r.n+1
	}
}

// unknown tells whether the API did not know the group when it was last asked.
func (r *refusals) unknown() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return eci.ClassOf(r.asked) == eci.NotFound
}

// pending tells whether the API refused the last exec for the group's state.
func (r *refusals) pending() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return eci.CodeOf(r.asked) == "IncorrectStatus"
}

// lasting says why no further exec is worth a call; nil while one may be. A refusal that only
// a person can heal counts at the third time, one of an unknown kind when it has lasted.
func (r *refusals) lasting() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	class := eci.ClassOf(r.last)
	switch {
	case r.n < refusedFor, class == eci.NotFound:
		return nil
	case class != eci.Stop && class != eci.Config && r.clock.Now().Sub(r.since) < persistence:
		return nil
	}
	return withAdvice(fmt.Errorf("no script can be run or followed: %w", r.last))
}
