package peers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redigolock/redigolock/internal/redistest"
)

// ErrNoServer is in the error of a rival whose server is not installed.
var ErrNoServer = errors.New("peers: the server is not installed; on Debian: scripts/install.sh peers")

const (
	startTimeout = time.Minute // of a server, on a busy machine
	clockTick    = time.Second / 100
)

// A backend is a server that is no Redis, on a free port of 127.0.0.1, with its data in a folder of its own. It is
// started when it is first needed, and the environment says where it is: for the processes of a Contention, and for
// whoever has one running already, which is then used.
type backend struct {
	name string
	// command prepares a server with its data in the folder, and says at which address it will be.
	command func(dir string) (cmd *exec.Cmd, addr string, err error)
	healthy func(addr string) error // it serves
	warmUp  func(addr string) error // what is done once it serves; nil: nothing

	mu  sync.Mutex // protects what follows
	run *redistest.Command
	dir string
}

var backends = []*backend{zookeeperServer} // and etcd, unless it is left out

// Stop ends the servers that were started for the rivals, and removes their data.
func Stop() {
	for _, b := range backends {
		b.stop()
	}
}

func (b *backend) env() string { return "REDIGOLOCK_" + strings.ToUpper(b.name) }

// addr is host:port.
func (b *backend) addr() string { return os.Getenv(b.env()) }

// start does nothing if it has been started.
func (b *backend) start() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.addr() != "" {
		return nil
	}
	for try := 1; ; try++ {
		err := b.launch()
		if err == nil || errors.Is(err, ErrNoServer) || try == 3 { // the port may have been taken meanwhile
			return err
		}
	}
}

// launch leaves nothing after an error.
func (b *backend) launch() (err error) {
	dir, err := os.MkdirTemp("", "redigolock-"+b.name)
	if err != nil {
		return fmt.Errorf("peers: make a folder for %s: %w", b.name, err)
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}()
	cmd, addr, err := b.command(dir)
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return fmt.Errorf("peers: make the log of %s: %w", b.name, err)
	}
	defer log.Close()
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	run, err := redistest.StartCommand(cmd)
	if err != nil {
		return err
	}
	if err := b.waitFor(run, addr); err != nil {
		run.Kill()
		said, _ := os.ReadFile(log.Name())
		return fmt.Errorf("peers: start %s: %w; its log ends with:\n%s", b.name, err, said[max(0, len(said)-2000):])
	}
	b.run, b.dir = run, dir
	return os.Setenv(b.env(), addr)
}

// waitFor returns when it serves, and is warm.
func (b *backend) waitFor(run *redistest.Command, addr string) error {
	for deadline := time.Now().Add(startTimeout); ; {
		err := b.healthy(addr)
		select {
		case <-run.Ended(): // somebody else may be there
			return errors.New("it has ended")
		default:
		}
		switch {
		case err == nil && b.warmUp != nil:
			return b.warmUp(addr)
		case err == nil:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("it does not serve within %v: %w", startTimeout, err)
		}
		select {
		case <-run.Ended():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (b *backend) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.run == nil {
		return
	}
	b.run.Kill()
	_ = os.RemoveAll(b.dir)
	_ = os.Unsetenv(b.env())
	b.run = nil
}

// cpu is the processor time of the server that was started here, all of its threads, to a hundredth of a second. Only
// Linux tells.
func (b *backend) cpu() (time.Duration, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.run == nil {
		return 0, false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(b.run.Pid()) + "/stat")
	if err != nil {
		return 0, false
	}
	// pid (name) state ppid …: the name may contain anything. utime and stime are the 14th and the 15th.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 13 {
		return 0, false
	}
	user, userErr := strconv.ParseInt(fields[11], 10, 64)
	system, systemErr := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * clockTick, userErr == nil && systemErr == nil
}

// found is the path of a program that must be installed.
func found(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoServer, err)
	}
	return path, nil
}

// freeAddr is an address of 127.0.0.1 that was free a moment ago.
func freeAddr() (string, error) {
	port, err := redistest.FreePort()
	return "127.0.0.1:" + strconv.Itoa(port), err
}
