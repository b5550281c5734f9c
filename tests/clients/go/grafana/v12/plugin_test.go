// The Flight SQL plugin, which is on arrow-go v12.
package v12

import (
	"context"
	"testing"
	"time"

	"github.com/apache/arrow/go/v12/arrow"
	"github.com/apache/arrow/go/v12/arrow/array"
	"github.com/apache/arrow/go/v12/arrow/flight"
	"github.com/apache/arrow/go/v12/arrow/flight/flightsql"

	"ticklake/tests/clients/grafana"
)

func TestGrafanaFlightSQLPlugin(t *testing.T) {
	grafana.CheckMacros(t, query)
	grafana.CheckFrames(t, query)
}

// What the plugin asks for beside queries: a log-in by handshake, which it keeps, then what there is.
func TestLogInAndMetadata(t *testing.T) {
	client, err := flightsql.NewClient(grafana.Server(t), nil, nil, grafana.DialOptions...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	user, password := grafana.LogIn()
	ctx, err := client.Client.AuthenticateBasicToken(t.Context(), user, password)
	if err != nil {
		t.Fatal(err)
	}
	info, err := client.GetSqlInfo(ctx, []flightsql.SqlInfo{})
	if rows := read(ctx, t, client, info, err); rows < 90 {
		t.Errorf("%d infos", rows)
	}
	tables, err := client.GetTables(ctx, &flightsql.GetTablesOpts{TableTypes: []string{"BASE TABLE", "table"}})
	if rows := read(ctx, t, client, tables, err); rows < 4 {
		t.Errorf("%d tables", rows)
	}
	name := "ohlcv_1m"
	columns, err := client.GetTables(ctx, &flightsql.GetTablesOpts{TableNameFilterPattern: &name, IncludeSchema: true})
	if rows := read(ctx, t, client, columns, err); rows != 1 {
		t.Errorf("%d tables of that name", rows)
	}
	for range 2 {
		bars, err := client.Execute(ctx, "SELECT symbol FROM gold.ohlcv_1m")
		if rows := read(ctx, t, client, bars, err); rows != 12 {
			t.Errorf("%d bars", rows)
		}
	}
}

func read(ctx context.Context, t *testing.T, client *flightsql.Client, info *flight.FlightInfo, err error) (rows int64) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Endpoint) != 1 {
		t.Fatalf("%d endpoints", len(info.Endpoint))
	}
	reader, err := client.DoGet(ctx, info.Endpoint[0].Ticket)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Release()
	for reader.Next() {
		rows += reader.Record().NumRows()
	}
	if err := reader.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestSlowQuery(t *testing.T) {
	grafana.CheckSlow(t, query)
}

func query(ctx context.Context, t *testing.T, sql string) (out grafana.Frame) {
	t.Helper()
	client, err := flightsql.NewClient(grafana.Server(t), nil, nil, grafana.DialOptions...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	info, err := client.Execute(ctx, sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if len(info.Endpoint) != 1 {
		t.Fatalf("%d endpoints", len(info.Endpoint))
	}
	reader, err := client.DoGet(ctx, info.Endpoint[0].Ticket)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	defer reader.Release()
	for reader.Next() {
		for _, column := range reader.Record().Columns() {
			add(t, &out, column)
		}
	}
	if err := reader.Err(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return out
}

// What Grafana fills a frame with; of any other type it makes an empty column.
func add(t *testing.T, out *grafana.Frame, column arrow.Array) {
	t.Helper()
	for i := range column.Len() {
		switch values := column.(type) {
		case *array.Timestamp:
			out.Times = append(out.Times, time.Unix(0, int64(values.Value(i))))
		case *array.Float64:
			out.Numbers = append(out.Numbers, values.Value(i))
		case *array.Int64:
			out.Numbers = append(out.Numbers, float64(values.Value(i)))
		case *array.Int32:
			out.Numbers = append(out.Numbers, float64(values.Value(i)))
		case *array.String:
			out.Texts = append(out.Texts, values.Value(i))
		default:
			t.Fatalf("a column of %v stays empty", column.DataType())
		}
	}
}
