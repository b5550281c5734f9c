import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.Date;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Timestamp;
import java.sql.Types;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Calendar;
import java.util.List;
import java.util.TimeZone;

/**
 * What a JDBC program does, one command a line of standard input, words separated by tabs. An answer is lines of tab-separated values, the
 * first one names and types, and ends with an empty line; an error is the one line ERROR and its message.
 */
public class JdbcClient {
  public static void main(String[] arguments) throws Exception {
    try (Connection connection = DriverManager.getConnection(arguments[0]);
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
      for (String line; (line = commands.readLine()) != null; ) {
        try {
          answer(connection, line.split("\t", -1));
        } catch (SQLException | RuntimeException error) {
          System.out.println("ERROR\t" + String.valueOf(error.getMessage()).replaceAll("\\s+", " "));
        }
        System.out.println();
      }
    }
  }

  static void answer(Connection connection, String[] words) throws SQLException {
    DatabaseMetaData metadata = connection.getMetaData();
    switch (words[0]) {
      case "query" -> query(connection, words);
      case "statement" -> {
        try (var statement = connection.createStatement(); ResultSet rows = statement.executeQuery(words[1])) {
          print(rows);
        }
      }
      case "product" -> System.out.println(
          metadata.getDatabaseProductName() + "\t" + metadata.isReadOnly() + "\t" + metadata.getIdentifierQuoteString());
      case "catalogs" -> print(metadata.getCatalogs());
      case "schemas" -> print(metadata.getSchemas());
      case "types" -> print(metadata.getTableTypes());
      case "tables" -> print(metadata.getTables(null, words[1], words[2], words.length > 3 ? new String[] {words[3]} : null));
      case "columns" -> print(metadata.getColumns(null, words[1], words[2], null));
      case "keys" -> print(metadata.getPrimaryKeys(null, words[1], words[2]));
      case "shape" -> shape(keys(metadata, words));
      default -> throw new IllegalArgumentException("unknown command " + words[0]);
    }
  }

  static ResultSet keys(DatabaseMetaData metadata, String[] words) throws SQLException {
    return switch (words[1]) {
      case "primary" -> metadata.getPrimaryKeys(null, words[2], words[3]);
      case "imported" -> metadata.getImportedKeys(null, words[2], words[3]);
      case "exported" -> metadata.getExportedKeys(null, words[2], words[3]);
      default -> metadata.getCrossReference(null, words[2], words[3], null, words[2], words[3]);
    };
  }

  /** How many columns and rows there are. */
  static void shape(ResultSet opened) throws SQLException {
    try (ResultSet rows = opened) {
      int count = 0;
      while (rows.next()) {
        count++;
      }
      System.out.println(rows.getMetaData().getColumnCount() + "\t" + count);
    }
  }

  static void query(Connection connection, String[] words) throws SQLException {
    try (PreparedStatement statement = connection.prepareStatement(words[1])) {
      for (int i = 2; i < words.length; i++) {
        bind(statement, i - 1, words[i].charAt(0), words[i].substring(2));
      }
      try (ResultSet rows = statement.executeQuery()) {
        print(rows);
      }
    }
  }

  /** A parameter is a letter for its type, a colon, and its text. */
  static void bind(PreparedStatement statement, int index, char type, String text) throws SQLException {
    switch (type) {
      case 's' -> statement.setString(index, text);
      case 'i' -> statement.setInt(index, Integer.parseInt(text));
      case 'l' -> statement.setLong(index, Long.parseLong(text));
      case 'f' -> statement.setDouble(index, Double.parseDouble(text));
      case 'd' -> statement.setBigDecimal(index, new BigDecimal(text));
      case 'D' -> statement.setDate(index, Date.valueOf(text));
      case 'b' -> statement.setBoolean(index, Boolean.parseBoolean(text));
      case 't' -> statement.setTimestamp(index, Timestamp.from(Instant.parse(text)), utc());
      case 'n' -> statement.setNull(index, Types.VARCHAR);
      default -> throw new IllegalArgumentException("unknown type " + type);
    }
  }

  static void print(ResultSet opened) throws SQLException {
    // Left open, it makes the connection's close fail for memory that is still held.
    try (ResultSet rows = opened) {
      printOpen(rows);
    }
  }

  static void printOpen(ResultSet rows) throws SQLException {
    ResultSetMetaData columns = rows.getMetaData();
    List<String> line = new ArrayList<>();
    for (int i = 1; i <= columns.getColumnCount(); i++) {
      line.add(columns.getColumnLabel(i) + ":" + columns.getColumnType(i) + ":" + columns.getPrecision(i) + ":" + columns.getScale(i));
    }
    System.out.println(String.join("\t", line));
    while (rows.next()) {
      line.clear();
      for (int i = 1; i <= columns.getColumnCount(); i++) {
        line.add(text(rows, i, columns.getColumnType(i)));
      }
      System.out.println(String.join("\t", line));
    }
  }

  /** Times as microseconds since the epoch, decimals in full, NULL as such. */
  static String text(ResultSet rows, int column, int type) throws SQLException {
    String text =
        switch (type) {
          case Types.TIMESTAMP, Types.TIMESTAMP_WITH_TIMEZONE -> {
            // The driver gives UTC's wall clock as local time to whoever names UTC. Without a calendar it is wrong outside of UTC.
            Timestamp value = rows.getTimestamp(column, utc());
            yield value == null ? null : micros(value.toLocalDateTime());
          }
          case Types.DECIMAL, Types.NUMERIC -> {
            BigDecimal value = rows.getBigDecimal(column);
            yield value == null ? null : value.toPlainString();
          }
          default -> rows.getString(column);
        };
    return rows.wasNull() || text == null ? "NULL" : text.replaceAll("\\s", " ");
  }

  static String micros(LocalDateTime utc) {
    return String.valueOf(ChronoUnit.MICROS.between(Instant.EPOCH, utc.toInstant(ZoneOffset.UTC)));
  }

  static Calendar utc() {
    return Calendar.getInstance(TimeZone.getTimeZone("UTC"));
  }
}
