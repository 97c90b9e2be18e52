package testbed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
)

// ErrNotDialled is what connections fail with that a test does not dial.
var ErrNotDialled = errors.New("the test does not dial")

// A PoolFunc is a pool that makes its connections as it likes.
type PoolFunc func() redis.Conn

func (f PoolFunc) Get() redis.Conn { return f() }

// A GetPool has nothing but Get, as redisc.Cluster has.
type GetPool struct{ Pool *redis.Pool }

func (p GetPool) Get() redis.Conn { return p.Pool.Get() }

// WrappedAcquire is an AcquireFunc of a user's, around one of ours.
func WrappedAcquire(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
	if err := redigolock.SetNX(ctx, c, key, token, ttl); err != nil {
		return fmt.Errorf("the app's acquire: %w", err)
	}
	return nil
}

// An otherError is the error reply of another package's client.
type otherError string

func (e otherError) Error() string { return string(e) }

// OtherError is an error reply as another package's client has it.
func OtherError(text string) error { return otherError(text) }

// Turns are what tracers and adapters make of an error reply.
var Turns = map[string]func(error) error{
	"wrapped":      func(err error) error { return fmt.Errorf("trace: %w", err) },
	"another type": func(err error) error { return otherError(err.Error()) },
	"both":         func(err error) error { return fmt.Errorf("trace: %w", redis.Error(err.Error())) },
}
