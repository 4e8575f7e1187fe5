# A service on Mojolicious' event loop: one process, calls by promises, connections from a pool.
use Mojolicious::Lite -signatures;

app->ua->max_connections(64);

get '/in/:number' => sub ($c) {
    $c->render_later;
    my $number = $c->param('number');
    $c->ua->get_p("http://127.0.0.1:$ENV{BACKEND_PORT}/out/$number")
        ->then(sub { $c->render(text => "done\n") })
        ->catch(sub { $c->render(text => "failed\n", status => 502) });
};

app->log->level('warn');
app->start('daemon', '--listen', "http://127.0.0.1:$ENV{PORT}", '--inactivity-timeout', 60, '--requests', 1000000);
