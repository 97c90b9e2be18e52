package bench_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/figures"
)

// A fake takes per an op, times what drift says about the moment.
type fake struct {
	per   time.Duration
	drift func() float64
	err   error
}

func (f fake) Name() string { return "Fake" }

func (f fake) Run(context.Context) (bench.Result, error) {
	return bench.Result{Ops: 1000, Elapsed: time.Duration(1000 * float64(f.per) * f.drift())}, f.err
}

func still() float64 { return 1 }

func TestRoundsRunEachOnceARoundInChangingOrder(t *testing.T) {
	const rounds, cells = 50, 6
	list := slices.Repeat([]bench.Workload{fake{per: time.Microsecond, drift: still}}, cells)
	orders := make([][]int, rounds)
	begun := 0
	err := bench.Rounds(context.Background(), rounds, list,
		func(round, i int) { begun++ },
		func(i int, _ bench.Result) error {
			orders[(begun-1)/cells] = append(orders[(begun-1)/cells], i)
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
	err := bench.Rounds(context.Background(), 3, []bench.Workload{fake{per: 1, drift: still, err: broken}},
		func(int, int) { n++ }, nil)
	if !errors.Is(err, broken) || n != 1 {
		t.Errorf("%v after %d runs", err, n)
	}
	err = bench.Rounds(context.Background(), 3, []bench.Workload{fake{per: 1, drift: still}}, nil,
		func(int, bench.Result) error { return broken })
	if !errors.Is(err, broken) {
		t.Errorf("the error of done became %v", err)
	}
}

// The machine gets slower from run to run; the ratio of neighbours stays. Without the shuffle it would be biased.
func TestPairedRatiosSurviveADriftOfTheMachine(t *testing.T) {
	slow := 1.0
	drift := func() float64 { slow *= 1.002; return slow }
	list := []bench.Workload{fake{per: time.Microsecond, drift: drift}, fake{per: time.Microsecond, drift: drift},
		fake{per: 2 * time.Microsecond, drift: drift}}
	perOp := make([][]float64, len(list))
	err := bench.Rounds(context.Background(), 400, list, nil, func(i int, r bench.Result) error {
		perOp[i] = append(perOp[i], r.PerOp())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range map[int]float64{1: 1, 2: 2} {
		ratios := make([]float64, len(perOp[i]))
		for j := range ratios {
			ratios[j] = perOp[i][j] / perOp[0][j]
		}
		r := figures.Summarize(ratios)
		if math.Abs(r.Center-want) > 0.01*want || r.Low > want*1.005 || r.High < want*0.995 {
			t.Errorf("ratio %d: %+v, want %v", i, r, want)
		}
	}
}
