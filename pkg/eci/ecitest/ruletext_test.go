package ecitest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

func TestParseRules(t *testing.T) {
	tests := []struct {
		name, text string
		canonical  string // "" = text
		want       ecitest.Rule
	}{
		{"a status", "CreateContainerGroup:error=503,times=2,probability=0.5", "CreateContainerGroup:error=503/ServiceUnavailable,times=2,probability=0.5",
			ecitest.Rule{Target: "CreateContainerGroup", Times: 2, Probability: 0.5, Call: ecitest.CallFault{Status: 503, Code: "ServiceUnavailable"}}},
		{"a code", "*:error=QuotaExceeded", "*:error=403/QuotaExceeded", ecitest.Rule{Target: "*", Call: ecitest.CallFault{Status: 403, Code: "QuotaExceeded"}}},
		{"both", "*:error=400/Throttling.User,message=slow down", "", ecitest.Rule{Target: "*", Call: ecitest.CallFault{Status: 400, Code: "Throttling.User", Message: "slow down"}}},
		{"latency", "*:delay=200ms,delay-after=1m0s", "", ecitest.Rule{Target: "*", Call: ecitest.CallFault{Delay: 200 * time.Millisecond, DelayAfter: time.Minute}}},
		{"cut before", "*:cut=before,skip=3", "", ecitest.Rule{Target: "*", Skip: 3, Call: ecitest.CallFault{CutBefore: true}}},
		{"cut after", "*:cut=after", "", ecitest.Rule{Target: "*", Call: ecitest.CallFault{CutAfter: true}}},
		{"truncated", "DeleteContainerGroup:truncate=0", "", ecitest.Rule{Target: "DeleteContainerGroup", Call: ecitest.CallFault{Truncate: true}}},
		{"conditions", `exec:where=ContainerName=helper,where="Command=*a,b*",refuse`, "",
			ecitest.Rule{Target: "exec", Where: []ecitest.Condition{{"ContainerName", "helper"}, {"Command", "*a,b*"}}, Exec: ecitest.ExecFault{RefuseHandshake: true}}},
		{"drop", "exec:drop=0", "", ecitest.Rule{Target: "exec", Exec: ecitest.ExecFault{Drop: true}}},
		{"drop from a text", `exec:drop=2,drop-from="\n#ok ",drop-from-skip=1`, "", ecitest.Rule{Target: "exec", Exec: ecitest.ExecFault{
			Drop: true, DropAfter: 2, DropFrom: "\n#ok ", DropFromSkip: 1}}},
		{"half-open", "exec:half-open=7", "", ecitest.Rule{Target: "exec", Exec: ecitest.ExecFault{Drop: true, DropAfter: 7, HalfOpen: true}}},
		{"the life of a socket", "exec:start=call,drop-every=2s,idle=1s", "", ecitest.Rule{Target: "exec", Exec: ecitest.ExecFault{Start: "call", DropEvery: 2 * time.Second, Idle: time.Second}}},
		{"addresses", "exec:unreachable,expired", "", ecitest.Rule{Target: "exec", Exec: ecitest.ExecFault{Unreachable: true, Expired: true}}},
		{"a slow handshake", "exec:dial=80ms", "", ecitest.Rule{Target: "exec", Exec: ecitest.ExecFault{Dial: 80 * time.Millisecond}}},
		{"slow groups", "group:schedule=12s,pull-time=a:1 30s,pull-time=b:1 0s", "", ecitest.Rule{Target: "group", Group: ecitest.GroupFault{
			Schedule: 12 * time.Second, PullTime: map[string]time.Duration{"a:1": 30 * time.Second, "b:1": 0}}}},
		{"frames", "exec:split=1,merge,text,unprefixed,empty-frames,swallow=40", "",
			ecitest.Rule{Target: "exec", Exec: ecitest.ExecFault{MaxFrame: 1, Merge: true, Text: true, Unprefixed: true, EmptyFrames: true, SwallowFinal: 40}}},
		{"stdin", "exec:stdin-stop=1,stdin-lose=2,stdin-cut=3", "", ecitest.Rule{Target: "exec", Exec: ecitest.ExecFault{
			DropStdin: true, DropStdinAfter: 1, LoseStdin: true, LoseStdinAfter: 2, CutStdin: true, CutStdinAfter: 3}}},
		{"groups", `group:hidden=2s,schedule-failed=NoStock,message="none, anywhere"`, "",
			ecitest.Rule{Target: "group", Group: ecitest.GroupFault{HiddenFor: 2 * time.Second, ScheduleFailed: "NoStock", Message: "none, anywhere"}}},
		{"Pending", "group:pending,event=Warning FailedScheduling@build 0/1 nodes", "", ecitest.Rule{Target: "group", Group: ecitest.GroupFault{
			PendingForever: true, Events: []ecitest.GroupEvent{{Type: "Warning", Reason: "FailedScheduling", Name: "build", Message: "0/1 nodes"}}}}},
		{"pulls", "group:pull=a:1 manifest unknown,pull", "group:pull=* rpc error: code = Unavailable desc = dial tcp 192.0.2.1:443: i/o timeout,pull=a:1 manifest unknown",
			ecitest.Rule{Target: "group", Group: ecitest.GroupFault{Pull: map[string]string{
				"a:1": "manifest unknown", "*": "rpc error: code = Unavailable desc = dial tcp 192.0.2.1:443: i/o timeout"}}}},
		{"mount", "group:mount", "group:mount=mount.nfs: Connection timed out", ecitest.Rule{Target: "group", Group: ecitest.GroupFault{Mount: "mount.nfs: Connection timed out"}}},
		{"later", "group:kill=build,oom,reclaim,delete,after=2s,notice=1s", "", ecitest.Rule{Target: "group", Group: ecitest.GroupFault{
			Kill: "build", OOM: true, Reclaim: true, Delete: true, After: 2 * time.Second, Notice: time.Second}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rules, err := ecitest.ParseRules(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(ecitest.Rules{tt.want}, rules); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if tt.canonical == "" {
				tt.canonical = tt.text
			}
			if got := rules[0].String(); got != tt.canonical {
				t.Errorf("String %q, want %q", got, tt.canonical)
			}
		})
	}
}

func TestParseRulesTellsEveryMistake(t *testing.T) {
	tests := []struct {
		name  string
		texts []string
		wants []string // one mistake each
	}{
		{"no keys", []string{"exec", "exec:"}, []string{`fault "exec": must be TARGET:KEY=VALUE,...`, `fault "exec:": must be`}},
		{"a target", []string{"Create:drop=1"}, []string{`target "Create" is neither an API action nor *, exec or group`}},
		{"keys of another target", []string{"exec:error=503,cut=after,drop=1"}, []string{
			`exec has no key "error"; it has where, start,`, `exec has no key "cut"`}},
		{"several in several", []string{"*:error=200,times=0", "exec:drop=-1,refuse=yes,split", "group:reclaim,after=soon"}, []string{
			`error: "200" is not an HTTP status from 400 to 599`, `times: "0" is not a number from 1`, `drop: "-1" is not a number of bytes`,
			"refuse takes no value", "split needs a value: split=N", `after: "soon" is not a time such as`}},
		{"a status without a code", []string{"*:error=404"}, []string{"404 needs a code of ECI, such as 404/Throttling.User"}},
		{"probability", []string{"*:cut=after,probability=1.5", "*:cut=after,probability=NaN"}, []string{`"1.5" is not a number above 0`, `"NaN" is not`}},
		{"twice", []string{"exec:drop=1,drop=2", "exec:drop=1,half-open=2", "group:pull=a,pull=a", "group:pull-time=a 1s,pull-time=a 2s"}, []string{
			"drop is given twice", "drop and half-open exclude each other", "a is given twice", "a is given twice"}},
		{"nothing", []string{"exec:times=1"}, []string{"names nothing that goes wrong"}},
		{"alone", []string{"*:delay=1s,message=x", "group:pending,message=x", "group:pending,after=1s", "group:delete,notice=1s", "group:oom"}, []string{
			"message needs error", "message needs schedule-failed", "after needs kill, reclaim or delete", "notice needs reclaim", "oom needs kill"}},
		{"from nowhere", []string{"exec:refuse,drop-from=x", "exec:drop=1,drop-from-skip=1"}, []string{
			"drop-from needs drop or half-open", "drop-from-skip needs drop-from"}},
		{"excluded", []string{"*:error=503,cut=after"}, []string{"error, cut and truncate exclude each other"}},
		{"quotes", []string{`group:mount="x`, `group:mount="x"y`, "exec:,refuse"}, []string{"the quotes do not end", `"y" follows the quotes`, "a key is empty"}},
		{"values", []string{"exec:where=x,start=soon,swallow=0", "group:event=Warning x,kill=,pending,pull-time=a soon"}, []string{
			`pull-time: "a soon" is not an image and a time`,
			`"x" is not NAME=PATTERN`, `start: "soon" is not call or connect`, `swallow: "0" is not`, `event: "Warning x" is not Normal or Warning`, "kill: the value is empty"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rules, err := ecitest.ParseRules(append(tt.texts, "exec:refuse")...) // the good one does not help
			if err == nil || rules != nil {
				t.Fatalf("no error, or rules beside it: %v", rules)
			}
			if lines := strings.Count(err.Error(), "\n") + 1; lines != len(tt.wants) {
				t.Errorf("%d mistakes are told, want %d:\n%v", lines, len(tt.wants), err)
			}
			for _, want := range tt.wants {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in:\n%v", want, err)
				}
			}
		})
	}
}

