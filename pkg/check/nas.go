package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"github.com/eci-executor/eci-executor/pkg/nasmount"
)

// nas speaks to the mount target of each table, all at once.
func nas(ctx context.Context, w *world) []Line {
	return each(w.cfg.NAS, func(m nasmount.Mount) Line { return w.mount(ctx, m).of(m.Name) })
}

func (w *world) mount(ctx context.Context, m nasmount.Mount) Line {
	target := m.Target()
	report, err := w.Prober.Probe(ctx, target)
	if err != nil {
		var probe *nasmount.ProbeError
		if !errors.As(err, &probe) {
			return failed("Try again.", "%s:%s: %v", target.Server, target.Path, err)
		}
		if errors.Is(probe.Kind, nasmount.ErrUnknownHost) && onThisMachine(w.cfg.EndpointURL()) {
			return skipped("%s:%s: the endpoint is a local ECI on this machine, where a directory stands for the NAS", target.Server, target.Path)
		}
		return failed(cmp.Or(probe.Advice, "See what the NAS console says of the mount target")+".", "%s:%s: %v: %v", target.Server, target.Path, probe.Kind, probe.Err)
	}
	text := fmt.Sprintf("%s:%s", target.Server, target.Path)
	if report.Path != target.Path {
		text += fmt.Sprintf(" (not there yet, made in %s)", report.Path)
	}
	if report.Writable {
		text += ", writable"
	} else {
		text += ", only read"
	}
	if report.Squashed {
		text += fmt.Sprintf(", root is squashed to uid %d", report.FileUID)
	}
	return ok("%s, round trip %s, %.1f GiB free", text, report.RoundTrip.Round(10*time.Microsecond), float64(report.FreeBytes)/(1<<30))
}

// onThisMachine tells whether an endpoint is an address of the loopback, as a local
// ECI's is.
func onThisMachine(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.IsLoopback()
}
