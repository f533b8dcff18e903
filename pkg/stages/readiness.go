package stages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// healthPortVariable names the port of a service that is to be awaited, as in the runner's
// own executors.
const healthPortVariable = "HEALTHCHECK_TCP_PORT"

// healthPort is the port that a service opens when it is ready, "" where the service is not
// to be awaited. It comes from the service's own variables, as in the Kubernetes executor
// (kubernetes.go, waitForServices), else from the job's, as in the Docker executor
// (docker.go), whose services have both in their environment.
func healthPort(job *Job, s Image) string {
	if port := s.own(healthPortVariable); port != "" {
		return port
	}
	return job.Variable(healthPortVariable)
}

// awaitedService is a service that is to be awaited.
type awaitedService struct{ container, image, port string }

func awaitedServices(job *Job) []awaitedService {
	var awaited []awaitedService
	for i, name := range serviceNames(job) {
		port := healthPort(job, job.Services[i])
		if _, err := portNumber(port); err == nil { // prepare has refused what is none
			awaited = append(awaited, awaitedService{name, job.Services[i].Name, port})
		}
	}
	return awaited
}

// serviceEnded ends the wait for a service that will never be ready.
type serviceEnded struct{ status eci.ContainerStatus }

func (e *serviceEnded) Error() string {
	return fmt.Sprintf("it has ended with exit code %d", e.status.ExitCode)
}

// awaitServices waits, once for a group, until the services that have a health port accept
// connections. As with the Kubernetes executor the job fails where one never does. Here the
// wait ends after [timeouts] ready, and at once when such a service has ended.
func (s *Stage) awaitServices(ctx context.Context, record *Record) error {
	awaited := awaitedServices(s.Job)
	if len(awaited) == 0 || record.Awaited {
		return nil
	}
	waiting, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	go s.watchAwaited(waiting, record.GroupID, awaited, giveUp)

	var said bytes.Buffer
	session := s.session(record, "health-check")
	session.Output = io.MultiWriter(s.Stdout, &said)
	result, err := session.Run(waiting, remote.Job{Role: remote.Helper, Shell: "sh", Body: healthCheck(awaited)})
	switch {
	case err == nil && result.Status == 0:
		return s.awaited()
	case ctx.Err() != nil, err != nil && waiting.Err() == nil:
		return fmt.Errorf("awaiting the services of container group %s: %w", record.GroupID, err)
	case waiting.Err() != nil:
		err = context.Cause(waiting)
	default:
		err = fmt.Errorf("gitlab-runner health-check of the helper image ended with exit status %d", result.Status)
	}
	return errors.Join(s.unhealthy(ctx, record.GroupID, awaited, said.String(), err), s.awaited())
}

// healthCheck is the script for helper that waits for all of the services at once.
func healthCheck(awaited []awaitedService) []byte {
	var line strings.Builder
	line.WriteString("gitlab-runner health-check")
	for _, port := range distinctPorts(awaited) {
		line.WriteString(" --port '" + port + "'")
	}
	return []byte(line.String() + "\n")
}

func distinctPorts(awaited []awaitedService) []string {
	var ports []string
	for _, a := range awaited {
		if !slices.Contains(ports, a.port) {
			ports = append(ports, a.port)
		}
	}
	return ports
}

// awaited records that the services were awaited, so that no later stage does it again:
// after_script must not wait for what the job's script has waited for in vain.
func (s *Stage) awaited() error {
	_, err := s.amend(func(r *Record) { r.Awaited = true })
	return err
}

// watchAwaited ends the wait by giveUp when an awaited service has ended, or [timeouts]
// ready is over.
func (s *Stage) watchAwaited(ctx context.Context, group string, awaited []awaitedService, giveUp context.CancelCauseFunc) {
	over := s.Clock.After(s.Config.Timeouts.Ready)
	for {
		groups, err := s.API.DescribeContainerGroups(ctx, eci.Query{IDs: []string{group}})
		if err == nil && len(groups) > 0 {
			for _, a := range awaited {
				if c := groups[0].Container(a.container); c != nil && c.State == "Terminated" {
					giveUp(&serviceEnded{*c})
					return
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-over:
			giveUp(errNotReady)
			return
		case <-s.Clock.After(slowPause):
		}
	}
}

// unhealthy warns, in the runner's own words, of each service that is not ready, with the
// end of its log, and returns the error that fails the job. said is what the health check
// has printed.
func (s *Stage) unhealthy(ctx context.Context, group string, awaited []awaitedService, said string, cause error) error {
	ended := new(serviceEnded)
	isEnd := errors.As(cause, &ended)
	var named []string
	for _, a := range awaited {
		if isEnd && ended.status.Name != a.container || strings.Contains(said, "dial succeeded on localhost:"+a.port+".") {
			continue
		}
		s.printf("\n\x1b[0;33m*** WARNING:\x1b[0;m Service %s probably didn't start properly.\n\nHealth check error:\nport %s: %v\n\nService container logs:\n%s\n\x1b[0;33m*********\x1b[0;m\n\n",
			a.container, a.port, cause, s.lastWords(ctx, group, a.container))
		if isEnd {
			s.noteServices(map[string]ServiceSeen{a.container: {Ended: true}})
		}
		named = append(named, fmt.Sprintf("service %s (image %s) did not open port %s", a.container, a.image, a.port))
	}
	if len(named) == 0 {
		return &BuildError{Message: "awaiting the services: " + cause.Error()}
	}
	return &BuildError{Message: fmt.Sprintf("%s: %v; correct it, its log stands above, or its %s", strings.Join(named, ", "), cause, healthPortVariable)}
}

// lastWords is the end of a container's own log, or why there is none.
func (s *Stage) lastWords(ctx context.Context, group, container string) string {
	const most = 64 << 10 // as the Docker executor shows
	text, err := s.ownLog(ctx, group, container)
	switch {
	case err != nil:
		return fmt.Sprintf("(the log can't be read: %v)", err)
	case text == "":
		return "(it has written nothing)"
	case len(text) > most:
		text = "(...)\n" + text[len(text)-most:]
	}
	return strings.TrimRight(text, "\n")
}

func (s *Stage) ownLog(ctx context.Context, group, container string) (text string, err error) {
	err = eci.Persist(ctx, 3*time.Second, func() (err error) {
		text, err = s.API.DescribeContainerLog(ctx, group, container)
		return err
	})
	return text, err
}
