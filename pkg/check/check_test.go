package check_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/check"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// Where all is right every check says so, and nothing is made in the cloud.
func TestAllIsRight(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	report := w.check()
	seen := map[string]bool{}
	for _, l := range report.Lines {
		seen[l.Check] = true
		if l.Status != check.OK || l.Advice != "" {
			t.Errorf("%s", l)
		}
	}
	for _, c := range check.List() {
		if !seen[c.Name] {
			t.Errorf("%s says nothing", c.Name)
		}
	}
	if report.ExitStatus() != 0 {
		t.Errorf("exit status %d", report.ExitStatus())
	}
	for _, c := range w.server.Calls() {
		if c.Action == "CreateContainerGroup" && c.Code != "DryRunOperation" || strings.HasPrefix(c.Action, "Update") {
			t.Errorf("%s changes something: %s", c.Action, c.Code)
		}
	}
}

// broken is something that is not right, and the line that must say so.
type broken struct {
	name    string
	options ecitest.Options
	do      func(w *world)
	check   string
	status  check.Status
	says    string   // in the text
	advises string   // in the advice
	also    []string // other checks that are not ok for the same reason
	skipped []string
}

func (b broken) test(t *testing.T) {
	w := newWorld(t, b.options)
	b.do(w)
	report := w.check()
	found := false
	for _, l := range report.Lines {
		switch {
		case l.Check == b.check && l.Status == b.status && strings.Contains(l.Text, b.says) && strings.Contains(l.Advice, b.advises):
			found = true
		case l.Status == check.Skipped:
			if !contains(b.skipped, l.Check) || !strings.HasPrefix(l.Text, "needs ") {
				t.Errorf("skipped too: %s", l)
			}
		case l.Status != check.OK && l.Check != b.check && !contains(b.also, l.Check):
			t.Errorf("not ok either: %s", l)
		}
		if l.Status >= check.Warning && l.Advice == "" {
			t.Errorf("nothing says what to do: %s", l)
		}
	}
	if !found {
		t.Errorf("no line of %s is %s with %q and %q", b.check, b.status, b.says, b.advises)
		for _, l := range report.Lines {
			t.Log(l)
		}
	}
	want := map[check.Status]int{check.Warning: 1, check.Failed: 2}[b.status]
	if got := report.ExitStatus(); got < want {
		t.Errorf("exit status %d, want %d", got, want)
	}
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if n == name || n == "all" {
			return true
		}
	}
	return false
}

// afterKey are the checks that need credentials.
func afterKey() []string {
	return []string{"region", "ram-create", "ram-describe", "ram-exec", "ram-delete", "ram-status", "ram-log", "ram-image-caches", "ram-price",
		"request", "network", "quota", "stock"}
}

// TestBroken: what is broken is told by the line that is about it, with what to do,
// and hides no other.
func TestBroken(t *testing.T) {
	for _, table := range [][]broken{brokenHost(), brokenAPI(), brokenActions(), brokenCapacity(), brokenImages(), brokenRunner()} {
		for _, b := range table {
			t.Run(b.check+"/"+b.name, func(t *testing.T) {
				t.Parallel()
				b.test(t)
			})
		}
	}
}

// TestEveryCheckFails: the table above has a case for each check that can be not ok.
func TestEveryCheckFails(t *testing.T) {
	has := map[string]bool{}
	for _, table := range [][]broken{brokenHost(), brokenAPI(), brokenActions(), brokenCapacity(), brokenImages(), brokenRunner()} {
		for _, b := range table {
			has[b.check] = true
		}
	}
	for _, c := range check.List() {
		if !has[c.Name] {
			t.Errorf("nothing breaks %s", c.Name)
		}
	}
}

func mkdir(w *world, mode os.FileMode) {
	if err := os.Mkdir(w.path("state"), mode); err != nil {
		w.t.Fatal(err)
	}
}

