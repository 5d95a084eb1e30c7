"""psycopg 3, which prepares a statement when it has come several times."""

import loop
import psycopg


class Psycopg:
    def __init__(self) -> None:
        self.connection = psycopg.connect(loop.CONNINFO, autocommit=True)

    def insert(self, row: str) -> None:
        self.connection.execute(f"{loop.INSERT} (%s)", (row,))

    def close(self) -> None:
        self.connection.close()


loop.run(Psycopg)
