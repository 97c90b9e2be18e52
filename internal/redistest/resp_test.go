package redistest_test

import (
	"io"
	"net"
	"testing"
	"time"
)

func TestProxyInlineCommands(t *testing.T) {
	_, p, _ := startProxied(t)
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("set k v\r\n\r\n*0\r\nGET k\r\n")); err != nil {
		t.Fatal(err)
	}
	reply := "+OK\r\n$1\r\nv\r\n"
	buf := make([]byte, len(reply))
	n, err := io.ReadFull(c, buf)
	want(t, reply, string(buf[:n]), err)
}

func TestProxyClosesOnGarbage(t *testing.T) {
	_, p, _ := startProxied(t)
	for _, garbage := range []string{
		"*1\r\n:1\r\n", "*1\r\n$-1\r\n", "*1\r\n\r\n", "*x\r\n", "*1\n$1\r\na\r\n",
		"*1\r\n*1\r\n$1\r\na\r\n", "*9223372036854775807\r\n", "*1\r\n$999999999999\r\n", "*1\r\n%1\r\n",
	} {
		c, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte(garbage)); err != nil {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if got, err := io.ReadAll(c); len(got) != 0 || isTimeout(err) {
			t.Errorf("%q: got %q, %v; want a closed connection", garbage, got, err)
		}
	}
	if got := p.Requests(); len(got) != 0 {
		t.Errorf("recorded %v", got)
	}
}
