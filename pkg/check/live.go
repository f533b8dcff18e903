package check

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// Names of the lines of a job that ran.
const (
	liveCheck       = "live"
	assumptionCheck = "assumption"
)

// liveNeeds are the checks without which no job is tried.
func liveNeeds() []string {
	return []string{"file", "state-dir", "credentials", "ram-create", "ram-describe", "ram-exec", "ram-delete", "request", "helper", "websocket"}
}

// live is a tiny job of our own on its way: through the same stages as any other, and
// with questions to its group in between.
type live struct {
	*world
	api   *recorder
	stage *stages.Stage
	log   *bytes.Buffer // of the job
	tell  func(Line)
	group *eci.Group // as it was when it ran

	looked *messages // by look; nil before
}

// live runs the job and asks its group. Whatever happens, ctx's end too, the group is
// deleted before it returns.
func (w *world) live(ctx context.Context, all map[string]*running, tell func(Line)) {
	var missing []string
	for _, name := range liveNeeds() {
		if all[name].missing() {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		tell(skipped("needs %s", strings.Join(missing, ", ")).named(liveCheck))
		return
	}
	if w.runnerVersion == "" && strings.Contains(w.cfg.Helper.Image, "{runner_version}") {
		tell(skipped("needs the runner's version: say --runner-version").named(liveCheck))
		return
	}
	l := &live{world: w, api: newRecorder(w), log: &bytes.Buffer{}, tell: tell}
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	l.stage = &stages.Stage{Config: w.trial, Job: w.job, API: l.api, Clock: w.Clock, Stdout: l.log, Stderr: l.log, Logger: logger, Remote: w.Remote}
	defer l.end(context.WithoutCancel(ctx))
	l.work(ctx)
}

// named is the line of a check that is none of List.
func (l Line) named(check string) Line {
	l.Check = check
	return l
}

// phase tells how long f took, and what it says or why it failed.
func (l *live) phase(name string, f func() (string, error)) error {
	began := l.Clock.Now()
	text, err := f()
	took := l.Clock.Now().Sub(began)
	line := ok("%s: %.1f s%s", name, took.Seconds(), text)
	if err != nil {
		line = failed("docs/errors.md explains what ECI says; the job's own log would hold the same.", "%s: after %.1f s: %v", name, took.Seconds(), err)
	}
	line.Seconds = took.Seconds()
	l.tell(line.named(liveCheck).of(name))
	return err
}

// work is the job up to its cleanup.
func (l *live) work(ctx context.Context) {
	err := l.phase("prepare", func() (string, error) {
		if err := l.stage.Prepare(ctx); err != nil {
			return "", err
		}
		groups, err := l.client.DescribeContainerGroups(ctx, eci.Query{IDs: []string{l.api.id()}})
		if err != nil || len(groups) != 1 {
			return "", fmt.Errorf("the group that runs is not listed: %w", err)
		}
		l.group = &groups[0]
		return fmt.Sprintf(", container group %s of %g vCPU, %g GiB in %s", l.group.ID, l.group.CPU, l.group.MemoryGiB, l.group.ZoneID), nil
	})
	if err != nil {
		return
	}
	shared := l.cfg.BuildsDir + "/.eci-executor-check"
	err = l.phase("helper script", func() (string, error) {
		return "", l.script(ctx, "get_sources", "gitlab-runner --version >/dev/null && echo shared >"+shared+" && echo helper", "helper\n", 0)
	})
	if err != nil {
		return
	}
	var want strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	want.WriteString("shared\n")
	err = l.phase("build script", func() (string, error) {
		return fmt.Sprintf(", %d bytes of log and exit status 7 came exactly", want.Len()),
			l.script(ctx, "step_script", `i=0; while [ $i -lt 1000 ]; do echo "line $i"; i=$((i+1)); done; cat `+shared+"; exit 7", want.String(), 7)
	})
	if err != nil {
		return
	}
	for _, a := range Assumptions() {
		if a.ask != nil && ctx.Err() == nil {
			l.tell(l.assume(ctx, a))
		}
	}
	if ctx.Err() != nil {
		l.tell(failed("run check --live again.", "interrupted before all was asked: %v", context.Cause(ctx)).named(liveCheck).of("assumptions"))
	}
}

// script runs one in the group and holds its log and exit status against what they
// must be.
func (l *live) script(ctx context.Context, subStage, text, want string, status int) error {
	file, err := os.CreateTemp("", "eci-executor-check-")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) //nolint:errcheck // a temporary file
	_, err = file.WriteString(text)
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	l.log.Reset()
	err = l.stage.Run(ctx, file.Name(), subStage)
	got := 0
	if build := (*stages.BuildError)(nil); errors.As(err, &build) && build.Message == "" {
		got, err = build.Status, nil
	}
	switch {
	case err != nil:
		return err
	case got != status:
		return fmt.Errorf("exit status %d came as %d, with the log %.200q", status, got, l.log.String())
	case l.log.String() != want:
		return fmt.Errorf("a log of %d bytes came as %d: %.200q", len(want), l.log.Len(), l.log.String())
	}
	return nil
}

