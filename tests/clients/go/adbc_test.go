package clients

import (
	"os"
	"testing"

	"github.com/apache/arrow-adbc/go/adbc"
	"github.com/apache/arrow-adbc/go/adbc/driver/flightsql"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// What database/sql has no words for: metadata, partitions, the session.
func connect(t *testing.T, options map[string]string) adbc.Connection {
	t.Helper()
	options[adbc.OptionKeyURI] = "grpc+tcp://" + os.Getenv("TICKLAKE_SERVER")
	database, err := flightsql.NewDriver(memory.DefaultAllocator).NewDatabase(options)
	if err != nil {
		t.Fatal(err)
	}
	connection, err := database.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := connection.Close(); err != nil {
			t.Error(err)
		}
		if err := database.Close(); err != nil {
			t.Error(err)
		}
	})
	return connection
}

// The values of the first column, as text.
func texts(t *testing.T, reader array.RecordReader, err error) (values []string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Release()
	for reader.Next() {
		column := reader.RecordBatch().Column(0)
		for i := range column.Len() {
			values = append(values, column.ValueStr(i))
		}
	}
	if err := reader.Err(); err != nil {
		t.Fatal(err)
	}
	return values
}

func TestMetadata(t *testing.T) {
	connection := connect(t, map[string]string{})
	types, err := connection.GetTableTypes(t.Context())
	if got := texts(t, types, err); len(got) != 2 || got[0] != "TABLE" || got[1] != "VIEW" {
		t.Errorf("table types %v", got)
	}
	info, err := connection.GetInfo(t.Context(), []adbc.InfoCode{adbc.InfoVendorName, adbc.InfoVendorVersion, adbc.InfoVendorArrowVersion})
	if got := texts(t, info, err); len(got) != 3 {
		t.Errorf("info %v", got)
	}
	schema, table := "gold", "ohlcv_1m"
	objects, err := connection.GetObjects(t.Context(), adbc.ObjectDepthColumns, nil, &schema, &table, nil, nil)
	if got := texts(t, objects, err); len(got) != 1 || got[0] != "ticklake" {
		t.Errorf("catalogs %v", got)
	}
	columns, err := connection.GetTableSchema(t.Context(), nil, &schema, table)
	if err != nil {
		t.Fatal(err)
	}
	open, found := columns.FieldsByName("open")
	if !found || !arrow.TypeEqual(open[0].Type, &arrow.Decimal128Type{Precision: 28, Scale: 12}) {
		t.Errorf("open is %v", open)
	}
	if name, _ := open[0].Metadata.GetValue("ARROW:FLIGHT:SQL:TYPE_NAME"); name != "DECIMAL" {
		t.Errorf("the type of open is called %q", name)
	}
}

func TestPartitionsOutliveTheirStatement(t *testing.T) {
	connection := connect(t, map[string]string{})
	statement, err := connection.NewStatement()
	if err != nil {
		t.Fatal(err)
	}
	if err := statement.SetSqlQuery("SELECT symbol FROM gold.ohlcv_1m ORDER BY symbol"); err != nil {
		t.Fatal(err)
	}
	schema, partitions, _, err := statement.ExecutePartitions(t.Context())
	if err != nil || partitions.NumPartitions != 1 || schema.Field(0).Name != "symbol" {
		t.Fatalf("%v %v %v", schema, partitions, err)
	}
	if err := statement.Close(); err != nil {
		t.Fatal(err)
	}
	rows, err := connect(t, map[string]string{}).ReadPartition(t.Context(), partitions.PartitionIDs[0])
	if got := texts(t, rows, err); len(got) != 12 || got[0] != "BTC-USDT" || got[11] != "SOL-USDT" {
		t.Errorf("%v", got)
	}
}

// Kept in a cookie where the driver is told to keep cookies; told to its user where it is not.
func TestSessionOptions(t *testing.T) {
	const schemaOption = adbc.OptionKeyCurrentDbSchema
	keeps := connect(t, map[string]string{flightsql.OptionCookieMiddleware: adbc.OptionValueEnabled})
	options, ok := keeps.(adbc.PostInitOptions)
	if !ok {
		t.Fatal("the connection takes no options")
	}
	if err := options.SetOption(schemaOption, "silver"); err != nil {
		t.Fatal(err)
	}
	statement, err := keeps.NewStatement()
	if err != nil {
		t.Fatal(err)
	}
	defer statement.Close()
	if err := statement.SetSqlQuery("SELECT count(*) FROM trades WHERE symbol = 'SOL-USDT'"); err != nil {
		t.Fatal(err)
	}
	rows, _, err := statement.ExecuteQuery(t.Context())
	if got := texts(t, rows, err); len(got) != 1 || got[0] == "0" {
		t.Errorf("%v", got)
	}
	forgets, ok := connect(t, map[string]string{}).(adbc.PostInitOptions)
	if !ok {
		t.Fatal("the connection takes no options")
	}
	if err := forgets.SetOption(schemaOption, "silver"); err == nil {
		t.Error("options were set that nobody keeps")
	}
}
