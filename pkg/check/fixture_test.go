package check_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-billy/v5"
	"github.com/go-git/go-billy/v5/osfs"
	nfs "github.com/willscott/go-nfs"
	"github.com/willscott/go-nfs/helpers"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/internal/sandbox"
	"github.com/eci-executor/eci-executor/internal/testneed"
	"github.com/eci-executor/eci-executor/pkg/check"
	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// TestMain drops proxies: the SDK would send even calls of localhost to them.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		os.Unsetenv(name)
	}
	os.Exit(m.Run())
}

// Secrets of the surroundings, none of which may be in an output.
const (
	apiSecret      = "local-secret"
	pullPassword   = "pull-pa55word"
	registryToken  = "registry-t0ken"
	runnerToken    = "glrt-runner-t0ken"
	registryUser   = "ci-puller"
	driverTemplate = `
region = "ap-northeast-1"
endpoint = "ENDPOINT"
state_dir = "STATE"
vswitch_ids = ["vsw-1", "vsw-2"]
security_group_id = "sg-1"
[credentials]
access_key_id = "local"
access_key_secret = "local-secret"
[build]
image = "REGISTRY/ci/build:1"
cpu = 2
memory = "4GiB"
[helper]
image = "REGISTRY/ci/helper:x86_64-v{runner_version}"
[timeouts]
ready = "20s"
delete = "5s"
call = "20s"
[[registry]]
server = "REGISTRY"
username = "ci-puller"
password = "pull-pa55word"
[[nas]]
name = "cache"
server = "nas-1.ap-northeast-1.nas.aliyuncs.com"
path = "/cache"
mount_path = "/cache"
`
)

// world is a host where all is right; a test breaks something of it.
type world struct {
	t        testing.TB
	dir      string
	server   *ecitest.Server
	registry *fakeRegistry
	sts      *httptest.Server
	driver   string            // text of the driver's file
	runner   string            // text of the runner's file, "" = none
	commands map[string]string // what programs print, by their command line
	options  check.Options
}

func newWorld(t testing.TB, o ecitest.Options) *world {
	t.Helper()
	testneed.Need(t, sandbox.Supported())
	w := &world{t: t, dir: t.TempDir(), registry: newRegistry(t), sts: newSTS(t)}
	o.Dir = t.TempDir()
	if o.Stock.VSwitches == nil {
		o.Stock.VSwitches = map[string]ecitest.VSwitch{"vsw-1": {Zone: "ap-northeast-1a", VPC: "vpc-1"}, "vsw-2": {Zone: "ap-northeast-1b", VPC: "vpc-1"},
			"vsw-far": {Zone: "ap-northeast-1c", VPC: "vpc-2"}}
		o.Stock.SecurityGroups = map[string]string{"sg-1": "vpc-1", "sg-far": "vpc-2"}
	}
	o.Images = w.images()
	var err error
	if w.server, err = ecitest.Start(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.server.Close(); err != nil {
			t.Error(err)
		}
	})
	ecitest.LeakCheck(t, w.server, time.Minute)
	w.driver = strings.NewReplacer("ENDPOINT", w.server.URL(), "STATE", filepath.Join(w.dir, "state"), "REGISTRY", w.registry.host).Replace(driverTemplate)
	example, err := os.ReadFile("../../config.toml.example")
	if err != nil {
		t.Fatal(err)
	}
	w.runner = strings.NewReplacer(config.DefaultPath, w.path("eci-executor.toml"), "REPLACE-WITH-THE-RUNNER-TOKEN", runnerToken).Replace(string(example))
	w.commands = map[string]string{
		"gitlab-runner --version": "Version:      19.4.0\nGit revision: abcdef\n",
		"systemctl show eci-executor-reap.timer --property=LoadState,UnitFileState,ActiveState": "LoadState=loaded\nUnitFileState=enabled\nActiveState=active\n",
		"systemctl show eci-executor-reap.service --property=Result,ExecMainStatus":             "Result=success\nExecMainStatus=0\n",
		"systemctl list-timers --all --output=json eci-executor-reap.timer": fmt.Sprintf(`[{"next":%d,"left":1,"last":%d,"passed":1,"unit":"eci-executor-reap.timer","activates":"eci-executor-reap.service"}]`,
			time.Now().Add(5*time.Minute).UnixMicro(), time.Now().Add(-5*time.Minute).UnixMicro()),
	}
	w.options = check.Options{
		ConfigFile: w.path("eci-executor.toml"), RunnerFile: w.path("config.toml"), NewClient: newClient,
		STS: w.sts.URL, Command: w.command, Transport: w.registry.server.Client().Transport, Patience: 300 * time.Millisecond,
	}
	w.options.Prober.Dial = startNFS(t, "/cache")
	return w
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// images are those of helper and build, of the host's own root.
func (w *world) images() map[string]ecitest.Image {
	build, err := ecitest.HostImage(filepath.Join(w.dir, "build"))
	if err != nil {
		w.t.Fatal(err)
	}
	top := filepath.Join(w.dir, "helper")
	helper, err := ecitest.HostImage(top)
	if err != nil {
		w.t.Fatal(err)
	}
	program := filepath.Join(top, "usr/local/bin/gitlab-runner")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho stand-in\n"), 0o755); err != nil {
		w.t.Fatal(err)
	}
	return map[string]ecitest.Image{w.registry.host + "/ci/build:1": build, w.registry.host + "/ci/helper:x86_64-v19.4.0": helper}
}

