package eci

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
	sdkerrors "github.com/aliyun/alibaba-cloud-sdk-go/sdk/errors"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/responses"
	sdkeci "github.com/aliyun/alibaba-cloud-sdk-go/services/eci"
)

// Options say where the API is and who asks.
type Options struct {
	Region       string
	Endpoint     string // a URL; its scheme decides between HTTPS and HTTP
	Credentials  Credentials
	CallTimeout  time.Duration // of one call, 0 = 15 s
	PingInterval time.Duration // of exec connections, 0 = 25 s
	IdleTimeout  time.Duration // of exec connections without a frame or pong, 0 = 60 s
	UserAgent    string
	Observer     Observer // nil for none
}

// Observer hears of calls of the API, from several goroutines at once.
type Observer interface {
	// Called comes after each call. code is "OK", the code of an error, "HTTP" and a status
	// where the answer had no code, or "none" where no answer came or was waited for.
	Called(action, code, requestID string, took time.Duration)
	// Retried comes before a call is made again because of its answer.
	Retried(action, code string)
}

func (o Options) withDefaults() Options {
	o.CallTimeout = cmp.Or(o.CallTimeout, 15*time.Second)
	o.PingInterval = cmp.Or(o.PingInterval, 25*time.Second)
	o.IdleTimeout = cmp.Or(o.IdleTimeout, time.Minute)
	return o
}

// Client calls the ECI API. It may be used by several goroutines at once.
type Client struct {
	options  Options
	endpoint *url.URL
	keys     credentials.CredentialsProvider // of all SDK clients, so that a role's temporary credentials are fetched once
	product  string                          // as the SDK names it
	version  string                          // of the product's API

	mu   sync.Mutex
	idle []*sdkeci.Client // one SDK client is not safe for parallel calls (sources.md: sdk)
}

// New makes a client. It makes no call and needs no network.
func New(o Options) (*Client, error) {
	endpoint, err := url.Parse(o.Endpoint)
	if err != nil || endpoint.Host == "" || endpoint.Scheme != "http" && endpoint.Scheme != "https" {
		return nil, fmt.Errorf("endpoint %q is not a URL such as https://eci.%s.aliyuncs.com", o.Endpoint, o.Region)
	}
	o = o.withDefaults()
	c := &Client{options: o, endpoint: endpoint, keys: newKeySource(o.Credentials.provider), product: "Eci", version: "2018-08-08"}
	first, err := c.newSDKClient()
	if err != nil {
		return nil, fmt.Errorf("making the ECI client: %w", err)
	}
	c.idle = append(c.idle, first)
	return c, nil
}

func (c *Client) newSDKClient() (*sdkeci.Client, error) {
	config := sdk.NewConfig().WithScheme(c.endpoint.Scheme).WithAutoRetry(false)
	if c.options.UserAgent != "" {
		config.WithUserAgent(c.options.UserAgent)
	}
	client, err := sdkeci.NewClientWithOptions(c.options.Region, config, c.keys)
	if err != nil {
		return nil, err
	}
	client.Domain = c.endpoint.Host // never the location service
	// The SDK's own handling of proxies is switched off, and net/http's is used, as for exec
	// connections: the SDK takes the parts of NO_PROXY for regular expressions, of which an
	// empty one, or [::1], matches any host. "*" and "none:" keep it from using a proxy.
	client.SetTransport(&http.Transport{Proxy: http.ProxyFromEnvironment})
	client.SetNoProxy("*")
	client.SetHttpProxy("none:")
	client.SetHttpsProxy("none:")
	return client, nil
}

func (c *Client) take() (*sdkeci.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.idle); n > 0 {
		client := c.idle[n-1]
		c.idle = c.idle[:n-1]
		return client, nil
	}
	return c.newSDKClient()
}

func (c *Client) giveBack(client *sdkeci.Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = append(c.idle, client)
}

// formRequest is any action with its parameters in the form body.
type formRequest struct{ *requests.RpcRequest }

// call is a call of the API. Its errors name op, such as "delete container group", and id,
// what that is done to.
type call struct {
	action, op, id string
	params         Params
}

// do is doDated without the date.
func (c *Client) do(ctx context.Context, call call, out any) error {
	_, err := c.doDated(ctx, call, out)
	return err
}

