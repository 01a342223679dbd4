"""`dlcv doctor` on machines where something is wrong: each fault is faked, and each gets a remedy that mends it."""

from __future__ import annotations

import errno
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from workflow_tools import ROOT

from autograder.sandbox import advice, levels
from dlcv_lab.checking import packs
from dlcv_lab.cli import doctor


def the(findings: list[doctor.Finding], name: str) -> doctor.Finding:
    return next(finding for finding in findings if finding.name == name)


def test_a_python_that_is_too_old(monkeypatch):
    monkeypatch.setattr(doctor, "OLDEST", (99, 0))
    found = the(doctor._python(), "Python")
    assert found.ok is False
    assert "install Python 99.0 or newer" in found.remedy


def test_a_torch_that_is_too_old(monkeypatch):
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.13.1" if name == "torch" else real(name))
    found = the(doctor._packages(), "torch")
    assert found.ok is False
    assert "1.13.1 is installed and >=2" in found.text
    assert found.remedy.startswith('python -m pip install --upgrade "torch>=2')


def test_a_build_of_torch_for_one_processor_counts_as_its_version(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.9.0+cpu")
    assert doctor._package("torch", ">=2.6").ok


def test_a_package_that_is_missing(monkeypatch):
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = doctor._packages()
    assert [finding.ok for finding in found] == [False] * len(doctor.PACKAGES)
    assert all(finding.remedy.startswith("python -m pip install") for finding in found)


@pytest.mark.parametrize(("needed", "ok"), [(("vl",), False), (("diffusion",), None), ((), None)])
def test_an_extra_is_missing_where_a_chapter_that_lies_here_needs_it(monkeypatch, tmp_path, needed, ok):
    chapter = packs.Chapter("ch16", "ch16_clip", "CLIP", "1", (), tmp_path, needed)
    monkeypatch.setattr(packs, "chapters", lambda: {"ch16": chapter})
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "open_clip" else real(name))
    found = the(doctor._extras(), "extra [vl]")
    assert (found.ok, found.remedy) == (ok, 'python -m pip install "dlcv-lab[vl]"')
    assert ("ch16 cannot run" in found.text) is (ok is False)


@pytest.mark.parametrize("platform", ["linux", "win32"])
def test_a_torch_that_does_not_load(monkeypatch, platform):
    def broken(name: str) -> None:
        raise OSError("[WinError 126] a library was not found\nmore lines")

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    monkeypatch.setattr(sys, "platform", platform)
    (found,) = doctor._torch()
    assert found.ok is False
    assert found.text == "[WinError 126] a library was not found"
    assert ("Visual C++" in found.remedy) == (platform == "win32")


def test_a_torchvision_of_another_build_than_torch(monkeypatch):
    def loaded(name: str) -> None:
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(doctor.importlib, "import_module", loaded)
    (found,) = doctor._torchvision()
    assert found.ok is False
    assert found.text == "operator torchvision::nms does not exist"
    assert "both from the same place" in found.remedy


@pytest.mark.parametrize(("program", "ok"), [("python", True), (sys.executable, True), ("/opt/other/python", False)])
def test_a_kernel_of_another_python(monkeypatch, program, ok):
    from jupyter_client import kernelspec

    spec = kernelspec.KernelSpec(argv=[program, "-m", "ipykernel_launcher"])
    monkeypatch.setattr(kernelspec.KernelSpecManager, "get_kernel_spec", lambda self, name: spec)
    (found,) = doctor._kernel()
    assert found.ok is ok
    assert ok or "-m ipykernel install --sys-prefix" in found.remedy


def test_no_kernel_at_all(monkeypatch):
    from jupyter_client import kernelspec

    def none(self: object, name: str) -> None:
        raise kernelspec.NoSuchKernel(name)

    monkeypatch.setattr(kernelspec.KernelSpecManager, "get_kernel_spec", none)
    (found,) = doctor._kernel()
    assert found.ok is False
    assert sys.executable in found.remedy


def test_a_full_disk(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: usage(10, 10, 2**20))
    found = the(doctor._folder(), "disk")
    assert found.ok is False
    assert "500 MiB" in found.remedy


def test_a_folder_that_cannot_be_written(monkeypatch):
    def refused(**_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refused)
    found = the(doctor._folder(), "this folder")
    assert found.ok is False
    assert "home folder" in found.remedy


