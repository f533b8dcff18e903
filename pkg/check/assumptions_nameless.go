package check

import (
	"context"
	"errors"
	"strings"
)

// nameless are those that no switch stands for: the local ECI is as it is.
func nameless() []Assumption {
	return []Assumption{
		{Name: "nas-options", What: "mount options of a NAS", ask: nasOptions},
	}
}

// nasOptions reads what a NAS is mounted with.
func nasOptions(ctx context.Context, l *live) (verdict, error) {
	mounts, err := l.answer(ctx, "helper", "cat /proc/mounts")
	if err != nil {
		return verdict{}, err
	}
	var options []string
	for line := range strings.Lines(mounts) {
		if fields := strings.Fields(line); len(fields) > 3 && strings.HasPrefix(fields[2], "nfs") {
			options = append(options, fields[1]+" "+fields[3])
		}
	}
	if len(options) == 0 {
		return verdict{}, errors.New("nothing is mounted over NFS")
	}
	return verdict{strings.Join(options, "; "), "what the kernel shows"}, nil
}
