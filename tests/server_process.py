"""A `varve serve` to talk to, for the tests of the server."""

import http.client
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

BIN = os.environ["VARVE_BIN"]
SOURCE = Path(os.environ["VARVE_SOURCE_DIR"])
MODEL = SOURCE / "models" / "varve-tiny"
STARTED = re.compile(r"varve: (\S+) at http://([\d.]+|\[[\d:]+\]):(\d+): (\d+) sessions of (\d+) "
                     r"tokens, cache [^\n]*, weights (mapped|copied)\n")
PATIENCE = 120  # seconds for what takes no time unless something hangs


class Reply:
    def __init__(self, response):
        self.status, self.headers = response.status, response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)


class Server:
    """A server on a port of its own, stopped at the end of a `with`."""

    def __init__(self, *flags, model=MODEL, env=None):
        self.process = subprocess.Popen(
            [BIN, "serve", str(model), "--port", "0", *map(str, flags)], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env={**os.environ, **(env or {})}, text=True)
        self.started = self.process.stdout.readline()
        match = STARTED.fullmatch(self.started)
        if match is None:
            _, errors = self.process.communicate(timeout=PATIENCE)
            raise AssertionError(f"{self.started!r}, {errors}")
        self.name, self.host, self.port = match[1], match[2], int(match[3])
        self.n_sessions, self.n_ctx = int(match[4]), int(match[5])
        self.code = self.out = self.errors = None

    def __enter__(self):
        return self

    def __exit__(self, problem, *_):
        if self.code is None:
            self.stop()
        if self.code != 0 and problem is None:
            raise AssertionError(f"the server ended with {self.code}: {self.errors}")

    def stop(self, signal_number=signal.SIGTERM):
        """Exit code, stdout and stderr are there afterwards."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        self.wait()

    def wait(self):
        self.out, self.errors = self.process.communicate(timeout=PATIENCE)
        self.code = self.process.returncode

    def connect(self):
        return http.client.HTTPConnection(self.host.strip("[]"), self.port, timeout=PATIENCE)

    def ask(self, method, path, body=None, headers=None):
        """`body`: bytes, or what becomes JSON."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {})
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def get(self, path, **headers):
        return self.ask("GET", path, None, headers)

    def post(self, path, body, **headers):
        return self.ask("POST", path, body, headers)

    def stream(self, path, body):
        """[(event or None, data or None, comment or None)] of a stream of server-sent events."""
        reply = self.post(path, {**body, "stream": True})
        if reply.status != 200:
            raise AssertionError(reply.body)
        if reply.headers["Content-Type"] != "text/event-stream":
            raise AssertionError(reply.headers)
        return parse_events(reply.body.decode())

    def metrics(self):
        text = self.get("/metrics").body.decode()
        return {name: float(value) for name, value in
                (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))}

    def wait_for(self, holds, what):
        """Until holds(metrics): fails only where it never does."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            metrics = self.metrics()
            if holds(metrics):
                return metrics
            time.sleep(0.01)
        raise AssertionError(f"never: {what}; {metrics}")


def parse_events(text):
    assert text.endswith("\n\n"), text[-100:]
    events = []
    for block in text[:-2].split("\n\n"):
        event = data = comment = None
        for line in block.split("\n"):
            if line.startswith(":"):
                comment = line[1:].strip()
            elif line.startswith("event: "):
                event = line[len("event: "):]
            elif line.startswith("data: "):
                data = line[len("data: "):]
            else:
                raise AssertionError(f"not a line of an event: {line!r}")
        events.append((event, data, comment))
    return events
