package main

func init() { mutants = append(mutants, replicasMutants...) }

// replicasMutants break Locker.Replicas.
var replicasMutants = []mutant{
	{
		name: "replicas: fewer acknowledgements count", in: "node.replicated",
		old: "if reply >= int64(n.replicas) {", new: "if reply >= 0 {", tests: "test/servers: TestReplicasThatAcknowledge",
	},
	{
		name: "replicas: an acquire is not undone", in: "plain.dismiss",
		old: "if !errors.As(err, &u) {", new: "if errors.As(err, &u) || err != nil {", tests: "test/servers: TestReplicasThatAcknowledge",
	},
	{
		name: "replicas: renewals are not waited for", in: "batch.Node.ackedBy",
		old: "case n.env.Acknowledged == nil || at < 0:", new: "case n.env.Apart != nil:", tests: "test/servers: TestRenewalsWithoutReplicas",
	},
	{
		name: "replicas: an Extend is not waited for", in: "node.prolong",
		old: "return n.replicated(ctx, c, verb, x.key)", new: "return nil", tests: "test/servers: TestExtendWithoutReplicas",
	},
	{
		name: "replicas: WAIT takes all that is left", in: "waitTimeout",
		old: "(left - left/4)", new: "(left)", tests: "test/servers: TestReplicasThatAcknowledge",
	},
	{
		name: "replicas: another try after an undoing that is not answered", in: "waitingCall.Final",
		old: "errors.Is(err, errNotUndone) ||", new: "", tests: "test/servers: TestReplicasWhereTheUndoingIsLost",
	},
}
