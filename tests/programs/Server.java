import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.util.Arrays;
import java.util.concurrent.Executors;

/** A service on com.sun.net.httpserver with a pool of threads: Server PORT. Prints "listening" when it does. */
public class Server {
    public static void main(String[] arguments) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])), 128);
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.createContext("/", Server::serve);
        server.start();
        System.out.println("listening");
    }

    static void serve(HttpExchange exchange) throws IOException {
        String[] parts = exchange.getRequestURI().getPath().split("/");
        byte[] posted = exchange.getRequestBody().readAllBytes();
        if (exchange.getRequestMethod().equals("POST")) {
            answer(exchange, 200, posted);
            return;
        }
        switch (parts[1]) {
            case "bytes" -> answer(exchange, 200, filled(Integer.parseInt(parts[2]), 'b'));
            case "chunked" -> {
                exchange.sendResponseHeaders(200, 0);
                try (OutputStream body = exchange.getResponseBody()) {
                    for (int left = Integer.parseInt(parts[2]); left > 0; left -= 1000) {
                        body.write(filled(Math.min(left, 1000), 'c'));
                    }
                }
            }
            case "empty" -> answer(exchange, 204, new byte[0]);
            case "missing" -> answer(exchange, 404, "not found\n".getBytes());
            case "fail" -> answer(exchange, 500, "failed\n".getBytes());
            default -> answer(exchange, 200, "hello\n".getBytes());
        }
    }

    static byte[] filled(int size, char with) {
        byte[] bytes = new byte[size];
        Arrays.fill(bytes, (byte) with);
        return bytes;
    }

    static void answer(HttpExchange exchange, int status, byte[] body) throws IOException {
        boolean empty = body.length == 0 || exchange.getRequestMethod().equals("HEAD");
        exchange.sendResponseHeaders(status, empty ? -1 : body.length);
        if (!empty) {
            exchange.getResponseBody().write(body);
        }
        exchange.close();
    }
}
