package fairqueue_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redigolock/redigolock/internal/fairqueue"
)

var update = flag.Bool("update", false, "write what the slot does into the transcripts")

// A transcript in testdata is what happens to a slot, an event in a line, and below each what follows from it. A line of an
// event has the time since the begin, and the event:
//
//	0s  joined a 10s             heard, unheard, left a, released a, told t1, wake, closing, closed
//	1ms enter t1: held other 5s  what became of the newest command of that kind for that token: granted 10s, held, nosub, gone,
//	                             mute, none (of quit and release), mine and "not mine" (of check), lost, unsent, refused
//
// Commands are sent at once. There is no jitter, pauses are of 10 ms, and where the name begins with cohort there is one, of two
// passes.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			passes := 0
			if strings.HasPrefix(filepath.Base(file), "cohort") {
				passes = 2
			}
			p := newPlay(passes)
			for line := range strings.Lines(string(want)) {
				if err := p.line(strings.TrimRight(line, "\n")); err != nil {
					t.Fatalf("%s: %v", strings.TrimSpace(line), err)
				}
			}
			if *update {
				if err := os.WriteFile(file, p.out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got := p.out.String(); got != string(want) {
				t.Errorf("with -update it is\n%s", got)
			}
		})
	}
}

// A play is a slot on its way through a transcript.
type play struct {
	slot   *fairqueue.Slot
	out    bytes.Buffer
	now    time.Time
	tokens int
	sent   []sentCommand
	then   fairqueue.Actions
}

type sentCommand struct {
	fairqueue.Command
	at time.Time
}

var begin = time.Unix(1e9, 0)

func newPlay(passes int) *play {
	p := &play{now: begin}
	p.slot = fairqueue.New(&fairqueue.Config{
		OpTimeout: time.Second, Passes: passes, Slice: time.Second,
		Token:  func() string { p.tokens++; return fmt.Sprint("t", p.tokens) },
		Drift:  func(ttl time.Duration) time.Duration { return ttl/100 + 2*time.Millisecond },
		Pause:  func(int) time.Duration { return 10 * time.Millisecond },
		Chance: func(time.Duration) time.Duration { return 0 },
	}, "c")
	return p
}

// line has the slot go by an event, and writes what follows; what followed when the transcript was written is passed over.
func (p *play) line(line string) error {
	words := strings.Fields(line)
	if len(words) == 0 || words[0] == "#" {
		fmt.Fprintln(&p.out, line)
		return nil
	}
	if strings.HasPrefix(line, " ") {
		return nil
	}
	fmt.Fprintln(&p.out, line)
	after, err := time.ParseDuration(words[0])
	if err != nil || len(words) < 2 || begin.Add(after).Before(p.now) {
		return fmt.Errorf("no event: %w", err)
	}
	p.now = begin.Add(after)
	if kind, ok := kindNamed(words[1]); ok {
		err = p.answer(kind, words[2:])
	} else {
		err = p.event(words[1], append(words[2:], "", "")[:2])
	}
	p.follow()
	return err
}

func (p *play) event(name string, args []string) error {
	s, a, now := p.slot, &p.then, p.now
	ttl, _ := time.ParseDuration(args[1])
	switch name {
	case "joined":
		s.Joined(now, fairqueue.Waiter{Who: args[0], TTL: ttl}, a)
	case "left":
		s.Left(now, args[0], a)
	case "released":
		token, _ := s.Holder(now)
		if args[1] != "" {
			token = args[1]
		}
		s.Released(now, fairqueue.Handle{Who: args[0], Token: token, TTL: 10 * time.Second, Most: 10 * time.Second}, a)
	case "told":
		s.Told(now, args[0], a)
	case "heard":
		s.Heard(now, a)
	case "unheard":
		s.Unheard(now, a)
	case "wake":
		s.Wake(now, a)
	case "closing":
		s.Closing(now, a)
	case "closed":
		s.Closed(now, a)
	default:
		return fmt.Errorf("there is no event %q", name)
	}
	return nil
}

