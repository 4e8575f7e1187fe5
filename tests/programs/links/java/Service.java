import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.URL;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** A Java service that calls another for each request, in the way that MODE names. */
public class Service {
    static final String MODE = System.getenv("MODE");
    static final String BACKEND = "http://127.0.0.1:" + System.getenv("BACKEND_PORT");
    static final HttpClient CLIENT = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    static final ExecutorService WORKERS = Executors.newFixedThreadPool(16);

    /** Where the call of an ID that ends in c goes, nobody listens. */
    static String place(String path) {
        String id = path.split("[/.]")[2];
        if (!id.endsWith("c") || path.endsWith(".2")) {
            return BACKEND;
        }
        int last = Integer.parseInt(id.substring(id.length() - 3, id.length() - 1));
        return BACKEND.replace("127.0.0.1", "127.0.1." + last);
    }

    /** Whether a call has an answer, of whatever status. */
    static boolean answered(String path) {
        try {
            blocking(path);
            return true;
        } catch (IOException err) {
            return false;
        }
    }

    /** The blocking client of old, one thread from the first byte of the request to the last of the answer. */
    static int blocking(String path) throws IOException {
        HttpURLConnection connection = (HttpURLConnection) new URL(place(path) + path).openConnection();
        connection.setReadTimeout(150);
        int status = connection.getResponseCode();
        try (InputStream body = status == 200 ? connection.getInputStream() : connection.getErrorStream()) {
            if (body != null) {
                body.readAllBytes();
            }
        }
        return status;
    }

    static void unchecked(String path) {
        try {
            blocking(path);
        } catch (IOException err) {
            throw new UncheckedIOException(err);
        }
    }

    static HttpRequest request(String path) {
        return HttpRequest.newBuilder(URI.create(BACKEND + path)).build();
    }

    static void answer(HttpExchange exchange) {
        try (exchange) {
            byte[] body = "done\n".getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
        } catch (IOException err) {
            err.printStackTrace();
        }
    }

    static void serve(HttpExchange exchange) throws IOException {
        String id = exchange.getRequestURI().getPath().split("/")[2];
        switch (MODE) {
            case "executor":
                // Another thread makes the call, this one waits for it.
                try {
                    WORKERS.submit(() -> unchecked("/out/" + id)).get();
                } catch (Exception err) {
                    throw new IOException(err);
                }
                answer(exchange);
                break;
            case "handoff":
                // Another thread makes the call and answers.
                WORKERS.execute(() -> {
                    unchecked("/out/" + id);
                    answer(exchange);
                });
                break;
            case "completion":
                // One thread makes the call, whichever is free in another pool answers.
                WORKERS.execute(() -> {
                    unchecked("/out/" + id);
                    ANSWERERS.execute(() -> answer(exchange));
                });
                break;
            case "async":
                CLIENT.sendAsync(request("/out/" + id), HttpResponse.BodyHandlers.ofString())
                    .thenAccept(response -> answer(exchange));
                break;
            case "send":
                try {
                    CLIENT.send(request("/out/" + id), HttpResponse.BodyHandlers.ofString());
                } catch (InterruptedException err) {
                    throw new IOException(err);
                }
                answer(exchange);
                break;
            case "row":
                blocking("/out/" + id + ".1");
                blocking("/out/" + id + ".2");
                answer(exchange);
                break;
            case "retry":
                for (int n = 1; blocking("/flaky/" + id + "." + n) != 200; n++) { }
                answer(exchange);
                break;
            case "after":
                WORKERS.execute(() -> unchecked("/out/" + id));
                answer(exchange);
                break;
            case "fallback":
                if (!answered("/out/" + id + ".1")) {
                    answered("/out/" + id + ".2");
                }
                answer(exchange);
                break;
            default:
                answered("/out/" + id);
                answer(exchange);
        }
    }

    static final ExecutorService ANSWERERS = Executors.newFixedThreadPool(4);

    static void poll() {
        try {
            for (int n = 1; ; n++) {
                blocking("/poll/" + n);
                Thread.sleep(5);
            }
        } catch (IOException | InterruptedException err) {
            throw new IllegalStateException(err);
        }
    }

    static ExecutorService servers() throws ReflectiveOperationException {
        if (MODE.startsWith("virtual")) {
            // By name: this source must compile with a Java that has no virtual threads.
            return (ExecutorService) Executors.class.getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
        }
        return Executors.newFixedThreadPool(64);
    }

    public static void main(String[] args) throws Exception {
        if (MODE.equals("poller")) {
            Thread poller = new Thread(Service::poll);
            poller.setDaemon(true);
            poller.start();
        }
        HttpServer server =
            HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(System.getenv("PORT"))), 1024);
        server.createContext("/in/", Service::serve);
        server.setExecutor(servers());
        server.start();
    }
}
