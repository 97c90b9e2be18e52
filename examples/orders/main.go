// Orders is an HTTP server that works on each order for one request at a time: POST /orders/17/pay takes the lock of order 17.
// It asks itself for the same order five times at once, and for another one, and prints what it answered.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/examples/internal/demo"
)

// A shop serves orders.
type shop struct{ locks *redigolock.Locker }

// pay answers at once, also if another request has the order: its client knows best whether it wants to try again.
func (s *shop) pay(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	err := s.locks.TryDo(ctx, "lock:order:"+r.PathValue("id"), 10*time.Second, func(ctx context.Context, _ *redigolock.Lock) error {
		return charge(ctx)
	})
	switch {
	case err == nil:
		fmt.Fprintln(w, "paid")
	case errors.Is(err, redigolock.ErrHeld):
		w.Header().Set("Retry-After", "1")
		http.Error(w, "another request works on this order", http.StatusConflict)
	case errors.Is(err, redigolock.ErrLost): // charge may have been done, or may have not
		http.Error(w, "look whether the order is paid", http.StatusInternalServerError)
	case errors.Is(err, redigolock.ErrUnavailable), errors.Is(err, redigolock.ErrUnknown):
		http.Error(w, "try again later", http.StatusServiceUnavailable)
	default:
		http.Error(w, "sorry", http.StatusInternalServerError)
		log.Print(err)
	}
}

// charge is the work. It ends early if the lock is lost, or the client has left.
func charge(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(200 * time.Millisecond):
		return nil
	}
}

func main() {
	s := &shop{locks: &redigolock.Locker{Pool: demo.Pool(), Owner: "shop"}}
	http.HandleFunc("POST /orders/{id}/pay", s.pay)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(http.Serve(listener, nil)) }()
	url := "http://" + listener.Addr().String()
	var requests sync.WaitGroup
	for _, order := range []int{17, 17, 17, 17, 17, 18} {
		requests.Go(func() { ask(url, order) })
	}
	requests.Wait()
}

func ask(url string, order int) {
	answer, err := http.Post(fmt.Sprintf("%s/orders/%d/pay", url, order), "", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	demo.Say(fmt.Sprint("order ", order), "%s", answer.Status)
}