func brokenHost() []broken {
	return []broken{
		{name: "unknown key", do: func(w *world) { w.replace("cpu = 2", "cpus = 2") }, check: "file", status: check.Failed,
			says: "cpus", advises: "eci-executor.toml.example", skipped: []string{"all"}},
		{name: "two mistakes", do: func(w *world) { w.replace("cpu = 2", "cpu = -2"); w.replace(`region = "ap`, `regions = "ap`) }, check: "file", status: check.Failed,
			says: "region", advises: "Correct it", skipped: []string{"all"}},
		{name: "absent", do: func(w *world) { w.options.ConfigFile = w.path("other.toml") }, check: "file", status: check.Failed,
			says: "no such file", advises: "--config", skipped: []string{"all"}},
		{name: "a secret that all can read", do: func(w *world) {
			w.write()
			if err := os.Chmod(w.path("eci-executor.toml"), 0o644); err != nil {
				w.t.Fatal(err)
			}
		}, check: "file", status: check.Warning, says: "mode 0644", advises: "chmod 0600"},
		{name: "open", do: func(w *world) { mkdir(w, 0o755) }, check: "state-dir", status: check.Warning, says: "mode 0755", advises: "chmod 0700"},
		{name: "there", do: func(w *world) { mkdir(w, 0o700) }, check: "state-dir", status: check.OK, says: "MiB free"},
		{name: "another's", do: func(w *world) {
			if os.Geteuid() != 0 {
				w.t.Skip("only root can give a directory away")
			}
			mkdir(w, 0o700)
			if err := os.Chown(w.path("state"), 12345, 12345); err != nil {
				w.t.Fatal(err)
			}
		}, check: "state-dir", status: check.Failed, says: "belongs to uid 12345", advises: "chown"},
		{name: "a file", do: func(w *world) {
			if err := os.WriteFile(w.path("state"), nil, 0o600); err != nil {
				w.t.Fatal(err)
			}
		}, check: "state-dir", status: check.Failed, says: "not a directory", advises: "state_dir"},
		{name: "nowhere", do: func(w *world) { w.replace(w.path("state"), w.path("eci-executor.toml/state")) }, check: "state-dir", status: check.Failed,
			says: "can't be made", advises: "mode 0700"},
		{name: "missing", do: func(w *world) { w.volumeFile("settings.xml") }, check: "files", status: check.Failed,
			says: `files."settings.xml" of [[volume]] "maven"`, advises: "Put it there"},
		{name: "there", do: func(w *world) {
			w.volumeFile("settings.xml")
			if err := os.WriteFile(w.path("settings.xml"), []byte("<settings/>\n"), 0o600); err != nil {
				w.t.Fatal(err)
			}
		}, check: "files", status: check.OK, says: "1, readable"},
		{name: "not installed", do: func(w *world) {
			w.commands["systemctl show eci-executor-reap.timer --property=LoadState,UnitFileState,ActiveState"] = "LoadState=not-found\nUnitFileState=\nActiveState=inactive\n"
		}, check: "timer", status: check.Warning, says: "not installed", advises: "packaging/systemd"},
		{name: "not enabled", do: func(w *world) {
			w.commands["systemctl show eci-executor-reap.timer --property=LoadState,UnitFileState,ActiveState"] = "LoadState=loaded\nUnitFileState=disabled\nActiveState=inactive\n"
		}, check: "timer", status: check.Warning, says: "disabled", advises: "enable --now"},
		{name: "last run failed", do: func(w *world) {
			w.commands["systemctl show eci-executor-reap.service --property=Result,ExecMainStatus"] = "Result=exit-code\nExecMainStatus=2\n"
		}, check: "timer", status: check.Warning, says: "last reap failed (exit-code, status 2)", advises: "journalctl"},
		{name: "no systemd", do: func(w *world) { w.commands = map[string]string{"gitlab-runner --version": "Version: 19.4.0\n"} }, check: "timer", status: check.Warning,
			says: "systemd is not here", advises: "cron"},
		{name: "systemd is silent", do: func(w *world) {
			w.commands["systemctl show eci-executor-reap.timer --property=LoadState,UnitFileState,ActiveState"] = "fails"
		}, check: "timer", status: check.Warning, says: "does not answer", advises: "cron"},
		{name: "next run", do: func(*world) {}, check: "timer", status: check.OK, says: "next run in "},
	}
}

