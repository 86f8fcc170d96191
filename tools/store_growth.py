#!/usr/bin/env python3
"""What a conversation writes to its store, turn by turn: bytes grow with the turn, not with the history.

    tools/store_growth.py [--model PATH] [--turns 40] [--words 350] [--resume auto] [--plot FILE.svg] [--json]

A conversation of a fixed number of words a turn goes on in one session of `varve serve --store`. After
each turn the script waits until the store has nothing left to write and reads what it wrote: values as the store
counts them, and bytes that the process sent towards the disk as the system counts them (/proc/PID/io;
the database's log and its tables are in there). Exits with 1 if bytes a new token grow from the first half of
the turns to the second by more than a tenth."""

import argparse
import http.client
import json
import random
import re
import sys
import tempfile
import time
from pathlib import Path

from served import Served

ROOT = Path(__file__).resolve().parent.parent
MOST_GROWTH = 1.1
WORDS = "and it came to pass that the king sent his men into the land of the south to see what was there".split()


class Server(Served):
    def __init__(self, arguments, store):
        super().__init__(arguments.varve, arguments.model, "--sessions", 1, "--ctx", arguments.ctx,
                         "--store", store, "--store-budget", "64G", "--resume", arguments.resume)

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=3600)
        connection.request(method, path, None if body is None else json.dumps(body))
        reply = connection.getresponse()
        text = reply.read().decode()
        connection.close()
        if reply.status != 200:
            sys.exit(f"store_growth.py: {path}: {text}")
        return text

    def metric(self, name):
        return float(re.search(rf"^{name} (\S+)$", self.ask("GET", "/metrics"), re.M)[1])

    def written(self):
        """Bytes of values, and bytes towards the disk, once nothing waits."""
        while self.metric("varve_store_queued") > 0:
            time.sleep(0.01)
        io = Path(f"/proc/{self.process.pid}/io").read_text()
        return (int(self.metric("varve_store_written_bytes_total")),
                int(re.search(r"^write_bytes: (\d+)$", io, re.M)[1]))

    def turn(self, session, text):
        """The session's number and its tokens."""
        asked = {"prompt": text, "max_tokens": 16, "temperature": 0, "ignore_eos": True}
        self.ask("POST", "/v1/completions", asked | ({"session": session} if session else {}))
        newest = json.loads(self.ask("GET", "/v1/sessions"))["data"][0]
        return newest["id"], newest["n_tokens"]


def run(arguments):
    rng, rows, session, tokens = random.Random(5), [], None, 0
    with tempfile.TemporaryDirectory(dir=arguments.directory) as folder, \
            Server(arguments, Path(folder) / "store") as server:
        values, disk = server.written()
        for turn in range(1, arguments.turns + 1):
            text = " ".join(rng.choice(WORDS) for _ in range(arguments.words)) + " "
            session, now = server.turn(session, text)
            values_now, disk_now = server.written()
            rows.append({"turn": turn, "tokens": now, "new_tokens": now - tokens,
                         "value_bytes": values_now - values, "disk_bytes": disk_now - disk})
            tokens, values, disk = now, values_now, disk_now
        return rows, int(server.metric("varve_store_value_bytes"))


def bytes_a_token(rows, what="value_bytes"):
    return sum(row[what] for row in rows) / sum(row["new_tokens"] for row in rows)


def table(rows):
    print("turn   tokens    new   values KiB   disk KiB   value bytes a new token")
    for row in rows:
        if row["turn"] == 1 or row["turn"] % max(1, len(rows) // 10) == 0:
            print(f"{row['turn']:4} {row['tokens']:8} {row['new_tokens']:6} {row['value_bytes'] / 1024:12.0f} "
                  f"{row['disk_bytes'] / 1024:10.0f} {row['value_bytes'] / row['new_tokens']:12.1f}")


def plot(rows, name):
    """Bars: what each turn wrote. Line: what writing all of its history again would have."""
    width, height, left, bottom, top = 720, 300, 62, 36, 34
    whole = [bytes_a_token(rows) * row["tokens"] for row in rows]
    most = max(*whole, *(row["value_bytes"] for row in rows)) / 2**20
    step = (width - left - 12) / len(rows)

    def y(mib):
        return height - bottom - mib / most * (height - bottom - top)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="white"/>',
           f'<text x="{left}" y="18" font-size="13">{name}: MiB written to the store by each turn</text>']
    for tick in range(5):
        value = most * tick / 4
        out.append(f'<path d="M{left} {y(value):.1f}H{width - 12}" stroke="#ddd"/>'
                   f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    for i, row in enumerate(rows):
        mib = row["value_bytes"] / 2**20
        out.append(f'<rect x="{left + i * step + 1:.1f}" y="{y(mib):.1f}" width="{step - 2:.1f}" '
                   f'height="{height - bottom - y(mib):.1f}" fill="#3f8f6b"/>')
    line = " ".join(f"{left + (i + 0.5) * step:.1f},{y(n / 2**20):.1f}" for i, n in enumerate(whole))
    out.append(f'<polyline points="{line}" fill="none" stroke="#c4502f" stroke-dasharray="5 4"/>')
    out.append(f'<text x="{left + 10}" y="{top + 14}" fill="#c4502f">the whole history, were it written again</text>')
    for i in (0, len(rows) // 2, len(rows) - 1):
        anchor = "end" if i == len(rows) - 1 else "start" if i == 0 else "middle"
        out.append(f'<text x="{left + (i + 0.5) * step:.1f}" y="{height - 20}" text-anchor="{anchor}">'
                   f'turn {rows[i]["turn"]}</text>'
                   f'<text x="{left + (i + 0.5) * step:.1f}" y="{height - 6}" text-anchor="{anchor}" fill="#666">'
                   f'{rows[i]["tokens"]:,} tokens</text>')
    return "\n".join([*out, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--varve", default=ROOT / "build/release/bin/varve")
    parser.add_argument("--model", help="default: the bundled one")
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--words", type=int, default=350, help="of a turn")
    parser.add_argument("--ctx", type=int, default=131072)
    parser.add_argument("--resume", default="auto")
    parser.add_argument("--directory", help="where the store is made; default: the system's place for such")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.turns < 4:
        parser.error("--turns: expected at least 4")
    rows, held = run(arguments)
    half = len(rows) // 2
    sums = {"schema": 1, "resume": arguments.resume, "turns": rows, "value_bytes_a_token": bytes_a_token(rows),
            "held_bytes": held, "first_half": bytes_a_token(rows[:half]), "second_half": bytes_a_token(rows[half:])}
    if arguments.plot:
        arguments.plot.write_text(plot(rows, Path(arguments.model or "varve-tiny").name))
    if arguments.json:
        print(json.dumps(sums))
    else:
        table(rows)
        print(f"bytes of values a new token: {sums['value_bytes_a_token']:.1f}; first half of the turns "
              f"{sums['first_half']:.1f}, second half {sums['second_half']:.1f}")
        print(f"the store holds {held} bytes of values: {held / rows[-1]['tokens']:.1f} a token")
    return 1 if sums["second_half"] > MOST_GROWTH * sums["first_half"] else 0


if __name__ == "__main__":
    sys.exit(main())
