package bench_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/redigolock/redigolock/bench"
)

// A fake workload says with what it fails.
type fake struct{ err error }

func (fake) Name() string { return "Fake" }

func (f fake) Run(context.Context) (bench.Result, error) { return bench.Result{}, f.err }

func TestRoundsRunEachOnceARoundInChangingOrder(t *testing.T) {
	const rounds, cells = 50, 6
	list := slices.Repeat([]bench.Workload{fake{}}, cells)
	orders := make([][]int, rounds)
	n := 0
	err := bench.Rounds(context.Background(), rounds, list,
		func(round, i int) { n = round },
		func(i int, _ bench.Result) error {
			orders[n] = append(orders[n], i)
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	same := 0
	for _, order := range orders {
		if slices.Equal(order, orders[0]) {
			same++
		}
		if slices.Sort(order); !slices.Equal(order, []int{0, 1, 2, 3, 4, 5}) {
			t.Fatalf("a round ran %v", order)
		}
	}
	if same > rounds/2 { // of 720 orders
		t.Errorf("%d of %d rounds had the same order", same, rounds)
	}
}

func TestRoundsEndAtTheFirstError(t *testing.T) {
	broken := errors.New("broken")
	n := 0
	err := bench.Rounds(context.Background(), 3, []bench.Workload{fake{broken}}, func(int, int) { n++ }, nil)
	if !errors.Is(err, broken) || n != 1 {
		t.Errorf("%v after %d runs", err, n)
	}
	err = bench.Rounds(context.Background(), 3, []bench.Workload{fake{}}, nil, func(int, bench.Result) error { return broken })
	if !errors.Is(err, broken) {
		t.Errorf("the error of done became %v", err)
	}
}
