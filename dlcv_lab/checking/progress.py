"""What a student has done so far, kept in a small file beside the notebooks and nowhere else."""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from dlcv_lab.files import write_whole

FOLDER, FILE = ".dlcv", "progress.json"


@dataclass
class Record:
    """One exercise: how often it was checked, with what result, and how many hints were opened."""

    verdict: str = "NA"  # of the last check
    solved: bool = False  # ever right
    attempts: int = 0  # checks that were not "not attempted"
    hints: int = 0
    failure: str = ""  # fingerprint of the last failure
    repeats: int = 0  # how often in a row
    last: str = ""  # date of the last check
    extra: dict[str, Any] = field(default_factory=dict)  # what a newer version wrote


class Progress:
    """The records of one folder of notebooks. Every change is written at once, in one step.

    A file that cannot be read is moved aside to progress.json.broken, never overwritten.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.path = (folder or home()) / FILE
        self.predictions: dict[str, dict[str, str]] = {}  # "ch03.linear": what was said, what was right, what it was
        self.records: dict[str, Record] = self._read()

    def _read(self) -> dict[str, Record]:
        if not self.path.exists():
            return {}
        try:
            raw = json.loads(self.path.read_text(encoding="utf-8"))
            self.predictions = {str(key): dict(value) for key, value in raw.get("predictions", {}).items()}
            return {str(key): _record(value) for key, value in raw["exercises"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            aside = self.path.with_suffix(".json.broken")
            self.path.replace(aside)
            print(f"{self.path} could not be read; it was moved to {aside.name} and progress starts anew.")
            return {}

    def of(self, key: str) -> Record:
        """Return the record of an exercise such as "ch03.conv2d"; an empty one where nothing was done yet."""
        return self.records.get(key, Record())

    def checked(self, key: str, verdict: str, failure: str = "") -> Record:
        """Note one check. `failure` is a fingerprint of what went wrong; equal ones in a row are counted.

        Returns:
            The record after the check.
        """
        record = self.records.setdefault(key, Record())
        record.verdict, record.last = verdict, datetime.date.today().isoformat()
        record.attempts += verdict != "NA"
        record.solved |= verdict == "OK"
        record.repeats = record.repeats + 1 if failure and failure == record.failure else int(bool(failure))
        record.failure = failure
        self._write()
        return record

    def hinted(self, key: str, stage: int) -> None:
        """Note that the hint of this stage (1, 2 or 3) was opened."""
        record = self.records.setdefault(key, Record())
        record.hints = max(record.hints, stage)
        self._write()

    def foresaw(self, key: str, **entry: str) -> None:
        """Note a prediction that was answered; the first one stands, for a second choice knows the result."""
        if key not in self.predictions:
            self.predictions[key] = entry
            self._write()

    def _write(self) -> None:
        """Write all records in one step; a folder that cannot be written only costs the progress, never the check."""
        exercises = {key: {**record.extra, **_without_extra(record)} for key, record in sorted(self.records.items())}
        kept = {"predictions": dict(sorted(self.predictions.items()))} if self.predictions else {}
        text = json.dumps({"format": 1, "exercises": exercises, **kept}, indent=1, ensure_ascii=False) + "\n"
        try:
            write_whole(self.path, text.encode())
        except OSError as error:
            print(f"Your progress could not be written to {self.path} ({error.strerror}); the verdict stands.")


def home(start: Path | None = None) -> Path:
    """Return the nearest `.dlcv` folder from `start` (the current folder) upwards, else the one to be made here."""
    here = (start or Path.cwd()).resolve()
    for place in (here, *here.parents):
        if (place / FOLDER).is_dir():
            return place / FOLDER
    return here / FOLDER


def _record(value: dict[str, Any]) -> Record:
    known = {f.name for f in fields(Record)} - {"extra"}
    return Record(
        **{name: value[name] for name in known if name in value},
        extra={name: item for name, item in value.items() if name not in known},
    )


def _without_extra(record: Record) -> dict[str, Any]:
    return {name: item for name, item in asdict(record).items() if name != "extra"}
