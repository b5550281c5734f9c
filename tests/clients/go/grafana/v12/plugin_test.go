// The Flight SQL plugin, which is on arrow-go v12.
package v12

import (
	"context"
	"testing"
	"time"

	"github.com/apache/arrow/go/v12/arrow"
	"github.com/apache/arrow/go/v12/arrow/array"
	"github.com/apache/arrow/go/v12/arrow/flight/flightsql"

	"ticklake/tests/clients/grafana"
)

func TestGrafanaFlightSQLPlugin(t *testing.T) {
	grafana.CheckMacros(t, query)
	grafana.CheckFrames(t, query)
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
