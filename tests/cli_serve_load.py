"""`varve serve` under load: eight clients at once that ask, break off, read slowly and send nonsense.
No byte of an answer is wrong, every client gets its share, nothing is left over.

    VARVE_BIN=build/release/bin/varve VARVE_SOURCE_DIR=. python3 tests/cli_serve_load.py

VARVE_LOAD_MINUTES=10 runs that long in place of a number of requests, and then holds memory and shares
against 1 % and 20 % too."""

import json
import os
import random
import sys
import threading
import time
import unittest

from server_process import Server

MINUTES = float(os.environ.get("VARVE_LOAD_MINUTES", "0"))
N_CLIENTS = 8
N_REQUESTS = 30  # of each client, where no minutes are given
VERSES = ("In the beginning", "And it came to pass in those days", "Blessed are the meek",
          "The LORD is my shepherd", "And God said, Let there be light", "Behold, I say unto you")
NONSENSE = (b"", b"{", b"[]", b'{"messages": 3}', b'{"messages": [{"role": "user"}]}', b"\xff\xfe",
            b'{"messages": [{"role": "user", "content": "a"}], "temperature": "hot"}')


def request_of(verse, n):
    return {"messages": [{"role": "user", "content": verse}], "temperature": 0, "max_tokens": n,
            "ignore_eos": True}


def text_of(chunks):
    return "".join(json.loads(line[6:])["choices"][0]["delta"].get("content", "")
                   for line in chunks if line.startswith("data: {"))


def resident_kib(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


class Client(threading.Thread):
    """One client. What went wrong is in `problems`."""

    def __init__(self, server, expected, seed, goes_on):
        super().__init__()
        self.server, self.expected, self.goes_on = server, expected, goes_on
        self.random = random.Random(seed)
        self.problems, self.first_times, self.n_tokens, self.n_done = [], [], 0, 0

    def run(self):
        while self.goes_on(self):
            kind = self.random.choice(("whole", "stream", "stream", "turn", "slow", "leave",
                                       "leave early", "nonsense"))
            try:
                getattr(self, kind.replace(" ", "_"))()
            except Exception as problem:  # pylint: disable=broad-except
                self.problems.append(f"{kind}: {problem!r}")
            self.n_done += 1

    def pick(self):
        verse = self.random.choice(VERSES)
        n = self.random.choice((1, 7, 20, 40))
        return verse, n, self.expected[verse, n]

    def check(self, said, expected, n):
        if said != expected:
            self.problems.append(f"expected {expected!r}, got {said!r}")
        self.n_tokens += n

    def whole(self):
        verse, n, expected = self.pick()
        reply = self.server.post("/v1/chat/completions", request_of(verse, n))
        if reply.status != 429:
            self.check(reply.json["choices"][0]["message"]["content"], expected, n)

    def turn(self):
        """A second turn whose first one is given: of no known answer, but of one that stays."""
        verse, n, expected = self.pick()
        body = request_of(verse, 12)
        body["messages"] += [{"role": "assistant", "content": expected},
                             {"role": "user", "content": "And then?"}]
        answers = []
        for _ in range(2):
            reply = self.server.post("/v1/chat/completions", body)
            if reply.status == 429:
                return
            answers.append(reply.json["choices"][0]["message"]["content"])
        self.check(answers[1], answers[0], n)

    def open_stream(self, body):
        connection = self.server.connect()
        connection.request("POST", "/v1/chat/completions", json.dumps({**body, "stream": True}))
        return connection, connection.getresponse()

    def stream(self, pause=0.0):
        verse, n, expected = self.pick()
        begin = time.monotonic()
        connection, response = self.open_stream(request_of(verse, n))
        if response.status == 200:
            lines = []
            for line in response:
                if not lines:
                    self.first_times.append(time.monotonic() - begin)
                lines.append(line.decode())
                time.sleep(pause)
            self.check(text_of(lines), expected, n)
        connection.close()

    def slow(self):
        self.stream(pause=0.005)

    def leave(self):
        connection, response = self.open_stream(request_of(self.random.choice(VERSES), 2000))
        if response.status == 200:
            for _ in range(self.random.randrange(20)):
                response.readline()
        response.close()
        connection.close()

    def leave_early(self):
        connection = self.server.connect()
        connection.request("POST", "/v1/messages",
                           json.dumps(request_of(self.random.choice(VERSES), 2000)))
        time.sleep(self.random.random() * 0.02)
        connection.close()

    def nonsense(self):
        path = self.random.choice(("/v1/chat/completions", "/v1/messages", "/v1/responses"))
        reply = self.server.post(path, self.random.choice(NONSENSE))
        if reply.status != 400 or not reply.json["error"]["message"]:
            self.problems.append(f"nonsense: {reply.status} {reply.body}")


class Load(unittest.TestCase):
    def clients(self, server, expected):
        end = time.monotonic() + 60 * MINUTES

        def goes_on(client):
            return time.monotonic() < end if MINUTES else client.n_done < N_REQUESTS

        return [Client(server, expected, seed, goes_on) for seed in range(N_CLIENTS)]

    def test_eight_clients(self):
        with Server("--sessions", "4", "--ctx", "4096", "--queue", "16") as server:
            expected = {}
            for verse in VERSES:
                for n in (1, 7, 20, 40):
                    answer = server.post("/v1/chat/completions", request_of(verse, n)).json
                    expected[verse, n] = answer["choices"][0]["message"]["content"]
            clients = self.clients(server, expected)
            for client in clients:
                client.start()
            time.sleep(60 * MINUTES / 4)
            before = resident_kib(server.process.pid)
            for client in clients:
                client.join()
            after = resident_kib(server.process.pid)
            self.assertEqual([client.problems for client in clients], [[]] * N_CLIENTS)
            metrics = server.wait_for(lambda m: m['varve_requests{state="running"}'] == 0
                                      and m['varve_requests{state="waiting"}'] == 0, "all is over")
            self.assertEqual(metrics['varve_requests_total{end="failed"}'], 0)
            self.assertGreater(metrics['varve_requests_total{end="cancelled"}'], 0)
            # What was there before is still said.
            for (verse, n), said in expected.items():
                answer = server.post("/v1/chat/completions", request_of(verse, n)).json
                self.assertEqual(answer["choices"][0]["message"]["content"], said)
            self.report(clients, before, after, metrics)

    def report(self, clients, before, after, metrics):
        times = sorted(time for client in clients for time in client.first_times)
        done = [client.n_done for client in clients]
        print(f"\n{sum(done)} requests of {N_CLIENTS} clients, {min(done)} to {max(done)} each; "
              f"first token p50 {1e3 * times[len(times) // 2]:.1f} ms, "
              f"p99 {1e3 * times[len(times) * 99 // 100]:.1f} ms; "
              f"{metrics['varve_cached_tokens_total'] / metrics['varve_prompt_tokens_total']:.0%} "
              f"of prompts cached; resident {before} to {after} KiB", file=sys.stderr)
        if MINUTES:
            self.assertLess(after, before * 1.01)
            self.assertLess(max(done), min(done) * 1.2)


if __name__ == "__main__":
    sys.exit(unittest.main())