func brokenAPI() []broken {
	return []broken{
		{name: "nobody listens", do: func(w *world) { w.replace(w.server.URL(), "http://127.0.0.1:1"); w.options.WebSocket = w.server.URL() }, check: "endpoint", status: check.Failed,
			says: "does not answer", advises: "https://eci.ap-northeast-1.aliyuncs.com", skipped: append(afterKey(), "credentials")},
		{name: "clock far off", do: func(w *world) { w.options.Clock = skewed(20*time.Minute + 30*time.Second) }, check: "endpoint", status: check.Failed,
			says: "clock is off by 20m", advises: "NTP", skipped: append(afterKey(), "credentials")},
		{name: "clock off", do: func(w *world) { w.options.Clock = skewed(-5*time.Minute - 30*time.Second) }, check: "endpoint", status: check.Warning,
			says: "clock is off by 5m", advises: "NTP"},
		{name: "wrong secret", do: func(w *world) { w.replace(apiSecret, "wr0ng-secret") }, check: "credentials", status: check.Failed,
			says: "SignatureDoesNotMatch", advises: "access_key_secret", skipped: afterKey()},
		{name: "unknown key", do: func(w *world) { w.replace(`access_key_id = "local"`, `access_key_id = "LTAI1234567890abcd"`) }, check: "credentials", status: check.Failed,
			says: "LTAI...abcd (static_ak) is not accepted: InvalidAccessKeyId.NotFound", advises: "rotated", skipped: afterKey()},
		{name: "the account's own", do: func(w *world) {
			w.sts.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprint(w, `{"IdentityType":"Account","Arn":"acs:ram::1:root"}`)
			})
		}, check: "credentials", status: check.Warning, says: "the account's own", advises: "RAM role"},
		{name: "STS is silent", do: func(w *world) { w.options.STS = "http://127.0.0.1:1" }, check: "credentials", status: check.Warning,
			says: "it is not known whose it is", advises: "127.0.0.1:1"},
		{name: "whose", do: func(*world) {}, check: "credentials", status: check.OK, says: "acs:ram::1234567890:user/ci of account 1234567890"},
		{name: "none such", do: func(w *world) { w.replace("ap-northeast-1\"\nendpoint", "ap-nowhere-9\"\nendpoint") }, check: "region", status: check.Failed,
			says: "ap-nowhere-9", advises: "", also: []string{"all"}, skipped: []string{"all"}},
		{name: "not to be seen", do: func(w *world) { w.deny("DescribeRegions") }, check: "region", status: check.OK, says: "not known without eci:DescribeRegions"},
		{name: "unreachable", do: func(w *world) { w.options.WebSocket = "http://127.0.0.1:1" }, check: "websocket", status: check.Failed,
			says: "can't be reached", advises: "HTTPS_PROXY"},
		{name: "no such export", do: func(w *world) {
			w.replace("\npath = \"/cache\"", "\noptions = \"\"\npath = \"/other\"")
		},
			check: "nas", status: check.Failed, says: "the directory does not exist", advises: "Correct path"},
		{name: "no way", do: func(w *world) { w.options.Prober.Dial = noRoute }, check: "nas", status: check.Failed,
			says: "does not answer", advises: "2049"},
		{name: "of a local ECI", do: func(w *world) { w.options.Prober.Dial = noName }, check: "nas", status: check.Skipped,
			says: "a local ECI on this machine"},
		{name: "figures", do: func(*world) {}, check: "nas", status: check.OK, says: "/cache, writable"},
	}
}

