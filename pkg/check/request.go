package check

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// deadlineOfDryRun bounds the life of a group that a service makes in spite of DryRun.
const deadlineOfDryRun = 60

// dryRun lets ECI check the request of a job on the vSwitches given. Should the service
// make the group all the same, it is deleted.
func (w *world) dryRun(ctx context.Context, vSwitches []string, change func(eci.Params)) (err error) {
	spec, err := w.spec()
	if err != nil {
		return err
	}
	spec.VSwitchIDs, spec.ActiveDeadlineSeconds = vSwitches, deadlineOfDryRun
	params := spec.Params()
	if change != nil {
		change(params)
	}
	made := ""
	err = w.persist(ctx, func() error { made, err = w.client.DryRun(ctx, params); return err })
	if made == "" {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	gone := eci.Persist(ctx, 10*time.Second, func() error { return w.client.DeleteContainerGroup(ctx, made, true) })
	return &madeError{made, gone}
}

// madeError says that a dry run was none.
type madeError struct {
	id   string
	gone error // of the delete
}

func (e *madeError) Error() string {
	if e.gone != nil {
		return fmt.Sprintf("the service ignores DryRun and made container group %s, which may still be running: %v", e.id, e.gone)
	}
	return fmt.Sprintf("the service ignores DryRun: it made container group %s, which was deleted at once", e.id)
}

// create tells whether a group may be created. Any refusal but one for a missing permission
// says yes: ECI looks at permissions first.
func create(ctx context.Context, w *world) []Line {
	const name = "eci:CreateContainerGroup"
	a := action{name: "CreateContainerGroup"}
	w.dryRunErr = w.dryRun(ctx, w.cfg.VSwitchIDs, nil)
	err := w.dryRunErr
	switch {
	case err == nil:
		return []Line{ok("%s is allowed", name)}
	case eci.Denied(err):
		return []Line{a.denied(err)}
	case eci.CodeOf(err) != "" && !eci.Ambiguous(err) && eci.ClassOf(err) != eci.Retry:
		return []Line{ok("%s is allowed (%s)", name, eci.CodeOf(err))}
	}
	return []Line{failed(adviceOf(err, "Delete it in the console if it is there, and report this."), "%s: not known: %s", name, said(err))}
}

// request is the same dry run seen from the other side: would a job's group be made.
func request(_ context.Context, w *world) []Line {
	err := w.dryRunErr
	what := sizeOf(w.asked())
	switch {
	case err == nil:
		return []Line{ok("ECI would make a group of %s", what)}
	case eci.ClassOf(err) == eci.Capacity:
		return []Line{failed(adviceOf(err, ""), "no group of %s can be had now: %s", what, said(err))}
	}
	return []Line{failed(adviceOf(err, "Correct what the message names in the driver's file."), "a group of %s is refused: %s", what, said(err))}
}

// asked is the group that a job asks for, helper's own size included. Where no request can be
// made of the driver's file, it is the build's size alone.
func (w *world) asked() eci.GroupSpec {
	spec, err := w.spec()
	if err != nil {
		return buildAlone(w.cfg)
	}
	return spec
}

func buildAlone(cfg *config.Config) eci.GroupSpec {
	return eci.GroupSpec{CPU: cfg.Build.CPU, MemoryGiB: cfg.Build.Memory.GiB(), InstanceTypes: cfg.Capacity.InstanceTypes}
}

func sizeOf(spec eci.GroupSpec) string {
	if types := spec.InstanceTypes; len(types) > 0 {
		return strings.Join(types, " or ")
	}
	return fmt.Sprintf("%g vCPU, %g GiB", spec.CPU, spec.MemoryGiB)
}

// network makes a dry run on each vSwitch alone, because the refusal of a list does not say
// which of them it is about.
func network(ctx context.Context, w *world) []Line {
	group := w.cfg.SecurityGroupID
	if group == "" {
		group = "the VPC's default security group"
	}
	if len(w.cfg.VSwitchIDs) == 0 {
		return []Line{w.vSwitch("the default vSwitch", group, w.dryRunErr)}
	}
	return each(w.cfg.VSwitchIDs, func(id string) Line { return w.vSwitch(id, group, w.dryRun(ctx, []string{id}, nil)).of(id) })
}

// vSwitch judges a dry run on one vSwitch. What is refused for the size, the image or
// the like stands under request.
func (w *world) vSwitch(id, group string, err error) Line {
	code := eci.CodeOf(err)
	about := func(words ...string) bool {
		for _, word := range words {
			if strings.Contains(code, word) || code != "" && strings.Contains(said(err), word) {
				return true
			}
		}
		return false
	}
	switch {
	case err == nil:
		return ok("%s with %s", id, group)
	case code == "InvalidVSwitchId.IpNotEnough":
		return warning(adviceOf(err, ""), "%s: %s", id, said(err))
	case about("VSwitch", "VswZone", "SecurityGroup", "ManagedByCloudProduct"):
		return failed(adviceOf(err, "Copy vswitch_ids and security_group_id from the VPC console again; they must be of one VPC in this region."), "%s with %s: %s", id, group, said(err))
	case eci.ClassOf(err) == eci.Capacity:
		return warning(adviceOf(err, ""), "%s: its zone has none of %s now: %s", id, sizeOf(w.asked()), said(err))
	case code != "":
		return ok("%s with %s, as far as a dry run tells that is refused for another reason (%s)", id, group, code)
	}
	return failed("Try again.", "%s: %s", id, said(err))
}
