package remote

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
)

// The pause before another exec counts from the loss: a diagnosis that has waited for
// the group, because it took no exec before all of it had started, is not added to it.
func TestBackoffCountsFromTheLoss(t *testing.T) {
	settings := DefaultSettings()
	for _, diagnosis := range []time.Duration{0, settings.BackoffMin / 4, 20 * settings.BackoffMin} {
		t.Run(diagnosis.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var opened []time.Time
				over := errors.New("over")
				logger := logrus.New()
				logger.SetOutput(t.Output())
				s := &Session{Settings: settings, Logger: logger,
					Open: func(context.Context, Role, []string) (Stream, error) {
						opened = append(opened, time.Now())
						return nil, errors.New("refused")
					},
					Diagnose: func(context.Context) error {
						if len(opened) > 1 {
							return over
						}
						time.Sleep(diagnosis)
						return nil
					},
				}
				if _, err := s.Run(t.Context(), Job{Role: Helper}); !errors.Is(err, over) || len(opened) != 2 {
					t.Fatalf("%d execs, error %v", len(opened), err)
				}
				if got, want := opened[1].Sub(opened[0]), max(diagnosis, settings.BackoffMin); got != want {
					t.Errorf("the next exec came after %s, want %s", got, want)
				}
			})
		})
	}
}
