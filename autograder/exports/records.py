"""Verdicts for programs: JSON lines, and JUnit XML as continuous-integration servers read it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterable

from autograder.base.wording import VERDICTS, headline, plain_text
from autograder.grade.journal import Entry
from dlcv_lab.checking.model import ExerciseResult, Verdict


def json_lines(entries: Iterable[Entry]) -> bytes:
    """Return one line per student and exercise."""
    lines = [
        {
            "student": entry.student,
            "chapter": entry.slug,
            "notebook": stem,
            "exercise": result.name,
            "core": result.name not in entry.extras,
            "verdict": str(result.verdict),
            "score": result.score,
            "max_score": result.max_score,
            "message": result.message,
            "hint": result.hint,
            "cause": result.diagnosis.key if result.diagnosis else None,
            "notes": list(result.notes),
            "cases_right": sum(case.verdict is Verdict.OK for case in result.cases),
            "cases": len(result.cases),
            "seconds": result.seconds,
            "peak_mib": result.peak_mib,
            "version": result.version,
            "attempt": result.attempt,
            "isolation": entry.isolation,
            "when": entry.when,
        }
        for entry in entries
        for stem, results in entry.results.items()
        for result in results
    ]
    text = "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)
    return text.encode("utf-8", "backslashreplace")


def junit(entries: Iterable[Entry], name: str) -> bytes:
    """Return JUnit XML: a suite per student, a test case per exercise. Not attempted is skipped, a fault an error."""
    kept = list(entries)
    root = ET.Element("testsuites", _counts([result for entry in kept for result in entry.flat], name))
    for entry in kept:
        facts = _counts(entry.flat, plain(entry.student)) | {"skipped": str(_count(entry.flat, "skipped"))}
        suite = ET.SubElement(root, "testsuite", facts | {"timestamp": entry.when.partition("+")[0]})
        for stem, results in entry.results.items():
            for result in results:
                _case(suite, f"{entry.slug}.{stem}", result)
    ET.indent(root, " ")
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _kind(result: ExerciseResult) -> str:
    if result.verdict is Verdict.OK:
        return ""
    return {Verdict.XX: "error", Verdict.NA: "skipped"}.get(result.verdict, "failure")


def _count(results: Iterable[ExerciseResult], kind: str) -> int:
    return sum(_kind(result) == kind for result in results)


def _counts(results: Iterable[ExerciseResult], name: str) -> dict[str, str]:
    kept = list(results)
    return {
        "name": plain(name),
        "tests": str(len(kept)),
        "failures": str(_count(kept, "failure")),
        "errors": str(_count(kept, "error")),
        "time": f"{sum(result.seconds for result in kept):.3f}",
    }


def _case(suite: ET.Element, classname: str, result: ExerciseResult) -> None:
    case = ET.SubElement(
        suite, "testcase", {"name": result.name, "classname": classname, "time": f"{result.seconds:.3f}"}
    )
    kind = _kind(result)
    if kind == "skipped":
        ET.SubElement(case, kind, {"message": VERDICTS[result.verdict]})
    elif kind:
        told = ET.SubElement(case, kind, {"message": plain(result.hint or result.message), "type": str(result.verdict)})
        told.text = plain(headline(result))
    ET.SubElement(case, "system-out").text = plain(f"{result.score:g} of {result.max_score:g} points")


def plain(text: str) -> str:
    """Return text without what XML 1.0 has no place for."""
    return "".join(c for c in plain_text(text) if c in "\n\t" or (c >= " " and c not in "\ufffe\uffff"))
