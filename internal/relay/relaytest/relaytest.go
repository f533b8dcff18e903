// Package relaytest makes a test's binary the relay of the stages that it tests, and
// finds the relays that run.
package relaytest

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/eci-executor/eci-executor/internal/relay"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// Program is what Stage.Relay is in a test whose TestMain begins with Enter.
const Program = "/proc/self/exe"

// Enter does not return where the process was started as a relay.
func Enter() {
	if len(os.Args) < 2 || os.Args[1] != relay.Command {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := relay.Main(ctx, os.Args[2:], func(ctx context.Context, address string) (relay.Exec, error) {
		stream, err := eci.Dial(ctx, address)
		if err != nil {
			return nil, err // no Exec that holds a nil
		}
		return stream, nil
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Running are the pids of the relays with sockets below dir.
func Running(dir string) (pids []int) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		line, err := os.ReadFile(path)
		if words := strings.Split(string(line), "\x00"); err == nil && len(words) > 2 && words[1] == relay.Command && strings.HasPrefix(words[2], dir+"/") {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
