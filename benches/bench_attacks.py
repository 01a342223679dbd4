"""The attack suite graded as a class at every isolation level of this machine: who is stopped, what it costs.

Prints one table per level; the figures go to build/records/attacks.json too. An honest student is graded after every
third attack. `--manifest` prints the attacks as JSON for other programs instead.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "attacks"))

import attack_class
import attack_suite

from autograder.base import cache, paths


def measured(course: attack_class.Course, level: str) -> dict[str, Any]:
    attacks = [attack for attack in attack_suite.load() if attack.at(level)]
    handed = attack_class.hand_in(course, attacks, every=3)
    started = time.monotonic()
    graded = attack_class.grade(course, level, workers=2, seconds=1800)
    seconds = time.monotonic() - started
    found = attack_class.lines(handed, graded, level)
    wronged = attack_class.untouched(handed, graded)
    print(attack_class.table(level, found, wronged, graded), end="\n\n", flush=True)
    return attack_class.record(level, found, wronged, graded) | {"seconds": round(seconds, 1),
                                                                 "submissions": len(handed)}  # fmt: skip


def main() -> None:
    if "--manifest" in sys.argv:
        print(json.dumps(attack_suite.manifest(), indent=1))
        return
    records = paths.records() / "attacks.json"
    wanted = [level for level in attack_class.reachable() if level in sys.argv[1:] or len(sys.argv) == 1]
    with tempfile.TemporaryDirectory(prefix="dlcv-attacks-") as folder:
        os.environ.update(attack_class.variables(Path(folder)))
        course = attack_class.make_course(Path(folder))
        tables = [measured(course, level) for level in wanted]
    cache.write(records, (json.dumps(tables, indent=1) + "\n").encode())
    print(json.dumps({table["level"]: {key: value for key, value in table.items() if key != "lines"}
                      for table in tables}))  # fmt: skip


if __name__ == "__main__":
    main()
