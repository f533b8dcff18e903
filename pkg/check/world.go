package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/nasmount"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// DefaultRunnerFile is where the runner's file is unless the user names another.
const DefaultRunnerFile = "/etc/gitlab-runner/config.toml"

// Options say what is looked at, and with what. ConfigFile and NewClient are required.
type Options struct {
	ConfigFile    string // the driver's
	RunnerFile    string // the runner's; "" = DefaultRunnerFile, which need not be there
	RunnerVersion string // "" = that of the gitlab-runner on PATH
	NewClient     func(*config.Config) (*eci.Client, error)

	STS       string            // URL in place of Alibaba Cloud's
	WebSocket string            // URL of the host of exec's sockets in place of the region's
	Clock     stages.Clock      // nil = the real one
	Command   command           // nil = runs it
	Transport http.RoundTripper // nil = that of net/http
	Prober    nasmount.Prober
	Patience  time.Duration // with a call that gets no usable answer; 0 = 5 s
	Limit     time.Duration // of each check in place of its own; 0 = its own

	Live   bool            // run a tiny job too, and ask its group
	Remote remote.Settings // of that job; zero = remote.DefaultSettings
	Settle time.Duration   // how long something that has not happened is waited for in the group; 0 = 3 s
}

// command runs a program and returns its stdout.
type command = func(ctx context.Context, name string, args ...string) ([]byte, error)

func output(ctx context.Context, name string, args ...string) ([]byte, error) {
	return exec.CommandContext(ctx, name, args...).Output()
}

func (o *Options) setDefaults() {
	if o.Clock == nil {
		o.Clock = stages.SystemClock{}
	}
	if o.Command == nil {
		o.Command = output
	}
	if o.Patience == 0 {
		o.Patience = 5 * time.Second
	}
	if o.Remote == (remote.Settings{}) {
		o.Remote = remote.DefaultSettings()
	}
	if o.Settle == 0 {
		o.Settle = 3 * time.Second
	}
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
}

// world is what the checks know in common. A field that a check fills in is read only
// by checks that need it or come after it.
type world struct {
	Options
	cfg    *config.Config     // by file
	client *eci.Client        // by file
	runner *config.RunnerFile // by runner; nil where it can't be read

	runnerVersion string         // by helper; "" where it is not known
	job           *stages.Job    // by helper: what a request is made of
	trial         *config.Config // by helper: cfg as it is for that job
	dryRunErr     error          // by ram-create: of the request of a job

	seen seen // by the checks of actions
}

// seen is how calls were answered, by action.
type seen struct {
	mu      sync.Mutex
	codes   map[string]string // error codes; "" = no error
	answers map[string]json.RawMessage
}

// saw keeps the answer of an action for the assumptions.
func (w *world) saw(action string, answer json.RawMessage, err error) {
	w.seen.mu.Lock()
	defer w.seen.mu.Unlock()
	if w.seen.codes == nil {
		w.seen.codes, w.seen.answers = map[string]string{}, map[string]json.RawMessage{}
	}
	w.seen.codes[action], w.seen.answers[action] = eci.CodeOf(err), answer
}

// local tells whether the endpoint is not one of Alibaba Cloud.
func (w *world) local() bool { return eci.STSEndpoint(w.cfg.EndpointURL()) == "" }

// get asks an address for anything at all, within ctx.
func get(ctx context.Context, t http.RoundTripper, address string, header http.Header) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, plain(err)
	}
	if header != nil {
		request.Header = header
	}
	response, err := (&http.Client{Transport: t}).Do(request)
	if err != nil {
		return nil, plain(err)
	}
	return response, nil
}

// plain is an error without the URL that those of net/http repeat, and without the
// words of a context that ended.
func plain(err error) error {
	if withURL, ok := errors.AsType[*url.Error](err); ok {
		err = withURL.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer in time")
	}
	return err
}

// said is the code and the message of an error of the API, with the request id but without
// the operation, which the line names itself.
func said(err error) string {
	var e *eci.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	text := e.Message
	if e.Code != "" {
		text = strings.TrimSuffix(e.Code+": "+e.Message, ": ")
	}
	if e.RequestID != "" {
		text += fmt.Sprintf(" (request id %s)", e.RequestID)
	}
	return text
}

// adviceOf is what the table of codes says to do about an error.
func adviceOf(err error, otherwise string) string {
	var e *eci.Error
	if errors.As(err, &e) && e.Advice() != "" {
		return e.Advice()
	}
	return otherwise
}

// callLimit is for checks that make a few API calls.
const callLimit = 30 * time.Second

// persist repeats a call that gets no usable answer, for as long as Patience.
func (w *world) persist(ctx context.Context, f func() error) error {
	return eci.Persist(ctx, w.Patience, f)
}

// isKeyError tells whether the API did not accept who asks.
func isKeyError(err error) bool {
	code := eci.CodeOf(err)
	for _, prefix := range []string{"SignatureDoesNotMatch", "IncompleteSignature", "InvalidAccessKeyId", "InvalidSecurityToken",
		"Forbidden.AccessKeyDisabled", "IllegalTimestamp"} {
		if strings.HasPrefix(code, prefix) {
			return true
		}
	}
	return false
}
