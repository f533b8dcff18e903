package check

import (
	"context"
	"encoding/json"
	"maps"

	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// unknownGroup is the id of a group that can't exist: ECI's have 20 characters behind
// the hyphen.
const unknownGroup = "eci-nosuchgroup"

// action is a RAM action that the driver uses, and a call that shows whether it is
// allowed and changes nothing.
type action struct {
	check  string // name of the check
	name   string // of the API, and of RAM after eci:
	params eci.Params
	lacks  string // what is missing without it; "" = no job can run
	note   string // what an answer does not prove
}

// actions are all but the create, which is a dry run.
func actions() []action {
	group := func(more eci.Params) eci.Params {
		p := eci.Params{"ContainerGroupId": unknownGroup}
		maps.Copy(p, more)
		return p
	}
	return []action{
		{check: "ram-describe", name: "DescribeContainerGroups", params: eci.Params{"ContainerGroupIds": `["` + unknownGroup + `"]`},
			note: "; an empty answer may also be a RAM policy's, which --live shows"},
		{check: "ram-exec", name: "ExecContainerCommand", params: group(eci.Params{"ContainerName": "build", "Command": `["true"]`})},
		{check: "ram-delete", name: "DeleteContainerGroup", params: group(nil)},
		{check: "ram-status", name: "DescribeContainerGroupStatus", params: eci.Params{"Limit": "1", "Tag.1.Key": "managed-by", "Tag.1.Value": stages.DriverName},
			lacks: "many jobs at once poll ECI each for itself"},
		{check: "ram-log", name: "DescribeContainerLog", params: group(eci.Params{"ContainerName": "build"}),
			lacks: "logs of services and of a group that has ended can't be read"},
		{check: "ram-image-caches", name: "DescribeImageCaches", params: eci.Params{},
			lacks: "image caches can't be listed"},
		{check: "ram-price", name: "DescribeContainerGroupPrice", params: eci.Params{"Cpu": "2", "Memory": "4"},
			lacks: "no job tells what it cost"},
	}
}

// look makes the call. What is refused for another reason than permission is allowed:
// ECI looks at who asks before it looks at what for.
func (a action) look(ctx context.Context, w *world) []Line {
	var answer json.RawMessage
	err := w.persistDefinite(ctx, func() (err error) { answer, err = w.client.Ask(ctx, a.name, a.params); return err })
	w.saw(a.name, answer, err)
	name := "eci:" + a.name
	switch {
	case eci.Denied(err):
		return []Line{a.denied(err)}
	case eci.Ambiguous(err) || eci.ClassOf(err) == eci.Retry && !definite(err):
		return []Line{a.bad(adviceOf(err, "Try again."), name+": not known: "+said(err))}
	case isKeyError(err):
		return []Line{a.bad(adviceOf(err, "Check [credentials]."), name+": "+said(err))}
	case err != nil:
		return []Line{ok("%s is allowed (%s)", name, eci.CodeOf(err))}
	}
	return []Line{ok("%s is allowed%s", name, a.note)}
}

func (a action) denied(err error) Line {
	text := "eci:" + a.name + ": permission missing"
	if a.lacks != "" {
		text += ", so " + a.lacks
	}
	return a.bad(adviceOf(err, ""), text+": "+said(err))
}

// bad is a failure only where no job can run without the action.
func (a action) bad(advice, text string) Line {
	if a.lacks != "" {
		return warning(advice, "%s", text)
	}
	return failed(advice, "%s", text)
}

// definite tells whether an error of a class that is tried again is still an answer
// about the object: a group in the wrong state.
func definite(err error) bool {
	switch eci.CodeOf(err) {
	case "IncorrectStatus", "OperationConflict":
		return true
	}
	return false
}

// persistDefinite is persist, for calls on an object that is not there.
func (w *world) persistDefinite(ctx context.Context, f func() error) error {
	var last error
	err := w.persist(ctx, func() error {
		if last = f(); definite(last) {
			return nil
		}
		return last
	})
	if definite(last) {
		return last
	}
	return err
}
