package check_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/pkg/check"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

var update = flag.Bool("update", false, "rewrite the parts of docs/check.md that are made of the code")

const document = "../../docs/check.md"

// sample is a report of every kind of line.
func sample() *check.Report {
	return &check.Report{Worst: check.Failed, Lines: []check.Line{
		{Check: "file", Status: check.OK, Text: "/etc/eci-executor/eci-executor.toml"},
		{Check: "ram-exec", Status: check.Failed, Text: "eci:ExecContainerCommand: permission missing: Forbidden.RAM: User not authorized (request id 0A1B)",
			Advice: "Allow the RAM action eci:ExecContainerCommand to the driver's RAM user or role."},
		{Check: "network", Subject: "vsw-1", Status: check.Warning, Text: "vsw-1: InvalidVSwitchId.IpNotEnough: The specified VSwitch does not have enough IP addresses.",
			Advice: "The vSwitch has no free address left: add another one to vswitch_ids."},
		{Check: "quota", Status: check.Skipped, Text: "needs credentials"},
		{Check: "live", Subject: "prepare", Status: check.OK, Text: "prepare: 21.5 s, container group eci-2ze0 of 2 vCPU, 4 GiB in ap-northeast-1a", Seconds: 21.5},
		{Check: "assumption", Subject: "ExecStartsAtCall", Status: check.OK, Text: "ExecStartsAtCall = false: an exec that nobody dials does not start", Value: "false"},
	}}
}

func tick(name string) string {
	if name == "" {
		return ""
	}
	return "`" + name + "`"
}

// parts are what the document holds between its markers.
func parts(t *testing.T) map[string]string {
	var checks, assumptions, document strings.Builder
	assumptions.WriteString("| unknown | switch |\n|---|---|\n")
	for _, a := range check.Assumptions() {
		fmt.Fprintf(&assumptions, "| %s | %s |\n", a.What, cmp.Or(tick(a.Switch), "none: "+tick(a.Name)))
	}
	checks.WriteString("| check | looks at | needs |\n|---|---|---|\n")
	for _, c := range check.List() {
		fmt.Fprintf(&checks, "| `%s` | %s | %s |\n", c.Name, c.What, strings.Join(c.Needs, ", "))
	}
	if err := sample().WriteJSON(&document); err != nil {
		t.Fatal(err)
	}
	return map[string]string{"assumptions": assumptions.String(), "checks": checks.String(), "json": "```json\n" + document.String() + "```\n"}
}

// TestDocument holds docs/check.md to the code: its list of checks, and the shape of
// the JSON document.
func TestDocument(t *testing.T) {
	data, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for name, want := range parts(t) {
		before, rest, found := strings.Cut(text, "<!-- "+name+" -->\n")
		got, after, ended := strings.Cut(rest, "<!-- /"+name+" -->")
		if !found || !ended {
			t.Fatalf("%s has no part %q", document, name)
		}
		if diff := gocmp.Diff(want, got); diff != "" && !*update {
			t.Errorf("%s is not what the code says (-code +document); go test ./pkg/check -run TestDocument -update\n%s", name, diff)
		}
		text = before + "<!-- " + name + " -->\n" + want + "<!-- /" + name + " -->" + after
	}
	if *update {
		if err := os.WriteFile(document, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAssumptionsAreSwitches: each is a switch of the local ECI, and stands in the
// table of what nobody documents.
func TestAssumptionsAreSwitches(t *testing.T) {
	table, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, a := range check.Assumptions() {
		if a.Switch == "" {
			if a.Name == "" || !strings.Contains(string(table), strings.TrimSuffix(a.What, " of a NAS")) {
				t.Errorf("docs/architecture.md does not name %s", a.What)
			}
			continue
		}
		if _, ok := reflect.TypeFor[ecitest.Switches]().FieldByName(a.Switch); !ok || seen[a.Switch] {
			t.Errorf("%s is no switch, or stands twice", a.Switch)
		}
		seen[a.Switch] = true
		if !strings.Contains(string(table), "`"+a.Switch+"`") {
			t.Errorf("docs/architecture.md does not name %s", a.Switch)
		}
	}
}

// What a person reads.
func TestLines(t *testing.T) {
	var b strings.Builder
	for _, l := range sample().Lines {
		b.WriteString(l.String())
	}
	b.WriteString(sample().Summary())
	want := `ok       file             /etc/eci-executor/eci-executor.toml
failed   ram-exec         eci:ExecContainerCommand: permission missing: Forbidden.RAM: User not authorized (request id 0A1B)
                          -> Allow the RAM action eci:ExecContainerCommand to the driver's RAM user or role.
warning  network          vsw-1: InvalidVSwitchId.IpNotEnough: The specified VSwitch does not have enough IP addresses.
                          -> The vSwitch has no free address left: add another one to vswitch_ids.
skipped  quota            needs credentials
ok       live             prepare: 21.5 s, container group eci-2ze0 of 2 vCPU, 4 GiB in ap-northeast-1a
ok       assumption       ExecStartsAtCall = false: an exec that nobody dials does not start
3 ok, 1 warning, 1 failed, 1 skipped
`
	if diff := gocmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}
