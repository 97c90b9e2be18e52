package redistest

import (
	"net"
	"testing"
)

// ClosedAddr returns host:port of 127.0.0.1 where nobody listens until the test ends. A port that was only found free
// may be taken by another process; this one is that of a connection to somewhere else.
func ClosedAddr(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	for range 100 {
		port, err := freePort()
		if err != nil {
			tb.Fatal(err)
		}
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}}
		c, err := d.Dial("tcp", l.Addr().String())
		if err != nil {
			continue // somebody was faster
		}
		tb.Cleanup(func() { _ = c.Close() })
		return c.LocalAddr().String()
	}
	tb.Fatal("redistest: find a port to close")
	return ""
}
