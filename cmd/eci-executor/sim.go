package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"

	"github.com/eci-executor/eci-executor/internal/images"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// simAddress is where sim listens unless told otherwise.
const simAddress = "127.0.0.1:9300"

func (c commands) sim() *cli.Command {
	return &cli.Command{
		Name:  "sim",
		Usage: "serve a local ECI, with containers that really run, until Ctrl-C",
		Description: "Needs Linux, and root or unprivileged user namespaces; no account and no network. It prints a driver's file that points at it. " +
			"Ctrl-C deletes every container group.\n\nA profile answers all that ECI's documentation leaves open: docs by its likeliest reading, kind in the client's favour, hostile against it. " +
			"A fault is TARGET:KEY=VALUE,..., such as CreateContainerGroup:error=503,times=2 or exec:drop=1000,probability=0.1.\n\n" + ecitest.RuleHelp(),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Usage: "`ADDRESS` to listen on", Value: simAddress},
			&cli.StringFlag{Name: "profile", Usage: "what the documentation leaves open: " + strings.Join(ecitest.Profiles(), ", "), Value: ecitest.ProfileDocs},
			&cli.DurationFlag{Name: "latency", Usage: "`TIME` that is added to each API call"},
			&cli.StringSliceFlag{Name: "fault", Usage: "what goes wrong, `TARGET:KEY=VALUE,...`; may be repeated"},
			&cli.Uint64Flag{Name: "seed", Usage: "of the faults' probabilities; 0 = another one each time"},
			&cli.StringSliceFlag{Name: "image", Usage: "`REF[=DIR]`: an image beside " + simBuild + " and " + simHelper + ", from a root file system or an OCI layout at DIR, or the host's own; may be repeated"},
			&cli.StringSliceFlag{Name: "layout", Usage: "all images of an OCI layout at `DIR`, by their complete references in its index.json; may be repeated"},
			&cli.BoolFlag{Name: "pull", Usage: "pull all other images from their registries; without it they are not found"},
			&cli.StringFlag{Name: "gitlab-runner", Usage: "the runner's binary `FILE` for the helper image, where none is on PATH"},
			&cli.StringSliceFlag{Name: "forward", Usage: "`HOST:PORT` that containers reach, beside which they have no network: gitlab.com:443, or what listens on this machine's loopback, such as 127.0.0.1:8080; may be repeated"},
			&cli.StringFlag{Name: "dir", Usage: "`DIR` for its state, in which NAS directories are kept; a temporary one where none is given"},
		},
		Action: func(ctx *cli.Context) error {
			logger, logErr := c.logger(ctx)
			s, err := newSim(ctx)
			if err := errors.Join(logErr, err); err != nil {
				return err
			}
			return withContainers(ctx.Context, "sim", func(ctx context.Context) error { return c.runSim(ctx, s, logger) })
		},
	}
}

// sim is what the command line asks for.
type sim struct {
	options ecitest.Options
	profile string
	images  map[string]string // reference -> root file system, "" = the host's
	runner  string            // binary for the helper image, "" = that of the host
}

// newSim reads the command line and tells every mistake.
func newSim(ctx *cli.Context) (*sim, error) {
	var errs []error
	fail := func(flag string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", flag, err))
		}
	}
	s := &sim{profile: ctx.String("profile"), images: map[string]string{simBuild: "", simHelper: ""}, runner: ctx.String("gitlab-runner")}
	s.options = ecitest.Options{Address: ctx.String("listen"), Dir: ctx.String("dir"), Forward: ctx.StringSlice("forward"),
		Delays: ecitest.Delays{API: ctx.Duration("latency")}, Pull: ctx.Bool("pull")}
	var err error
	s.options.Switches, err = ecitest.Profile(s.profile)
	fail("profile", err)
	s.options.Faults.Rules, err = ecitest.ParseRules(ctx.StringSlice("fault")...)
	fail("fault", err)
	if s.options.Faults.Seed = ctx.Uint64("seed"); s.options.Faults.Seed == 0 {
		s.options.Faults.Seed = rand.Uint64()
	}
	fail("forward", ecitest.CheckForwards(s.options.Forward))
	if ctx.Duration("latency") < 0 {
		fail("latency", errors.New("a time can't be negative"))
	}
	for _, image := range ctx.StringSlice("image") {
		fail("image", s.addImage(image))
	}
	for _, dir := range ctx.StringSlice("layout") {
		fail("layout", s.addLayout(dir, ""))
	}
	if s.runner != "" {
		_, err := os.Stat(s.runner)
		fail("gitlab-runner", err)
	}
	return s, errors.Join(append(errs, noArguments(ctx))...)
}

func (s *sim) addImage(text string) error {
	ref, dir, given := strings.Cut(text, "=")
	if ref == "" {
		return fmt.Errorf("%q names no image", text)
	}
	if given {
		if info, err := os.Stat(dir); err != nil {
			return err
		} else if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", dir)
		}
		if images.IsLayout(dir) {
			delete(s.images, ref)
			return s.addLayout(dir, ref)
		}
	}
	s.images[ref] = dir
	return nil
}

// addLayout takes an OCI layout, whose only image is called ref unless that is "".
func (s *sim) addLayout(dir, ref string) error {
	s.options.Layouts = append(s.options.Layouts, ecitest.Layout{Dir: dir, Name: ref})
	return images.Layouts{}.Add(dir, ref)
}

// runSim serves until ctx ends, then deletes what there is.
func (c commands) runSim(ctx context.Context, s *sim, logger *logrus.Logger) (err error) {
	work, remove, err := c.workDir("sim")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if s.options.Dir == "" {
		s.options.Dir = filepath.Join(work, "eci")
	}
	if s.options.Images, err = s.makeImages(filepath.Join(work, "images")); err != nil {
		return err
	}
	s.options.Log = logger.Infof
	server, err := ecitest.Start(s.options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	if _, err := fmt.Fprint(c.stdout, s.driverFile(server)); err != nil {
		return err
	}
	<-ctx.Done()
	deleted, left := endGroups(server)
	// Comments, for stdout may be the driver's file.
	fmt.Fprintf(c.stdout, "\n# %d container groups deleted\n# %d container groups left\n", deleted, left) //nolint:errcheck // the end is told by the exit status too
	if left > 0 {
		return fmt.Errorf("%d container groups did not end", left)
	}
	return nil
}

// endGroups deletes every group that lives, those too that are created meanwhile,
// and waits for their end. The server tells no event, so it is polled.
func endGroups(server *ecitest.Server) (deleted, left int) {
	seen := map[string]bool{}
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		live := server.Live()
		for _, id := range live {
			if !seen[id] && server.DeleteGroup(id) == nil { // an error says that it has ended
				seen[id] = true
			}
		}
		if len(live) == 0 {
			break
		}
	}
	return len(seen), len(server.Live())
}
