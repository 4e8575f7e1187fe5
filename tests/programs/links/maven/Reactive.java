import io.vertx.core.AbstractVerticle;
import io.vertx.core.DeploymentOptions;
import io.vertx.core.Vertx;
import io.vertx.core.VertxOptions;
import io.vertx.core.http.HttpClient;
import io.vertx.core.http.HttpClientOptions;
import io.vertx.core.http.HttpMethod;
import io.vertx.core.http.HttpServerRequest;

/**
 * A service of Netty's event loops (Vert.x), two of them, that calls another. MODE "own": each loop has a client of its own;
 * "shared": one client for both, so that a call may go out on the other loop's connection; "delay": after a timer.
 */
public final class Reactive extends AbstractVerticle {
    private static final int PORT = Integer.parseInt(System.getenv("PORT"));
    private static final int BACKEND = Integer.parseInt(System.getenv("BACKEND_PORT"));
    private static final String MODE = System.getenv("MODE");
    private static HttpClient shared;
    private HttpClient client;

    public static void main(String[] arguments) {
        Vertx vertx = Vertx.vertx(new VertxOptions().setEventLoopPoolSize(2));
        shared = vertx.createHttpClient(options());
        vertx.deployVerticle(Reactive.class, new DeploymentOptions().setInstances(2));
    }

    private static HttpClientOptions options() {
        return new HttpClientOptions().setMaxPoolSize(64).setKeepAliveTimeout(60);
    }

    @Override
    public void start() {
        client = MODE.equals("shared") ? shared : vertx.createHttpClient(options());
        vertx.createHttpServer().requestHandler(this::serve).listen(PORT, "127.0.0.1");
    }

    private void serve(HttpServerRequest request) {
        String number = request.path().substring(request.path().lastIndexOf('/') + 1);
        if (MODE.equals("delay")) {
            vertx.setTimer(2, timer -> call(request, number));
        } else {
            call(request, number);
        }
    }

    private void call(HttpServerRequest request, String number) {
        client.request(HttpMethod.GET, BACKEND, "127.0.0.1", "/out/" + number)
            .compose(call -> call.send().compose(response -> response.body()))
            .onSuccess(body -> request.response().end("done\n"))
            .onFailure(error -> request.response().setStatusCode(502).end(error + "\n"));
    }
}
