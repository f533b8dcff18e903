package check

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// requestAssumptions are asked by dry runs of the job's request with one thing changed.
func requestAssumptions() []Assumption {
	long := strings.Repeat("x", 257)
	const build = "Container.2."
	return []Assumption{
		{Switch: "DryRunCode", What: "the code of a dry run that passes", ask: dryRunCode},
		{Switch: "LongCommandAllowed", What: "a word of 257 characters in a container's Command", ask: dry("a word of 257 characters in Command", func(p eci.Params) {
			p[next(p, build+"Command.%d")] = long
		})},
		{Switch: "LongEnvAllowed", What: "environment values above 256 characters", ask: dry("an environment value of 257 characters", func(p eci.Params) {
			key := next(p, build+"EnvironmentVar.%d.Key")
			p[key], p[strings.TrimSuffix(key, "Key")+"Value"] = "ECI_EXECUTOR_CHECK", long
		})},
		{Switch: "EmptyEnvRefused", What: "environment variables without a value", ask: refused("an environment variable without a value", func(p eci.Params) {
			p[next(p, build+"EnvironmentVar.%d.Key")] = "ECI_EXECUTOR_CHECK"
		})},
		{Switch: "UnknownParametersIgnored", What: "parameters that the action does not have", ask: dry("a parameter that does not exist", func(p eci.Params) { p["EciExecutorCheck"] = "1" })},
		{Switch: "BogusProbeIgnored", What: "the probes that the older SDK always sends", ask: dry("the probe that the older SDK always sends", func(p eci.Params) {
			p[build+"LivenessProbe.Exec.Command"] = "<[]string Value>"
		})},
		{Switch: "OSSOptionsRefused", What: "options of FlexVolume alicloud/oss but bucket and url", ask: refused("a bucket's option other than bucket and url", func(p eci.Params) {
			name := strings.TrimSuffix(next(p, "Volume.%d.Name"), "Name")
			p[name+"Name"], p[name+"Type"], p[name+"FlexVolume.Driver"] = "check", "FlexVolume", "alicloud/oss"
			p[name+"FlexVolume.Options"] = `{"bucket":"eci-executor-check","url":"oss.invalid","path":"check"}`
		})},
		{Switch: "ConfigFileLimitsEncoded", What: "whether 32 KB of a config file are counted before base64", ask: func(ctx context.Context, l *live) (verdict, error) {
			v, err := dry("", func(p eci.Params) {
				p["Volume.1.ConfigFileVolume.ConfigFileToPath.2.Path"] = "check"
				p["Volume.1.ConfigFileVolume.ConfigFileToPath.2.Content"] = base64.StdEncoding.EncodeToString(make([]byte, 30<<10))
			})(ctx, l)
			if err != nil {
				return v, err
			}
			return yesNo(v.value == "false", "a file of 30 KB, 40 KB in base64, is refused", "a file of 30 KB, 40 KB in base64, is accepted")
		}},
	}
}

// next is the first key of a repeated parameter that is not there yet.
func next(p eci.Params, pattern string) string {
	for n := 1; ; n++ {
		if key := fmt.Sprintf(pattern, n); p[key] == "" {
			return key
		}
	}
}

// dry tells whether a change of the request passes a dry run.
func dry(what string, change func(eci.Params)) func(context.Context, *live) (verdict, error) {
	return func(ctx context.Context, l *live) (verdict, error) {
		err := l.dryRun(ctx, l.cfg.VSwitchIDs, change)
		if err != nil && (eci.CodeOf(err) == "" || eci.ClassOf(err) != eci.Config) {
			return verdict{}, err
		}
		return yesNo(err == nil, what+" passes a dry run", what+" is refused in a dry run")
	}
}

// refused is dry, told the other way round.
func refused(what string, change func(eci.Params)) func(context.Context, *live) (verdict, error) {
	return func(ctx context.Context, l *live) (verdict, error) {
		v, err := dry(what, change)(ctx, l)
		v.value = map[string]string{"true": "false", "false": "true"}[v.value]
		return v, err
	}
}

func dryRunCode(ctx context.Context, l *live) (verdict, error) {
	spec, err := l.spec()
	if err != nil {
		return verdict{}, err
	}
	spec.ActiveDeadlineSeconds = deadlineOfDryRun
	params := spec.Params()
	params["DryRun"] = "true" // create has seen that it is heeded
	_, err = l.client.Ask(ctx, "CreateContainerGroup", params)
	code := eci.CodeOf(err)
	if !strings.HasPrefix(code, "DryRun") {
		return verdict{}, errors.Join(errNotTold, err)
	}
	return verdict{code, "a dry run that passes is answered so"}, nil
}

