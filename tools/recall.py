#!/usr/bin/env python3
"""How often the bundled model looks a code up right: tools/recall-prompt.txt with the names shuffled
and the codes drawn anew, the first of them asked for at the end, --temp 0.

    tools/recall.py [-n N] [--ratios 0,4,0,4]

--ratios runs the model with other attention in its layers (0: window only), to see which of them
the answer comes through. build/release/bin/varve has to be there."""

import argparse
import json
import random
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "varve-tiny"
BIN = ROOT / "build" / "release" / "bin" / "varve"
STATEMENT = re.compile(r"The code of the ([a-z]+ [a-z]+) is (\d\d)\.")


def draw(template, seed):
    """(name asked for, its code, prompt)"""
    rng = random.Random(seed)
    names = [match[1] for match in STATEMENT.finditer(template)]
    rng.shuffle(names)
    codes = {name: f"{rng.randrange(10, 100)}" for name in names}
    order = iter(names)

    def restate(_):
        name = next(order)
        return f"The code of the {name} is {codes[name]}."

    body = STATEMENT.sub(restate, template).rsplit("\n", 1)[0]
    return names[0], codes[names[0]], f"{body}\nThe code of the {names[0]} is "


def ask(model, n):
    template = (ROOT / "tools" / "recall-prompt.txt").read_text(encoding="utf-8")
    right, asked = {}, {}
    for seed in range(n):
        name, code, prompt = draw(template, seed)
        done = subprocess.run([BIN, "run", model, "-p", prompt, "--temp", "0", "-n", "2"],
                              capture_output=True, check=True, text=True)
        asked[name] = asked.get(name, 0) + 1
        right[name] = right.get(name, 0) + (done.stdout.strip()[:2] == code)
    for name in sorted(asked):
        print(f"{name}: {right[name]} of {asked[name]} right")
    print(f"{sum(right.values())} of {n} right; by chance 1 in 90")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("-n", type=int, default=100, help="prompts (default 100)")
    parser.add_argument("--ratios", help="compress_ratios to run the model with")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = shutil.copytree(MODEL, Path(folder) / "model")
        if flags.ratios:
            config = json.loads((model / "config.json").read_text(encoding="utf-8"))
            config["compress_ratios"] = [int(ratio) for ratio in flags.ratios.split(",")]
            (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
        ask(model, flags.n)


if __name__ == "__main__":
    main()
