package main

import (
	_ "embed"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

var (
	//go:embed completion/bash
	bashCompletion string
	//go:embed completion/zsh
	zshCompletion string
)

// completion prints what makes a shell complete commands and flags. The scripts ask
// the program itself, by urfave/cli's --generate-bash-completion.
func (c commands) completion() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print the completion script of a shell: bash, zsh or fish",
		UsageText: "eci-executor completion bash >/etc/bash_completion.d/eci-executor\neci-executor completion zsh >DIRECTORY-OF-FPATH/_eci-executor\neci-executor completion fish >~/.config/fish/completions/eci-executor.fish",
		ArgsUsage: "SHELL",
		Action: func(ctx *cli.Context) error {
			var text string
			switch shell := strings.Join(ctx.Args().Slice(), " "); shell {
			case "bash":
				text = bashCompletion
			case "zsh":
				text = zshCompletion
			case "fish":
				var err error
				if text, err = ctx.App.ToFishCompletion(); err != nil {
					return fmt.Errorf("make the completion of fish: %w", err)
				}
			default:
				return fmt.Errorf("completion %q: must be bash, zsh or fish", shell)
			}
			_, err := io.WriteString(c.stdout, text)
			return err
		},
	}
}

// man prints the manual page, for the packages.
func (c commands) man() *cli.Command {
	return &cli.Command{
		Name:   "man",
		Usage:  "print the manual page, eci-executor(8)",
		Hidden: true,
		Before: noArguments,
		Action: func(ctx *cli.Context) error {
			text, err := ctx.App.ToMan()
			if err != nil {
				return fmt.Errorf("make the manual page: %w", err)
			}
			_, err = io.WriteString(c.stdout, text)
			return err
		},
	}
}
