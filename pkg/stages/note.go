package stages

import (
	"os"
	"path/filepath"
	"time"
)

// Note is what the driver keeps of a job from one attempt to the next.
type Note struct {
	First   time.Time `json:"first"`             // prepare of the first attempt
	Failure string    `json:"failure,omitempty"` // a failure that no later attempt can heal
}

func (s store) notePath(job *Job) string {
	return filepath.Join(s.dir, fileName(job)+".job.json")
}

// loadNote returns an empty note where there is none, and where it is damaged: the job may
// then make an attempt too many, while an error would fail all of them.
func (s store) loadNote(job *Job) (Note, error) { return loadAnew[Note](s.notePath(job)) }

func (s store) saveNote(job *Job, n Note) error { return save(s.notePath(job), n) }

// noteLife is how long a note is kept: no job has an attempt a day after its last one.
const noteLife = 24 * time.Hour

// noteEnd is how long the note of a job is kept that has run. A second cleanup knows by the
// note that nothing is left to look for; but a busy host would have 100,000 of one day.
const noteEnd = 10 * time.Minute

// endNote has prune remove a job's note after noteEnd, by an older modification time.
func (s store) endNote(job *Job, now time.Time) {
	os.Chtimes(s.notePath(job), now, now.Add(noteEnd-noteLife)) //nolint:errcheck // then it goes after noteLife
}
