"""Right solutions written differently, 2 000 of them, and the unusual honest submissions: how many are judged wrong?

`python benches/bench_fairness.py 500 2000` takes the variants from number 500 up to 2000.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "attacks"))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "fairness"))

import attack_class
from honest import HONEST
from variants import generated, judged, released

from autograder.chapter import rows
from autograder.grade.marking import Marker
from autograder.sandbox import detect
from dlcv_lab.checking.model import Verdict

SECRET = b"a secret of the benchmark"


def rewritten(first: int, last: int, place: Path) -> dict[str, object]:
    row = rows.load_row("ch03")
    notebooks = released(row, place / "release")
    chosen = list(generated(row, last))[first:]
    verdicts: Counter[str] = Counter()
    started = time.monotonic()
    with Marker(row.slug, SECRET, detect()) as marker:
        for variant, result in judged(marker, notebooks, chosen):
            verdicts[str(result.verdict)] += 1
            if result.verdict is not Verdict.OK:
                print(f"{variant.exercise} ({variant.origin}): {result.verdict} {result.message}\n{variant.text}\n")
    return {
        "variants": sum(verdicts.values()),
        "different texts": len({variant.text for variant in chosen}),
        "false negatives": sum(verdicts.values()) - verdicts["OK"],
        "verdicts": dict(verdicts),
        "seconds": round(time.monotonic() - started, 1),
    }


def unusual(place: Path) -> dict[str, int]:
    os.environ.update(attack_class.variables(place))
    course = attack_class.make_course(place, quick=False)
    wrong = 0
    with Marker(attack_class.SLUG, SECRET, detect()) as marker:
        for name, make in HONEST.items():
            results = marker.mark_notebook("alice", attack_class.STEM, make(course.release))
            if {str(result.verdict) for result in results} != {"OK"}:
                wrong += 1
                print(f"{name}: {[(str(result.verdict), result.message) for result in results]}")
    return {"submissions": len(HONEST), "false negatives": wrong}


def main() -> None:
    first, last = [int(text) for text in sys.argv[1:3]] if len(sys.argv) > 2 else (0, 2000)
    with tempfile.TemporaryDirectory(prefix="dlcv-fairness-") as folder:
        os.environ["DLCV_BUILD"] = str(Path(folder) / "build")
        figures = {"generated": rewritten(first, last, Path(folder)), "unusual": unusual(Path(folder) / "small")}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
