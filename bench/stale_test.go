//go:build unix

package bench_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// A holder looks whether it holds, is stopped for longer than its lease, and then writes what it was about to write. How
// often does that overwrite what a newer holder has written? The figures are added to those of faults_test.go:
//
//	REDIGOLOCK_LONG=1 go test -run StaleWrite -v -parallel 8 ./bench/ -faults-out $PWD/faults.txt

// staleTTL is of the holder that is stopped.
const staleTTL = 100 * time.Millisecond

// stalePatience bounds what the processes wait for.
const stalePatience = 30 * time.Second

// staleWays are how the holders write, and whether a stale write is refused.
var staleWays = []struct {
	name    string
	refused bool
}{{"plain", false}, {"verified", false}, {"guarded", true}}

func TestAStaleWriteIsRefusedOnlyByTheResource(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for _, x := range staleWays {
		t.Run(x.name, func(t *testing.T) {
			writes := make([]staleWrite, times())
			repeat(t, len(writes), true, func(t *testing.T, i int) {
				h := newHarm(t, server)
				defer h.close()
				writes[i] = h.staleWrite(x.name)
			})
			if t.Failed() {
				return
			}
			want := staleWrite{"accepted", "stale"}
			if x.refused {
				want = staleWrite{"refused", "new"}
			}
			accepted, refused := 0, 0
			for _, w := range writes {
				if w != want {
					t.Errorf("%s: the holder was told %q, and the resource has %q, want %+v", x.name, w.told, w.has, want)
				}
				switch w.told {
				case "accepted":
					accepted++
				case "refused":
					refused++
				}
			}
			t.Logf("%s: %d holders were stopped for longer than their lease: %d overwrote the newer one's, %d were refused", x.name,
				len(writes), accepted, refused)
			record(t, server, fmt.Sprintf("Stale/server=redis/way=%s %d %d stale-writes %d refused", x.name, len(writes), accepted, refused))
		})
	}
}

// A staleWrite is what its holder was told, and what the resource then has.
type staleWrite struct{ told, has string }

// writer writes to the resource as the holder of a lock, in the way of that name: "plain" looks at Deadline before,
// "verified" asks the server besides, and "guarded" has taken a fencing number, which goes with the write.
type writer struct {
	way, key string
	c        redis.Conn
	fence    int64
}

func (w *writer) resource() string { return "{" + w.key + "}:resource" }

// check does all that is done before the write. It says ErrNotHeld if the lock is not held any more.
func (w *writer) check(ctx context.Context, k *redigolock.Lock) (err error) {
	switch w.way {
	case "verified":
		err = k.Verify(ctx)
	case "guarded":
		w.fence, err = k.Fence(ctx)
	}
	if err == nil && !time.Now().Before(k.Deadline()) {
		err = redigolock.ErrNotHeld
	}
	return err
}

func (w *writer) write(ctx context.Context, text string) (err error) {
	if w.way == "guarded" {
		_, err = redigolock.GuardDo(ctx, w.c, "{"+w.key+"}:guard", w.fence, "SET", w.resource(), text)
	} else {
		_, err = w.c.Do("SET", w.resource(), text)
	}
	return err
}

const staleEnv = "REDIGOLOCK_BENCH_STALE"

// TestStaleHolder is the holder's process. It says when it has seen that it holds, writes as soon as its input has a line,
// and says what became of that.
func TestStaleHolder(t *testing.T) {
	asked := strings.Fields(os.Getenv(staleEnv))
	if len(asked) != 3 {
		t.Skip("not started by a test")
	}
	ctx, cancel := context.WithTimeout(context.Background(), stalePatience)
	defer cancel()
	pool, err := redigolock.NewPool(asked[1])
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	l := &redigolock.Locker{Pool: pool}
	defer l.Close()
	w := &writer{way: asked[0], key: asked[2], c: pool.Get()}
	defer w.c.Close()
	for err = redigolock.ErrNotHeld; errors.Is(err, redigolock.ErrNotHeld); { // the machine may be slow
		var k *redigolock.Lock
		if k, err = l.Acquire(ctx, w.key, staleTTL); err == nil {
			err = w.check(ctx, k)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("checked")
	input := bufio.NewReader(os.Stdin)
	_, _ = input.ReadString('\n') // it is stopped here
	switch err := w.write(ctx, "stale"); {
	case err == nil:
		fmt.Println("accepted")
	case errors.Is(err, redigolock.ErrFenced):
		fmt.Println("refused")
	default:
		fmt.Println(err)
	}
	_, _ = io.Copy(io.Discard, input) // what it has said is read before it ends
}

// A staleHolder is that process.
type staleHolder struct {
	h     *harm
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
}

func (h *harm) staleHolder(way string) *staleHolder {
	h.t.Helper()
	path, err := os.Executable()
	h.ok(err)
	ctx, cancel := context.WithTimeout(context.Background(), stalePatience)
	p := &staleHolder{h: h, cmd: exec.CommandContext(ctx, path, "-test.run=^TestStaleHolder$")}
	p.cmd.Env = append(os.Environ(), staleEnv+"="+way+" "+h.server.URL()+" "+h.key)
	p.cmd.Stderr = os.Stderr
	p.stdin, err = p.cmd.StdinPipe()
	h.ok(err)
	stdout, err := p.cmd.StdoutPipe()
	h.ok(err)
	p.lines = bufio.NewScanner(stdout)
	h.ok(p.cmd.Start())
	h.t.Cleanup(func() {
		cancel()
		_ = p.cmd.Wait()
	})
	return p
}

// says is the next line that it says.
func (p *staleHolder) says() string {
	p.h.t.Helper()
	if !p.lines.Scan() {
		p.h.t.Fatalf("the holder's process has ended, or says nothing: %v", p.lines.Err())
	}
	return p.lines.Text()
}

// stop returns when it stands still.
func (p *staleHolder) stop() {
	p.h.t.Helper()
	pid := p.cmd.Process.Pid
	p.h.ok(p.cmd.Process.Signal(syscall.SIGSTOP))
	eventually(p.h.t, "it stands still", func() bool {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(pid, &status, syscall.WUNTRACED|syscall.WNOHANG, nil)
		return err == nil && got == pid && status.Stopped()
	})
}

// goOn has it write as soon as it runs again.
func (p *staleHolder) goOn() {
	p.h.t.Helper()
	_, err := io.WriteString(p.stdin, "write\n")
	p.h.ok(err)
	p.h.ok(p.cmd.Process.Signal(syscall.SIGCONT))
}

// staleWrite has one happen.
func (h *harm) staleWrite(way string) staleWrite {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), stalePatience)
	defer cancel()
	p := h.staleHolder(way)
	if said := p.says(); said != "checked" {
		h.t.Fatalf("the holder says %q", said)
	}
	p.stop()
	h.second.Fair = false
	k, err := h.second.Acquire(ctx, h.key, time.Minute)
	h.ok(err)
	newer := &writer{way: way, key: h.key, c: h.second.Pool.Get()}
	defer newer.c.Close()
	h.ok(newer.check(ctx, k))
	h.ok(newer.write(ctx, "new"))
	p.goOn()
	told := p.says()
	has, err := redis.String(h.server.Do("GET", newer.resource()))
	h.ok(err)
	h.ok(k.Release(ctx))
	return staleWrite{told, has}
}