func (w *world) command(_ context.Context, name string, args ...string) ([]byte, error) {
	out, known := w.commands[strings.Join(append([]string{name}, args...), " ")]
	if !known {
		return nil, &exec.Error{Name: name, Err: exec.ErrNotFound}
	}
	if out == "fails" {
		return nil, errors.New("exit status 1")
	}
	return []byte(out), nil
}

func newClient(cfg *config.Config) (*eci.Client, error) {
	return eci.New(eci.Options{Region: cfg.Region, Endpoint: cfg.EndpointURL(), CallTimeout: cfg.Timeouts.Call,
		Credentials: eci.Credentials{AccessKeyID: cfg.Credentials.AccessKeyID, AccessKeySecret: string(cfg.Credentials.AccessKeySecret)}})
}

// write writes the two files as they are by now.
func (w *world) write() {
	w.t.Helper()
	files := map[string]string{"eci-executor.toml": w.driver, "config.toml": w.runner}
	for name, text := range files {
		if text == "" {
			continue
		}
		if err := os.WriteFile(w.path(name), []byte(text), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
}

// check runs all checks.
func (w *world) check() *check.Report {
	w.t.Helper()
	w.write()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	told := 0
	report := check.Run(ctx, w.options, func(check.Line) { told++ })
	if told != len(report.Lines) {
		w.t.Errorf("%d lines told, %d in the report", told, len(report.Lines))
	}
	noSecrets(w.t, report)
	return report
}

// noSecrets looks for the secrets of the surroundings in all that a report can show.
func noSecrets(t testing.TB, report *check.Report) {
	t.Helper()
	var text strings.Builder
	if err := report.WriteJSON(&text); err != nil {
		t.Fatal(err)
	}
	for _, l := range report.Lines {
		text.WriteString(l.String())
	}
	for _, secret := range []string{apiSecret, pullPassword, registryToken, runnerToken, "Signature=", "wr0ng-secret"} {
		if strings.Contains(text.String(), secret) {
			t.Errorf("%q is in the output:\n%s", secret, text.String())
		}
	}
}

// replace changes the driver's file.
func (w *world) replace(old, with string) {
	w.t.Helper()
	if !strings.Contains(w.driver, old) {
		w.t.Fatalf("the driver's file has no %q", old)
	}
	w.driver = strings.ReplaceAll(w.driver, old, with)
}

// volumeFile gives jobs a file of this host, which is not made here.
func (w *world) volumeFile(name string) {
	w.replace("[[nas]]\n", fmt.Sprintf("[[volume]]\nname = \"maven\"\ntype = \"secret\"\nmount_path = \"/etc/maven\"\nfiles = { %q = %q }\n[[nas]]\n", name, w.path(name)))
}

// deny makes the API refuse an action to the caller.
func (w *world) deny(actions ...string) {
	w.faults(ecitest.CallFault{Status: 403, Code: "Forbidden.RAM", Message: "User not authorized to operate on the specified resource, or this API doesn't support RAM."}, actions...)
}

func (w *world) faults(f ecitest.CallFault, actions ...string) {
	w.server.SetFaults(ecitest.Faults{Call: func(action string, _ int) ecitest.CallFault {
		if slices.Contains(actions, action) {
			return f
		}
		return ecitest.CallFault{}
	}})
}

// skewed is the real clock, wrong by so much.
type skewed time.Duration

func (s skewed) Now() time.Time                         { return time.Now().Add(time.Duration(s)) }
func (s skewed) After(d time.Duration) <-chan time.Time { return time.After(d) }

var _ stages.Clock = skewed(0)

func newSTS(t testing.TB) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("Action") != "GetCallerIdentity" {
			http.Error(w, "?", http.StatusNotFound)
			return
		}
		json.NewEncoder(w).Encode(map[string]string{"IdentityType": "RAMUser", "AccountId": "1234567890", "Arn": "acs:ram::1234567890:user/ci", "RequestId": "R"})
	}))
	t.Cleanup(s.Close)
	return s
}

