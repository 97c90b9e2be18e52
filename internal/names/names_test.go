package names_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/redigolock/redigolock/internal/names"
)

// crc16 is that of Redis Cluster (XMODEM), from its specification.
func crc16(s string) (crc uint16) {
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
	return crc
}

// clusterSlot follows the specification's text, not our code.
func clusterSlot(key string) uint16 {
	if open := strings.IndexByte(key, '{'); open >= 0 {
		if shut := strings.IndexByte(key[open+1:], '}'); shut > 0 {
			key = key[open+1 : open+1+shut]
		}
	}
	return crc16(key) % 16384
}

func TestClusterSlotOfTheTestIsTheServers(t *testing.T) {
	for key, slot := range map[string]uint16{"123456789": 0x31C3, "foo": 12182, "{foo}bar": 12182, "bar{foo}": 12182} {
		if got := clusterSlot(key); got != slot%16384 {
			t.Errorf("slot of %q: %d, want %d", key, got, slot%16384)
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
		if clusterSlot(s1) != clusterSlot(key1) {
			t.Errorf("%q is in slot %d, its sibling %q in %d", key1, clusterSlot(key1), s1, clusterSlot(s1))
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
		hopeless := strings.Contains(key, "}") && clusterSlot(key) == crc16(key)%16384 && !names.HasHashTag(key)
		if hopeless == ok {
			t.Errorf("key %q has a sibling: %v", key, ok)
		}
	})
}