def report_of(folder: Path, **environment: str) -> tuple[int, str]:
    """Run `dlcv doctor` for real, in a process of its own that starts in `folder`."""
    start = "import os; os.chdir(os.environ['HERE']); os.environ.get('GONE') and os.rmdir(os.environ['HERE']); "
    start += "from dlcv_lab.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", start, "doctor"], capture_output=True, encoding="utf-8",
        env=os.environ | {"HERE": str(folder), "COLUMNS": "200", "NO_COLOR": "1"} | environment,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_a_folder_that_is_gone(tmp_path):
    folder = tmp_path / "moved"
    folder.mkdir()
    code, said = report_of(folder, GONE="yes", PYTHONPATH=str(ROOT))
    assert code == 1
    assert "FAIL this folder: it was removed or moved away" in said
    assert "remedy: cd to the course's folder" in said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc is where not even root can write")
def test_a_damaged_torch_in_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libtorch_cpu.so: cannot open')")
    code, said = report_of(Path("/proc"), PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert code == 1
    lines = said.splitlines()
    failing = [index for index, line in enumerate(lines) if line.startswith("FAIL")]
    assert {"torch works", "this folder"} <= {lines[index][5:].split(":")[0] for index in failing}
    assert all(lines[index + 1].strip().startswith("remedy: ") for index in failing), said


def test_no_exercises_from_here(monkeypatch):
    from dlcv_lab.checking import packs

    monkeypatch.setattr(packs, "list_packs", lambda: [])
    (found,) = doctor._packs()
    assert found.ok is False
    assert "course's repository" in found.remedy


def test_a_look_that_breaks_is_a_finding_and_the_others_go_on(monkeypatch):
    def _disks() -> list[doctor.Finding]:
        raise ZeroDivisionError("a fault of the doctor")

    monkeypatch.setattr(doctor, "_folder", _disks)
    monkeypatch.setattr(doctor, "_torch", list)  # loading it takes seconds
    monkeypatch.setattr(doctor, "_torchvision", list)
    findings = doctor.examine()
    assert the(findings, "disks").ok is False
    assert the(findings, "Python").ok is True
    assert all(finding.remedy for finding in findings if finding.ok is False)
    json.dumps([vars(finding) for finding in findings])


def test_a_student_without_the_checkout_hears_nothing_of_sandboxes(monkeypatch):
    real = importlib.metadata.entry_points
    none = importlib.metadata.EntryPoints()

    def without(*, group: str) -> importlib.metadata.EntryPoints:
        return none if group == "dlcv.doctor" else real(group=group)

    monkeypatch.setattr(doctor.importlib.metadata, "entry_points", without)
    assert doctor._sandbox() == []


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A Linux machine whose kernel settings, programs and isolation level the test chooses."""

    def made(*, level: str, bwrap: bool, means: str = "none", **settings: str) -> list[advice.Line]:
        for name, value in settings.items():
            place = tmp_path.joinpath(*name.split("__"))
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(value + "\n")
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(advice, "SETTINGS", tmp_path)
        monkeypatch.setattr(advice.shutil, "which", lambda name: "/usr/bin/bwrap" if bwrap else None)
        monkeypatch.setattr(levels, "detect", lambda: level)
        monkeypatch.setattr(levels, "mechanism", lambda level: means)
        return advice.examine()

    return made


def test_bubblewrap_is_missing(machine):
    (found,) = machine(level="uid", bwrap=False, means="uid")
    assert found[1] is False
    assert "apt-get install bubblewrap" in found[3]


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("kernel__apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
        ("kernel__unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("user__max_user_namespaces", "0", "user.max_user_namespaces=15000"),
    ],
)
def test_a_kernel_that_forbids_user_namespaces(machine, setting, value, said):
    (found,) = machine(level="none", bwrap=True, **{setting: value})
    assert found[1] is False
    assert f"sudo sysctl -w {said} " in found[3]


def test_inside_a_container_that_forbids_namespaces(machine):
    (found,) = machine(level="none", bwrap=True, user__max_user_namespaces="100")
    assert found[1] is False
    assert "Dockerfile.grader" in found[3]


def test_a_good_machine_hears_of_the_next_level(machine):
    first, second = machine(level="bubblewrap", bwrap=True, means="bubblewrap")
    assert first[1] is True
    assert "DLCV_ISOLATION=vm" in second[3]


def test_jobs_in_a_bare_container_are_not_apart(machine):
    first, second = machine(level="container", bwrap=False)
    assert first[1] is True
    assert "nothing tells one job from another" in second[2]


def test_macos_and_windows_grade_in_the_container(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    (found,) = advice.examine()
    assert found[1] is False
    assert "container" in found[3]
