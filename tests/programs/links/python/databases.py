"""Clients of databases, each with a pool: whichever connection is free serves whichever thread asks."""

import os

PORT = int(os.environ["DATABASE_PORT"])


def redis():
    import redis

    client = redis.Redis(host="127.0.0.1", port=PORT)
    return lambda number: client.incr(f"item:{number}")


def postgres():
    from psycopg_pool import ConnectionPool

    # Fewer connections than requests at once: some wait until another's is free.
    conninfo = f"host=127.0.0.1 port={PORT} user=links dbname=postgres"
    pool = ConnectionPool(conninfo, min_size=16, max_size=16, open=True)
    pool.wait()

    def ask(number):
        with pool.connection() as connection:
            # Random times, so that answers come in another order than they were asked for.
            connection.execute("SELECT %s::int, pg_sleep(random() / 1000)", (number,)).fetchone()

    return ask
