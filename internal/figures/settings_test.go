package figures_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/redigolock/redigolock/internal/figures"
)

func TestEverySettingOfEveryFileIsKept(t *testing.T) {
	other := strings.Replace(raw, "cpu: x", "cpu: y\ncommit: 17", 1)
	s, err := figures.Read(write(t, raw), write(t, other), write(t, raw))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Setting("cpu"); !slices.Equal(got, []string{"x", "y"}) {
		t.Errorf("cpu: %q", got)
	}
	if got := s.Setting("commit"); !slices.Equal(got, []string{"17"}) {
		t.Errorf("commit: %q", got)
	}
	if got := s.Setting("host"); got != nil || len(s.Settings) != 2 {
		t.Errorf("host: %q of %q", got, s.Settings)
	}
}
