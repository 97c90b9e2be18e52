// Package fenced is a recipe: how the tables of an SQL database refuse a holder of a lock that comes too late, because it stalled,
// and another holder has begun. The statements are for PostgreSQL and SQLite alike. Copy what you need.
//
// Each func takes a fencing number, which is that of [redigolock.Lock.Fence], asked for once when the work begins. An error that is
// [redigolock.ErrFenced] says that there is a newer holder: nothing was written, and the work must stop.
package fenced

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"

	"github.com/redigolock/redigolock"
)

//go:embed schema.sql
var Schema string // what the tables need

// Read returns a balance for a holder that goes on to change it. It leaves the fencing number in the row, so that an older holder can
// change nothing from then on. A plain SELECT does not: an older holder could write between it and the newer holder's write,
// which would then be based on what is there no longer.
func Read(ctx context.Context, db *sql.DB, id string, fence int64) (balance int64, err error) {
	err = db.QueryRowContext(ctx,
		`UPDATE account SET fence = $1 WHERE id = $2 AND fence <= $1 RETURNING balance`, fence, id).Scan(&balance)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, whyNoRow(ctx, db, id, fence)
	}
	return balance, err
}

// Write sets a balance.
func Write(ctx context.Context, db *sql.DB, id string, balance, fence int64) error {
	done, err := db.ExecContext(ctx,
		`UPDATE account SET balance = $1, fence = $2 WHERE id = $3 AND fence <= $2`, balance, fence, id)
	if n, err := rows(done, err); err != nil || n > 0 {
		return err
	}
	return whyNoRow(ctx, db, id, fence)
}

// whyNoRow tells why a statement has changed no row: sql.ErrNoRows, or ErrFenced. It looks a moment later, so it may find that the row has
// come meanwhile; then the caller may try again.
func whyNoRow(ctx context.Context, db *sql.DB, id string, fence int64) error {
	var seen int64
	if err := db.QueryRowContext(ctx, `SELECT fence FROM account WHERE id = $1`, id).Scan(&seen); err != nil {
		return fmt.Errorf("account %s: %w", id, err)
	}
	if seen > fence {
		return fmt.Errorf("account %s: %w: its number is %d, and %d was there", id, redigolock.ErrFenced, fence, seen)
	}
	return fmt.Errorf("account %s was inserted just now", id)
}

// Create inserts a row, or sets its balance if it is there. Here no row changed means fenced, and nothing else.
func Create(ctx context.Context, db *sql.DB, id string, balance, fence int64) error {
	done, err := db.ExecContext(ctx,
		`INSERT INTO account (id, balance, fence) VALUES ($1, $2, $3)
		ON CONFLICT (id) DO UPDATE SET balance = excluded.balance, fence = excluded.fence WHERE account.fence <= excluded.fence`,
		id, balance, fence)
	if n, err := rows(done, err); err != nil || n > 0 {
		return err
	}
	return fmt.Errorf("account %s: %w", id, redigolock.ErrFenced)
}

// Guarded runs a transaction of any statements for the holder of a lock: inserts and deletes, which leave no row to compare with,
// or changes of many rows. Its first statement compares the number in a row that is the lock's; that row stays locked
// until the transaction ends, so that a newer holder waits for it, and an older one is refused.
func Guarded(ctx context.Context, db *sql.DB, lock string, fence int64, f func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	done, err := tx.ExecContext(ctx,
		`INSERT INTO fence (lock, fence) VALUES ($1, $2)
		ON CONFLICT (lock) DO UPDATE SET fence = excluded.fence WHERE fence.fence <= excluded.fence`, lock, fence)
	switch n, err := rows(done, err); {
	case err != nil:
		return err
	case n == 0:
		return fmt.Errorf("%s: %w", lock, redigolock.ErrFenced)
	}
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func rows(done sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return done.RowsAffected()
}
