// Package grafana holds the server against what Grafana's two Flight SQL clients send and draw. Each client has a test program of its own, for
// both libraries register the same messages.
//
// TICKLAKE_SERVER is the address of a server with the recorded market. TICKLAKE_HEADER (name=value) and TICKLAKE_AUTHORIZATION are what the settings of
// a data source make of themselves; with TICKLAKE_TLS the server's authority is one of the system's (SSL_CERT_FILE).
package grafana

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// Frame is what Grafana draws: it takes every timestamp for nanoseconds and leaves columns of other types empty.
type Frame struct {
	Times   []time.Time
	Numbers []float64
	Texts   []string
}

// Client runs one query over one endpoint.
type Client func(ctx context.Context, t *testing.T, query string) Frame

const (
	from = "cast('2025-03-25T23:07:00Z' as timestamp)"
	to   = "cast('2025-03-25T23:09:59Z' as timestamp)"
	bin  = "date_bin(interval '60 second', window_start, timestamp '1970-01-01T00:00:00Z')"
)

var firstWindow = time.Date(2025, 3, 25, 23, 7, 0, 0, time.UTC)

// DialOptions are those of a server, with or without TLS.
var DialOptions = []grpc.DialOption{grpc.WithTransportCredentials(transport())}

func transport() credentials.TransportCredentials {
	if os.Getenv("TICKLAKE_TLS") == "" {
		return insecure.NewCredentials()
	}
	return credentials.NewClientTLSFromCert(nil, "")
}

// Server is the address under test.
func Server(t *testing.T) string {
	t.Helper()
	address := os.Getenv("TICKLAKE_SERVER")
	if address == "" {
		t.Fatal("TICKLAKE_SERVER names no server")
	}
	return address
}

// The InfluxDB source can send no header of its own but `database`.
func withHeaders(t *testing.T) context.Context {
	name, value, _ := strings.Cut(setting("TICKLAKE_HEADER", "database=ticklake;types=grafana"), "=")
	authorization := setting("TICKLAKE_AUTHORIZATION", "Bearer None")
	if login, found := strings.CutPrefix(authorization, "Basic "); found {
		authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(login))
	}
	return metadata.AppendToOutgoingContext(t.Context(), name, value, "authorization", authorization)
}

// LogIn is user and password of the data source; a server without users takes any.
func LogIn() (user, password string) {
	return setting("TICKLAKE_USER", "ada"), setting("TICKLAKE_PASSWORD", "any")
}

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// CheckMacros runs what the macros are written out to.
func CheckMacros(t *testing.T, query Client) {
	t.Helper()
	bars := " FROM gold.ohlcv_1m WHERE symbol = 'BTC-USDT' AND "
	for name, sql := range map[string]string{
		"timeFrom and timeTo": "SELECT window_start AS time, trade_count" + bars + "window_start >= " + from + " AND window_start <= " + to + " ORDER BY time",
		"timeRange":           "SELECT window_start AS time, trade_count" + bars + "window_start >= '2025-03-25T23:07:00Z' AND window_start <= '2025-03-25T23:09:59Z' ORDER BY time",
		"dateBin":             "SELECT " + bin + " AS time, sum(trade_count) AS n" + bars + "window_start < " + to + " GROUP BY time ORDER BY time",
		"dateBinAlias":        "SELECT " + bin + " as window_start_binned, sum(trade_count) AS n" + bars + "window_start < " + to + " GROUP BY window_start_binned ORDER BY window_start_binned",
		"interval":            "SELECT window_start AS time, trade_count" + bars + "window_start > " + to + " - interval '180 second' AND window_start <= " + to + " ORDER BY time",
	} {
		got := query(withHeaders(t), t, sql)
		if len(got.Times) != 3 || !got.Times[0].Equal(firstWindow) || !got.Times[2].Equal(firstWindow.Add(2*time.Minute)) {
			t.Errorf("%s: times %v", name, got.Times)
		}
		if len(got.Numbers) != 3 || got.Numbers[0] != 1187 || got.Numbers[1] != 1305 || got.Numbers[2] != 4150 {
			t.Errorf("%s: numbers %v", name, got.Numbers)
		}
	}
}

// CheckSlow runs what the server sends empty batches before and between.
func CheckSlow(t *testing.T, query Client) {
	t.Helper()
	got := query(withHeaders(t), t, os.Getenv("TICKLAKE_SLOW_SQL"))
	var rows []string
	for i, name := range got.Texts {
		rows = append(rows, fmt.Sprintf("%s=%.0f", name, got.Numbers[i]))
	}
	slices.Sort(rows)
	if want := os.Getenv("TICKLAKE_SLOW_ROWS"); want == "" || strings.Join(rows, ",") != want {
		t.Errorf("%v, not %s", rows, want)
	}
}

// CheckFrames runs the rest: grouping, types, health, nothing, the list of tables.
func CheckFrames(t *testing.T, query Client) {
	t.Helper()
	// Grouped by the parts of the time, as $__timeGroup writes them.
	parts := query(withHeaders(t), t, "SELECT datepart('minute', window_start), sum(trade_count) FROM gold.ohlcv_1m GROUP BY datepart('minute', window_start) ORDER BY 1")
	if len(parts.Numbers) != 8 || parts.Numbers[0] != 7 {
		t.Errorf("timeGroup: %v", parts.Numbers)
	}
	// Decimals arrive as floats, dates as times, labels as text.
	row := query(withHeaders(t), t, "SELECT date, symbol, open FROM gold.ohlcv_1m WHERE symbol = 'SOL-USDT' ORDER BY window_start LIMIT 1")
	if len(row.Times) != 1 || !row.Times[0].Equal(time.Date(2025, 3, 25, 0, 0, 0, 0, time.UTC)) || row.Texts[0] != "SOL-USDT" || row.Numbers[0] != 143.54 {
		t.Errorf("a row: %+v", row)
	}
	if health := query(withHeaders(t), t, "select 1"); len(health.Numbers) != 1 {
		t.Errorf("health: %+v", health)
	}
	if none := query(withHeaders(t), t, "SELECT window_start AS time, open FROM gold.ohlcv_1m WHERE false"); len(none.Times) != 0 {
		t.Errorf("rows of nothing: %+v", none)
	}
	// The builder of the InfluxDB source asks for the tables of database().
	for _, schema := range []string{"'gold'", "database()"} {
		tables := query(withHeaders(t), t, "SELECT table_name FROM information_schema.tables WHERE table_schema = "+schema+" ORDER BY table_name")
		if !slices.Equal(tables.Texts, []string{"latest", "ohlcv_1m", "ohlcv_5m", "ohlcv_revisions"}) {
			t.Errorf("tables of %s: %v", schema, tables.Texts)
		}
	}
}
