package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

const (
	timerUnit   = "eci-executor-reap.timer"
	serviceUnit = "eci-executor-reap.service"
)

// timer asks systemd for the timer of reap.
func timer(ctx context.Context, w *world) []Line {
	unit, err := w.show(ctx, timerUnit, "LoadState,UnitFileState,ActiveState")
	const otherwise = "Copy the two files of packaging/systemd to /etc/systemd/system, then: systemctl enable --now " + timerUnit + "."
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return []Line{warning("Let cron or the like call reap every ten minutes.", "systemd is not here, so nothing is known of a timer for reap")}
	case err != nil:
		return []Line{warning("Let cron or the like call reap every ten minutes.", "systemd does not answer, so nothing is known of a timer for reap")}
	case unit["LoadState"] != "loaded":
		return []Line{warning(otherwise, "%s is not installed (%s): what killed jobs leave behind stays until its deadline", timerUnit, unit["LoadState"])}
	case unit["UnitFileState"] != "enabled" || unit["ActiveState"] != "active":
		return []Line{warning("systemctl enable --now "+timerUnit+".", "%s is %s and %s", timerUnit, unit["UnitFileState"], unit["ActiveState"])}
	}
	service, err := w.show(ctx, serviceUnit, "Result,ExecMainStatus")
	if result := service["Result"]; err == nil && result != "" && result != "success" {
		return []Line{warning("journalctl -u "+serviceUnit+" says why.", "%s is enabled, but the last reap failed (%s, status %s)", timerUnit, result, service["ExecMainStatus"])}
	}
	return []Line{ok("%s is enabled%s", timerUnit, w.nextRun(ctx))}
}

// show asks for properties of a unit.
func (w *world) show(ctx context.Context, unit, properties string) (map[string]string, error) {
	out, err := w.Command(ctx, "systemctl", "show", unit, "--property="+properties)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[key] = value
	}
	return values, nil
}

// nextRun is from list-timers, whose JSON has microseconds since 1970 (systemd 246).
func (w *world) nextRun(ctx context.Context) string {
	out, err := w.Command(ctx, "systemctl", "list-timers", "--all", "--output=json", timerUnit)
	var timers []struct{ Next, Last int64 }
	if err != nil || json.Unmarshal(out, &timers) != nil || len(timers) != 1 {
		return ""
	}
	text := ""
	now := w.Clock.Now()
	if timers[0].Last > 0 {
		text += fmt.Sprintf(", ran %s ago", now.Sub(time.UnixMicro(timers[0].Last)).Round(time.Second))
	}
	if timers[0].Next > 0 {
		text += fmt.Sprintf(", next run in %s", time.UnixMicro(timers[0].Next).Sub(now).Round(time.Second))
	}
	return text
}
