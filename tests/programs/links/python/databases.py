"""Clients of databases: with a pool (whichever connection is free serves whichever thread asks) or a connection per request."""

import os

PORT = int(os.environ["DATABASE_PORT"])


def redis(pooled):
    from redis import Redis

    def client():
        return Redis(host="127.0.0.1", port=PORT)

    def ask(number):
        if pooled:
            shared.incr(f"item:{number}")
        else:
            with client() as own:
                own.incr(f"item:{number}")

    shared = client()
    return ask


def postgres(pooled):
    import psycopg
    from psycopg_pool import ConnectionPool

    conninfo = f"host=127.0.0.1 port={PORT} user=links dbname=postgres"

    def ask(number):
        with pool.connection() if pooled else psycopg.connect(conninfo) as connection:
            # Random times, so that answers come in another order than they were asked for.
            connection.execute("SELECT %s::int, pg_sleep(random() / 1000)", (number,)).fetchone()

    if pooled:
        # Fewer connections than requests at once: some wait until another's is free.
        pool = ConnectionPool(conninfo, min_size=16, max_size=16, open=True)
        pool.wait()
    return ask
