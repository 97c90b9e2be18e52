package main

func init() { mutants = append(mutants, runMutants...) }

// runMutants break what the command's run promises.
var runMutants = []mutant{
	{
		name: "run: the guard only asks", in: "redigolock.watcher.awaitEmpty",
		old:   "_ = syscall.Kill(0, syscall.SIGKILL)",
		new:   "_ = by",
		tests: "cmd/redigolock: TestRunEndsTheCommandBeforeTheLock",
	},
	{
		name: "run: the guard does not mind that run is gone", in: "redigolock.watcher.watch",
		old:   "w.endGroup(earlier(time.Now().Add(w.grace), until))",
		new:   "_ = w",
		tests: "cmd/redigolock: TestRunEndsTheCommandBeforeTheLock",
	},
	{
		name: "run: a guard that stood still ends the command", in: "redigolock.watcher.watch",
		old:   "moment, err = w.next(time.Now().Add(time.Millisecond)); isLate(err)",
		new:   "moment, err = moment, err; isLate(err)",
		tests: "cmd/redigolock: TestRunWithAStoppedGuard",
	},
	{
		name: "run: a command without a guard goes on", in: "redigolock.supervision.guardGone",
		old:   "s.guard.hasEnded || s.killed",
		new:   "true || s.killed",
		tests: "cmd/redigolock: TestRunEndsTheCommandBeforeTheLock",
	},
	{
		name: "run: what the command leaves behind outlives the lock", in: "redigolock.isEmptyGroup",
		old:   "return syscall.Setpgid(0, 0) == nil && errors.Is(err, syscall.ESRCH)",
		new:   "return syscall.Setpgid(0, 0) == nil && (err == nil || errors.Is(err, syscall.ESRCH))",
		tests: "cmd/redigolock: TestRunEndsWhatTheCommandLeavesBehind",
	},
	{
		name: "run: the command gets the password", in: "redigolock.job.environment",
		old:   `"REDISCLI_AUTH", `,
		new:   "",
		tests: "cmd/redigolock: TestRunEnvironmentAndStandardFiles",
	},
	{
		name: "run: the guard gets the password", in: "redigolock.startGuard",
		old:   "cmd.Env = []string{}",
		new:   "_ = cmd.Env",
		tests: "cmd/redigolock: TestNoSecretIsShown",
	},
}
