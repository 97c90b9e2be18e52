package sim_test

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// remembers lists what a Locker, or a Quorum, still has in the maps and lists of its private state: each must be empty once nothing is left to do,
// or it would grow for ever.
func remembers(l any) (found []string) {
	v, seen := reflect.ValueOf(l).Elem(), map[uintptr]bool{}
	for i := range v.NumField() {
		if f := v.Type().Field(i); !f.IsExported() {
			look(v.Field(i), f.Name, seen, &found)
		}
	}
	return found
}

// mayStay are stocks that are bounded or used again, and what there is one of for each server.
var mayStay = regexp.MustCompile(`\.(held\.(ends|free)|tokens|source|self|replies|errs|renewRequests|met)\b`)

func look(v reflect.Value, path string, seen map[uintptr]bool, found *[]string) {
	if mayStay.MatchString(path) {
		return
	}
	switch v.Kind() {
	case reflect.Interface:
		if !v.IsNil() {
			look(v.Elem(), path, seen, found)
		}
	case reflect.Pointer:
		if !v.IsNil() && !seen[v.Pointer()] && ofTheLibrary(v.Type().Elem()) &&
			v.Type() != reflect.TypeFor[*redigolock.Locker]() && v.Type() != reflect.TypeFor[*redigolock.Quorum]() {
			seen[v.Pointer()] = true
			look(v.Elem(), path, seen, found)
		}
	case reflect.Struct:
		if !ofTheLibrary(v.Type()) {
			return
		}
		for i := range v.NumField() {
			look(v.Field(i), path+"."+v.Type().Field(i).Name, seen, found)
		}
	case reflect.Array:
		for i := range v.Len() {
			look(v.Index(i), fmt.Sprintf("%s[%d]", path, i), seen, found)
		}
	case reflect.Map, reflect.Slice:
		if strings.HasSuffix(path, ".lines") || strings.HasSuffix(path, ".nodes") { // one for each server
			for i := range v.Len() {
				look(v.Index(i), fmt.Sprintf("%s[%d]", path, i), seen, found)
			}
			return
		}
		if v.Len() > 0 {
			*found = append(*found, fmt.Sprintf("%s has %d", path, v.Len()))
		}
	}
}

func ofTheLibrary(t reflect.Type) bool {
	return t.PkgPath() == "" || strings.HasPrefix(t.PkgPath(), "github.com/redigolock/redigolock")
}

// TestRemembers shows that what is kept in maps and lists, also of an engine's, is seen.
func TestRemembers(t *testing.T) {
	bubble(t, func(t *testing.T, s *sim.Server) {
		for _, fair := range []bool{false, true} {
			l := &redigolock.Locker{Pool: s.Pool(), Fair: fair}
			k, err := l.Acquire(bg, "key", time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			k.KeepAlive(bg)
			synctest.Wait()
			if found := remembers(l); len(found) == 0 {
				t.Errorf("nothing is found of a lock that is kept alive, fair %v", fair)
			}
			_ = k.Release(bg)
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			if found := remembers(l); len(found) > 0 {
				t.Errorf("%v is left, fair %v", found, fair)
			}
			_ = l.Close()
		}
	})
}
