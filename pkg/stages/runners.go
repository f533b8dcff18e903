package stages

import (
	"path/filepath"
	"slices"
)

// Runner is a runner whose groups this host makes, by the tags instance and runner of a
// group.
type Runner struct {
	Instance string `json:"instance"`
	Runner   string `json:"runner"`
}

func runnerOf(tags map[string]string) Runner { return Runner{tags[tagInstance], tags[tagRunner]} }

func (s store) runnersPath() string { return filepath.Join(s.dir, "runners.json") }

// runners are those whose jobs were prepared on this host.
func (s store) runners() (list []Runner, err error) {
	_, err = load(s.runnersPath(), &list)
	return list, err
}

// remember adds a runner to those of this host.
func (s store) remember(r Runner) error {
	if list, err := s.runners(); err == nil && slices.Contains(list, r) {
		return nil
	}
	release, err := s.lockDir()
	defer release()
	if err != nil {
		return err
	}
	list, _ := s.runners() // a damaged list is begun anew
	if slices.Contains(list, r) {
		return nil
	}
	return write(s.runnersPath(), append(list, r))
}
