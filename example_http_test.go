package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/redigolock/redigolock"
)

// rebuild answers POST /reports/{id}/rebuild. Only one request at a time works on a report.
func rebuild(locks *redigolock.Locker, work func(ctx context.Context, id string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		lock, err := locks.TryAcquire(r.Context(), "lock:report:"+id, 10*time.Second)
		switch {
		case errors.Is(err, redigolock.ErrHeld):
			w.Header().Set("Retry-After", "1")
			http.Error(w, "somebody else is at it", http.StatusLocked)
			return
		case err != nil: // also ErrUnknown: what it may have got is removed in the background
			http.Error(w, "no lock to be had now", http.StatusServiceUnavailable)
			return
		}
		defer lock.Release(r.Context()) // after a panic, too, and when the client has gone meanwhile

		ctx := lock.KeepAlive(r.Context())
		err = work(ctx, id)
		if err != nil || errors.Is(context.Cause(ctx), redigolock.ErrLost) {
			http.Error(w, "the report was not rebuilt", http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, "rebuilt", id)
	}
}

// A web handler that holds a lock for one resource: 200 done, 423 somebody else is at it, 503 the lock server does not
// answer, so nobody knows.
func Example_httpHandler() {
	pool, stop := newPool()
	defer stop()
	locks := &redigolock.Locker{Pool: pool, OpTimeout: 100 * time.Millisecond}
	defer locks.Close()

	mux := http.NewServeMux()
	post := func(path string) {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, nil))
		body, _ := io.ReadAll(w.Result().Body)
		fmt.Printf("%d %s", w.Code, body)
	}
	mux.Handle("POST /reports/{id}/rebuild", rebuild(locks, func(ctx context.Context, id string) error {
		if id == "7" {
			post("/reports/7/rebuild") // a second request while the first is at work
		}
		return nil
	}))

	post("/reports/7/rebuild")
	post("/reports/8/rebuild")
	stop() // the lock server goes away
	post("/reports/8/rebuild")
	// Output:
	// 423 somebody else is at it
	// 200 rebuilt 7
	// 200 rebuilt 8
	// 503 no lock to be had now
}
