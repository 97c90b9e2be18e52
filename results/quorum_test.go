package results

import (
	"os"
	"strings"
	"testing"
)

// The page of the quorum's figures has the table that BenchmarkQuorum wrote.
func TestQuorumPageHasItsTable(t *testing.T) {
	page, err := os.ReadFile("quorum/README.md")
	if err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile("quorum/table.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), strings.TrimSpace(string(table))) {
		t.Error("results/quorum/README.md does not have table.md: copy it")
	}
}
