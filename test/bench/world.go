package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// profile is how long the cloud takes.
type profile struct {
	name               string
	call, spread, dial time.Duration // of an API call, one way or the other, and of a socket's handshake
	soonest, latest    time.Duration // between which scheduling is drawn
	pull               time.Duration
	buildPull          time.Duration // of the build image, where it is another one
	rates              ecitest.Rates
	switches           ecitest.Switches
}

func profiles(o options) map[string]profile {
	return map[string]profile{
		"zero": {name: "zero"},
		"cloud": {name: "cloud", call: 120 * time.Millisecond, spread: 30 * time.Millisecond, dial: 80 * time.Millisecond,
			soonest: 3 * time.Second, latest: 30 * time.Second, pull: o.pull},
	}
}

// limited is the profile with the documented calls a minute of each action.
func (p profile) limited() profile {
	p.rates = ecitest.Rates{Scale: 1}
	return p
}

// slower is the median of the slower one of two calls, as cleanup makes them side by side.
func (p profile) slower() time.Duration {
	return p.call - p.spread + time.Duration(math.Sqrt(0.5)*float64(2*p.spread))
}

// faults draws the times of calls, handshakes and groups.
func (p profile) faults(seed uint64) ecitest.Faults {
	var mu sync.Mutex
	draw := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // times of a benchmark
	between := func(low, high time.Duration) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		if high <= low {
			return low
		}
		return low + time.Duration(draw.Int64N(int64(high-low)))
	}
	return ecitest.Faults{
		Call: func(string, int) ecitest.CallFault {
			// Half of a call is its way there: what it asks about is that of its middle.
			whole := between(p.call-p.spread, p.call+p.spread)
			return ecitest.CallFault{Delay: whole / 2, DelayAfter: whole / 2}
		},
		Exec: func(int) ecitest.ExecFault { return ecitest.ExecFault{Dial: p.dial} },
		Group: func(int) ecitest.GroupFault {
			f := ecitest.GroupFault{Schedule: between(p.soonest, p.latest)}
			if p.buildPull > 0 {
				f.PullTime = map[string]time.Duration{"build:1": p.buildPull}
			}
			return f
		},
	}
}

// world is a local ECI and the driver whose files point at it.
type world struct {
	profile
	dir, driver string
	shared      bool
	server      *ecitest.Server
	client      *eci.Client
}

const helperProgram = `#!/bin/sh
echo "Version: stand-in of the benchmark"
`

// tools are those of the default helper image, which is an Alpine.
const tools = "sh dd stat sha256sum head sleep cat setsid"

// build builds the driver as it is released, stripped, but for tags.
func build(ctx context.Context, dir, tags string) (string, error) {
	driver := filepath.Join(dir, "eci-executor")
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-tags", tags, "-o", driver, "./cmd/eci-executor")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the driver (bench runs in the repository's root): %w\n%s", err, out)
	}
	return driver, nil
}

func newWorld(p profile, o options, driver, dir string) (*world, error) {
	images, err := makeImages(filepath.Join(dir, "images"))
	if err != nil {
		return nil, err
	}
	w := &world{profile: p, dir: dir, driver: driver, shared: o.shared}
	w.server, err = ecitest.Start(ecitest.Options{Dir: filepath.Join(dir, "eci"), Images: images, Switches: p.switches,
		Delays: ecitest.Delays{Pull: p.pull}, Rates: p.rates, Faults: p.faults(o.seed)})
	if err != nil {
		return nil, err
	}
	w.client, err = eci.New(eci.Options{Region: "ap-northeast-1", Endpoint: w.server.URL(),
		Credentials: eci.Credentials{AccessKeyID: "local", AccessKeySecret: "local-secret"}})
	return w, err
}

// onHost starts a world, has work done there by a host whose driver's file it is given,
// and ends the world.
func onHost(p profile, o options, driver, dir string, work func(w *world, file string) error) (err error) {
	w, err := newWorld(p, o, driver, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	file, err := w.host("host")
	if err != nil {
		return err
	}
	return work(w, file)
}

func (w *world) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if left := w.server.AwaitNone(ctx); len(left) > 0 {
		return fmt.Errorf("%d container groups left: %v", len(left), left)
	}
	return w.server.Close()
}

// makeImages are the host's own root; helper has busybox where an Alpine has it.
func makeImages(dir string) (map[string]ecitest.Image, error) {
	build, err := ecitest.HostImage(filepath.Join(dir, "build"))
	if err != nil {
		return nil, err
	}
	top := filepath.Join(dir, "helper")
	helper, err := ecitest.HostImage(top)
	if err != nil {
		return nil, err
	}
	bin := filepath.Join(top, "usr/local/bin")
	if err := os.MkdirAll(bin, 0o755); err != nil { //nolint:gosec // of an image
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(bin, "gitlab-runner"), []byte(helperProgram), 0o755); err != nil { //nolint:gosec // an executable
		return nil, err
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("the helper's tools: %w: install busybox-static", err)
	}
	for _, tool := range fields(tools) {
		if err := os.Symlink(busybox, filepath.Join(bin, tool)); err != nil {
			return nil, err
		}
	}
	return map[string]ecitest.Image{"build:1": build, "helper:1": helper}, nil
}

const driverFile = `
region = "ap-northeast-1"
endpoint = %q
state_dir = %q
vswitch_ids = ["vsw-1"]
security_group_id = "sg-1"
[credentials]
access_key_id = "local"
access_key_secret = "local-secret"
[build]
image = "build:1"
cpu = 2
memory = "4GiB"
[helper]
image = "helper:1"
[image_cache]
auto_match = false # the profile says what a pull takes
[exec]
shared_connection = %t
`

// host makes a runner's host of its own, with a state_dir, and returns its driver file.
func (w *world) host(name string) (file string, err error) {
	dir := filepath.Join(w.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	file = filepath.Join(dir, "eci-executor.toml")
	return file, os.WriteFile(file, fmt.Appendf(nil, driverFile, w.server.URL(), filepath.Join(dir, "state"), w.shared), 0o600)
}

// response writes the response of a job.
func (w *world) response(id int, variables map[string]string) (file string, err error) {
	all := map[string]string{"CI_SERVER_HOST": "gitlab.example.com", "CI_RUNNER_ID": "12", "CI_PIPELINE_ID": "99"}
	maps.Copy(all, variables)
	var list []map[string]any
	for key, value := range all {
		list = append(list, map[string]any{"key": key, "value": value, "public": true})
	}
	data, err := json.Marshal(map[string]any{
		"id": id, "token": "job-token", "variables": list, "image": map[string]any{"name": "build:1"},
		"job_info":    map[string]any{"name": "bench", "stage": "test", "project_id": 7, "project_name": "app", "project_full_path": "group/app"},
		"git_info":    map[string]any{"repo_url": "https://gitlab.example.com/group/app.git", "ref": "main"},
		"runner_info": map[string]any{"timeout": 3600},
	})
	if err != nil {
		return "", err
	}
	file = filepath.Join(w.dir, fmt.Sprintf("job-%d.json", id))
	return file, os.WriteFile(file, data, 0o600)
}
