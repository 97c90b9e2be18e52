package peers

import (
	"context"
	"math"
	"time"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/redigo"

	"github.com/redigolock/redigolock/bench"
)

// A redsyncRival is redsync on one server, on the run's unbounded pool of redigo, with a new Mutex for each lock, as its
// manual has it. It polls without end, by default 32 times. After each try that fails it sends a release.
type redsyncRival struct {
	rs      *redsync.Redsync
	options []redsync.Option
}

// openRedsync polls with pollPause. A try may take half of the ttl: that a twentieth is the default is for other servers
// to be asked in time.
func openRedsync(config bench.RivalConfig) (bench.Rival, error) {
	return newRedsync(config, redsync.WithRetryDelay(pollPause), redsync.WithTimeoutFactor(0.5)), nil
}

// openRedsyncDefault has redsync's own delay between two tries, 50 to 250 ms at random, and its own time for each.
func openRedsyncDefault(config bench.RivalConfig) (bench.Rival, error) {
	return newRedsync(config), nil
}

func newRedsync(config bench.RivalConfig, options ...redsync.Option) *redsyncRival {
	return &redsyncRival{redsync.New(redigo.NewPool(config.Server.Pool)), append(options, redsync.WithExpiry(config.TTL))}
}

// mutex copies the options: goroutines share them.
func (r *redsyncRival) mutex(key string, tries int) *redsync.Mutex {
	return r.rs.NewMutex(key, append([]redsync.Option{redsync.WithTries(tries)}, r.options...)...)
}

func (r *redsyncRival) TryAcquire(key string) (func() error, error) {
	m := r.mutex(key, 1)
	return unlockOf(m, m.TryLockContext(noContext))
}

func (r *redsyncRival) Acquire(ctx context.Context, key string) (func() error, error) {
	m := r.mutex(key, math.MaxInt)
	return unlockOf(m, m.LockContext(ctx))
}

func unlockOf(m *redsync.Mutex, err error) (func() error, error) {
	if err != nil {
		return nil, err
	}
	return func() error {
		ok, err := m.UnlockContext(noContext)
		if err == nil && !ok {
			err = errNotHeld
		}
		return err
	}, nil
}

// Close leaves the pool to the run.
func (r *redsyncRival) Close() {}

// A redsyncKeeper renews as redsync's users do, for it has no renewal itself: a goroutine and a ticker for each mutex,
// which calls ExtendContext. It works on the same bounded pool of redigo as our own ways.
type redsyncKeeper struct {
	*bench.Loop
	rs      *redsync.Redsync
	mutexes []*redsync.Mutex
	sent    []time.Time // of the acquire
}

func openRedsyncKeeper(k *bench.Keeping) (bench.Keeper, error) {
	n := len(k.Keys)
	r := &redsyncKeeper{mutexes: make([]*redsync.Mutex, n), sent: make([]time.Time, n)}
	r.rs = redsync.New(redigo.NewPool(k.Pool))
	r.Loop = bench.NewLoop(k, r.renew)
	return r, nil
}

func (r *redsyncKeeper) Acquire(i int) error {
	r.mutexes[i] = r.rs.NewMutex(r.Keys[i], redsync.WithExpiry(r.TTL), redsync.WithTries(1))
	r.sent[i] = time.Now()
	if err := r.mutexes[i].LockContext(noContext); err != nil || i > 0 {
		return err
	}
	return r.renew(i) // loads the script
}

func (r *redsyncKeeper) Keep(i int) error {
	r.Start(i, r.sent[i])
	return nil
}

func (r *redsyncKeeper) renew(i int) error {
	if ok, err := r.mutexes[i].ExtendContext(noContext); !ok || err != nil {
		if err == nil {
			err = redsync.ErrExtendFailed
		}
		return err
	}
	return nil
}
