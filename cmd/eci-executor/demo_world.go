package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/eci-executor/eci-executor/internal/gitserver"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/testdata"
)

// The images of the demo's driver's file.
const (
	demoBuild  = "demo/build:1"
	demoHelper = "demo/helper:1"
)

const demoHeader = "# Written by eci-executor demo.\n"

const demoLacks = "the demo's helper image has no gitlab-runner-helper: artifacts and cache: need a real one"

func (d *demo) driverFile() string { return filepath.Join(d.dir, "eci-executor.toml") }

// start brings up git server and local ECI.
func (d *demo) start() error {
	var err error
	if d.binary, err = os.Executable(); err != nil {
		return err
	}
	if err := os.CopyFS(d.dir, testdata.Demo()); err != nil {
		return fmt.Errorf("unpacking the demo: %w", err)
	}
	if err := d.startGit(); err != nil {
		return err
	}
	images, err := d.images()
	if err != nil {
		return err
	}
	d.server, err = ecitest.Start(ecitest.Options{Dir: filepath.Join(d.dir, "eci"), Images: images, Forward: []string{demoAddress}, Dial: d.dialGit})
	if err != nil {
		return err
	}
	d.printf("Local ECI at %s, git server at %s\n", d.server.URL(), d.gitAddress)
	text := demoHeader + driverFileFor("demo", d.server.URL(), filepath.Join(d.dir, "state"), demoBuild, demoHelper)
	return os.WriteFile(d.driverFile(), []byte(text), 0o600)
}

func (d *demo) startGit() error {
	root := filepath.Join(d.dir, "git")
	files, err := gitserver.FilesOf(filepath.Join(d.dir, "demo", "repo"))
	if err != nil {
		return err
	}
	if _, err := gitserver.CreateRepository(filepath.Join(root, "demo", "app.git"), files); err != nil {
		return err
	}
	handler, err := gitserver.Handler(root)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("the demo's git server: %w", err)
	}
	d.gitAddress = listener.Addr().String()
	server := &http.Server{Handler: handler} //nolint:gosec // no time limits: loopback, and gone with the demo
	d.git = server
	go server.Serve(listener) //nolint:errcheck // it ends with close
	return nil
}

// dialGit connects to the git server, whatever address a container knows it by.
func (d *demo) dialGit(ctx context.Context, network, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, d.gitAddress)
}

// images are the host's own root under two thin layers: whatever is installed
// here is there, at no cost.
func (d *demo) images() (map[string]ecitest.Image, error) {
	build, err := ecitest.HostImage(filepath.Join(d.dir, "images", "build"))
	if err != nil {
		return nil, err
	}
	helper, err := ecitest.HostImage(filepath.Join(d.dir, "images", "helper"))
	if err != nil {
		return nil, err
	}
	runner := filepath.Join(d.dir, "images", "helper", "usr", "local", "bin", "gitlab-runner")
	if err := os.WriteFile(runner, standInRunner("demo", demoLacks), 0o755); err != nil { //nolint:gosec // an executable of the image
		return nil, err
	}
	return map[string]ecitest.Image{demoBuild: build, demoHelper: helper}, nil
}

func (d *demo) close() error {
	var errs []error
	if d.server != nil {
		errs = append(errs, d.server.Close())
	}
	if d.git != nil {
		errs = append(errs, d.git.Close())
	}
	return errors.Join(errs...)
}

// scripts are the files of a job in the order in which the runner made them.
func (d *demo) scripts(job string) ([]string, error) {
	files, err := fs.Glob(os.DirFS(d.dir), "demo/"+job+"/*.sh")
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("the demo holds no scripts of job %s", job)
	}
	return files, err
}