func brokenActions() []broken {
	denied := func(name, action string, status check.Status, more ...string) broken {
		b := broken{name: "denied", do: func(w *world) { w.deny(action) }, check: name, status: status,
			says: "permission missing", advises: "Allow the RAM action eci:" + action}
		b.skipped = more
		return b
	}
	missing := func(name, action string) broken {
		return broken{name: "not found", do: func(w *world) {
			w.faults(ecitest.CallFault{Status: 404, Code: "InvalidParameter.NotFound", Message: "no such group"}, action)
		}, check: name, status: check.OK, says: "eci:" + action + " is allowed (InvalidParameter.NotFound)"}
	}
	silent := func(name, action string, status check.Status) broken {
		return broken{name: "no answer", do: func(w *world) { w.faults(ecitest.CallFault{CutBefore: true}, action) }, check: name, status: status,
			says: "not known", advises: ""}
	}
	return []broken{
		denied("ram-create", "CreateContainerGroup", check.Failed, "request", "network"),
		denied("ram-describe", "DescribeContainerGroups", check.Failed), missing("ram-describe", "DescribeContainerGroups"),
		silent("ram-describe", "DescribeContainerGroups", check.Failed),
		denied("ram-exec", "ExecContainerCommand", check.Failed), missing("ram-exec", "ExecContainerCommand"),
		denied("ram-delete", "DeleteContainerGroup", check.Failed), missing("ram-delete", "DeleteContainerGroup"),
		denied("ram-status", "DescribeContainerGroupStatus", check.Warning),
		denied("ram-log", "DescribeContainerLog", check.Warning), missing("ram-log", "DescribeContainerLog"),
		denied("ram-image-caches", "DescribeImageCaches", check.Warning),
		denied("ram-price", "DescribeContainerGroupPrice", check.Warning), silent("ram-price", "DescribeContainerGroupPrice", check.Warning),
		{name: "another status", options: ecitest.Options{Switches: ecitest.Switches{UnknownIDOnExec: "IncorrectStatus"}}, do: func(*world) {},
			check: "ram-exec", status: check.OK, says: "is allowed (IncorrectStatus)"},
	}
}

