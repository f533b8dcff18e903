package stages_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// service is one of a job response that runs a script in the image "host".
func service(alias, script string, variables map[string]string) map[string]any {
	var list []map[string]any
	for key, value := range variables {
		list = append(list, map[string]any{"key": key, "value": value})
	}
	return map[string]any{"name": "host", "alias": alias, "entrypoint": []string{"sh", "-c", script}, "variables": list}
}

// serviceLog awaits a line in the log of a service.
func (w *world) serviceLog(t *testing.T, name, line string) string {
	t.Helper()
	api := w.stage(t, new(bytes.Buffer)).API
	for ctx := w.context(t); ; {
		text, err := api.DescribeContainerLog(ctx, w.server.Live()[0], name)
		switch {
		case err == nil && strings.Contains(text, line):
			return text
		case ctx.Err() != nil:
			t.Fatalf("the log of %s has no %q: %v\n%s", name, line, err, text)
		}
		time.Sleep(20 * time.Millisecond) // ECI tells of a log only when asked
	}
}

// A service sees its variables as the runner expanded them, and the job is told of
// what it does not get.
func TestServiceGetsItsVariables(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	w.env.Custom["CI_JOB_SERVICES"] = `[{"name":"host","alias":"db","variables":{"WHO":"expanded $HERE"}}]`
	w.job(t, map[string]any{"services": []map[string]any{
		service("db", `echo "who $WHO long $LONG project $CI_PIPELINE_ID secret $SECRET"; sleep 600`,
			map[string]string{"WHO": "$SOMEBODY", "LONG": strings.Repeat("x", 257)})}})
	out, err := w.prepare(t)
	if err != nil || strings.Count(out, "the variable LONG of service host is left out") != 1 {
		t.Errorf("%v\n%s", err, out)
	}
	if got := w.serviceLog(t, "db", "\n"); got != "who expanded $HERE long  project 99 secret \n" {
		t.Errorf("the service says %q", got)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// An empty variable of a service reaches it as such, over what its image says; where ECI
// refuses it, the service goes without, and the job is told.
func TestEmptyVariableOfAService(t *testing.T) {
	t.Parallel()
	for refused, want := range map[bool]string{false: "empty is <>\n", true: "empty is <of the image>\n"} {
		t.Run(fmt.Sprintf("refused %t", refused), func(t *testing.T) {
			t.Parallel()
			image := hostImage(t)
			image.Env = append(slices.Clone(image.Env), "DOCKER_TLS_CERTDIR=of the image")
			w := newWorld(t, ecitest.Options{Switches: ecitest.Switches{EmptyEnvRefused: refused}, Images: map[string]ecitest.Image{"dind": image}})
			db := service("db", `echo "empty is <$DOCKER_TLS_CERTDIR>"; sleep 600`, map[string]string{"DOCKER_TLS_CERTDIR": ""})
			db["name"] = "dind"
			w.job(t, map[string]any{"services": []map[string]any{db}})
			out, err := w.prepare(t)
			if err != nil || strings.Contains(out, "Trying again without variables that are empty\n") != refused {
				t.Errorf("%v\n%s", err, out)
			}
			if got := w.serviceLog(t, "db", "\n"); got != want {
				t.Errorf("the service says %q, want %q", got, want)
			}
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
			w.awaitNoGroups(t)
		})
	}
}

// The services of the driver's file come first, in every job, whatever authors may use.
func TestRunnerServices(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	w.config.Allow.Services, w.config.Allow.MaxServices = nil, 0
	w.config.RunnerServices = []config.RunnerService{{Name: "host", Alias: "proxy, cache", Command: []string{"sh", "-c", `echo "for $WHO of $CI_PIPELINE_ID"; sleep 600`},
		Variables: map[string]string{"WHO": "everybody"}}}
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := w.serviceLog(t, "proxy", "\n"); got != "for everybody of 99\n" {
		t.Errorf("the service says %q", got)
	}
	if log, err := w.run(t, "step_script", "grep -c -w -e proxy -e cache /etc/hosts"); err != nil || log == "0\n" {
		t.Errorf("its names are not known: %q, %v", log, err)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// A service of the driver's file whose image can't be had is the operator's to mend.
func TestRunnerServiceThatCannotBePulled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	w.config.RunnerServices = []config.RunnerService{{Name: "registry.example.com/absent:1", Alias: "proxy"}}
	_, err := w.prepare(t)
	wantError(t, err, "container proxy can't be pulled", "What the runner's operator can do: correct name of the [[runner_service]] proxy")
	if status, _ := w.env.ExitStatus(err); status != w.env.SystemFailure {
		t.Errorf("exit status %d", status)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// awaitContainerEnd waits until ECI says that a container has ended.
func (w *world) awaitContainerEnd(t *testing.T, name string) {
	t.Helper()
	api := w.stage(t, new(bytes.Buffer)).API
	for ctx := w.context(t); ; {
		groups, err := api.DescribeContainerGroups(ctx, eci.Query{IDs: w.server.Live()})
		if err == nil && len(groups) == 1 && groups[0].Container(name).State == "Terminated" {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("container %s does not end: %v", name, err)
		}
		time.Sleep(20 * time.Millisecond) // ECI tells of states only when asked
	}
}

// dind is a service of the image docker:28-dind, which does what its daemon needs to be
// privileged for, and then answers at its port.
func dind() map[string]any {
	s := service("docker", `mount -t tmpfs layers /tmp || exit 1
exec perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Listen => 5, LocalPort => 2375, ReuseAddr => 1) or die "$!"; while ($c = $s->accept) { print $c "daemon\n"; close $c }'`,
		map[string]string{"HEALTHCHECK_TCP_PORT": "2375"})
	s["name"] = "docker:28-dind"
	return s
}

// mayNot is a script that says so where a container is not privileged.
func mayNot(who string) string {
	return "mount -t tmpfs x /tmp 2>/dev/null || echo " + who + " may not"
}

// The driver's file makes a service privileged where the account is admitted to it, the
// rest of the job is not, and says what is missing where it is not admitted.
func TestPrivilegedService(t *testing.T) {
	for _, admitted := range []bool{true, false} {
		t.Run(fmt.Sprintf("admitted %v", admitted), func(t *testing.T) {
			t.Parallel()
			image, err := ecitest.HostImage(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, ecitest.Options{Privileged: admitted, Images: map[string]ecitest.Image{"docker:28-dind": image}})
			w.config.Allow.PrivilegedServices = []string{"docker:*-dind"}
			w.job(t, map[string]any{"services": []map[string]any{service("other", mayNot("other")+"; sleep 600", nil), dind()}})
			out, err := w.prepare(t)
			if !admitted {
				wantError(t, err, "FeatureAccessRestricted", "have it enabled by a ticket, or take it out of [group] request or [allow] privileged_services")
				w.wantSystemFailure(t, err)
			} else if err != nil {
				t.Fatalf("%v\n%s", err, out)
			} else {
				log, err := w.run(t, "step_script", "bash -c 'cat </dev/tcp/docker/2375'; "+mayNot("build"))
				if want := "daemon\nbuild may not\n"; err != nil || !strings.HasSuffix(log, want) {
					t.Errorf("log %q, %v, want %q at its end", log, err, want)
				}
				w.serviceLog(t, "other", "other may not\n")
			}
			w.mustCleanup(t)
		})
	}
}

// What can't work is refused before anything is asked for.
func TestServicesThatCannotWorkAreRefused(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	tests := []struct {
		name     string
		services []map[string]any
		want     string
	}{
		{"docker in docker", []map[string]any{{"name": "docker:28-dind", "alias": "docker"}}, "build images with kaniko or buildah"},
		{"one port twice", []map[string]any{{"name": "host", "alias": "a", "ports": []map[string]any{{"number": 80, "protocol": "http"}}},
			service("b", "true", map[string]string{"HEALTHCHECK_TCP_PORT": "80"})}, `the services a ("host") and b ("host") both declare port 80`},
		{"a port of ECI's", []map[string]any{service("a", "true", map[string]string{"HEALTHCHECK_TCP_PORT": "$P", "P": "10255"})}, "port 10255, which ECI uses itself"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w.job(t, map[string]any{"services": tt.services})
			_, err := w.prepare(t)
			var build *stages.BuildError
			if wantError(t, err, tt.want); !errors.As(err, &build) || w.calls()["CreateContainerGroup"] != 0 {
				t.Errorf("%T, and %d groups asked for, want a build failure and none", err, w.calls()["CreateContainerGroup"])
			}
		})
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// The stdin of a service is open, as on Kubernetes: what reads it waits.
func TestServiceReadsStdin(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	w.job(t, map[string]any{"services": []map[string]any{
		service("open", `[ -p /dev/stdin ] && echo piped; read line; echo ended`, nil)}})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if log := w.serviceLog(t, "open", "piped"); strings.Contains(log, "ended") {
		t.Errorf("stdin has ended: %q", log)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}
