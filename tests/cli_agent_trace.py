#!/usr/bin/env python3
"""An agent's history through `varve serve`, turn by turn, against servers that know nothing: the answers are
the same, and nearly no token of a prompt is read twice (tools/agent_trace.py)."""

import json
import os
import subprocess
import sys
import unittest
from pathlib import Path

BIN = os.environ["VARVE_BIN"]
SOURCE = Path(os.environ["VARVE_SOURCE_DIR"])


class AgentTrace(unittest.TestCase):
    def test_nearly_all_comes_from_the_cache(self):
        done = subprocess.run([sys.executable, "-B", SOURCE / "tools" / "agent_trace.py", "--varve", BIN,
                               "--model", SOURCE / "models" / "varve-tiny", "--json"],
                              capture_output=True, text=True, timeout=600, check=False)
        self.assertEqual(done.returncode, 0, done.stdout[-300:] + done.stderr)
        out = json.loads(done.stdout)
        self.assertGreaterEqual(out["cached_tokens"], 0.95 * out["prompt_tokens"])
        what = {row["what"]: row for row in out["turns"]}
        for label in ("restart", "branch 1", "branch 2"):
            self.assertGreater(what[label]["cached_tokens"], 0.95 * what[label]["prompt_tokens"], label)
        # What stands before the edit is kept.
        self.assertGreater(what["edit"]["cached_tokens"], 600)


if __name__ == "__main__":
    unittest.main()