func brokenCapacity() []broken {
	stock := func(change func(*ecitest.Stock)) ecitest.Options {
		s := ecitest.Stock{VSwitches: map[string]ecitest.VSwitch{"vsw-1": {Zone: "ap-northeast-1a", VPC: "vpc-1"}, "vsw-2": {Zone: "ap-northeast-1b", VPC: "vpc-1"}}}
		change(&s)
		return ecitest.Options{Stock: s}
	}
	return []broken{
		{name: "a size that ECI has not", do: func(w *world) { w.replace("cpu = 2", "cpu = 100") }, check: "request", status: check.Failed,
			says: "100 vCPU, 4 GiB is refused", advises: "ECI", also: []string{"stock"}},
		{name: "no such vSwitch", do: func(w *world) { w.replace("vsw-2", "vsw-none") }, check: "network", status: check.Failed,
			says: "vsw-none", advises: "vswitch_ids", also: []string{"request"}},
		{name: "another VPC's security group", do: func(w *world) { w.replace("sg-1", "sg-far") }, check: "network", status: check.Failed,
			says: "SecurityGroupMisMatch", advises: "one VPC", also: []string{"request"}},
		{name: "no addresses", options: stock(func(s *ecitest.Stock) {
			s.VSwitches["vsw-1"] = ecitest.VSwitch{Zone: "ap-northeast-1a", VPC: "vpc-1", IPs: -1}
		}), do: func(*world) {},
			check: "network", status: check.Warning, says: "vsw-1: InvalidVSwitchId.IpNotEnough", advises: "another one to vswitch_ids"},
		{name: "below one group", options: stock(func(s *ecitest.Stock) { s.MaxCPU = 1 }), do: func(*world) {}, check: "quota", status: check.Failed,
			says: "0 of 1 vCPU are used, and one group takes 2", advises: "Quota Center", also: []string{"request"}},
		{name: "below concurrent", options: stock(func(s *ecitest.Stock) { s.MaxCPU = 10 }), do: func(*world) {}, check: "quota", status: check.Warning,
			says: "10 jobs at a time of 2 vCPU take 20", advises: "lower concurrent"},
		{name: "helper beside build", options: stock(func(s *ecitest.Stock) { s.MaxCPU = 25 }), do: func(w *world) { w.replace("[helper]", "[helper]\ncpu = 1") },
			check: "quota", status: check.Warning, says: "10 jobs at a time of 3 vCPU take 30", advises: "lower concurrent"},
		{name: "not to be seen", do: func(w *world) { w.deny("ListUsage") }, check: "quota", status: check.Warning, says: "permission missing", advises: "eci:ListUsage"},
		{name: "no zone", options: stock(func(s *ecitest.Stock) {
			s.None = []ecitest.Offer{{InstanceType: "ecs.c6.large"}, {InstanceType: "2-4Gi"}}
		}), do: func(*world) {}, check: "stock", status: check.Failed, says: "no zone has it", advises: "vswitch_ids", also: []string{"request", "network"}},
		{name: "one type of two", options: stock(func(s *ecitest.Stock) { s.None = []ecitest.Offer{{InstanceType: "ecs.c6.large"}} }),
			do: func(w *world) {
				w.driver += "[capacity]\ninstance_types = [\"ecs.c6.large\", \"ecs.g6.large\"]\n"
			}, check: "stock", status: check.Warning, says: "ecs.c6.large: no zone has it", advises: "instance_types"},
		{name: "no spot, but else", options: stock(func(s *ecitest.Stock) { s.None = []ecitest.Offer{{Spot: true}} }),
			do: func(w *world) { w.driver += "[spot]\nstrategy = \"as-price-go\"\n" }, check: "stock", status: check.OK, says: "not as spot but at the full price",
			also: []string{"request", "network"}},
		{name: "not to be seen", do: func(w *world) { w.deny("DescribeAvailableResource") }, check: "stock", status: check.Warning, says: "permission missing", advises: "eci:DescribeAvailableResource"},
	}
}

