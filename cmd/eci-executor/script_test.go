package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/eci-executor/eci-executor/internal/sandbox"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"eci-executor": main})
}

// driverFile is written to $WORK of each script as eci-executor.toml.
const driverFile = `region = "ap-northeast-1"
endpoint = %q
state_dir = %q
[credentials]
access_key_id = "local"
access_key_secret = "local-secret"
[build]
image = "host"
[helper]
image = "helper:1"
[timeouts]
ready = "15s"
call = "2s"
`

// helperProgram stands for gitlab-runner-helper, of which these scripts need
// nothing but that it is there.
const helperProgram = "#!/bin/sh\necho helper\n"

// TestCommands runs testdata/*.txtar: what a person or a runner sees of the
// commands, each against a local ECI of its own.
func TestCommands(t *testing.T) {
	if err := sandbox.Supported(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			server, err := startECI(e)
			if err != nil {
				return err
			}
			e.Defer(func() { finish(t, server) })
			e.Setenv("ECI_EXECUTOR_CONFIG", filepath.Join(e.WorkDir, "eci-executor.toml"))
			e.Setenv("TESTDATA", repository("testdata"))
			e.Setenv("CUSTOM_ENV_CI_RUNNER_VERSION", "19.4.0")
			text := fmt.Appendf(nil, driverFile, server.URL(), filepath.Join(e.WorkDir, "state"))
			return os.WriteFile(filepath.Join(e.WorkDir, "eci-executor.toml"), text, 0o600)
		},
	})
}

// repository is the absolute path of a folder of the repository.
func repository(name string) string {
	path, err := filepath.Abs(filepath.Join("..", "..", name))
	if err != nil {
		return name
	}
	return path
}

func startECI(e *testscript.Env) (*ecitest.Server, error) {
	image, err := ecitest.HostImage(filepath.Join(e.WorkDir, ".image"))
	if err != nil {
		return nil, err
	}
	top := filepath.Join(e.WorkDir, ".helper")
	helper, err := ecitest.HostImage(top)
	if err != nil {
		return nil, err
	}
	program := filepath.Join(top, "usr/local/bin/gitlab-runner")
	if err := os.WriteFile(program, []byte(helperProgram), 0o755); err != nil {
		return nil, err
	}
	return ecitest.Start(ecitest.Options{Dir: filepath.Join(e.WorkDir, ".eci"),
		Images: map[string]ecitest.Image{"host": image, "helper:1": helper}})
}

// finish is the leak check; the server tells no event, so it is asked as the API
// would be.
func finish(t *testing.T, server *ecitest.Server) {
	for until := time.Now().Add(2 * time.Second); len(server.Live()) > 0 && time.Now().Before(until); {
		time.Sleep(10 * time.Millisecond)
	}
	if live := server.Live(); len(live) > 0 {
		t.Errorf("%d container groups left: %v", len(live), live)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
}
