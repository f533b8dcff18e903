package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/eci-executor/eci-executor/internal/screen"
	"github.com/eci-executor/eci-executor/pkg/check"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

func (c commands) imageCache() *cli.Command {
	return &cli.Command{
		Name:  "image-cache",
		Usage: "list, make, renew and delete the image caches that jobs start from",
		Description: "An image cache holds images of jobs on a disk, so that a container group starts without pulling them. ECI bills its snapshot, and a disk in each group that uses it. " +
			"Ours are those made by this command with the runner_name of the driver's file; another runner's are listed and left alone.",
		Subcommands: []*cli.Command{c.cacheList(), c.cacheCreate(), c.cacheRefresh(), c.cacheDelete()},
		Action: func(ctx *cli.Context) error {
			if ctx.Args().Present() {
				return fmt.Errorf("unknown command %q of image-cache; there are list, create, refresh and delete", ctx.Args().First())
			}
			return cli.ShowSubcommandHelp(ctx)
		},
	}
}

func (c commands) cacheList() *cli.Command {
	return &cli.Command{
		Name:   "list",
		Usage:  "list the image caches of the region, and which are ours",
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "a JSON array instead of a table"}},
		Before: noArguments,
		Action: func(ctx *cli.Context) error {
			k, err := c.imageCaches(ctx)
			if err != nil {
				return err
			}
			return k.List(ctx.Context, ctx.Bool("json"))
		},
	}
}

func (c commands) cacheCreate() *cli.Command {
	return &cli.Command{
		Name:      "create",
		Usage:     "build an image cache and wait for it",
		ArgsUsage: "[IMAGE...]",
		Description: "Builds a cache of the given images, or else of images in [image_cache] of the driver's file, and of the helper's image, with the network, mirrors and logins of jobs. " +
			"It says what that costs and begins at once. Ctrl-C ends the waiting, not the build.",
		Flags: buildFlags(),
		Action: func(ctx *cli.Context) error {
			k, err := c.cacheBuilder(ctx)
			if err != nil {
				return err
			}
			return k.Create(ctx.Context, ctx.Args().Slice(), cacheOptions(ctx))
		},
	}
}

func (c commands) cacheRefresh() *cli.Command {
	return &cli.Command{
		Name:  "refresh",
		Usage: "build the driver's image cache anew if its images have changed",
		Description: "Asks the registries, from this host, what the tags of images in [image_cache] and of the helper's image stand for, and builds a new cache where that is not what the newest of ours holds. " +
			"When it is Ready, the older ones are deleted. Caches of images that were given to create are left alone.",
		Flags:  append(buildFlags(), &cli.BoolFlag{Name: "force", Usage: "build in any case"}),
		Before: noArguments,
		Action: func(ctx *cli.Context) error {
			k, err := c.cacheBuilder(ctx)
			if err != nil {
				return err
			}
			return k.Refresh(ctx.Context, ctx.Bool("force"), cacheOptions(ctx))
		},
	}
}

func (c commands) cacheDelete() *cli.Command {
	return &cli.Command{
		Name:        "delete",
		Usage:       "delete image caches",
		ArgsUsage:   "ID|NAME...",
		Description: "A name is that of one of ours; an id may be anybody's. Nothing is deleted if one of them can't be found.",
		Flags:       []cli.Flag{&cli.BoolFlag{Name: "all-ours", Usage: "all of ours"}},
		Action: func(ctx *cli.Context) error {
			if all := ctx.Bool("all-ours"); all == ctx.Args().Present() {
				return errors.New("image-cache delete takes ids and names of image caches, or else --all-ours")
			}
			k, err := c.imageCaches(ctx)
			if err != nil {
				return err
			}
			return k.Delete(ctx.Context, ctx.Args().Slice(), ctx.Bool("all-ours"))
		},
	}
}

func buildFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "runner-version", Usage: "`VERSION` of the runner, where [helper] image has {runner_version} and there is no gitlab-runner on PATH", DefaultText: "that of gitlab-runner"},
		&cli.IntFlag{Name: "size", Usage: "`GIB` of the cache's disk, also in each group that uses it", DefaultText: "20, by ECI"},
		&cli.IntFlag{Name: "retention-days", Usage: "let ECI delete the cache after `DAYS`", DefaultText: "never"},
	}
}

// cacheBuilder is imageCaches of a command that builds one, for which the helper's image
// is to be known.
func (c commands) cacheBuilder(ctx *cli.Context) (*stages.ImageCaches, error) {
	k, err := c.imageCaches(ctx)
	if err != nil {
		return nil, err
	}
	k.RunnerVersion = cmp.Or(ctx.String("runner-version"), c.env.Custom["CI_RUNNER_VERSION"]) // the latter as for a stage by hand
	if k.RunnerVersion == "" && strings.Contains(k.Config.Helper.Image, "{runner_version}") {
		k.RunnerVersion = check.RunnerVersion(ctx.Context)
	}
	return k, nil
}

func cacheOptions(ctx *cli.Context) stages.CacheOptions {
	return stages.CacheOptions{SizeGiB: ctx.Int("size"), RetentionDays: ctx.Int("retention-days")}
}

// imageCaches reads the command line and the driver's file. No API call is made here.
func (c commands) imageCaches(ctx *cli.Context) (*stages.ImageCaches, error) {
	for _, flag := range []string{"size", "retention-days"} {
		if n := ctx.Int(flag); n < 0 {
			return nil, fmt.Errorf("--%s %d: must not be negative", flag, n)
		}
	}
	cfg, client, err := c.account(ctx)
	if err != nil {
		return nil, err
	}
	out := screen.New(c.stdout, c.environ)
	k := &stages.ImageCaches{Config: cfg, API: client, Clock: stages.SystemClock{}, Stdout: out}
	if out.Terminal() {
		k.Wait = out.Wait
	}
	return k, nil
}
