"""Outcomes, jobs and packs as envelopes. What comes from a student's process is believed only as far as it decodes."""

from __future__ import annotations

import base64
import dataclasses
import zlib
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

from dlcv_lab.checking.compare import compare
from dlcv_lab.checking.envelope import MAX_BYTES, EnvelopeError, decode, encode
from dlcv_lab.checking.model import (
    Case,
    ExerciseInfo,
    Forbid,
    Job,
    Limits,
    MisconceptionAnswers,
    NearAnswers,
    Outcome,
    Pack,
    PairAnswers,
    Program,
)

NEAR_BYTES = 100_000  # of a pack, for the compressed answers of mechanical changes
_TEXT = 4000  # characters of a message that are kept
# terminal codes and letters that turn the direction of reading act on whoever reads a message
_ACTING = {*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)} - {ord("\n"), ord("\t")}
_HARMLESS = dict.fromkeys(_ACTING, "\N{REPLACEMENT CHARACTER}")
# what a worker may say about itself; the runner alone says timeout, signal and fault
_CHILD_STATUS = frozenset({"value", "raised", "missing", "type", "output", "memory"})


def encode_outcome(outcome: Outcome) -> bytes:
    """Encode an outcome; its value must be plain data."""
    return encode(_outcome_to_plain(outcome), layout=False)


def decode_outcome(raw: bytes, max_bytes: int = MAX_BYTES) -> Outcome:
    """Decode a frame that came from a student's process; never raises.

    Bytes that are not an outcome become an outcome of status "type", and a process cannot claim a timeout, a signal or
    a fault of the grader.
    """
    try:
        outcome = _outcome_from_plain(decode(raw, max_bytes))
        if outcome.status not in _CHILD_STATUS:
            raise EnvelopeError("a process cannot say this about itself")
    except EnvelopeError as error:
        return Outcome("type", message=f"the answer did not arrive as plain data ({error})")
    return outcome


def encode_job(job: Job) -> bytes:
    """Encode a job for a worker."""
    return encode(
        {
            "program": {
                "setup": job.program.setup,
                "statements": job.program.statements,
                "stands": job.program.stands,
            },
            "probe": job.probe,
            "inputs": list(job.inputs),
            "standin": job.standin,
            "forbid": _fields(job.forbid),
            "limits": _fields(job.limits),
        }
    )


def decode_job(raw: bytes) -> Job:
    """Decode a job; raise `EnvelopeError` for anything else."""
    try:
        plain = decode(raw, max_bytes=2**40)
        return Job(
            program=_program(plain["program"]),
            probe=plain["probe"],
            inputs=tuple(plain["inputs"]),
            standin=plain["standin"],
            forbid=_forbid(plain["forbid"]),
            limits=Limits(**plain["limits"]),
        )
    except (KeyError, TypeError) as error:
        raise EnvelopeError(f"these bytes are not a job: {error}") from None


def encode_pack(pack: Pack) -> bytes:
    """Encode a pack, with the outcomes of its misconceptions; hints and stand-ins are hidden from a casual look."""
    info = _fields(pack.info)
    info["hints"] = [veil(hint) for hint in pack.info.hints]
    info["standins"] = {name: veil(text) for name, text in pack.info.standins.items()}
    return encode(
        {
            "format": 2,
            "info": info,
            "cases": [{"group": case.group, "data": case.data, "note": case.note} for case in pack.cases],
            "expected": [_outcome_to_plain(outcome) for outcome in pack.expected],
            "tolerances": [list(row) for row in pack.tolerances],
            "misconceptions": [
                {
                    "name": veil(answers.name),
                    "hint": veil(answers.hint),
                    "outcomes": [_outcome_to_plain(outcome) for outcome in answers.outcomes],
                }
                for answers in pack.misconceptions()
            ],
            "pairs": _pairs_to_plain(pack),
            "near": _near_to_plain(pack),
        }
    )


def decode_pack(raw: bytes) -> Pack:
    """Decode a pack; raise `EnvelopeError` for anything else."""
    try:
        plain = decode(raw, max_bytes=2**32)
        if plain["format"] != 2:
            raise EnvelopeError("this pack was written by another version of dlcv-lab")
        answers = tuple(
            MisconceptionAnswers(
                unveil(item["name"]),
                unveil(item["hint"]),
                tuple(_outcome_from_plain(outcome) for outcome in item["outcomes"]),
            )
            for item in plain["misconceptions"]
        )
        return Pack(
            info=_info(plain["info"]),
            cases=tuple(Case(**case) for case in plain["cases"]),
            expected=tuple(_outcome_from_plain(outcome) for outcome in plain["expected"]),
            tolerances=tuple(tuple(float(number) for number in row) for row in plain["tolerances"]),
            misconceptions=lambda: answers,
            pairs=partial(_pairs_from_plain, plain.get("pairs")),
            near=partial(_near_from_plain, plain.get("near")),
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, EnvelopeError):
            raise
        raise EnvelopeError(f"these bytes are not a pack: {error}") from None


def _pairs_to_plain(pack: Pack) -> dict[str, Any]:
    """Return the answers of pairs of mistakes, each different one once: two slips seldom act on the same case."""
    pool: dict[bytes, int] = {}
    rows = [
        [pair.first, pair.second, *(pool.setdefault(encode_outcome(pair.answer(index)), len(pool))
                                    for index in range(len(pack.cases)))]
        for pair in pack.pairs()
    ]  # fmt: skip
    return {"rows": rows, "pool": zlib.compress(encode(list(pool)), 9)}


def _pairs_from_plain(plain: Any) -> Iterator[PairAnswers]:
    """Yield the pairs of a pack; they are opened when they are asked for, after a failure."""
    for (first, second), answer in _pooled(plain, 2):
        yield PairAnswers(first, second, answer)


