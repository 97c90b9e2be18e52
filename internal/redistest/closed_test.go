package redistest_test

import (
	"errors"
	"net"
	"syscall"
	"testing"

	"github.com/redigolock/redigolock/internal/redistest"
)

func TestClosedAddrIsRefusedAndCannotBeTaken(t *testing.T) {
	addr := redistest.ClosedAddr(t)
	if _, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: %v; want connection refused", err)
	}
	if l, err := net.Listen("tcp", addr); err == nil {
		l.Close()
		t.Error("somebody can listen there")
	}
}
