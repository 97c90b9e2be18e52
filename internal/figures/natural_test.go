package figures_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/redigolock/redigolock/internal/figures"
)

func TestNamesAreInTheOrderThatPeopleExpect(t *testing.T) {
	for _, want := range [][]string{
		{"1", "2", "16", "128", "1024"},
		{"0s", "500ms", "5s", "30s", "1m"},
		{"floor-pool2", "floor-pool16", "locker", "locker-mux1", "locker-mux4", "locker-mux16", "setnx"},
		{"", "a", "a1", "a01", "a1b", "b"},
		{"10%", "80%", "95%"},
		{"hot", "own", "zipf10000"},
	} {
		got := slices.Clone(want)
		r := rand.New(rand.NewPCG(1, 2))
		for range 20 {
			r.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
			if slices.SortFunc(got, figures.Natural); !slices.Equal(got, want) {
				t.Fatalf("%q, want %q", got, want)
			}
		}
	}
}
