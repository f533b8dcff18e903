package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// printing is a script that tells the time every second for a while: with many jobs, the
// containers, which a cloud has elsewhere, are most of what this machine does.
const printing = "sleep 0.$((RANDOM % 10)); i=0; while [ $i -lt 20 ]; do sleep 1; echo $EPOCHREALTIME; i=$((i+1)); done\n"

const watchEvery = 6 * time.Second

// streamed is what jobs that print at the same time took.
type streamed struct {
	jobs     int
	lags     []time.Duration
	private  []float64 // MiB of each run's private memory, at its most
	resident []float64
	cpu      []time.Duration // of each run
	failed   int
}

// measureStreams has jobs print at the same time, each with its own group and process.
func measureStreams(ctx context.Context, o options, driver, dir string, t *table) error {
	return onHost(profiles(o)["zero"], o, driver, dir, func(w *world, file string) error {
		s := streamed{jobs: o.stream}
		var mu sync.Mutex
		var prepared sync.WaitGroup
		prepared.Add(o.stream)
		_, err := w.together(o.stream, func(n int) ([]result, error) {
			j, err := w.newJob(file, n+1)
			if err == nil {
				err = os.WriteFile(j.scriptFile, []byte(printing), 0o700) //nolint:gosec // a script
			}
			if err == nil {
				_, _, err = j.stage(ctx, "prepare")
			}
			prepared.Done()
			if err != nil {
				return nil, err
			}
			prepared.Wait() // all of them print at the same time
			one, runErr := j.print(ctx)
			_, _, err = j.stage(context.WithoutCancel(ctx), "cleanup")
			mu.Lock()
			defer mu.Unlock()
			if runErr != nil {
				s.failed++
				err = errors.Join(runErr, err)
			}
			s.lags, s.cpu = append(s.lags, one.lags...), append(s.cpu, one.cpu...)
			s.private, s.resident = append(s.private, one.private...), append(s.resident, one.resident...)
			return nil, err
		})
		t.streams(s)
		return err
	})
}

// print runs the job's script and looks at the process meanwhile.
func (j *job) print(ctx context.Context) (s streamed, err error) {
	var out arrivals
	var stderr bytes.Buffer
	command := exec.CommandContext(ctx, j.driver, "--config", j.file, "run", j.scriptFile, "build_script") //nolint:gosec // our own driver
	command.Env, command.Stdout, command.Stderr = j.env, &out, &stderr
	if err := command.Start(); err != nil {
		return s, err
	}
	looked := make(chan memory, 1)
	done := make(chan struct{})
	go func() { looked <- watch(command.Process.Pid, done) }()
	err = command.Wait()
	close(done)
	m := <-looked
	if err != nil {
		return s, fmt.Errorf("job %d: %w\n%s", j.id, err, stderr.Bytes())
	}
	s.lags, s.private, s.resident = out.lags, []float64{m.private}, []float64{m.resident}
	s.cpu = []time.Duration{command.ProcessState.UserTime() + command.ProcessState.SystemTime()}
	return s, nil
}

// arrivals notes how old lines are that tell their own time.
type arrivals struct {
	lags []time.Duration
	rest []byte
}

func (a *arrivals) Write(p []byte) (int, error) {
	came := time.Now()
	a.rest = append(a.rest, p...)
	for {
		line, rest, whole := bytes.Cut(a.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		a.rest = rest
		if value, err := strconv.ParseFloat(string(line), 64); err == nil {
			a.lags = append(a.lags, came.Sub(time.UnixMicro(int64(value*1e6))))
		}
	}
}

// memory is a process's at its most, in MiB. Private is what it has for itself: the
// pages of its file are shared with the other processes of the driver, and share is what
// each has of those, so that the shares of all of them are what they have together.
type memory struct{ private, resident, share float64 }

// watch looks rarely, as a look at the memory of hundreds of processes takes what
// they need.
func watch(pid int, done <-chan struct{}) (m memory) {
	pause := time.Duration(rand.Int64N(int64(watchEvery))) //nolint:gosec // not all at the same time
	for {
		select {
		case <-done:
			return m
		case <-time.After(pause):
		}
		pause = watchEvery
		now := memoryOf(pid)
		m.private, m.resident = max(m.private, now.private), max(m.resident, now.resident)
	}
}

func memoryOf(pid int) (m memory) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"))
	if err != nil {
		return m // it has ended
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		kib, _ := strconv.ParseFloat(words[1], 64)
		switch words[0] {
		case "Pss:":
			m.share = kib / 1024
		case "Rss:":
			m.resident = kib / 1024
		case "Private_Dirty:":
			m.private += kib / 1024
		}
	}
	return m
}
