package batch_test

import (
	"testing"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/batch"
)

// What a server says for a while, it would say to each lock alone as well.
func TestPassingRefusalOfManyIsNotMultiplied(t *testing.T) {
	for reply, passing := range map[redis.Error]bool{
		"LOADING a": true, "BUSY b": true, "MISCONF c": true, "READONLY d": true, "NOSCRIPT e": true,
		"@user_script: 8: -READONLY f": true,
		"TRYAGAIN g":                   false, "CROSSSLOT h": false, "NOPERM i": false, "ERR j": false, "WRONGTYPE k": false,
	} {
		if got := batch.IsPassing(reply); got != passing {
			t.Errorf("%v: %v", reply, got)
		}
	}
	for _, reply := range []any{nil, int64(0), int64(1), "QUEUED", []any{}} {
		if batch.IsPassing(reply) {
			t.Errorf("%v is taken for a refusal", reply)
		}
	}
}