// Bounds of the end of a job.
const (
	endLimit  = 2 * time.Minute
	endPause  = 300 * time.Millisecond
	lateGroup = 10 * time.Second // how long a group whose create got no answer is looked for
)

// end deletes the group, and looks until it is gone.
func (l *live) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	err := l.phase("cleanup", func() (string, error) {
		return "", eci.PersistOn(ctx, endLimit/2, func(c eci.Class) bool { return true }, func() error { return l.stage.Cleanup(ctx) })
	})
	if err == nil && !l.api.asked() {
		return // no group was ever asked for
	}
	l.phase("gone", func() (string, error) { return l.awaitGone(ctx) }) //nolint:errcheck // it is told
	for _, a := range Assumptions() {
		if a.after != nil && l.group != nil {
			l.tell(l.judged(a, a.after))
		}
	}
}

// awaitGone looks by the tags until no group of the attempt is left.
func (l *live) awaitGone(ctx context.Context) (string, error) {
	began, seen := l.Clock.Now(), false
	for {
		groups, err := l.client.DescribeContainerGroups(ctx, eci.Query{Tags: map[string]string{"managed-by": stages.DriverName, "attempt": l.job.Attempt}})
		seen = seen || len(groups) > 0
		late := l.api.id() == "" && !seen && !l.api.wasDeleted() && l.Clock.Now().Sub(began) < lateGroup
		left := 0
		for i := range groups {
			if groups[i].Terminal() {
				continue
			}
			if left++; groups[i].Status != "Terminating" {
				l.client.DeleteContainerGroup(ctx, groups[i].ID, true) //nolint:errcheck // asked again until it is gone
			}
		}
		if err == nil && left == 0 && !late {
			l.api.gone(l.Clock.Now())
			return ", 0 container groups left", nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("container group %s may still be running: delete it in the console, or let reap do it", cmp.Or(l.api.id(), l.job.Attempt))
		case <-l.Clock.After(endPause):
		}
	}
}

// sh is a command that the group runs beside the job's scripts.
func sh(script string) []string { return []string{"sh", "-c", script} }

// file is a place that helper and build both can write to.
func (l *live) file(name string) string { return remote.LogDir + "/check-" + name }

// answer runs a script in a container and returns what it prints on stdout.
func (l *live) answer(ctx context.Context, container, script string) (string, error) {
	const end = ".end."
	err := ctx.Err()
	for i := 0; i < 3 && ctx.Err() == nil; i++ {
		var stream *eci.Stream
		err = l.again(ctx, func() (err error) {
			stream, err = l.client.Exec(ctx, eci.ExecRequest{GroupID: l.group.ID, Container: container, Command: sh(script + "; echo " + end)})
			return err
		})
		if err != nil {
			return "", err
		}
		drop := context.AfterFunc(ctx, func() { stream.Close() }) //nolint:errcheck // a read ends with it
		var got []byte
		for err == nil && !bytes.Contains(got, []byte(end)) {
			buffer := make([]byte, 4096)
			var n int
			n, err = stream.Read(buffer)
			got = append(got, buffer[:n]...)
		}
		drop()
		stream.Close() //nolint:errcheck // nothing is owed
		if text, _, whole := strings.Cut(string(got), end); whole {
			return text, nil
		}
	}
	return "", err
}
