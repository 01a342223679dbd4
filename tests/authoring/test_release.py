"""The student repository: complete without the checkout, safe to write again, and honest about what changed."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from nbgrader.api import Gradebook

from autograder.base import paths
from autograder.chapter import rows
from autograder.release import course as courses
from autograder.release import repository, wheel
from autograder.release.nbgrader_release import FrozenError
from autograder.release.repository import ReleaseError

pytestmark = pytest.mark.slow


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def student(demo, tmp_path: Path) -> Path:
    repository.release(tmp_path / "student", ["ch99"])
    return tmp_path / "student"


def test_a_release_is_a_complete_repository(student: Path):
    names = set(snapshot(student))
    assert {
        "README.md", "requirements.txt", "LICENSE", "CHANGES.md", ".gitignore", "ch99_demo/lesson_1.ipynb",
        ".dlcv/packs/ch99_demo/box_blur.pack", ".dlcv/packs/ch99_demo/chapter.json", ".dlcv/release.json",
        ".github/workflows/check.yml",
    } <= names  # fmt: skip
    assert not any(name.startswith(".dlcv/solutions") for name in names)
    version = wheel.version_of(next((student / "wheels").glob("*.whl")))
    assert f"dlcv-lab=={version}" in (student / "requirements.txt").read_text()
    assert "- [A window that averages](ch99_demo/lesson_1.ipynb): 2 exercises" in (student / "README.md").read_text()
    text = (student / "ch99_demo/lesson_1.ipynb").read_text()
    assert "SOLUTION" not in text
    assert "raise NotImplementedError" in text


def test_the_wheel_holds_the_packs_and_nothing_of_the_instructors(student: Path):
    with zipfile.ZipFile(next((student / "wheels").glob("*.whl"))) as archive:
        names = archive.namelist()
    assert "dlcv_lab/packs/ch99_demo/box_blur.pack" in names
    assert "dlcv_lab/packs/ch99_demo/chapter.json" in names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"dlcv_lab"}
    assert not (paths.CHECKOUT / "dlcv_lab" / "packs").exists()


def test_every_chapter_can_be_released(tmp_path: Path):
    done = rows.slugs()
    repository.release(tmp_path / "student", done)
    assert {place.name for place in (tmp_path / "student").glob("ch*")} == set(done)
    assert "dlcv-lab[diffusion,vl]==" in (tmp_path / "student" / "requirements.txt").read_text()


def test_a_second_release_changes_nothing(student: Path):
    before = snapshot(student)
    done = repository.release(student, ["ch99"])
    assert (done.written, done.removed) == ([], [])
    assert snapshot(student) == before


def test_a_new_release_says_what_changed_and_leaves_foreign_files(student: Path, edit):
    (student / "notes.txt").write_text("mine")
    (student / "ch99_demo" / "extra.ipynb").write_text("{}")
    edit("solutions/ch99_demo.py", "Average over every k x k window", "Take the mean of every k x k window")
    repository.release(student, ["ch99"])
    assert (student / "notes.txt").read_text() == "mine"
    assert (student / "ch99_demo" / "extra.ipynb").exists()
    changes = (student / "CHANGES.md").read_text()
    assert "changed: ch99_demo/lesson_1.ipynb (exercises: ch99-box_blur)" in changes
    assert "new: ch99_demo/lesson_1.ipynb" in changes
    assert "run `pip install -r requirements.txt` again" in changes
    assert len(list((student / "wheels").glob("*.whl"))) == 1


def test_an_edited_generated_file_is_kept_beside_the_new_one(student: Path, edit):
    notebook = student / "ch99_demo" / "lesson_1.ipynb"
    notebook.write_text(notebook.read_text() + "\n")
    edit("chapters/ch99_demo/lesson_1.md", "How strong is", "How weak is")
    done = repository.release(student, ["ch99"])
    assert done.kept_edits == ["ch99_demo/lesson_1.ipynb"]
    assert notebook.with_name("lesson_1.ipynb.bak").read_text().endswith("\n\n")


def test_solutions_come_with_the_self_study_edition_or_on_purpose(student: Path, tmp_path: Path):
    repository.release(student, ["ch99"], solutions=True)
    published = json.loads((student / ".dlcv/solutions/ch99_demo/solutions.json").read_text())
    assert set(published["solutions"]) == {"box_blur", "unsharp"}
    assert not published["after_attempt"]
    assert "solutions: ch99_demo" in (student / "CHANGES.md").read_text()
    repository.release(tmp_path / "self", ["ch99"], edition="self-study")
    assert json.loads((tmp_path / "self/.dlcv/solutions/ch99_demo/solutions.json").read_text())["after_attempt"]


def test_published_solutions_stay_when_the_chapter_is_released_again(student: Path):
    repository.release(student, ["ch99"], solutions=True)
    repository.release(student, ["ch99"])
    assert (student / ".dlcv/solutions/ch99_demo/solutions.json").exists()


def test_a_leak_stops_the_release_before_anything_is_written(demo, edit, tmp_path: Path):
    body = "y = torch.zeros(H - k + 1, W - k + 1, dtype=x.dtype)"
    edit(
        "chapters/ch99_demo/lesson_1.md",
        "noise = torch",
        f"if False:\n    H = W = k = 1; x = noise; {body}\nnoise = torch",
    )
    with pytest.raises(ReleaseError, match="the solution of box_blur"):
        repository.release(tmp_path / "student", ["ch99"])
    assert not (tmp_path / "student").exists()


@pytest.mark.parametrize("place", ["", "chapters", "dlcv_lab/packs", "solutions/out"])
def test_the_checkout_is_no_place_for_a_release(demo, place):
    with pytest.raises(ReleaseError, match="belongs to the checkout"):
        repository.release(paths.CHECKOUT / place, ["ch99"])


def test_a_course_lists_the_assignment_with_its_points(demo, tmp_path: Path):
    course, _ = courses.init_course(tmp_path / "cv")
    repository.release(tmp_path / "student", course=course)
    assert (course.root / "source/ch99_demo/lesson_1.ipynb").exists()
    assert (course.root / "release/ch99_demo/lesson_1.ipynb").exists()
    with Gradebook(course.database) as gradebook:
        assert gradebook.find_assignment("ch99_demo").max_score == 5
        assert gradebook.find_grade_cell("ch99-box_blur-check", "lesson_1", "ch99_demo").max_score == 3


def test_graded_cells_freeze_once_there_are_submissions(demo, edit, tmp_path: Path):
    course, _ = courses.init_course(tmp_path / "cv")
    repository.release(tmp_path / "student", course=course)
    with Gradebook(course.database) as gradebook:
        gradebook.add_student("ada")
        gradebook.add_submission("ch99_demo", "ada")
    edit("solutions/ch99_demo.py", "Average over every", "Take the mean over every")
    repository.release(tmp_path / "student", course=course)  # texts may change
    edit("autograder/exercises/ch99_demo.py", 'groups={"plain": 2, "edge": 1}', 'groups={"plain": 5, "edge": 1}')
    before = snapshot(course.root)
    with pytest.raises(FrozenError, match="lesson_1/ch99-box_blur-check"):
        repository.release(tmp_path / "student", course=course)
    after = {name: raw for name, raw in snapshot(course.root).items() if "gradebook" not in name}
    assert after == {name: raw for name, raw in before.items() if "gradebook" not in name}


def test_a_notebook_alone_in_an_empty_folder_works_with_the_wheel(student: Path, tmp_path: Path):
    """Only the notebook and the installed wheel: the untouched notebook runs through, and `check` judges."""
    from autograder.release.execute_lessons import run_notebook

    site, alone = tmp_path / "site", tmp_path / "alone"
    alone.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*pip, str(next((student / "wheels").glob("*.whl")))], check=True)
    nb = nbformat.read(student / "ch99_demo" / "lesson_1.ipynb", as_version=4)
    nb.cells.append(nbformat.v4.new_code_cell("import dlcv_lab; print(dlcv_lab.__file__)"))
    nb.cells.append(
        nbformat.v4.new_code_cell("def box_blur(x, k):\n    return F.avg_pool2d(x[None, None], k, 1)[0, 0]")
    )
    nb.cells.append(nbformat.v4.new_code_cell('check("box_blur")'))
    nowhere = str(tmp_path / "nowhere")
    run_notebook(nb, "lesson_1", alone, env={"PYTHONPATH": str(site), "DLCV_PACKS": nowhere, "DLCV_BUILD": nowhere})
    place = nb.cells[-3].outputs[0].text.strip()
    assert Path(place).is_relative_to(site)
    first = json.dumps(next(cell for cell in nb.cells if cell.id == "ch99-box_blur-check").outputs)
    assert "not attempted" in first.lower()
    last = json.dumps(nb.cells[-1].outputs)
    assert "box_blur" in last
    assert "not attempted" not in last.lower()
    assert os.listdir(alone) in ([], [".dlcv"])
