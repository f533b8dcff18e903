package check

import (
	"context"
	"errors"
	"strings"
)

// nameless are those that no switch stands for: the local ECI is as it is.
func nameless() []Assumption {
	return []Assumption{
		{Name: "fifo", What: "FIFOs between containers", ask: fifo},
		{Name: "subprotocol", What: "subprotocols v4, v5.channel.k8s.io", ask: subprotocol},
		{Name: "nas-options", What: "mount options of a NAS", ask: nasOptions},
	}
}

// fifo has helper write into one that build reads from.
func fifo(ctx context.Context, l *live) (verdict, error) {
	pipe := l.file("fifo")
	if made, err := l.answer(ctx, "helper", "mkfifo "+pipe+" && echo made"); err != nil || !strings.Contains(made, "made") {
		return verdict{}, errors.Join(errors.New("helper can't make one"), err)
	}
	conn, err := l.open(ctx, nil, sh("echo through >"+pipe))
	if err != nil {
		return verdict{}, err
	}
	defer conn.CloseNow() //nolint:errcheck // nothing is owed
	within, cancel := context.WithTimeout(ctx, 2*l.Settle)
	defer cancel()
	got, err := l.answer(within, "build", "read x <"+pipe+"; echo $x")
	if err != nil && within.Err() == nil {
		return verdict{}, err
	}
	return yesNo(strings.Contains(got, "through"), "what helper writes into a FIFO comes out in build", "a FIFO does not lead from helper to build")
}

func subprotocol(ctx context.Context, l *live) (verdict, error) {
	conn, err := l.open(ctx, nil, sh("true"), "v5.channel.k8s.io", "v4.channel.k8s.io")
	if err != nil {
		return verdict{}, err
	}
	defer conn.CloseNow() //nolint:errcheck // nothing is owed
	if taken := conn.Subprotocol(); taken != "" {
		return verdict{taken, "is taken where it is offered with another one"}, nil
	}
	return verdict{"", "neither v4 nor v5.channel.k8s.io is taken where both are offered"}, nil
}

// nasOptions reads what a NAS is mounted with.
func nasOptions(ctx context.Context, l *live) (verdict, error) {
	mounts, err := l.answer(ctx, "helper", "cat /proc/mounts")
	if err != nil {
		return verdict{}, err
	}
	var options []string
	for line := range strings.Lines(mounts) {
		if fields := strings.Fields(line); len(fields) > 3 && strings.HasPrefix(fields[2], "nfs") {
			options = append(options, fields[1]+" "+fields[3])
		}
	}
	if len(options) == 0 {
		return verdict{}, errors.New("nothing is mounted over NFS")
	}
	return verdict{strings.Join(options, "; "), "what the kernel shows"}, nil
}
