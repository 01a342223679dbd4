"""`kill -9` of `dlcv grade` again and again during one run: is the end the same as of a run that nobody disturbed?

`python benches/bench_kill.py 200 20`: 200 small submissions, 20 kills at random moments. Journal (without times and
memory), gradebook (every score and comment) and autograded copies are compared.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "attacks"))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "grader"))

import attack_class
import interrupting


def main() -> None:
    count, kills = [int(text) for text in sys.argv[1:3]] if len(sys.argv) > 2 else (200, 20)
    rng = random.Random(count + kills)
    moments = sorted(rng.sample(range(count + 1), kills))
    with tempfile.TemporaryDirectory(prefix="dlcv-kill-") as folder:
        place = Path(folder)
        os.environ.update(attack_class.variables(place))
        course = attack_class.make_course(place, quick=False)
        interrupting.small_class(course, count)
        interrupting.snapshot(course, place / "fresh")
        started = time.monotonic()
        ended = interrupting.finish(course)
        assert ended.code == 1, ended.said  # every fourth file cannot be read
        plain = interrupting.result(course)
        between = time.monotonic()
        interrupting.restore(course, place / "fresh")
        codes = interrupting.killed_again_and_again(course, moments, rng)
        ended = interrupting.finish(course)
        assert ended.code == 1, ended.said  # every fourth file cannot be read
        after = interrupting.result(course)
    same = {name: one == other for name, one, other in zip(("journal", "gradebook", "copies"), plain, after)}
    print(json.dumps({
        "submissions": count, "kills": codes.count(-signal.SIGKILL), "ended before the kill": codes.count(0),
        "identical": same, "undisturbed, s": round(between - started, 1),
        "with kills, s": round(time.monotonic() - between, 1),
    }))  # fmt: skip
    sys.exit(0 if all(same.values()) else 1)


if __name__ == "__main__":
    main()
