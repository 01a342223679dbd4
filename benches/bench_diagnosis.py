"""What is a student told who made a mistake that the exercise's author did not foresee?

Mutants of the references of two chapters are judged; those that are right after all are left out. The diagnoser's
sentences were improved on one group of them, and are measured on others that nobody had looked at. A sentence counts as
specific when it names a known mistake, a rule's finding, or the exception with the student's own line; its truth is
computed again by code of its own. `python benches/bench_diagnosis.py --show` prints the attempts that got no such
sentence.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "fairness"))

from wrong_attempts import Told, attempts

from autograder.base import cache, paths
from autograder.chapter import rows

GROUPS = {  # chapter, wrong attempts per exercise, held out
    "chapter 3, tuned on": ("ch03", 6, False),
    "chapter 3, held out": ("ch03", 14, True),
    "chapter 23, held out": ("ch23", 10, True),
}


def figures(told: list[Told]) -> dict[str, object]:
    kinds = Counter(one.kind for one in told)
    count = len(told)
    by_mistake = {
        mistake: f"{sum(one.specific for one in told if one.mutant.mistake == mistake)}/{total}"
        for mistake, total in sorted(Counter(one.mutant.mistake for one in told).items())
    }
    return {
        "wrong attempts": count,
        "specific and true, %": round(100 * sum(one.specific for one in told) / count, 1),
        "of it without exceptions, %": round(
            100 * sum(one.specific and one.kind != "exception" for one in told) / count, 1
        ),
        "false sentences": sum(one.truth is False for one in told),
        "sentences checked": sum(one.truth is not None for one in told),
        "kinds": dict(kinds),
        "rules": dict(Counter(one.result.diagnosis.key for one in told if one.result.diagnosis).most_common()),
        "specific by mistake": by_mistake,
    }


def main() -> None:
    found: dict[str, object] = {}
    held_out: list[Told] = []
    for group, (chapter, per_exercise, held) in GROUPS.items():
        told = list(attempts(rows.load_row(chapter), per_exercise, held_out=held))
        held_out += told if held else []
        for one in told:
            if "--show" in sys.argv and not one.specific:
                print(f"{group}, {one.exercise}: {one.mutant.mistake}: {one.kind} {one.truth}: {one.result.verdict} "
                      f"{one.result.message} {one.result.hint}")  # fmt: skip
        found[group] = figures(told)
    found["held out together"] = figures(held_out)
    cache.write(paths.records() / "diagnosis.json", (json.dumps(found, indent=1) + "\n").encode())
    print(json.dumps(found))


if __name__ == "__main__":
    main()
