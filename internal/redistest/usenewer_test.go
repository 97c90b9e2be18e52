package redistest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gomodule/redigo/redis"
)

// TestUseNewer: the command may have several words, and any character.
func TestUseNewer(t *testing.T) {
	bin, err := binary()
	need(t, err)
	dir := t.TempDir()
	t.Setenv("REDIGOLOCK_SERVERS", dir)
	if err := os.WriteFile(filepath.Join(dir, "odd"), []byte("/usr/bin/env\nA=it's $HOME\n"+bin+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	UseNewer(t, "odd")
	if pong, err := redis.String(Start(t).Do("PING")); pong != "PONG" || err != nil {
		t.Error(pong, err)
	}
}
