package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/internal/metrics"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

func logFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "log-file", Usage: "the operator's log: a `FILE` that lines are added to, as JSON if nothing else is said; else it goes to stderr", EnvVars: []string{"ECI_EXECUTOR_LOG_FILE"}},
		&cli.StringFlag{Name: "log-level", Usage: "what the operator's log has: debug, info, warning, error, fatal", DefaultText: "info; without --log-file nothing but in cleanup, whose stderr is the runner's log"},
		&cli.StringFlag{Name: "log-format", Usage: "text or json", DefaultText: "text; json with --log-file"},
	}
}

// logger is the operator's log. On stderr, which in prepare and run is what the job's
// author reads, nothing comes that was not asked for, but in cleanup, whose stderr is the
// runner's log. A file that can't be written fails no job; cleanup and reap tell of it.
func (c commands) logger(ctx *cli.Context) (*logrus.Logger, error) {
	logger := logrus.New()
	logger.SetOutput(c.stderr)
	quiet := ctx.Command.Name != "cleanup"
	format, file := "text", ctx.String("log-file")
	if file != "" {
		format = "json"
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
		switch {
		case err == nil:
			logger.SetOutput(f) // for as long as the process lives
			quiet = false
		case quiet && ctx.Command.Name != "reap":
			logger.SetOutput(io.Discard)
		default:
			logger.WithError(err).Warn("the file of --log-file can't be written")
		}
	}
	level, err := logrus.ParseLevel(cmp.Or(ctx.String("log-level"), map[bool]string{true: "fatal", false: "info"}[quiet]))
	if err != nil {
		return nil, fmt.Errorf("--log-level %q: must be debug, info, warning, error or fatal", ctx.String("log-level"))
	}
	logger.SetLevel(level)
	switch format = cmp.Or(ctx.String("log-format"), format); format {
	case "text":
		logger.SetFormatter(&logrus.TextFormatter{FullTimestamp: true})
	case "json":
		logger.SetFormatter(&logrus.JSONFormatter{TimestampFormat: time.RFC3339Nano})
	default:
		return nil, fmt.Errorf("--log-format %q: must be text or json", format)
	}
	logger.AddHook(requestIDs{})
	return logger, nil
}

// requestIDs adds to a line about an error of the API what a ticket asks for.
type requestIDs struct{}

// Levels are all.
func (requestIDs) Levels() []logrus.Level { return logrus.AllLevels }

// Fire adds the fields.
func (requestIDs) Fire(entry *logrus.Entry) error {
	err, _ := entry.Data[logrus.ErrorKey].(error)
	var e *eci.Error
	if !errors.As(err, &e) {
		return nil
	}
	for key, value := range map[string]string{"request_id": e.RequestID, "action": e.Action, "code": e.Code} {
		if value != "" {
			entry.Data[key] = value
		}
	}
	return nil
}

// observer writes calls of the API to the operator's log, and counts them.
type observer struct {
	log     logrus.FieldLogger
	metrics *metrics.Recorder
}

// Called is told of each call. Calls that make or end something are worth a line
// whenever they are looked for.
func (o observer) Called(action, code, requestID string, took time.Duration) {
	o.metrics.Add(metrics.APICalls, 1, action, code)
	level := logrus.DebugLevel
	switch action {
	case "CreateContainerGroup", "DeleteContainerGroup", "CreateImageCache", "DeleteImageCache":
		level = logrus.InfoLevel
	}
	o.log.WithFields(logrus.Fields{"action": action, "code": code, "request_id": requestID, "seconds": took.Seconds()}).Log(level, "API call")
}

// Retried is told of a call that is made again.
func (o observer) Retried(action, code string) { o.metrics.Add(metrics.APIRetries, 1, action, code) }

// newMetrics counts where the driver's file wants it.
func newMetrics(cfg *config.Config) *metrics.Recorder {
	if cfg.Metrics.Textfile == "" {
		return nil
	}
	return metrics.New()
}