// doDated makes one call in the client's region, which the SDK adds to it, and decodes the
// answer into out. It returns the server's time by the answer's Date header, zero where that
// is missing or no date. When ctx ends it returns at once; the SDK knows no context, so that
// its call goes on in the background to its end.
func (c *Client) doDated(ctx context.Context, call call, out any) (time.Time, error) {
	if ctx.Err() != nil {
		return time.Time{}, c.left(call, context.Cause(ctx))
	}
	begun := time.Now()
	date, requestID, err := c.send(ctx, call, out)
	if c.options.Observer != nil {
		c.options.Observer.Called(call.action, answerOf(err), requestID, time.Since(begun))
	}
	return date, err
}

// send is the part of doDated that an Observer hears of; it also returns the request's id.
func (c *Client) send(ctx context.Context, call call, out any) (date time.Time, requestID string, err error) {
	client, err := c.take()
	if err != nil {
		return date, "", c.failed(call, err)
	}
	request := formRequest{new(requests.RpcRequest)}
	request.InitWithApiInfo(c.product, c.version, call.action, strings.ToLower(c.product), "openAPI")
	connect, whole := c.options.timeouts(call.action)
	request.SetConnectTimeout(connect)
	request.SetReadTimeout(whole) // bounds the whole call: the SDK passes it to http.Client
	maps.Copy(request.GetFormParams(), call.params)
	type answer struct {
		body   []byte
		header http.Header
		err    error
	}
	done := make(chan answer, 1)
	go func() {
		defer c.giveBack(client)
		a := answer{err: errors.New("the answer is not one of ECI")} // stays when the SDK panics at its JSON
		defer func() {
			_ = recover()
			done <- a
		}()
		if _, err := c.keys.GetCredentials(); err != nil {
			a = answer{err: &keysError{err}}
			return
		}
		response := responses.NewCommonResponse()
		err := client.DoAction(&request, response)
		a = answer{response.GetHttpContentBytes(), response.GetHttpHeaders(), err}
	}()
	select {
	case <-ctx.Done():
		return date, "", c.left(call, context.Cause(ctx))
	case a := <-done:
		if a.err != nil {
			err := c.failed(call, a.err)
			return date, requestIDOf(err), err
		}
		if err := json.Unmarshal(a.body, out); err != nil {
			return date, "", c.failed(call, fmt.Errorf("the answer is not the JSON of ECI (%d bytes)", len(a.body)))
		}
		date, _ = http.ParseTime(a.header.Get("Date")) // zero with an error
		return date, requestIDIn(a.body), nil
	}
}

func (c *Client) newError(call call) *Error {
	return &Error{Op: call.op, ID: call.id, Action: call.action, Endpoint: c.endpoint.Host, Region: c.options.Region, observer: c.options.Observer}
}

// left is the error of a call that was not waited for, because its context ended by cause.
func (c *Client) left(call call, cause error) error {
	e := c.newError(call)
	e.Message, e.cause = "no answer was waited for: "+cause.Error(), cause
	return e
}

// failed makes an *Error of any error of the SDK, whose own text may hold signed URLs and is
// never taken over.
func (c *Client) failed(call call, err error) error {
	e := c.newError(call)
	var server *sdkerrors.ServerError
	var client *sdkerrors.ClientError
	var keys *keysError
	switch {
	case errors.As(err, &keys):
		e.Message, e.noKeys = keys.Error(), true
	case errors.As(err, &server):
		e.Code, e.RequestID, e.HTTPStatus = server.ErrorCode(), server.RequestId(), server.HttpStatus()
		// What follows repeats all parameters, passwords too.
		message, _, _ := strings.Cut(server.Message(), sdkerrors.MessageContain)
		e.Message = strings.TrimSpace(message)
		if e.Code == "" { // not the API's: a page of some proxy, which may repeat the request
			e.Message = fmt.Sprintf("the endpoint %s answered HTTP %d without an error of ECI", c.endpoint.Host, e.HTTPStatus)
		}
	case errors.As(err, &client):
		e.Message = fmt.Sprintf("the endpoint %s did not answer", c.endpoint.Host)
		if client.ErrorCode() != sdkerrors.TimeoutErrorCode {
			e.Message = "the SDK could not make the call (" + client.ErrorCode() + ")"
		}
	default:
		e.Message = c.plain(err)
	}
	return e
}

// plain is the text of an error that the SDK passed on from net/http, without
// the URL that such an error repeats.
func (c *Client) plain(err error) string {
	if withURL, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Sprintf("the endpoint %s did not answer: %v", c.endpoint.Host, withURL.Err)
	}
	return err.Error()
}
