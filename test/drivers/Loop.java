import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;

/** The loop of loop.py with pgjdbc, which prepares a statement on the server when it has come several times. */
public final class Loop {
  private static final String CLIENT = System.getenv("CLIENT");
  private static final int PACE_MS = Integer.parseInt(System.getenv("PACE_MS"));
  private static final int PER_CONNECTION = Integer.parseInt(System.getenv("PER_CONNECTION"));
  private static final int AGAIN_MS = 100;
  private static final String URL =
      "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE")
          + "?sslmode=verify-full&sslrootcert=" + System.getenv("CA")
          + "&connectTimeout=35&sslResponseTimeout=35000&tcpKeepAlive=true";
  private static final String INSERT = "INSERT INTO " + System.getenv("TABLE") + " (id) VALUES (?)";

  public static void main(String[] arguments) throws InterruptedException {
    for (int number = 0; ; ) {
      long startMs = System.currentTimeMillis();
      try (Connection connection =
              DriverManager.getConnection(URL, System.getenv("PGUSER"), System.getenv("PGPASSWORD"));
          PreparedStatement statement = connection.prepareStatement(INSERT)) {
        boolean works = true;
        for (int written = 0; works && (PER_CONNECTION == 0 || written < PER_CONNECTION); written++)
          works = insert(statement, CLIENT + " " + number++);
      } catch (SQLException error) {
        report(null, "failed", startMs, error);
        Thread.sleep(AGAIN_MS);
      }
    }
  }

  /** False after an error: the connection has to be replaced. */
  private static boolean insert(PreparedStatement statement, String row) throws InterruptedException {
    long startMs = System.currentTimeMillis();
    try {
      statement.setString(1, row);
      statement.executeUpdate();
    } catch (SQLException error) {
      report(row, "unknown", startMs, error);
      return false;
    }
    report(row, "acknowledged", startMs, null);
    Thread.sleep(PACE_MS);
    return true;
  }

  private static void report(String row, String outcome, long startMs, SQLException error) {
    String message = error == null ? "" : ",\"message\":" + quoted(textOf(error));
    System.out.println(
        "{\"what\":\"write\",\"client\":" + quoted(CLIENT) + ",\"id\":" + (row == null ? "null" : quoted(row))
            + ",\"outcome\":\"" + outcome + "\",\"startMs\":" + startMs + ",\"endMs\":" + System.currentTimeMillis()
            + message + "}");
    System.out.flush();
  }

  private static String textOf(SQLException error) {
    String cause = error.getCause() == null ? "" : ": " + error.getCause().getMessage();
    return error.getMessage() + cause + " (" + error.getSQLState() + ")";
  }

  /** A string of JSON. */
  private static String quoted(String text) {
    return '"' + text.replaceAll("\\p{Cntrl}+", " ").replace("\\", "\\\\").replace("\"", "\\\"") + '"';
  }
}
