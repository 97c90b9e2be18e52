package fenced_test

import (
	"database/sql"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/examples/fenced"
	"github.com/redigolock/redigolock/locktest"
	_ "modernc.org/sqlite"
)

func sqlite(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "accounts.db")+
		"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// onEach runs a test on each database, with a table that was there before its migration, and the account 7, whose balance is 100.
func onEach(t *testing.T, test func(t *testing.T, db *sql.DB)) {
	for name, open := range map[string]func(*testing.T) *sql.DB{"sqlite": sqlite, "postgres": postgres} {
		t.Run(name, func(t *testing.T) {
			db := open(t)
			for _, statement := range []string{
				`CREATE TABLE account (id TEXT PRIMARY KEY, balance BIGINT NOT NULL)`,
				`INSERT INTO account (id, balance) VALUES ('7', 100)`,
				`CREATE TABLE entry (place BIGINT PRIMARY KEY, amount BIGINT NOT NULL)`,
				fenced.Schema,
			} {
				if _, err := db.ExecContext(t.Context(), statement); err != nil {
					t.Fatalf("%s: %v", statement, err)
				}
			}
			test(t, db)
		})
	}
}

// holder obtains the lock of account 7, and a number.
func holder(t *testing.T, locks *redigolock.Locker) int64 {
	t.Helper()
	k, err := locks.TryAcquire(t.Context(), "lock:account:7", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	fence, err := k.Fence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return fence
}

// twoHolders returns the number of a holder that stalls and loses its lock, and that of the next.
func twoHolders(t *testing.T) (older, newer int64) {
	t.Helper()
	server := locktest.Start(t)
	server.Leave("lock:account:7")
	older = holder(t, server.Locker())
	server.Lose("lock:account:7")
	return older, holder(t, server.Locker())
}

func balance(t *testing.T, db *sql.DB, id string) (n int64) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), `SELECT balance FROM account WHERE id = $1`, id).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Both holders read 100 and draw from it; the older stalls before it writes.
func TestAHolderThatStallsIsRefused(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		ctx := t.Context()
		older, newer := twoHolders(t)
		first, err := fenced.Read(ctx, db, "7", older)
		if err != nil {
			t.Fatal(err)
		}
		second, err := fenced.Read(ctx, db, "7", newer)
		if err != nil {
			t.Fatal(err)
		}
		if err := fenced.Write(ctx, db, "7", first-30, older); !errors.Is(err, redigolock.ErrFenced) {
			t.Errorf("the older holder writes: %v", err)
		}
		if _, err := fenced.Read(ctx, db, "7", older); !errors.Is(err, redigolock.ErrFenced) {
			t.Errorf("the older holder reads: %v", err)
		}
		if err := fenced.Create(ctx, db, "7", 0, older); !errors.Is(err, redigolock.ErrFenced) {
			t.Errorf("the older holder creates: %v", err)
		}
		for range 2 { // a holder may write more than once
			if err := fenced.Write(ctx, db, "7", second-50, newer); err != nil {
				t.Errorf("the newer holder writes: %v", err)
			}
		}
		if n := balance(t, db, "7"); n != 50 {
			t.Errorf("the balance is %d, want 50", n)
		}
	})
}

// Why Read leaves the number in the row: after a plain SELECT of the newer holder the older one still writes.
func TestAPlainSelectDoesNotFence(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		older, newer := twoHolders(t)
		read := balance(t, db, "7")
		if err := fenced.Write(t.Context(), db, "7", 70, older); err != nil {
			t.Fatalf("it is fenced after all: %v", err)
		}
		if err := fenced.Write(t.Context(), db, "7", read-50, newer); err != nil {
			t.Fatal(err)
		}
		if n := balance(t, db, "7"); n != 50 {
			t.Fatalf("the balance is %d; both have drawn, and it is not 50", n)
		}
	})
}

func TestNoSuchRowIsNotFenced(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		if err := fenced.Write(t.Context(), db, "8", 1, 1); !errors.Is(err, sql.ErrNoRows) || errors.Is(err, redigolock.ErrFenced) {
			t.Errorf("write: %v", err)
		}
		if _, err := fenced.Read(t.Context(), db, "8", 1); !errors.Is(err, sql.ErrNoRows) || errors.Is(err, redigolock.ErrFenced) {
			t.Errorf("read: %v", err)
		}
		if err := fenced.Create(t.Context(), db, "8", 1, 1); err != nil {
			t.Errorf("create: %v", err)
		}
		if n := balance(t, db, "8"); n != 1 {
			t.Errorf("the balance is %d, want 1", n)
		}
	})
}

// Inserts leave no row to compare with.
func TestGuardedInserts(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		older, newer := twoHolders(t)
		insert := func(fence, amount int64, fails error) error {
			return fenced.Guarded(t.Context(), db, "account:7", fence, func(tx *sql.Tx) error {
				_, err := tx.ExecContext(t.Context(), `INSERT INTO entry (place, amount) SELECT count(*), CAST($1 AS BIGINT) FROM entry`, amount)
				return errors.Join(err, fails)
			})
		}
		failed := errors.New("failed")
		if err := insert(older, 1, nil); err != nil {
			t.Error(err)
		}
		if err := insert(newer, 10, failed); !errors.Is(err, failed) {
			t.Error(err)
		}
		if err := insert(older, 1, nil); err != nil { // what was rolled back has fenced nobody
			t.Error(err)
		}
		if err := insert(newer, 100, nil); err != nil {
			t.Error(err)
		}
		if err := insert(older, 1, nil); !errors.Is(err, redigolock.ErrFenced) {
			t.Errorf("the older holder inserts: %v", err)
		}
		var sum int64
		if err := db.QueryRowContext(t.Context(), `SELECT sum(amount) FROM entry`).Scan(&sum); err != nil {
			t.Fatal(err)
		}
		if sum != 102 {
			t.Errorf("the entries are %d in sum, want 102", sum)
		}
	})
}

// Holders that all write at the same time: the highest number wins, and the entries are in the order of the numbers.
func TestHoldersAtTheSameTime(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		const n = 60
		var all sync.WaitGroup
		for _, i := range rand.Perm(n) {
			fence := int64(i + 1)
			all.Go(func() {
				if err := fenced.Write(t.Context(), db, "7", fence, fence); err != nil && !errors.Is(err, redigolock.ErrFenced) {
					t.Error(err)
				}
				err := fenced.Guarded(t.Context(), db, "account:7", fence, func(tx *sql.Tx) error {
					_, err := tx.ExecContext(t.Context(),
						`INSERT INTO entry (place, amount) SELECT count(*), CAST($1 AS BIGINT) FROM entry`, fence)
					return err
				})
				if err != nil && !errors.Is(err, redigolock.ErrFenced) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if got := balance(t, db, "7"); got != n {
			t.Errorf("the number %d has won, want %d", got, n)
		}
		entries, err := db.QueryContext(t.Context(), `SELECT amount FROM entry ORDER BY place`)
		if err != nil {
			t.Fatal(err)
		}
		defer entries.Close()
		var last, count int64
		for entries.Next() {
			before := last
			if err := entries.Scan(&last); err != nil {
				t.Fatal(err)
			}
			if count++; last <= before {
				t.Errorf("%d has written after %d", last, before)
			}
		}
		if err := entries.Err(); err != nil {
			t.Fatal(err)
		}
		if last != n {
			t.Errorf("the last of %d entries is %d, want %d", count, last, n)
		}
	})
}
