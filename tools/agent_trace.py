#!/usr/bin/env python3
"""What a coding agent's history costs with a cache and without: cold and warm time to the first token.

    tools/agent_trace.py [--varve build/release/bin/varve] [--model PATH] [--turns 40] [--json]

A made-up agent sends its whole history at every turn, with a header that changes each time, as agents do:
40 turns of answers and results of tools, one edit of an early message, two branches off the middle, a
restart of the server. The same requests go to a server with a store and, some of them, to a fresh one
that knows nothing. Prints one line a turn; exits with 1 if less than 95 % of all prompt tokens came from
the cache."""

import argparse
import http.client
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from served import Served

ROOT = Path(__file__).resolve().parent.parent
LEAST_SHARE = 0.95
WORDS = ("file line error build test fails because the value is read before it is set so move it up and run "
         "again then look at the log it says that path does not exist in the tree but the index has it").split()


class Server(Served):
    def __init__(self, varve, model, *flags):
        super().__init__(varve, model, "--temp", "0", *flags)

    def ask(self, messages, header, max_tokens):
        """Seconds to the first piece of the answer, its text, tokens of the prompt and those cached."""
        body = {"max_tokens": max_tokens, "stream": True, "messages": messages,
                "system": [{"type": "text", "text": header}, {"type": "text", "text": SYSTEM}]}
        connection = http.client.HTTPConnection(self.host, self.port, timeout=600)
        begin, first, text, usage = time.monotonic(), None, "", {}
        connection.request("POST", "/v1/messages", json.dumps(body), {"Content-Type": "application/json"})
        reply = connection.getresponse()
        if reply.status != 200:
            sys.exit(f"agent_trace.py: {reply.read().decode()}")
        for line in reply:
            if not line.startswith(b"data: "):
                continue
            event = json.loads(line[6:])
            if event["type"] == "content_block_delta":
                first = first or time.monotonic() - begin
                text += event["delta"].get("text", "")
            usage |= event.get("message", {}).get("usage", {}) | event.get("usage", {})
        connection.close()
        cached = usage.get("cache_read_input_tokens", 0)
        return first or time.monotonic() - begin, text, usage["input_tokens"] + cached, cached


def words(rng, n):
    return " ".join(rng.choice(WORDS) for _ in range(n))


SYSTEM = "You mend programs. " + words(random.Random(0), 600)


def trace(rng, n_turns):
    """Yields (label, messages) and takes the answer: an agent's requests, in their order."""
    history = []

    def turn(label, n_words):
        history.append({"role": "user", "content": words(rng, n_words)})
        answer = yield label, list(history)
        history.append({"role": "assistant", "content": answer})

    for i in range(n_turns):
        if i == n_turns // 2:  # an early message is written anew: what follows is another history
            history[2] = {"role": "user", "content": words(rng, 40)}
            yield from turn("edit", 30)
        elif i == n_turns * 3 // 4:  # two branches off the same place, one after the other
            trunk = list(history)
            yield from turn("branch 1", 30)
            history[:] = trunk
            yield from turn("branch 2", 30)
        else:
            yield from turn("tool" if i % 2 else "user", 60 if i % 2 else 25)


def run(arguments):
    rng = random.Random(7)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--ctx", arguments.ctx, "--sessions", 2, "--store", Path(folder) / "store"]
        requests, request = trace(random.Random(3), arguments.turns), None
        server = Server(arguments.varve, arguments.model, *flags)
        try:
            request = next(requests)
            while request is not None:
                label, messages = request
                if len(rows) == arguments.turns * 3 // 5:
                    server.__exit__()
                    server = Server(arguments.varve, arguments.model, *flags)
                    label = "restart"
                header = f"x-anthropic-billing-header: cch={rng.randrange(1 << 30):08x};"
                seconds, text, prompt, cached = server.ask(messages, header, arguments.answer)
                cold = None
                if len(rows) % 8 == 7 or label in ("restart", "edit"):
                    with Server(arguments.varve, arguments.model, *flags[:4]) as fresh:
                        cold, other, _, _ = fresh.ask(messages, header, arguments.answer)
                    if other != text:
                        sys.exit(f"agent_trace.py: turn {len(rows)}: the cache changed the answer")
                rows.append({"turn": len(rows), "what": label, "prompt_tokens": prompt,
                             "cached_tokens": cached, "seconds": seconds, "cold_seconds": cold})
                try:
                    request = requests.send(text)
                except StopIteration:
                    request = None
        finally:
            server.__exit__()
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--varve", default=ROOT / "build/release/bin/varve")
    parser.add_argument("--model", default=None, help="default: the bundled one")
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--answer", type=int, default=40, help="tokens of an answer, at most")
    parser.add_argument("--ctx", type=int, default=32768)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = run(arguments)
    prompt = sum(row["prompt_tokens"] for row in rows)
    cached = sum(row["cached_tokens"] for row in rows)
    if arguments.json:
        print(json.dumps({"turns": rows, "prompt_tokens": prompt, "cached_tokens": cached}))
    else:
        print(f"{'turn':>4} {'what':<9} {'prompt':>7} {'cached':>7} {'':>6} {'first token':>12} {'cold':>9}")
        for row in rows:
            cold = "" if row["cold_seconds"] is None else f"{1e3 * row['cold_seconds']:.1f} ms"
            print(f"{row['turn']:>4} {row['what']:<9} {row['prompt_tokens']:>7} {row['cached_tokens']:>7} "
                  f"{100 * row['cached_tokens'] / row['prompt_tokens']:>4.0f} % "
                  f"{1e3 * row['seconds']:>9.1f} ms {cold:>9}")
        print(f"{cached} of {prompt} prompt tokens came from the cache: {100 * cached / prompt:.1f} %")
    return 0 if cached >= LEAST_SHARE * prompt else 1


if __name__ == "__main__":
    sys.exit(main())
