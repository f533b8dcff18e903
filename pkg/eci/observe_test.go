package eci

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// calledObserver keeps what an Observer is told.
type calledObserver struct {
	mu   sync.Mutex
	told []string
}

func (o *calledObserver) Called(action, code, requestID string, took time.Duration) {
	o.add("called " + action + " " + code + " " + requestID)
	if took < 0 {
		o.add("a negative time")
	}
}

func (o *calledObserver) Retried(action, code string) { o.add("retried " + action + " " + code) }

func (o *calledObserver) add(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told = append(o.told, text)
}

// An observer is told of each call, its answer and its request's id, and of what is made
// again.
func TestObserver(t *testing.T) {
	answers := []http.HandlerFunc{
		func(w http.ResponseWriter, _ *http.Request) { refuse(w, 400, "Throttling.User", "slow down") },
		func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(502)
			fmt.Fprint(w, "<html>")
		},
		func(w http.ResponseWriter, _ *http.Request) {
			if hijacked, _, err := w.(http.Hijacker).Hijack(); err == nil {
				hijacked.Close()
			}
		},
		func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"ContainerGroupId":"eci-1", "RequestId": "0A1B"}`)
		},
	}
	n := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n++
		answers[n-1](w, r)
	}))
	t.Cleanup(server.Close)
	o := &calledObserver{}
	c := newClient(t, server.URL, func(options *Options) { options.Observer = o })
	err := Persist(context.Background(), time.Minute, func() error {
		_, err := c.CreateContainerGroup(context.Background(), Params{"X": "1"})
		return err
	})
	want := []string{
		"called CreateContainerGroup Throttling.User REQ-1", "retried CreateContainerGroup Throttling.User",
		"called CreateContainerGroup HTTP 502 ", "retried CreateContainerGroup HTTP 502",
		"called CreateContainerGroup none ", "retried CreateContainerGroup none",
		"called CreateContainerGroup OK 0A1B",
	}
	if err != nil || !slices.Equal(o.told, want) {
		t.Errorf("%v, told\n%s", err, strings.Join(o.told, "\n"))
	}
}
