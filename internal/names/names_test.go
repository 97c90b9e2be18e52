package names_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/redigolock/redigolock/internal/names"
)

// crc16 is that of Redis Cluster (XMODEM), from its specification.
func crc16(s string) int {
	var crc uint16
	for i := range len(s) {
		crc ^= uint16(s[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc)
}

func TestSlot(t *testing.T) {
	for key, slot := range map[string]int{ // of CLUSTER KEYSLOT, redis 7.0.15
		"": 0, "foo": 12182, "123456789": 12739, "{user1000}.following": 3443, "foo{}{bar}": 8363,
		"foo{{bar}}zap": 4015, "foo{bar}{zap}": 5061, "{": 4092, "a}b{": 6027, "{}x": 10595, "a}{b}": 3300, "\x00\xff": 7920,
	} {
		if got := names.Slot(key); got != slot {
			t.Errorf("slot %d of %q, not %d", got, key, slot)
		}
	}
}

// keyGen makes keys that have braces more often than not.
var keyGen = rapid.OneOf(rapid.StringOfN(rapid.RuneFrom([]rune("{}:ab")), 1, 12, -1), rapid.StringN(1, 20, -1))

func TestSiblingIsInjectiveAndInTheSameSlot(t *testing.T) {
	purposes := rapid.SampledFrom([]string{"fence", "q1", "q2", "h2"})
	rapid.Check(t, func(t *rapid.T) {
		key1, key2 := keyGen.Draw(t, "key1"), keyGen.Draw(t, "key2")
		for1, for2 := purposes.Draw(t, "purpose1"), purposes.Draw(t, "purpose2")
		s1, ok1 := names.Sibling(key1, for1)
		s2, ok2 := names.Sibling(key2, for2)
		if !ok1 || !ok2 {
			return
		}
		if names.Slot(s1) != names.Slot(key1) {
			t.Errorf("%q is in slot %d, its sibling %q in %d", key1, names.Slot(key1), s1, names.Slot(s1))
		}
		if s1 == key1 {
			t.Errorf("%q is its own sibling", key1)
		}
		if !names.IsSibling(s1) {
			t.Errorf("%q may be the key of a lock, though it goes with %q", s1, key1)
		}
		if names.HasHashTag(key1) && !strings.HasPrefix(s1, key1) {
			t.Errorf("the sibling %q of %q is not under its prefix", s1, key1)
		}
		if (key1 != key2 || for1 != for2) && s1 == s2 {
			t.Errorf("%q of %q and %q of %q share %q", for1, key1, for2, key2, s1)
		}
	})
}

// Only what goes with a lock looks like it: a key that is no sibling may be a lock's.
func TestOnlySiblingsLookLikeOne(t *testing.T) {
	purposes := []string{"fence", "q1", "q2", "h2"}
	like := rapid.Custom(func(t *rapid.T) string {
		of := keyGen.Draw(t, "of")
		name := rapid.SampledFrom(append(purposes, "q3", "", "fence-t")).Draw(t, "name")
		return of + rapid.SampledFrom([]string{":redigolock-", "redigolock-", "}:redigolock-"}).Draw(t, "joint") + name +
			rapid.SampledFrom([]string{"", "-t"}).Draw(t, "end")
	})
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.OneOf(keyGen, like).Draw(t, "key")
		found := false
		for i := range key {
			for _, name := range purposes {
				for _, of := range []string{key[:i], strings.TrimPrefix(strings.TrimSuffix(key[:i], "}"), "{")} {
					s, ok := names.Sibling(of, name)
					found = found || ok && of != "" && s == key
				}
			}
		}
		if found != names.IsSibling(key) {
			t.Errorf("%q goes with a lock: %v, it looks like it: %v", key, found, !found)
		}
	})
}

func TestAKeyWithoutPossibleSlotHasNoSibling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := keyGen.Draw(t, "key")
		_, ok := names.Sibling(key, "fence")
		// No tag and a '}': "{" + key + "}" would be hashed by less than the key.
		hopeless := strings.Contains(key, "}") && names.Slot(key) == crc16(key)%names.Slots && !names.HasHashTag(key)
		if hopeless == ok {
			t.Errorf("key %q has a sibling: %v", key, ok)
		}
	})
}
