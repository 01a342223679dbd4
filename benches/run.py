"""Run every benchmark of this folder and collect their figures: `make bench`, or `python benches/run.py world grading`.

Each `bench_NAME.py` prints one JSON object on its last line of standard output. The figures are ratios of things
measured side by side in one run, with the plain numbers beside them; they are written to build/bench/NAME.json. With
`--publish` also to benches/results/NAME.json, from which `python benches/bench_graders.py --publish` writes the book's
page.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
OUT = HERE.parent / "build" / "bench"
RESULTS = HERE / "results"


def run(script: Path, folders: list[Path]) -> int:
    """Run one benchmark in a fresh process, keep its figures in the folders, and return its exit code."""
    name = script.stem.removeprefix("bench_")
    print(f"== {name}", flush=True)
    started = time.time()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
    print(done.stdout, end="", flush=True)
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        record = {
            "benchmark": name,
            "date": time.strftime("%Y-%m-%d"),
            "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
            "seconds": round(time.time() - started, 1),
            "figures": json.loads(lines[-1]),
        }
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    return done.returncode


def main() -> None:
    wanted = [name for name in sys.argv[1:] if name != "--publish"]
    folders = [OUT, RESULTS] if "--publish" in sys.argv else [OUT]
    if folders[1:] and "graders" in wanted:
        sys.exit("the comparison of graders publishes itself: python benches/bench_graders.py --publish")
    scripts = [path for path in sorted(HERE.glob("bench_*.py")) if not wanted or path.stem[6:] in wanted]
    if not scripts:
        known = ", ".join(path.stem[6:] for path in sorted(HERE.glob("bench_*.py")))
        sys.exit(f"no such benchmark; there are: {known}")
    codes = [run(script, folders) for script in scripts]
    print(f"figures: {folders[-1]}")
    sys.exit(max(codes))


if __name__ == "__main__":
    main()
