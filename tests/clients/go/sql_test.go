// Package clients holds the server against the Go ADBC driver, as a program that only knows database/sql uses it.
//
// TICKLAKE_DSN is what sql.Open takes, of a server whose tables stand still.
package clients

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/apache/arrow-adbc/go/adbc/sqldriver/flightsql"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

const priceScale = 12

func open(t *testing.T) *sql.DB {
	t.Helper()
	source := os.Getenv("TICKLAKE_DSN")
	if source == "" {
		t.Fatal("TICKLAKE_DSN names no server")
	}
	db, err := sql.Open("flightsql", source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func TestRowsOfABar(t *testing.T) {
	var symbol string
	var start time.Time
	var open decimal128.Num
	var trades int64
	var closed bool
	row := openedRow(t, "SELECT symbol, window_start, open, trade_count, is_closed FROM gold.ohlcv_1m ORDER BY venue, symbol, window_start LIMIT 1")
	if err := row.Scan(&symbol, &start, &open, &trades, &closed); err != nil {
		t.Fatal(err)
	}
	if symbol == "" || trades < 1 || open.Sign() <= 0 {
		t.Fatalf("%s %v %v", symbol, trades, open.ToString(priceScale))
	}
	if start.UTC().Second() != 0 || start.Year() < 2020 {
		t.Fatalf("a window starts at %v", start)
	}
}

func openedRow(t *testing.T, query string, arguments ...any) *sql.Row {
	t.Helper()
	return open(t).QueryRowContext(t.Context(), query, arguments...)
}

func TestParameters(t *testing.T) {
	db := open(t)
	count := func(query string, arguments ...any) int64 {
		t.Helper()
		return counted(t, db, query, arguments...)
	}
	want := count("SELECT count(*) FROM gold.ohlcv_1m WHERE symbol = 'BTC-USDT' AND trade_count >= 1")
	if want == 0 {
		t.Fatal("no bars")
	}
	for _, query := range []string{
		"SELECT count(*) FROM gold.ohlcv_1m WHERE symbol = ? AND trade_count >= ?",
		"SELECT count(*) FROM gold.ohlcv_1m WHERE trade_count >= $2 AND symbol = $1",
	} {
		if got := count(query, "BTC-USDT", int64(1)); got != want {
			t.Errorf("%s: %d, not %d", query, got, want)
		}
	}
	if got := count("SELECT count(*) FROM gold.ohlcv_1m WHERE symbol = ?", "no such symbol"); got != 0 {
		t.Errorf("%d bars of no symbol", got)
	}
	// The driver cannot build an arrow.Timestamp parameter; a time goes as text.
	since := "SELECT count(*) FROM gold.ohlcv_1m WHERE window_start >= CAST(? AS TIMESTAMP)"
	if got := count(since, "2025-03-25T23:09:00Z"); got != 6 {
		t.Errorf("%d bars since 23:09, not 6", got)
	}
}

// Parameters need a statement that is prepared, and the driver closes it with its first result: one for each query.
func counted(t *testing.T, db *sql.DB, query string, arguments ...any) (n int64) {
	t.Helper()
	statement, err := db.PrepareContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer statement.Close()
	if err := statement.QueryRowContext(t.Context(), arguments...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// The server sends empty batches before the first row and between them.
func TestSlowQuery(t *testing.T) {
	rows, err := open(t).QueryContext(t.Context(), os.Getenv("TICKLAKE_SLOW_SQL"))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		var name string
		var n int64
		if err := rows.Scan(&name, &n); err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s=%d", name, n))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	if want := os.Getenv("TICKLAKE_SLOW_ROWS"); want == "" || strings.Join(got, ",") != want {
		t.Errorf("%v, not %s", got, want)
	}
}

func TestEmptyResultHasColumns(t *testing.T) {
	rows, err := open(t).QueryContext(t.Context(), "SELECT symbol, open FROM gold.ohlcv_1m WHERE false")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil || strings.Join(columns, ",") != "symbol,open" {
		t.Fatalf("%v %v", columns, err)
	}
	if rows.Next() || rows.Err() != nil {
		t.Fatalf("a row, or %v", rows.Err())
	}
}

func TestMistakesAreTyped(t *testing.T) {
	db := open(t)
	for query, part := range map[string]string{
		"SELECT * FROM gold.no_such_table": "no_such_table",
		"SELEC 1":                          "SELEC",
		"DROP TABLE gold.ohlcv_1m":         "read",
	} {
		_, err := db.QueryContext(t.Context(), query)
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v", query, err)
		}
	}
}

func TestCancelledQueryEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	began := time.Now()
	var n int64
	err := open(t).QueryRowContext(ctx, "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b").Scan(&n)
	if err == nil || time.Since(began) > 20*time.Second {
		t.Fatalf("%d after %v: %v", n, time.Since(began), err)
	}
	if !errors.Is(err, context.DeadlineExceeded) && !strings.Contains(strings.ToLower(err.Error()), "deadline") && !strings.Contains(strings.ToLower(err.Error()), "cancel") {
		t.Fatalf("not the deadline: %v", err)
	}
}
