package peers

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidislock"

	"github.com/redigolock/redigolock/bench"
)

// A rueidisKeeper is a rueidislock.Locker with one key for each lock, which is what suits one server, and with NOLOOP,
// or the server would tell it of each of its own renewals, and it would renew once more. It keeps a lock alive from the
// moment that it has it, so its handles count as memory of keeping alive. It does not tell when it renews; its client
// is watched.
type rueidisKeeper struct {
	*bench.Keeping
	locker rueidislock.Locker
	ctx    context.Context // of all locks
	cancel context.CancelFunc
	frees  []context.CancelFunc
	began  time.Time
	due    []atomic.Int64 // after began; 0: not kept yet
}

func openRueidisKeeper(k *bench.Keeping) (bench.Keeper, error) {
	prefix := k.Keys[0][:strings.LastIndexByte(k.Keys[0], ':')]
	for i := range k.Keys {
		k.Keys[i] = prefix + ":0:" + strconv.Itoa(i) // as rueidislock calls them
	}
	r := &rueidisKeeper{Keeping: k, frees: make([]context.CancelFunc, len(k.Keys)), due: make([]atomic.Int64, len(k.Keys)),
		began: time.Now()}
	o, err := rueidis.ParseURL(k.Server.URL)
	if err != nil {
		return nil, err
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.locker, err = rueidislock.NewLocker(rueidislock.LockerOption{
		ClientOption: o, KeyPrefix: prefix, KeyMajority: 1, NoLoopTracking: true,
		KeyValidity: k.TTL, ExtendInterval: k.TTL / 2, TryNextAfter: k.TTL / 2,
		ClientBuilder: func(o rueidis.ClientOption) (rueidis.Client, error) {
			c, err := rueidis.NewClient(o)
			return &watchedClient{c, r}, err
		},
	})
	return r, err
}

func (r *rueidisKeeper) Acquire(int) error { return nil }

func (r *rueidisKeeper) Keep(i int) error {
	sent := time.Now()
	_, free, err := r.locker.TryWithContext(r.ctx, strconv.Itoa(i))
	r.frees[i] = free
	r.due[i].Store(int64(sent.Add(r.TTL / 2).Sub(r.began)))
	return err
}

func (r *rueidisKeeper) End() {
	r.cancel() // all at once
	for _, free := range r.frees {
		if free != nil {
			free()
		}
	}
	r.locker.Close()
}

// A watchedClient sees the renewals go by.
type watchedClient struct {
	rueidis.Client
	r *rueidisKeeper
}

func (w *watchedClient) Do(ctx context.Context, cmd rueidis.Completed) rueidis.RedisResult {
	key := cmd.Commands()[3] // EVALSHA sha 1 key; the command is used again once it is done
	i, sent := bench.KeyNumber(key), time.Now()
	res := w.Client.Do(ctx, cmd)
	due := w.r.due[i].Load()
	if due == 0 || w.r.ctx.Err() != nil { // it acquires, or releases
		return res
	}
	if refused, ok := rueidis.IsRedisErr(res.Error()); ok && refused.IsNoScript() { // the script's text comes next
		return res
	}
	if n, err := res.AsInt64(); err != nil || n != 1 {
		if err == nil {
			err = rueidislock.ErrNotLocked
		}
		w.r.Lost(i, err)
		return res
	}
	w.r.Renewed(w.r.began.Add(time.Duration(due)))
	w.r.due[i].Store(int64(sent.Add(w.r.TTL / 2).Sub(w.r.began)))
	return res
}
