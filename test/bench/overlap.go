package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// What a job of these times shows: it waits for the longer of the two, or for both.
const (
	longPull  = 30 * time.Second
	longClone = 20 * time.Second
)

// measureOverlap takes a job with a long pull and a long clone through a service that
// takes an exec in a Pending group, and through one that refuses it.
func measureOverlap(ctx context.Context, o options, driver, dir string, t *table) error {
	t.line(fmt.Sprintf("a pull of %s for the build image, a clone of %s", longPull, longClone))
	first := map[bool]time.Duration{}
	answers := make(chan error, 2)
	results := make(chan func(), 2)
	for _, allowed := range []bool{true, false} {
		go func() {
			p := profiles(o)["cloud"]
			p.pull, p.buildPull, p.soonest, p.latest = 0, longPull, time.Second, time.Second
			p.switches = ecitest.Switches{ExecAllowedWhilePending: allowed}
			took, err := firstLine(ctx, p, o, driver, filepath.Join(dir, fmt.Sprint(allowed)))
			results <- func() { first[allowed] = took }
			answers <- err
		}()
	}
	if err := errors.Join(<-answers, <-answers); err != nil {
		return err
	}
	(<-results)()
	(<-results)()
	t.row("  the job's first own line, execs in a Pending group are taken", inSeconds(first[true]), "about 30 s")
	t.row("  the job's first own line, they are refused", inSeconds(first[false]), "about 50 s")
	return nil
}

// firstLine is when the script of build tells something, counted from the group's place.
func firstLine(ctx context.Context, p profile, o options, driver, dir string) (took time.Duration, err error) {
	err = onHost(p, o, driver, dir, func(w *world, file string) (err error) {
		took, err = w.firstLine(ctx, file)
		return err
	})
	return took, err
}

// firstLine is that of a host's first job.
func (w *world) firstLine(ctx context.Context, file string) (took time.Duration, err error) {
	j, err := w.newJob(file, 1)
	if err != nil {
		return 0, err
	}
	defer func() {
		_, _, cleanupErr := j.stage(context.WithoutCancel(ctx), "cleanup")
		err = errors.Join(err, cleanupErr)
	}()
	if _, _, err := j.stage(ctx, "prepare"); err != nil {
		return 0, err
	}
	clone := j.scriptFile + "-clone"
	if err := os.WriteFile(clone, fmt.Appendf(nil, "sleep %.0f\n", longClone.Seconds()), 0o700); err != nil { //nolint:gosec // a script
		return 0, err
	}
	if _, _, err := j.stage(ctx, "run", clone, "get_sources"); err != nil {
		return 0, err
	}
	out, _, err := j.stage(ctx, "run", j.scriptFile, "build_script")
	if err != nil {
		return 0, err
	}
	g, err := j.group()
	if err != nil {
		return 0, err
	}
	_, text, _ := strings.Cut(string(out.text), "begin ")
	at, err := clockTime(text)
	return at.Sub(g.Placed), err
}
