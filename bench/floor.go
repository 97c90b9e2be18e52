package bench

import (
	"errors"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/google/uuid"

	lock "github.com/redigolock/redigolock"
)

// floorScript is the release of the Redis manual.
var floorScript = redis.NewScript(1, `
if redis.call("get",KEYS[1]) == ARGV[1] then
  return redis.call("del",KEYS[1])
else
  return 0
end`)

var errFloorNotHeld = errors.New("bench: floor: not held")

// floor is what somebody writes by hand with redigo: a connection of the pool for SET key token NX PX ttl, and one for
// EVALSHA. In a Cluster, where redigo goes nowhere by itself, the pool is the library's. It is right as long as nothing goes wrong; the Locker's price is measured against it.
func floor(pool lock.Pool, ttl time.Duration) opFunc {
	return func(key string) error {
		token := uuid.NewString()
		if err := floorAcquire(pool, key, token, ttl); err != nil {
			return err
		}
		return floorRelease(pool, key, token)
	}
}

func floorAcquire(pool lock.Pool, key, token string, ttl time.Duration) error {
	c := pool.Get()
	defer c.Close()
	_, err := redis.String(c.Do("SET", key, token, "NX", "PX", ttl.Milliseconds()))
	return err // of a lock that is held: redis.ErrNil
}

func floorRelease(pool lock.Pool, key, token string) error {
	c := pool.Get()
	defer c.Close()
	n, err := redis.Int(floorScript.Do(c, key, token))
	if err == nil && n == 0 {
		err = errFloorNotHeld
	}
	return err
}
