// Package stages is the driver proper: what config, prepare, run and cleanup do over the
// job, the driver's file (internal/config) and the ECI API (pkg/eci), and what a person
// does with the driver's container groups and image caches.
//
// It knows nothing of command lines and never exits the process: a stage returns an error,
// and outcome.go says which exit status the runner's contract (sources.md:
// custom-executor) has for it. It talks to no container itself: internal/remote runs
// scripts there.
//
// The files, by what they are about:
//
//	a stage           config.go prepare.go run.go cleanup.go
//	its surroundings  job.go variables.go env.go outcome.go metrics.go
//	the request       group.go containers.go volumes.go image.go registry.go overwrites.go
//	                  logservice.go dryrun.go trial.go; it is pure
//	services          services.go ports.go readiness.go servicelog.go
//	secret files      sentfiles.go registrysecret.go
//	having a group    choice.go await.go watch.go pace.go startup.go crowd.go starting.go
//	calls of a host   rate.go
//	a script's exec   transport.go share.go
//	what goes wrong   failure.go judge.go pull.go death.go doctor.go refused.go clonefailure.go
//	the job's log     story.go cost.go
//	state_dir         state.go record.go note.go runners.go lock.go progress.go lease.go
//	what is left      settle.go keep.go reap.go reap_judge.go reap_files.go
//	a person's        operator.go find.go ps.go logs.go shell.go
//	image caches      imagecache.go imagecache_plan.go imagecache_build.go imagecache_renew.go
package stages

import (
	"context"
	"io"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/internal/metrics"
	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// API is the part of the ECI API that the stages use. Each method is one RAM
// action of the same name; ListContainerGroups is DescribeContainerGroups, Exec,
// ExecURI and ExecSync are ExecContainerCommand.
type API interface {
	CreateContainerGroup(ctx context.Context, p eci.Params) (id string, err error)
	DescribeContainerGroups(ctx context.Context, q eci.Query) ([]eci.Group, error)
	DescribeContainerGroupStatus(ctx context.Context, tags map[string]string) ([]eci.GroupStatus, error)
	DescribeContainerGroupPrice(ctx context.Context, q eci.PriceQuery) (eci.Price, error)
	ListContainerGroups(ctx context.Context, q eci.Query) (eci.Listing, error)
	DescribeContainerLog(ctx context.Context, group, container string) (string, error)
	DeleteContainerGroup(ctx context.Context, id string, force bool) error
	Exec(ctx context.Context, r eci.ExecRequest) (*eci.Stream, error)
	ExecURI(ctx context.Context, r eci.ExecRequest) (string, error)
	ExecSync(ctx context.Context, r eci.ExecRequest) (string, error)
}

// Dialer makes the API of a driver's file.
type Dialer func(*config.Config) (API, error)

// Clock is the time that the stages wait by.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

// SystemClock is the real time.
type SystemClock struct{}

// Now is time.Now.
func (SystemClock) Now() time.Time { return time.Now() }

// After is time.After.
func (SystemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Stage is what every stage but config works with.
type Stage struct {
	Config *config.Config
	Job    *Job
	API    API
	Clock  Clock
	Stdout io.Writer // the job's log in prepare and run, the runner's in cleanup
	Stderr io.Writer
	Logger logrus.FieldLogger // the operator's log
	Remote remote.Settings
	Rates  func(action string) Rate // limits of this host's calls; nil = HostRate
	Relay  string                   // program to start as the relay of [exec] shared_connection; "" = no connection is shared

	Metrics *metrics.Recorder // nil counts nothing
	Dial    Dialer            // nil = only Config's own region is asked

	group string // id of the attempt's container group, once it is known here
}
