package fairmodel

import (
	"fmt"
	"strings"

	"github.com/redigolock/redigolock/internal/fairqueue"
)

var stepNames = map[stepKind]string{
	stepTick:           "a tick passes",
	stepAcquire:        "Acquire",
	stepGiveUp:         "a waiter gives up",
	stepTryAcquire:     "TryAcquire",
	stepRelease:        "Release",
	stepExtend:         "Extend",
	stepClose:          "Close",
	stepCloseEnds:      "Close waits no longer",
	stepCrash:          "crash",
	stepCrashHalfOpen:  "crash, its connections half open",
	stepExecute:        "executed",
	stepExecuteTwice:   "executed, and perhaps again later",
	stepExecuteGhost:   "executed late",
	stepExecuteUnheard: "executed, reply lost",
	stepRefuse:         "refused with an error",
	stepReply:          "reply read",
	stepLoseCommand:    "lost",
	stepDelayCommand:   "no reply, perhaps executed later",
	stepLoseReply:      "reply lost",
	stepMessage:        "message read",
	stepLoseMessage:    "message lost",
	stepWake:           "timer",
	stepSubscribed:     "subscription confirmed",
	stepBreak:          "subscription broken",
	stepNotice:         "broken subscription noticed",
	stepUnsubscribe:    "idle subscription ended",
	stepForeignSet:     "a foreign client sets K",
	stepForeignDel:     "the foreign client deletes K",
	stepDropQueue:      "Q is deleted",
	stepSteal:          "K is deleted by somebody else",
	stepStealRel:       "K is released by somebody else",
	stepPanic:          "its waiter panics, lost",
	stepTryAgain:       "told to try again",
	stepDropBeats:      "H is deleted",
	stepCrashAll:       "all but p0 crash, their connections half open",
	stepPanicDelay:     "its waiter panics, perhaps executed later",
}

// inWords takes the step and says in words what it did.
func (m *machine) inWords(s step) string {
	what := stepNames[s.kind]
	var who string
	switch s.kind {
	case stepTick, stepForeignSet, stepForeignDel, stepDropQueue, stepDropBeats, stepCrashAll, stepSteal, stepStealRel:
	case stepExecute, stepExecuteTwice, stepExecuteUnheard, stepRefuse, stepReply, stepExecuteGhost, stepLoseCommand,
		stepDelayCommand, stepLoseReply, stepPanic, stepPanicDelay, stepTryAgain:
		who = m.cmds[s.a].String()
	case stepMessage, stepLoseMessage:
		who = m.msgs[s.a].String()
	default:
		who = fmt.Sprintf("p%d", s.a)
	}
	m.apply(s)
	return fmt.Sprintf("%-58s %s", strings.TrimSpace(who+" "+what), m.String())
}

func (c *command) String() string {
	text := fmt.Sprintf("p%d %v %v", c.proc, c.verb, c.tok)
	if c.beat {
		text += " beating"
	}
	if c.tok2 != none {
		text += fmt.Sprintf("+%v", c.tok2)
	}
	if c.phase == replied {
		text += fmt.Sprintf(" (%s)", outcomeNames[c.res])
	}
	return text
}

// String is the state in one line: K with its ttl, Q, and for each process what is not empty of its slot.
func (s *state) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "K %v/%d Q", s.k, s.kTTL)
	for _, e := range s.q[:s.qLen] {
		fmt.Fprintf(&b, " %v", e.tok)
	}
	for p := range s.procs {
		if text := s.procs[p].String(p, s.queues[p]); text != "" {
			fmt.Fprintf(&b, " | p%d%s", p, text)
		}
	}
	return b.String()
}

// String is what there is of the process, and of its slot.
func (l *proc) String(p int, q *fairqueue.Slot) string {
	var b strings.Builder
	if l.crashed {
		return " crashed"
	}
	if q == nil {
		return ""
	}
	if q.State() != fairqueue.Idle {
		fmt.Fprintf(&b, " %v", q.State())
	}
	if e := q.Entry(); e != "" {
		fmt.Fprintf(&b, " %v", tokenOf(p, e))
	}
	for _, h := range l.handles {
		if h.who != 0 {
			fmt.Fprintf(&b, " h %v/%d", h.tok, h.left)
		}
	}
	if n := q.Owed(); n > 0 {
		fmt.Fprintf(&b, " owed %d", n)
	}
	if l.waiting != 0 {
		fmt.Fprintf(&b, " fifo %02b", l.waiting)
	}
	if q.Hearing() == fairqueue.Making {
		b.WriteString(" subscribing")
	}
	return b.String()
}
