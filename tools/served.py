"""A `varve serve` for the scripts here that measure one."""

import re
import subprocess
import sys
from pathlib import Path


class Served:
    """A server on a port of its own, stopped at the end of a `with`. `model`: none for the bundled one."""

    def __init__(self, varve, model, *flags):
        command = [varve, "serve", *([model] if model else []), "--port", "0", *flags]
        self.process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        match = re.search(r"at http://([\d.]+):(\d+):", line)
        if match is None:
            sys.exit(f"{Path(sys.argv[0]).name}: the server did not start: {self.process.communicate()[1]}")
        self.host, self.port = match[1], int(match[2])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate(timeout=120)
