package eci

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Persist calls f until it succeeds or fails with an error of another class than
// Retry, backing off with jitter, for as long as ctx and limit allow. The last
// error of f comes back in any case.
func Persist(ctx context.Context, limit time.Duration, f func() error) error {
	return PersistOn(ctx, limit, func(c Class) bool { return c == Retry }, f)
}

// PersistOn is Persist for errors of the classes that again names.
func PersistOn(ctx context.Context, limit time.Duration, again func(Class) bool, f func() error) error {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = 200*time.Millisecond, 10*time.Second
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := f()
		if err != nil && last != nil && ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
			return struct{}{}, backoff.Permanent(last) // the error before says more than that time is over
		}
		if last = err; last != nil && !again(ClassOf(last)) {
			return struct{}{}, backoff.Permanent(last)
		}
		return struct{}{}, last
	}, backoff.WithBackOff(pauses), backoff.WithMaxElapsedTime(limit),
		backoff.WithNotify(func(err error, _ time.Duration) { retried(err) }))
	switch {
	case err == nil || last == nil || ctx.Err() == nil:
		return err
	case errors.Is(last, context.Cause(ctx)): // it says so itself
		return last
	default:
		return fmt.Errorf("%w (%w)", last, context.Cause(ctx))
	}
}

// Outlast is Persist for a call that must not fail because the API is busy. limit bounds the
// time without any definite answer, but throttling is waited out for as long as ctx lasts. A
// call that may have taken effect is sent again whatever the code of its answer.
func Outlast(ctx context.Context, limit time.Duration, f func() error) error {
	heard := time.Now()
	var last error
	again := func(c Class) bool {
		doubt := Ambiguous(last)
		if !doubt {
			heard = time.Now()
		}
		return (c == Retry || doubt && (c == Capacity || c == NoCache)) && time.Since(heard) < limit
	}
	return PersistOn(ctx, 0, again, func() error {
		last = f()
		return last
	})
}