var kindNames = []string{"", "try", "enter", "poke", "quit", "release", "check", "extend"}

func kindNamed(name string) (fairqueue.Kind, bool) {
	i := slices.Index(kindNames, name)
	return fairqueue.Kind(max(i, 0)), i > 0
}

var saidNames = []string{"none", "granted", "held", "nosub", "gone", "mute"}

// answer tells what became of a command.
func (p *play) answer(kind fairqueue.Kind, words []string) error {
	token, words := strings.TrimSuffix(words[0], ":"), words[1:]
	i := slices.IndexFunc(p.sent, func(c sentCommand) bool { return c.Kind == kind && (c.Token == token || c.Owed == token) })
	if i < 0 || len(words) == 0 {
		return errors.New("no such command is on its way")
	}
	c := p.sent[i]
	p.sent = slices.Delete(p.sent, i, i+1)
	fates := map[string]fairqueue.Fate{"lost": fairqueue.Lost, "unsent": fairqueue.Unsent, "refused": fairqueue.Refused}
	if fate, failed := fates[words[0]]; failed {
		p.slot.Failed(p.now, &c.Command, fairqueue.Outcome{Fate: fate, Err: errors.New(words[0])}, &p.then)
		return nil
	}
	r := fairqueue.Reply{Left: 5 * time.Second}
	switch said := slices.Index(saidNames, words[0]); {
	case words[0] == "mine":
	case words[0] == "not":
		r.Said, r.Err = fairqueue.NotMine, errors.New("not held")
	case said < 0:
		return fmt.Errorf("no reply says %q", words[0])
	default:
		if r.Said = fairqueue.Said(said); r.Said == fairqueue.Mute {
			r.Err = errors.New("no right to beat")
		}
	}
	for _, word := range words[1:] {
		if d, err := time.ParseDuration(word); err == nil {
			r.Left = d
		} else if word != "mine" {
			r.Holder = word
		}
	}
	p.slot.Replied(p.now, &c.Command, c.at, r, &p.then)
	return nil
}

// follow writes what follows from an event, and sends what is to be sent.
func (p *play) follow() {
	say := func(format string, args ...any) { fmt.Fprintf(&p.out, "        "+format+"\n", args...) }
	a := p.then
	for _, x := range a.Losses {
		say("%v has lost the lock: %v", x.Who, x.Err)
	}
	for _, g := range a.Grants {
		say("%v has the lock by %s until %v", g.Who, g.Token, g.Deadline.Sub(begin))
	}
	for _, f := range a.Failures {
		say("%v fails: %s %v", f.Who, []string{"denied", "unclear", "endless", "too late"}[f.Why], f.Err)
	}
	if a.Listen {
		say("listen")
	}
	if a.Relisten {
		say("listen on another connection")
	}
	commands := slices.Clone(a.Commands)
	if a.Mine.Kind != fairqueue.Nothing {
		commands = append(commands, a.Mine)
	}
	for _, c := range commands {
		p.slot.Sent(&c, p.now)
		p.sent = append(p.sent, sentCommand{c, p.now})
		say("%s", inWords(&c))
	}
	wake := "nothing is due"
	if !a.Wake.IsZero() {
		wake = fmt.Sprint("due at ", a.Wake.Sub(begin))
	}
	say("%v, %d waiting, %s", p.slot.State(), p.slot.Waiting(), wake)
}

func inWords(c *fairqueue.Command) string {
	text := "send " + kindNames[c.Kind]
	switch {
	case c.Kind == fairqueue.Release && c.Token != "":
		text += " " + c.Owed + " with " + c.Token
	case c.Kind == fairqueue.Release:
		text += " " + c.Owed
	default:
		text += " " + c.Token
	}
	if c.Beat {
		text += ", which beats"
	}
	if c.Own {
		text += ", on a connection of its own"
	}
	return text
}