def _near_to_plain(pack: Pack) -> dict[str, Any]:
    """Return the answers of mechanical changes that are wrong somewhere, as far as `NEAR_BYTES` go."""
    pool: dict[bytes, int] = {}
    rows: list[list[Any]] = []
    room = NEAR_BYTES
    for change in pack.near():
        answers = [change.answer(index) for index in range(len(pack.cases))]
        if not any(answer.status == "value" for answer in answers) or _is_right(pack, answers):
            continue
        coded = [encode_outcome(answer) for answer in answers]
        room -= sum(len(zlib.compress(each)) for each in dict.fromkeys(coded) if each not in pool)
        if room < 0:
            break
        rows.append([change.key, veil(change.clause), *(pool.setdefault(each, len(pool)) for each in coded)])
    return {"rows": rows, "pool": zlib.compress(encode(list(pool)), 9)}


def _is_right(pack: Pack, answers: list[Outcome]) -> bool:
    return all(
        answer.error == right.error if right.status == "raised"
        else answer.status == "value" and compare(answer.value, right.value, allowed).equal
        for answer, right, allowed in zip(answers, pack.expected, pack.tolerances)
    )  # fmt: skip


def _near_from_plain(plain: Any) -> Iterator[NearAnswers]:
    """Yield the mechanical changes of a pack; they are opened when they are asked for."""
    for (key, clause), answer in _pooled(plain, 2):
        yield NearAnswers(key, unveil(clause), answer)


def _pooled(plain: Any, heads: int) -> Iterator[tuple[list[Any], Callable[[int], Outcome]]]:
    """Yield the first items of each row, and what gives the outcomes that its other items stand for."""
    if not plain or not plain["rows"]:
        return
    pool = decode(zlib.decompress(plain["pool"]), max_bytes=2**32)
    known = cache(lambda place: _outcome_from_plain(decode(pool[place], max_bytes=2**32)))

    def answers(places: list[int]) -> Callable[[int], Outcome]:
        return lambda index: known(places[index])

    for row in plain["rows"]:
        yield row[:heads], answers(row[heads:])


def veil(text: str) -> str:
    """Hide a text from a casual look; this is no protection."""
    return base64.b85encode(zlib.compress(text.encode("utf-8"), 9)).decode("ascii")


def unveil(text: str) -> str:
    """Return a text hidden by `veil`."""
    try:
        return zlib.decompress(base64.b85decode(text)).decode("utf-8")
    except (ValueError, zlib.error) as error:
        raise EnvelopeError(f"a hidden text is damaged: {error}") from None


def _fields(value: Any) -> dict[str, Any]:
    plain = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {key: _fields(item) if dataclasses.is_dataclass(item) else item for key, item in plain.items()}


def _program(plain: dict[str, Any]) -> Program:
    stands = plain["stands"]
    return Program(plain["setup"], tuple(plain["statements"]), True, stands=tuple(stands) if stands else None)


def _forbid(plain: dict[str, Any]) -> Forbid:
    return Forbid(aten=tuple(plain["aten"]), names=tuple(plain["names"]))


def _info(plain: dict[str, Any]) -> ExerciseInfo:
    first, second, third = (unveil(hint) for hint in plain["hints"])
    return ExerciseInfo(
        **{
            **plain,
            "defines": tuple(plain["defines"]),
            "uses": tuple(plain["uses"]),
            "returns": tuple(plain.get("returns", ())),
            "hints": (first, second, third),
            "standins": {name: unveil(text) for name, text in plain["standins"].items()},
            "forbid": _forbid(plain["forbid"]),
            "limits": Limits(**plain["limits"]),
        }
    )


def _outcome_to_plain(outcome: Outcome) -> dict[str, Any]:
    default = Outcome(outcome.status)
    plain = {
        field.name: getattr(outcome, field.name)
        for field in dataclasses.fields(outcome)
        if field.name in ("status", "value") or getattr(outcome, field.name) != getattr(default, field.name)
    }
    return plain if outcome.status == "value" else {key: item for key, item in plain.items() if key != "value"}


def _outcome_from_plain(plain: Any) -> Outcome:
    if type(plain) is not dict or type(plain.get("status")) is not str:
        raise EnvelopeError("these bytes are not an outcome")
    seconds = plain.get("seconds", 0.0)
    if type(seconds) is not float or not 0 <= seconds < 1e9:
        raise EnvelopeError("an outcome has an impossible time")
    if plain["status"] == "value" and "value" not in plain:
        raise EnvelopeError("an outcome has no value")
    return Outcome(
        status=plain["status"],
        value=plain.get("value") if plain["status"] == "value" else None,
        error=_text(plain, "error", 200),
        error_bases=_texts(plain, "error_bases"),
        message=_text(plain, "message", _TEXT),
        line=_text(plain, "line", 500),
        mutated=_texts(plain, "mutated"),
        forbidden=_texts(plain, "forbidden"),
        seconds=seconds,
    )


def _text(plain: dict[str, Any], key: str, limit: int) -> str:
    text = plain.get(key, "")
    if type(text) is not str:
        raise EnvelopeError(f"the {key} of an outcome is not text")
    return harmless(text[:limit])


def harmless(text: str) -> str:
    """Return a student's text without the characters that act on a terminal or turn the direction of reading."""
    return text.translate(_HARMLESS)


def _texts(plain: dict[str, Any], key: str) -> tuple[str, ...]:
    items = plain.get(key, ())
    if type(items) not in (list, tuple) or any(type(item) is not str for item in items):
        raise EnvelopeError(f"the {key} of an outcome are not texts")
    return tuple(harmless(item[:200]) for item in items[:100])
