"""Two slips at once, drawn at random: are they told, what does it cost, and how large are the packs?

`python benches/bench_pairs.py 6 ch03 ch16` draws six pairs an exercise of these chapters.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "field"))

from random_pairs import told_on

from autograder.chapter import rows
from autograder.release import packing
from autograder.release.judged_cases import hidden_pack, public_pack
from dlcv_lab.checking.model import Pack
from dlcv_lab.checking.wire import decode_pack, encode_pack


@dataclass(frozen=True)
class Side:
    """What was seen with packs of one kind."""

    milliseconds: list[float]
    told: list[int]  # 0, 1 or 2 sentences of the pair

    def __str__(self) -> str:
        some, both = sum(one > 0 for one in self.told), sum(one == 2 for one in self.told)
        return (
            f"{len(self.told)} pairs, {some} with at least one sentence, {both} with both; "
            f"{statistics.median(self.milliseconds):.0f} ms in the middle, {max(self.milliseconds):.0f} at most"
        )


def packs(row: rows.Row, name: str) -> Iterator[tuple[str, Pack, int]]:
    """Yield where a pack is met, the pack, and the bytes of the released one."""
    exercise = row.exercise_by_name[name]
    info = packing.info_of(row, exercise)
    raw = encode_pack(packing.timeless(public_pack(exercise, info)))
    yield "notebook", decode_pack(raw), len(raw)
    yield "grading", hidden_pack(exercise, info, b"pairs"), 0


def main(each: int, chapters: list[str]) -> None:
    everything = {"notebook": Side([], []), "grading": Side([], [])}
    for key in chapters:
        row = rows.load_row(key)
        sides = {"notebook": Side([], []), "grading": Side([], [])}
        size = 0
        for exercise in row.exercises:
            for where, pack, raw in packs(row, exercise.name):
                size += raw
                pack.misconceptions()
                for pair in told_on(row, exercise, pack, each, random.Random(exercise.name)):
                    for side in (sides[where], everything[where]):
                        side.told.append(pair.sentences)
                        side.milliseconds.append(1000 * pair.seconds)
        print(f"{key}: packs {size / 2**20:.2f} MiB")
        for where, side in sides.items():
            print(f"  {where}: {side}", flush=True)
    for where, side in everything.items():
        print(f"all, {where}: {side}")


if __name__ == "__main__":
    started = time.monotonic()
    main(int(sys.argv[1]), sys.argv[2:])
    print(f"{time.monotonic() - started:.0f} s")
