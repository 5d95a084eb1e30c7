"""A psql that stays open and gets one statement after the other. When its session ends, psql ends."""

import subprocess

import loop


class Psql:
    def __init__(self) -> None:
        # Verbose errors have the SQLSTATE.
        command = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", loop.CONNINFO]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, bufsize=1)
        self.answer("\\echo connected", "connected")

    def insert(self, row: str) -> None:
        self.answer(f"{loop.INSERT} ('{row}') RETURNING id;", row)

    def answer(self, line: str, wanted: str) -> None:
        """Sends a line. Raises psql's own message when psql ends instead of the wanted answer."""
        try:
            self.process.stdin.write(f"{line}\n")
        except BrokenPipeError:
            pass  # Its message says more.
        if self.process.stdout.readline().rstrip("\n") != wanted:
            raise ConnectionError(self.process.communicate()[1])

    def close(self) -> None:
        self.process.communicate()


loop.run(Psql)
