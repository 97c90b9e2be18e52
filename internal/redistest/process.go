package redistest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/gomodule/redigo/redis"
)

// startTimeout bounds a start, from the first try to the first answer, on a busy machine.
const startTimeout = time.Minute

// errPortTaken is the failed start that another try can mend.
var errPortTaken = errors.New("redistest: the port is taken")

// startOnFreePort starts the process on a port it finds, and on another if
// somebody else was faster.
func (s *Server) startOnFreePort() error {
	deadline := time.Now().Add(startTimeout)
	for {
		port, err := FreePort()
		if err != nil {
			return err
		}
		s.port = port
		err = s.launch(deadline)
		if !errors.Is(err, errPortTaken) || time.Now().After(deadline) {
			return err
		}
	}
}

// Restart starts the server again, with the same port and arguments, and
// returns once it answers. If it still runs it is killed first. What was not
// persisted is gone.
func (s *Server) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return errors.New("redistest: Restart after Stop")
	}
	s.proc.Kill()
	deadline := time.Now().Add(startTimeout)
	for {
		err := s.launch(deadline)
		if !errors.Is(err, errPortTaken) || time.Now().After(deadline) {
			return err
		}
	}
}

// Kill ends the process as a crash would and waits for its end. The folder
// stays, so that [Server.Restart] finds what was persisted. A paused server
// dies without going on.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proc.Kill()
}

// Stop kills the process, waits for its end, closes the pools of
// [Server.Pool] and removes the folder. Further calls do nothing.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return
	}
	s.stopped = true
	s.proc.Kill()
	s.pools.close()
	os.RemoveAll(s.dir)
}

// Pause stops the process where it stands (SIGSTOP) and returns once it really
// stands still. Its connections stay open, and what is sent to it is carried
// out after [Server.Resume]. It panics if the process cannot be stopped, for
// example because it does not run.
func (s *Server) Pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.proc.pause(); err != nil {
		panic(fmt.Sprintf("redistest: Pause: %v", err))
	}
}

// Resume lets a paused process go on. It panics if there is no process.
func (s *Server) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := resumeProcess(s.proc.cmd.Process); err != nil {
		panic(fmt.Sprintf("redistest: Resume: %v", err))
	}
}

// launch starts the process on s.port and waits until it answers. After an
// error no process is left.
func (s *Server) launch(deadline time.Time) error {
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return fmt.Errorf("redistest: make the server's log: %w", err)
	}
	defer log.Close()
	p, err := StartCommand(s.command(log))
	if err != nil {
		return err
	}
	if err := s.waitReady(p, deadline); err != nil {
		p.Kill()
		return s.explain(err)
	}
	s.proc = p
	return nil
}

// command returns the command line of the server, ready to start.
func (s *Server) command(log *os.File) *exec.Cmd {
	args := append([]string{}, s.argv[1:]...)
	args = append(args,
		"--bind", "127.0.0.1", "--protected-mode", "no", "--unixsocket", s.Socket(),
		"--dir", s.dir, "--save", "", "--appendonly", "no")
	if port := strconv.Itoa(s.port); slices.Contains(s.args, "--tls-cert-file") {
		args = append(args, "--port", "0", "--tls-port", port)
	} else {
		args = append(args, "--port", port)
	}
	cmd := exec.Command(s.argv[0], append(args, s.args...)...)
	cmd.Dir = s.dir
	cmd.Stdout, cmd.Stderr = log, log
	return cmd
}

// waitReady asks until the server answers. It asks on the unix socket: on the
// port a server of somebody else might answer.
func (s *Server) waitReady(p *Command, deadline time.Time) error {
	for {
		err := ping(s.Socket())
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no answer within %v: %w", startTimeout, err)
		}
		select {
		case <-p.done:
			return fmt.Errorf("the process ended: %v", p.cmd.ProcessState)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// ping returns nil if a server answers at socket, be it with an error.
func ping(socket string) error {
	c, err := redis.Dial("unix", socket,
		redis.DialConnectTimeout(time.Second), redis.DialReadTimeout(time.Second))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Do("PING")
	if refused := redis.Error(""); errors.As(err, &refused) {
		return nil // NOAUTH, LOADING, …
	}
	return err
}

// explain adds the end of the log to the error of a start, and marks the case
// of a port that was taken.
func (s *Server) explain(err error) error {
	log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	if bytes.Contains(log, []byte("Address already in use")) {
		return errPortTaken
	}
	if len(log) > 2000 {
		log = log[len(log)-2000:]
	}
	return fmt.Errorf("redistest: start %s: %w; its log ends with:\n%s", s.argv[0], err, log)
}

// ClosedAddr is host:port where nobody listens: only root may, for a service that is long out of use.
const ClosedAddr = "127.0.0.1:1"

// FreePort returns a port of 127.0.0.1 that was free a moment ago. It lies below the range
// from which the systems take the ports of outgoing connections: so that none
// of these takes it while the server is down, not even a client that tries to
// reach the dead server and would connect to itself. Port + 10000, where a
// cluster node listens too, also lies below.
func FreePort() (int, error) {
	var err error
	for range 100 {
		port := 11000 + rand.IntN(11000)
		var l net.Listener
		if l, err = net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			l.Close()
			return port, nil
		}
	}
	return 0, fmt.Errorf("redistest: find a free port: %w", err)
}
