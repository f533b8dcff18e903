package eci

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestPersist runs on a fake clock: a pause costs nothing and is exact.
func TestPersist(t *testing.T) {
	busy := &Error{Op: "create", Code: "Throttling", HTTPStatus: 400}
	refused := &Error{Op: "create", Code: "QuotaExceeded", HTTPStatus: 403}
	plain := errors.New("not of ECI")
	tests := []struct {
		name     string
		answers  []error // the last one repeats
		limit    time.Duration
		cancel   time.Duration // 0 = never
		want     error
		most     int // calls
		least    int
		duration time.Duration // upper bound
	}{
		{name: "success at once", answers: []error{nil}, limit: time.Minute, most: 1, least: 1},
		{name: "a refusal is final", answers: []error{refused}, limit: time.Minute, want: refused, most: 1, least: 1},
		{name: "another error is final", answers: []error{plain}, limit: time.Minute, want: plain, most: 1, least: 1},
		{name: "busy, then well", answers: []error{busy, busy, nil}, limit: time.Minute, most: 3, least: 3, duration: 2 * time.Second},
		{name: "busy, then refused", answers: []error{busy, refused}, limit: time.Minute, want: refused, most: 2, least: 2, duration: time.Second},
		{name: "no answer is repeated", answers: []error{&Error{Op: "create"}, nil}, limit: time.Minute, most: 2, least: 2, duration: time.Second},
		{name: "busy until the limit", answers: []error{busy}, limit: time.Minute, want: busy, most: 60, least: 5, duration: time.Minute},
		{name: "busy until the context ends", answers: []error{busy}, limit: time.Hour, cancel: 5 * time.Second, want: busy, most: 30, least: 3, duration: 5 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.cancel > 0 {
					defer time.AfterFunc(tt.cancel, cancel).Stop()
				}
				calls, start := 0, time.Now()
				err := Persist(ctx, tt.limit, func() error {
					calls++
					return tt.answers[min(calls, len(tt.answers))-1]
				})
				if !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				if tt.cancel > 0 && !errors.Is(err, context.Canceled) {
					t.Errorf("%v doesn't tell that the context ended", err)
				}
				if calls < tt.least || calls > tt.most {
					t.Errorf("%d calls, want %d to %d", calls, tt.least, tt.most)
				}
				if spent := time.Since(start); spent > tt.duration {
					t.Errorf("it took %s, want at most %s", spent, tt.duration)
				}
			})
		})
	}
}

// TestPersistPauses: the pauses grow, so that many jobs don't hammer a throttled
// API, and stay bounded, so that a job doesn't sleep through its recovery.
func TestPersistPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pauses []time.Duration
		last := time.Now()
		err := Persist(t.Context(), 2*time.Minute, func() error {
			pauses = append(pauses, time.Since(last))
			last = time.Now()
			return &Error{Code: "Throttling", HTTPStatus: 400}
		})
		if ClassOf(err) != Retry || len(pauses) < 8 {
			t.Fatalf("%d calls, %v", len(pauses), err)
		}
		if first := pauses[1]; first < 50*time.Millisecond || first > 500*time.Millisecond {
			t.Errorf("the first pause is %s", first)
		}
		longest := time.Duration(0)
		for _, p := range pauses {
			longest = max(longest, p)
		}
		if longest < 3*time.Second || longest > 15*time.Second {
			t.Errorf("the longest pause is %s", longest)
		}
	})
}

// TestOutlast: a busy API may keep a job waiting for as long as its context lasts,
// one that says nothing only for the limit.
func TestOutlast(t *testing.T) {
	busy := &Error{Op: "create", Code: "Throttling.User", HTTPStatus: 400}
	silent := &Error{Op: "create"}
	inDoubt := &Error{Op: "create", Code: "OperationDenied.NoStock", HTTPStatus: 500}
	refused := &Error{Op: "create", Code: "OperationDenied.NoStock", HTTPStatus: 403}
	tests := []struct {
		name   string
		answer func(since time.Duration) error
		cancel time.Duration
		want   error
		least  time.Duration
		most   time.Duration
	}{
		{"busy for 20 min", func(d time.Duration) error {
			if d < 20*time.Minute {
				return busy
			}
			return nil
		}, time.Hour, nil, 20 * time.Minute, 21 * time.Minute},
		{"busy until the context ends", func(time.Duration) error { return busy }, 10 * time.Minute, busy, 10 * time.Minute, 10 * time.Minute},
		{"silent", func(time.Duration) error { return silent }, time.Hour, silent, 45 * time.Second, 75 * time.Second},
		{"busy, then silent", func(d time.Duration) error {
			if d < 5*time.Minute {
				return busy
			}
			return silent
		}, time.Hour, silent, 5 * time.Minute, 7 * time.Minute},
		{"a refusal that may have taken effect", func(time.Duration) error { return inDoubt }, time.Hour, inDoubt, 45 * time.Second, 75 * time.Second},
		{"a definite refusal", func(time.Duration) error { return refused }, time.Hour, refused, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), tt.cancel)
				defer cancel()
				start := time.Now()
				err := Outlast(ctx, time.Minute, func() error { return tt.answer(time.Since(start)) })
				if !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				if spent := time.Since(start); spent < tt.least || spent > tt.most {
					t.Errorf("it took %s, want %s to %s", spent, tt.least, tt.most)
				}
			})
		})
	}
}

// TestPersistOn: only the classes that the caller names are tried again.
func TestPersistOn(t *testing.T) {
	tests := []struct {
		name  string
		err   error
		calls int
	}{
		{"named", &Error{Code: "Strange.Code", HTTPStatus: 400}, 2},
		{"not named", &Error{Code: "Throttling", HTTPStatus: 400}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				err := PersistOn(t.Context(), time.Minute, func(c Class) bool { return c == Unknown }, func() error {
					if calls++; calls == 2 {
						return nil
					}
					return tt.err
				})
				if calls != tt.calls || (err == nil) != (tt.calls == 2) {
					t.Errorf("%d calls, want %d: %v", calls, tt.calls, err)
				}
			})
		})
	}
}

// What the last call that was answered said comes back, not that the next one's time was
// over.
func TestPersistKeepsTheReason(t *testing.T) {
	over := errors.New("time is over")
	ctx, cancel := context.WithCancelCause(context.Background())
	calls := 0
	err := Persist(ctx, time.Hour, func() error {
		if calls++; calls == 1 {
			return &Error{Op: "first", HTTPStatus: 503}
		}
		cancel(over)
		return &Error{Op: "second", cause: over}
	})
	if err == nil || !strings.Contains(err.Error(), "first") || strings.Contains(err.Error(), "second") || !errors.Is(err, over) {
		t.Errorf("got %v after %d calls", err, calls)
	}
}

// What ended the only call is told once.
func TestPersistTellsTheEndOnce(t *testing.T) {
	over := errors.New("time is over")
	ctx, cancel := context.WithCancelCause(context.Background())
	err := Persist(ctx, time.Hour, func() error {
		cancel(over)
		return &Error{Op: "first", Message: "no answer was waited for: " + over.Error(), cause: over}
	})
	if want := "first: no answer was waited for: time is over"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