// groupAssumptions are about the group itself.
func groupAssumptions() []Assumption {
	unknown := func(name, action, what string) Assumption {
		return Assumption{Switch: name, What: "what an unknown id gives: " + what, ask: func(_ context.Context, l *live) (verdict, error) {
			l.seen.mu.Lock()
			defer l.seen.mu.Unlock()
			code, known := l.seen.codes[action]
			if !known {
				return verdict{}, errNotTold
			}
			if code == "" {
				return verdict{"", action + " of an id that does not exist succeeds"}, nil
			}
			return verdict{code, action + " of an id that does not exist is refused"}, nil
		}}
	}
	return []Assumption{
		unknown("UnknownIDOnDescribe", "DescribeContainerGroups", "describe"),
		unknown("UnknownIDOnDelete", "DeleteContainerGroup", "delete"),
		unknown("UnknownIDOnExec", "ExecContainerCommand", "exec"),
		unknown("UnknownIDOnLog", "DescribeContainerLog", "log"),
		{Switch: "PriceListsFlat", What: "the shape of price lists", ask: priceLists},
		{Switch: "PricePerHour", What: "of which time a price is", ask: priceTime},
		{Switch: "FIFOsApart", What: "FIFOs between containers", ask: fifo},
		{Switch: "RootlessBuilds", What: "user namespaces and /dev/fuse in containers", ask: rootless},
		{Switch: "EventKeysLowerCamel", What: "letter case of event keys", ask: eventKeys},
		{Switch: "NoExitCodeFields", What: "the exit code field while a container runs", ask: exitCodeField},
		{Switch: "ParallelContainerStart", What: "containers start in order or at once", ask: startOrder},
		{Switch: "NewGroupHiddenFor", What: "how long a new group is not listed", ask: newGroupHidden},
		{Switch: "ExecAllowedWhilePending", What: "exec while the group is Pending", ask: execWhilePending},
		{Switch: "ForceDeleteRefused", What: "Force on delete", after: forceDelete},
		{Switch: "DeleteWhileTerminating", What: "a second delete of a group", after: deleteTwice},
		{Switch: "DeletedGroupStaysVisible", What: "how long a deleted group is listed", after: deletedVisible},
	}
}

func priceLists(_ context.Context, l *live) (verdict, error) {
	l.seen.mu.Lock()
	defer l.seen.mu.Unlock()
	var answer struct {
		PriceInfo struct{ SpotPrices, Rules json.RawMessage }
	}
	if json.Unmarshal(l.seen.answers["DescribeContainerGroupPrice"], &answer) != nil {
		return verdict{}, errNotTold
	}
	list := slices.Concat(answer.PriceInfo.SpotPrices, answer.PriceInfo.Rules)
	if len(list) == 0 {
		return verdict{}, errNotTold
	}
	return yesNo(list[0] == '[', "SpotPrices of a price is a list", "SpotPrices of a price is an object around a list")
}

// priceTime holds a price as it comes against what the client makes of it.
func priceTime(ctx context.Context, l *live) (verdict, error) {
	answer, err := l.client.Ask(ctx, "DescribeContainerGroupPrice", eci.Params{"Cpu": "2", "Memory": "4"})
	if err != nil {
		return verdict{}, err
	}
	var raw struct {
		PriceInfo struct{ Price struct{ TradePrice float64 } }
	}
	price, err := l.client.DescribeContainerGroupPrice(ctx, eci.PriceQuery{CPU: 2, MemoryGiB: 4})
	told := 0.0
	if json.Unmarshal(answer, &raw) == nil {
		told = raw.PriceInfo.Price.TradePrice
	}
	if err != nil || told == 0 {
		return verdict{}, errors.Join(errNotTold, err)
	}
	what := fmt.Sprintf("%.6g for 2 vCPU and 4 GiB can only be ", told)
	return yesNo(price.PerSecond < told, what+"an hour's", what+"a second's")
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
	return yesNo(!strings.Contains(got, "through"), "a FIFO does not lead from helper to build", "what helper writes into a FIFO comes out in build")
}

