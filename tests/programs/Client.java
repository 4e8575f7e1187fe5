import java.io.BufferedReader;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.HttpURLConnection;
import java.net.URL;

/** Makes the requests listed on standard input and says what came back: Client PORT. */
public class Client {
    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ");
            int size = Integer.parseInt(words[2]);
            URL url = new URL("http://127.0.0.1:" + arguments[0] + words[1]);
            HttpURLConnection connection = (HttpURLConnection) url.openConnection();
            connection.setRequestMethod(words[0]);
            if (size > 0) {
                connection.setDoOutput(true);
                connection.setFixedLengthStreamingMode(size);
                connection.getOutputStream().write("p".repeat(size).getBytes());
            }
            int status = connection.getResponseCode();
            InputStream body = status >= 400 ? connection.getErrorStream() : connection.getInputStream();
            int received = body == null ? 0 : body.readAllBytes().length;
            System.out.println(words[0] + " " + words[1] + " " + status + " " + size + " " + received);
        }
    }
}
