package eci

import (
	"context"
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
		last = f()
		if last != nil && !again(ClassOf(last)) {
			return struct{}{}, backoff.Permanent(last)
		}
		return struct{}{}, last
	}, backoff.WithBackOff(pauses), backoff.WithMaxElapsedTime(limit))
	if err != nil && last != nil && ctx.Err() != nil {
		return fmt.Errorf("%w (%w)", last, context.Cause(ctx))
	}
	return err
}