// rootless tries in helper what builders of images without root need.
func rootless(ctx context.Context, l *live) (verdict, error) {
	got, err := l.answer(ctx, "helper", "command -v unshare >/dev/null && echo asked; unshare -U true 2>/dev/null && echo userns; [ -c /dev/fuse ] && echo fuse")
	if err != nil {
		return verdict{}, err
	}
	if !strings.Contains(got, "asked") {
		return verdict{}, errors.New("the helper image has no unshare to try it with")
	}
	userns, fuse := strings.Contains(got, "userns"), strings.Contains(got, "fuse")
	return yesNo(userns && fuse, "containers may make user namespaces and have /dev/fuse",
		fmt.Sprintf("user namespaces: %t, /dev/fuse: %t", userns, fuse))
}

func eventKeys(ctx context.Context, l *live) (verdict, error) {
	answer, err := l.client.Ask(ctx, "DescribeContainerGroupEvents", eci.Params{"ContainerGroupIds": `["` + l.group.ID + `"]`})
	if err != nil {
		return verdict{}, err
	}
	lower, upper := strings.Contains(string(answer), `"reason"`), strings.Contains(string(answer), `"Reason"`)
	if lower == upper {
		return verdict{}, errNotTold
	}
	return yesNo(lower, "keys of events begin with a small letter", "keys of events begin with a capital")
}

func exitCodeField(ctx context.Context, l *live) (verdict, error) {
	answer, err := l.client.Ask(ctx, "DescribeContainerGroups", eci.Params{"ContainerGroupIds": `["` + l.group.ID + `"]`})
	if err != nil {
		return verdict{}, err
	}
	var groups struct {
		ContainerGroups []struct {
			Containers []struct{ CurrentState map[string]any }
		}
	}
	if json.Unmarshal(answer, &groups) != nil || len(groups.ContainerGroups) != 1 || len(groups.ContainerGroups[0].Containers) == 0 {
		return verdict{}, errNotTold
	}
	_, has := groups.ContainerGroups[0].Containers[0].CurrentState["ExitCode"]
	return yesNo(!has, "a container that runs has no ExitCode", "a container that runs has an ExitCode, which means nothing")
}

// startOrder reads the start times. A helper that started first tells nothing: in
// order or not, its image may have come first.
func startOrder(_ context.Context, l *live) (verdict, error) {
	helper, build := l.group.Container("helper"), l.group.Container("build")
	switch {
	case helper == nil || build == nil:
		return verdict{}, errNotTold
	case build.StartTime.Before(helper.StartTime):
		return verdict{"true", "build started before helper: not in order"}, nil
	case build.StartTime.After(helper.StartTime):
		return verdict{}, errors.New("helper started before build: in order, or its image came first")
	}
	return verdict{}, errors.New("both containers started in one second")
}

// watched waits for what the group's start has shown.
func (l *live) watched(ctx context.Context) error {
	select {
	case <-l.api.watched:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func newGroupHidden(ctx context.Context, l *live) (verdict, error) {
	if err := l.watched(ctx); err != nil {
		return verdict{}, err
	}
	if l.api.hidden == nil {
		return verdict{}, errNotTold
	}
	return verdict{l.api.hidden.Round(10 * time.Millisecond).String(), "how long after its create the group was first listed, at most"}, nil
}

// execWhilePending is told where the build image took longer than the helper's.
func execWhilePending(ctx context.Context, l *live) (verdict, error) {
	if err := l.watched(ctx); err != nil {
		return verdict{}, err
	}
	if l.api.pending == nil {
		return verdict{}, errors.New("the group was never seen Pending with a helper that runs")
	}
	return yesNo(*l.api.pending == "", "an exec in helper is accepted while build is still to start", "no exec is accepted while the group is Pending ("+*l.api.pending+")")
}

func forceDelete(l *live) (verdict, error) {
	if l.api.force == nil {
		return verdict{}, errNotTold
	}
	return yesNo(*l.api.force != "", "a delete with Force is refused ("+*l.api.force+")", "a delete with Force is accepted")
}

func deleteTwice(l *live) (verdict, error) {
	switch code := l.api.deleting; {
	case code == nil, strings.HasSuffix(*code, "NotFound"):
		return verdict{}, errNotTold
	case *code == "":
		return verdict{"", "a second delete is accepted"}, nil
	default:
		return verdict{*code, "a second delete is refused so"}, nil
	}
}

func deletedVisible(l *live) (verdict, error) {
	if l.api.deleted.IsZero() || l.api.goneAt.IsZero() {
		return verdict{}, errNotTold
	}
	stays := l.api.goneAt.Sub(l.api.deleted).Round(10 * time.Millisecond)
	return verdict{stays.String(), "how long after its delete the group was listed, at most"}, nil
}
