package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestTimeout: a query without an answer ends, and work that may take long does not.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a Timeout
		begun := time.Now()
		err := a.Within(t.Context(), func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		if err == nil || !strings.Contains(err.Error(), "has not answered for 30s") || time.Since(begun) != queryTimeout {
			t.Errorf("no answer: %v after %v", err, time.Since(begun))
		}
		err = a.Within(t.Context(), func(ctx context.Context) error {
			a.Suspend()
			time.Sleep(time.Hour)
			a.Resume()
			time.Sleep(queryTimeout - 1)
			return ctx.Err()
		})
		if err != nil {
			t.Errorf("a first start: %v", err)
		}
		broken := errors.New("broken")
		if err := a.Within(t.Context(), func(context.Context) error { return broken }); err != broken {
			t.Errorf("an error of its own: %v", err)
		}
		leaving, leave := context.WithCancel(t.Context())
		leave()
		if err := a.Within(leaving, func(ctx context.Context) error { return ctx.Err() }); !errors.Is(err, context.Canceled) {
			t.Errorf("leaving: %v", err)
		}
	})
}
