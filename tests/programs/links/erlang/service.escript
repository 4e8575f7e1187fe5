#!/usr/bin/env escript
%% A service on the server and the client of Erlang's standard library: a light process per connection, one that keeps the
%% client's connections, all on a thread per processor.
-module(service).
-mode(compile).
-export([main/1, do/1]).
-include_lib("inets/include/httpd.hrl").

main(_) ->
    {ok, _} = application:ensure_all_started(inets),
    ok = httpc:set_options([{max_sessions, 64}, {keep_alive_timeout, 60000}, {max_keep_alive_length, 0}, {socket_opts, [{nodelay, true}]}]),
    {ok, _} = inets:start(httpd, [
        {port, list_to_integer(os:getenv("PORT"))},
        {bind_address, {127, 0, 0, 1}},
        {server_name, "localhost"},
        {server_root, "/tmp"},
        {document_root, "/tmp"},
        {keep_alive_timeout, 60},
        {modules, [?MODULE]}
    ]),
    receive stop -> ok end.

do(#mod{request_uri = Uri}) ->
    [_, "in", Number] = string:split(Uri, "/", all),
    Url = "http://127.0.0.1:" ++ os:getenv("BACKEND_PORT") ++ "/out/" ++ Number,
    {ok, {{_, 200, _}, _, _}} = httpc:request(get, {Url, []}, [], []),
    {proceed, [{response, {response, [{code, 200}, {content_length, "5"}], "done\n"}}]}.