// What is read is written so that it is read as the same.
func FuzzParseRules(f *testing.F) {
	for _, text := range []string{
		"CreateContainerGroup:error=503,times=2,probability=0.5,skip=1,where=ContainerGroupName=ci-*", "*:cut=after,delay=1s,delay-after=2s",
		`exec:where="Command=a,\"b\"",drop=10,text,split=1,start=call,idle=1h`, "group:pull=a b,pull=c,event=Warning R@n m,mount,kill=x,after=0s",
		"group:schedule-failed=NoStock,message=\"\\xff\",hidden=1ns", "exec:swallow=1,stdin-stop=0,stdin-lose=1,stdin-cut=2",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := ecitest.ParseRules(text)
		if err != nil {
			return
		}
		again, err := ecitest.ParseRules(rules[0].String())
		if err != nil {
			t.Fatalf("%q is written as %q: %v", text, rules[0], err)
		}
		if diff := cmp.Diff(rules, again); diff != "" {
			t.Errorf("%q is written as %q\n%s", text, rules[0], diff)
		}
	})
}

func TestRuleHelpNamesEveryKey(t *testing.T) {
	help := ecitest.RuleHelp()
	for _, want := range []string{"where=NAME=PATTERN", "error=STATUS[/CODE]|CODE", "drop=BYTES", "refuse ", "pull[=IMAGE[ WHY]]", "probability=P"} {
		if !strings.Contains(help, "  "+want) {
			t.Errorf("no %q in\n%s", want, help)
		}
	}
}
