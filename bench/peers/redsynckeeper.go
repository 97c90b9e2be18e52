package peers

import (
	"context"
	"time"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/redigo"

	"github.com/redigolock/redigolock/bench"
)

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
	if err := r.mutexes[i].LockContext(context.Background()); err != nil || i > 0 {
		return err
	}
	return r.renew(i) // loads the script
}

func (r *redsyncKeeper) Keep(i int) error {
	r.Start(i, r.sent[i])
	return nil
}

func (r *redsyncKeeper) renew(i int) error {
	if ok, err := r.mutexes[i].ExtendContext(context.Background()); !ok || err != nil {
		if err == nil {
			err = redsync.ErrExtendFailed
		}
		return err
	}
	return nil
}
