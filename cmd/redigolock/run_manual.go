package main

const runManual = `The lock is renewed while the command runs, and released when it ends. run exits with the code of the command.

The command is in a process group of its own, which a second process guards. If the lock is lost or cannot be renewed, the
group gets TERM, and KILL after -grace, before the lock ends, and run exits with 70. The same happens if the guard is killed. If
run itself is stopped or killed, the guard ends the group. What the command leaves in its group when it ends has -grace to end
too, and is then killed: a process that is to live on must start a session, as with setsid.

Signals are passed on to the group. A second INT or TERM (Ctrl-C) kills it. A command that reads from the terminal gets the
terminal, with its Ctrl-C.

The command gets REDIGOLOCK_KEY, and REDIGOLOCK_FENCE, a number that is higher than that of every earlier holder: give it to
what the command writes to, to refuse a holder that is late (with several -url there is none). It does not get REDIS_URL,
REDISCLI_AUTH and REDIGOLOCK_TOKEN.

Not even two processes can protect from both being stopped, from a machine that was suspended, and from a command that
changes its user or its process group. The fencing number does.`