// startNFS serves a directory of its own as export, and gives what stands for the
// network: any host's port 2049 is this server's.
func startNFS(t testing.TB, export string) func(ctx context.Context, network, address string) (net.Conn, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	dir := t.TempDir()
	handler := &nfsHandler{helpers.NewNullAuthHandler(&changeable{osfs.New(dir), dir}), export}
	go func() {
		defer close(served)
		nfs.Serve(l, helpers.NewCachingHandler(handler, 64))
	}()
	t.Cleanup(func() {
		l.Close()
		<-served
	})
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if _, port, _ := net.SplitHostPort(address); port != "2049" {
			return nil, errors.New("no such port")
		}
		return new(net.Dialer).DialContext(ctx, network, l.Addr().String())
	}
}

// changeable is a directory of this machine, whose server must be able to set modes.
type changeable struct {
	billy.Filesystem
	dir string
}

func (f *changeable) Chmod(name string, mode os.FileMode) error {
	return os.Chmod(filepath.Join(f.dir, name), mode)
}
func (f *changeable) Lchown(name string, uid, gid int) error {
	return os.Lchown(filepath.Join(f.dir, name), uid, gid)
}
func (f *changeable) Chown(name string, uid, gid int) error {
	return os.Chown(filepath.Join(f.dir, name), uid, gid)
}
func (f *changeable) Chtimes(name string, atime, mtime time.Time) error {
	return os.Chtimes(filepath.Join(f.dir, name), atime, mtime)
}

// nfsHandler knows one export.
type nfsHandler struct {
	nfs.Handler
	export string
}

func (h *nfsHandler) Mount(ctx context.Context, conn net.Conn, r nfs.MountRequest) (nfs.MountStatus, billy.Filesystem, []nfs.AuthFlavor) {
	status, fs, flavors := h.Handler.Mount(ctx, conn, r)
	if string(r.Dirpath) != h.export {
		status = nfs.MountStatusErrNoEnt // the server asks for a file system all the same
	}
	return status, fs, flavors
}

// noName stands for a DNS that does not know the host.
func noName(context.Context, string, string) (net.Conn, error) {
	return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
}

// noRoute stands for a network without a way.
func noRoute(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("no route to host")
}
