package stages

import (
	"errors"
	"strings"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// blame is who has to mend a failure: it decides between system failure and
// build failure.
type blame int

const (
	operator blame = iota // of the runner and its account
	author                // of the job
)

func (b blame) String() string { return [...]string{"the runner's operator", "the job's author"}[b] }

// startError is why a container group can't serve its job.
type startError struct {
	what    string    // container, image, registry, and what is wrong with them
	event   string    // what ECI says itself; "" where that is in what
	next    string    // what to do; "" for nothing
	blame   blame     // who has to do it
	lasting bool      // another attempt of the job would fail in the same way
	class   eci.Class // Capacity or NoCache where another request may do better

	unpulled string // the container whose image can't be pulled, "" for none
}

func (e *startError) Error() string {
	var b strings.Builder
	b.WriteString(e.what)
	if e.event != "" {
		b.WriteString("\nECI says: " + e.event)
	}
	if e.next != "" {
		b.WriteString("\nWhat " + e.blame.String() + " can do: " + e.next)
	}
	return b.String()
}

// Unwrap makes a build failure of what the job's author has to mend.
func (e *startError) Unwrap() error {
	if e.blame == author {
		return &BuildError{Message: e.Error()}
	}
	return nil
}

// lasting tells whether another attempt of the job would fail in the same way.
func lasting(err error) bool {
	if start := new(startError); errors.As(err, &start) {
		return start.lasting
	}
	class := eci.ClassOf(err)
	return class == eci.Stop || class == eci.Config
}

// blameSize makes a build failure of a size that ECI does not have, where the job asked for
// a size itself.
func blameSize(err error, job *Job) error {
	var e *eci.Error
	if !errors.As(err, &e) || !asksForSize(job) {
		return err
	}
	switch e.Code {
	case "InvalidParameter.CPU.Memory", "HighCpuMemConfigRequired", "InvalidSpotCpuMemorySpec":
		return &startError{what: err.Error(), next: e.Advice(), blame: author, lasting: true}
	}
	return err
}

// busyAdvice is for an answer that made the driver ask again until its time was over.
const busyAdvice = "ECI is busy, or has a fault: try again later; should it last, ask Alibaba Cloud by a ticket with the request id."

// withAdvice adds to an error of the API what a person must do about it, where that is known.
func withAdvice(err error) error {
	var e *eci.Error
	if start := new(startError); errors.As(err, &start) || !errors.As(err, &e) {
		return err
	}
	advice := e.Advice()
	if advice == "" && eci.ClassOf(e) == eci.Retry && e.RequestID != "" {
		advice = busyAdvice
	}
	if advice == "" {
		return err
	}
	return &advised{err, advice}
}

// advised is an error with a line of advice.
type advised struct {
	error
	advice string
}

func (e *advised) Error() string { return e.error.Error() + "\n" + e.advice }
func (e *advised) Unwrap() error { return e.error }
