package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/eci-executor/eci-executor/internal/sandbox"
	"github.com/eci-executor/eci-executor/internal/testneed"
	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// TestMain makes the test's binary the program itself where it is called by its
// name.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"eci-executor": main,
	})
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
ready = "60s"
call = "15s"
`

// helperProgram stands for gitlab-runner-helper, of which these scripts need
// nothing but that it is there.
const helperProgram = "#!/bin/sh\necho helper\n"

// TestCommands runs testdata/*.txtar: what a person or a runner sees of the
// commands, each against a local ECI of its own.
func TestCommands(t *testing.T) {
	needSandbox(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			server, err := startECI(e.WorkDir)
			if err != nil {
				return err
			}
			e.Defer(func() { finish(t, server) })
			e.Setenv("ECI_EXECUTOR_CONFIG", filepath.Join(e.WorkDir, "eci-executor.toml"))
			e.Setenv("TESTDATA", repository("testdata"))
			e.Setenv("CUSTOM_ENV_CI_RUNNER_VERSION", "19.4.0")
			e.Values["endpoint"] = server.URL()
			text := fmt.Appendf(nil, driverFile, server.URL(), filepath.Join(e.WorkDir, "state"))
			return os.WriteFile(filepath.Join(e.WorkDir, "eci-executor.toml"), text, 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"inside": inside, "document": document, "group": group},
	})
}

func needSandbox(t *testing.T) {
	t.Helper()
	testneed.Need(t, sandbox.Supported())
}

// group NAME TAG=VALUE... makes a container group by the API alone; expires-at
// takes a time from now, such as -10m. ! group NAME deletes it.
func group(ts *testscript.TestScript, not bool, args []string) {
	client, err := newTestClient(ts.Value("endpoint").(string))
	ts.Check(err)
	ctx := context.Background()
	if not {
		groups, err := client.DescribeContainerGroups(ctx, eci.Query{Name: args[0]})
		ts.Check(err)
		for _, g := range groups {
			ts.Check(client.DeleteContainerGroup(ctx, g.ID, true))
		}
		return
	}
	tags := map[string]string{}
	for _, arg := range args[1:] {
		key, value, _ := strings.Cut(arg, "=")
		if d, err := time.ParseDuration(value); key == "expires-at" && err == nil {
			value = fmt.Sprint(time.Now().Add(d).Unix())
		}
		tags[key] = value
	}
	ts.Check(createGroup(ctx, client, args[0], tags))
}

func newTestClient(endpoint string) (*eci.Client, error) {
	return eci.New(eci.Options{Region: "ap-northeast-1", Endpoint: endpoint,
		Credentials: eci.Credentials{AccessKeyID: "local", AccessKeySecret: "local-secret"}})
}

// createGroup makes a group whose container does nothing.
func createGroup(ctx context.Context, client *eci.Client, name string, tags map[string]string) error {
	spec := eci.GroupSpec{Name: name, CPU: 2, MemoryGiB: 4, RestartPolicy: "Never", Tags: tags,
		Containers: []eci.Container{{Name: "build", Image: "host", Command: []string{"sleep", "600"}}}}
	_, err := client.CreateContainerGroup(ctx, spec.Params())
	return err
}

// document FILE SCRIPT writes the sh blocks of a document, relative to this folder,
// to a script.
func document(ts *testscript.TestScript, _ bool, args []string) {
	text, err := os.ReadFile(args[0])
	ts.Check(err)
	var script strings.Builder
	for _, block := range strings.Split(string(text), "```sh\n")[1:] {
		commands, _, _ := strings.Cut(block, "```")
		script.WriteString(commands)
	}
	if script.Len() == 0 {
		ts.Fatalf("%s shows no commands", args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(script.String()), 0o600))
}

// inside CONTAINER COMMAND runs a command in a container of the only group that
// runs, beside its stages, and returns when it has ended.
func inside(ts *testscript.TestScript, _ bool, args []string) {
	client, err := newTestClient(ts.Value("endpoint").(string))
	ts.Check(err)
	groups, err := client.DescribeContainerGroups(context.Background(), eci.Query{Status: "Running"})
	ts.Check(err)
	if len(groups) != 1 {
		ts.Fatalf("%d groups run, want one", len(groups))
	}
	stream, err := client.Exec(context.Background(), eci.ExecRequest{GroupID: groups[0].ID, Container: args[0],
		Command: []string{"sh", "-c", args[1] + "; echo done; read -r _"}})
	ts.Check(err)
	defer stream.Close()
	_, err = stream.Read(make([]byte, 1))
	ts.Check(err)
}

// repository is the absolute path of a folder of the repository.
func repository(name string) string {
	path, err := filepath.Abs(filepath.Join("..", "..", name))
	if err != nil {
		return name
	}
	return path
}

func startECI(dir string) (*ecitest.Server, error) { return startECIAs(dir, ecitest.Switches{}) }

func startECIAs(dir string, switches ecitest.Switches) (*ecitest.Server, error) {
	image, err := ecitest.HostImage(filepath.Join(dir, ".image"))
	if err != nil {
		return nil, err
	}
	top := filepath.Join(dir, ".helper")
	helper, err := ecitest.HostImage(top)
	if err != nil {
		return nil, err
	}
	program := filepath.Join(top, "usr/local/bin/gitlab-runner")
	if err := os.WriteFile(program, []byte(helperProgram), 0o755); err != nil {
		return nil, err
	}
	return ecitest.Start(ecitest.Options{Dir: filepath.Join(dir, ".eci"), Switches: switches,
		Images: map[string]ecitest.Image{"host": image, "helper:1": helper,
			// Of a registry that is known not to answer, which check looks for.
			"127.0.0.1:1/ci/build:1": image, "127.0.0.1:1/ci/helper:x86_64-v19.4.0": helper}})
}

// finish is the leak check.
func finish(t *testing.T, server *ecitest.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if live := server.AwaitNone(ctx); len(live) > 0 {
		t.Errorf("%d container groups left: %v", len(live), live)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
}