func brokenImages() []broken {
	return []broken{
		{name: "another version", do: func(w *world) {
			w.replace("helper:x86_64-v{runner_version}", "helper:x86_64-v18.1.2")
			w.registry.images[1] = "ci/helper:x86_64-v18.1.2"
		},
			check: "helper", status: check.Warning, says: "not of the runner's version 19.4.0", advises: "{runner_version}"},
		{name: "no runner here", do: func(w *world) { delete(w.commands, "gitlab-runner --version") }, check: "helper", status: check.Warning,
			says: "version is not known here", advises: "--runner-version"},
		{name: "told by hand", do: func(w *world) { delete(w.commands, "gitlab-runner --version"); w.options.RunnerVersion = "v19.4.0" }, check: "helper", status: check.OK,
			says: "helper:x86_64-v19.4.0, runner 19.4.0"},
		{name: "no version in the tag", do: func(w *world) {
			w.replace("helper:x86_64-v{runner_version}", "helper:mine")
			w.registry.images[1] = "ci/helper:mine"
		},
			check: "helper", status: check.OK, says: "names no version"},
		{name: "wrong password", do: func(w *world) { w.replace(pullPassword, "wr0ng-secret") }, check: "registry", status: check.Failed,
			says: "the credentials of ci-puller are refused", advises: "[[registry]]"},
		{name: "wrong password, no token service", do: func(w *world) { w.registry.basic = true; w.replace(pullPassword, "wr0ng-secret") }, check: "registry", status: check.Failed,
			says: "the credentials of ci-puller are refused", advises: "[[registry]]"},
		{name: "no token service", do: func(w *world) { w.registry.basic = true }, check: "registry", status: check.OK, says: "the credentials of ci-puller are accepted"},
		{name: "no login", do: func(w *world) { w.registry.open = true }, check: "registry", status: check.OK, says: "answers without a login, has "},
		{name: "no credentials", do: func(w *world) {
			before, _, _ := strings.Cut(w.driver, "[[registry]]")
			_, after, _ := strings.Cut(w.driver, "[[nas]]")
			w.driver = before + "[[nas]]" + after
		}, check: "registry", status: check.Failed, says: "there are no credentials", advises: "[[registry]]"},
		{name: "of sim", do: func(w *world) {
			w.replace(w.registry.host+"/ci/build", "local/build")
			w.replace(w.registry.host+"/ci/helper:x86_64-v{runner_version}", "local/helper:1")
		}, check: "registry", status: check.Skipped, says: "docker.io: the endpoint is a local ECI"},
		{name: "image absent", do: func(w *world) { w.registry.images = w.registry.images[1:] }, check: "registry", status: check.Failed,
			says: "it has no ", advises: "[build] image"},
		{name: "unreachable", do: func(w *world) { w.registry.server.Close() }, check: "registry", status: check.Warning,
			says: "can't be reached from this host", advises: "vSwitches"},
		{name: "not a registry", do: func(w *world) {
			w.registry.server.Config.Handler = http.NotFoundHandler()
		}, check: "registry", status: check.Failed, says: "HTTP 404", advises: "host[:port]"},
		{name: "spoken to over plain HTTP", do: func(w *world) { w.driver += fmt.Sprintf("[pull]\nplain_http = [%q]\n", w.registry.host) },
			check: "registry", status: check.Failed, says: "HTTP 400", advises: "host[:port]"},
		{name: "unknown certificate", do: func(w *world) { w.options.Transport = &http.Transport{} }, check: "registry", status: check.Warning,
			says: "certificate", advises: ""},
		{name: "unknown certificate, insecure", do: func(w *world) {
			w.options.Transport = &http.Transport{}
			w.driver += fmt.Sprintf("[pull]\ninsecure = [%q]\n", w.registry.host)
		}, check: "registry", status: check.OK, says: "are accepted"},
	}
}

func brokenRunner() []broken {
	replace := func(old, with string) func(*world) {
		return func(w *world) {
			if !strings.Contains(w.runner, old) {
				w.t.Fatalf("the runner's file has no %q", old)
			}
			w.runner = strings.ReplaceAll(w.runner, old, with)
		}
	}
	return []broken{
		{name: "absent", do: func(w *world) { w.runner = "" }, check: "runner", status: check.Failed, says: "no such file", advises: "--runner-config"},
		{name: "not the driver's", do: replace("/usr/local/bin/eci-executor", "/usr/local/bin/other"), check: "runner", status: check.Failed,
			says: "no [[runners]]", advises: "config.toml.example"},
		{name: "prepare too short", do: func(w *world) { replace("prepare_exec_timeout = 720", "prepare_exec_timeout = 20")(w) }, check: "runner", status: check.Warning,
			says: "prepare_exec_timeout > [timeouts] ready + delete", advises: "above 25"},
		{name: "another file", do: replace("eci-executor.toml\", \"run\"", "other.toml\", \"run\""), check: "runner", status: check.Failed,
			says: "run_args end with", advises: "run_args = ["},
		{name: "another builds_dir", do: replace(`builds_dir = "/builds"`, `builds_dir = "/work"`), check: "runner", status: check.Warning,
			says: "builds_dir is the driver's", advises: "the driver's wins"},
		{name: "damaged", do: replace("concurrent = 10", "concurrent = "), check: "runner", status: check.Failed, says: "not readable", advises: "--runner-config"},
		{name: "all holds", do: func(*world) {}, check: "runner", status: check.OK, says: "relations hold"},
	}
}
