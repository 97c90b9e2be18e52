package quorum

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redigolock/redigolock/internal/fault"
)

// judge says what the answers of the nodes come to: nil if a majority agrees; fault.Held or fault.NotHeld if so many say so that there
// can be none; else fault.NoQuorum. final says that it would be the same if they were asked again.
func (v *Voters) judge(ctx context.Context, verb, key string, answers []error) (final bool, err error) {
	yes, held, lost, lasting := 0, 0, 0, 0
	holders, most := map[string]int{}, ""
	for _, err := range answers {
		holder, _, isHeld := v.env.Holder(err)
		switch {
		case err == nil:
			yes++
		case errors.Is(err, fault.Invalid):
			return true, err
		case isHeld:
			held++
			if holders[holder]++; most == "" || holders[holder] > holders[most] {
				most = holder
			}
		case verb != "acquire" && fault.IsLoss(err):
			lost++
		case !fault.Transient(err) && !errors.Is(err, fault.Expired):
			lasting++
		}
	}
	need := v.Majority()
	switch {
	case yes >= need:
		return false, nil
	case held > 0 && yes+held >= need:
		return false, v.env.Held(key, most)
	case lost > len(answers)-need:
		return true, majorityLacks(verb, key)
	}
	return lasting > len(answers)-need && ctx.Err() == nil, v.noQuorum(verb, key, answers)
}

func majorityLacks(verb, key string) error {
	return fault.Of(fault.NotHeld, verb, key, "a majority of the nodes does not have it")
}

// noQuorum says what each node has said. errors.Is finds it, but for who holds the lock, and that a node does not have it: that
// says nothing of the lock.
func (v *Voters) noQuorum(verb, key string, answers []error) error {
	yes, errs := 0, []error{fault.NoQuorum}
	var text strings.Builder
	for node, err := range answers {
		if err == nil {
			yes++
			continue
		}
		fmt.Fprintf(&text, "; Pools[%d]: %v", node, fault.InLine(err))
		if !errors.Is(err, fault.Held) && (verb == "acquire" || !fault.IsLoss(err)) {
			errs = append(errs, err)
		}
	}
	return fault.Said(fmt.Sprintf("%v: %s %s: %d of %d nodes, %d are needed%s",
		fault.NoQuorum, verb, fault.Quote(key), yes, len(answers), v.Majority(), &text), errs...)
}
