package redistest_test

import (
	"strings"
	"testing"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/redistest"
)

func TestNewerServers(t *testing.T) {
	for name, c := range map[string]struct {
		start   func(testing.TB, ...string) *redistest.Server
		version string
	}{
		"valkey": {redistest.StartValkey, "valkey 9."},
		"redis8": {redistest.StartRedis8, "redis 8."},
	} {
		t.Run(name, func(t *testing.T) {
			s := c.start(t, "--maxmemory", "3mb")
			if v := s.Version(); !strings.HasPrefix(v, c.version) {
				t.Errorf("version %q; want %s", v, c.version)
			}
			got, err := redis.Strings(s.Do("CONFIG", "GET", "maxmemory"))
			if err != nil || len(got) != 2 || got[1] != "3145728" {
				t.Errorf("maxmemory %q, %v; want the argument", got, err)
			}
			s.Pause()
			s.Resume()
			if err := s.Restart(); err != nil {
				t.Fatal(err)
			}
			reply, err := get(t, redistest.NewProxy(t, s.Addr()).Pool()).Do("SET", "k", "v")
			want(t, "OK", reply, err)
		})
	}
}

func TestNewerServersAbsent(t *testing.T) {
	t.Setenv("REDIGOLOCK_SERVERS", t.TempDir())
	for _, newer := range []string{"", "1"} {
		t.Setenv("REDIGOLOCK_NEWER", newer)
		var f fakeTB
		f.run(func() { redistest.StartValkey(&f) })
		if f.skipped != (newer == "") || f.failed != (newer == "1") {
			t.Errorf("REDIGOLOCK_NEWER=%q: skipped %v, failed %v", newer, f.skipped, f.failed)
		}
	}
}
