"""A course folder is made once, completed without harm, and never touched by `make clean`."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from autograder.base import paths
from autograder.release.course import CourseError, init_course, load_course


def test_init_makes_settings_folders_and_a_secret_of_mode_600(demo, tmp_path: Path):
    course, made = init_course(tmp_path / "cv", name="cv-2026")
    assert course.chapters == ("ch99",)
    assert {path.name for path in made} == {"course.toml", "secret", ".gitignore", "nbgrader_config.py", "grade.yml"}
    assert stat.S_IMODE((course.root / "secret").stat().st_mode) == 0o600
    assert len(course.secret()) >= 32
    assert (course.root / "submitted").is_dir()
    assert "secret" in (course.root / ".gitignore").read_text().split()
    compile((course.root / "nbgrader_config.py").read_text(), "nbgrader_config.py", "exec")


def test_a_second_init_changes_nothing(demo, tmp_path: Path):
    course, _ = init_course(tmp_path / "cv", name="cv-2026")
    before = {path: path.read_bytes() for path in course.root.rglob("*") if path.is_file()}
    _, made = init_course(tmp_path / "cv", name="another", edition="self-study")
    assert made == []
    assert {path: path.read_bytes() for path in course.root.rglob("*") if path.is_file()} == before


def test_two_courses_have_two_secrets(demo, tmp_path: Path):
    one, two = (init_course(tmp_path / name)[0] for name in ("a", "b"))
    assert one.secret() != two.secret()


@pytest.mark.skipif(os.name != "posix", reason="Windows has no file modes")
def test_a_secret_that_others_can_read_is_refused(demo, tmp_path: Path):
    course, _ = init_course(tmp_path / "cv")
    (course.root / "secret").chmod(0o644)
    with pytest.raises(CourseError, match="chmod 600"):
        course.secret()


def test_the_secret_may_come_from_the_environment(demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    course, _ = init_course(tmp_path / "cv")
    settings = course.root / "course.toml"
    settings.write_text(settings.read_text().replace('secret = "secret"', 'secret = "env:CV_SECRET"'))
    course = load_course(course.root)
    with pytest.raises(CourseError, match="CV_SECRET"):
        course.secret()
    monkeypatch.setenv("CV_SECRET", "s" * 40)
    assert course.secret() == b"s" * 40


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('edition = "course"', 'edition = "free"', "edition is 'free'"),
        ("chapters = [", "chapters = 3 # [", "chapters is a list"),
        ("[grading]", "[grading", "not valid TOML"),
    ],
)
def test_malformed_settings_name_the_file(demo, tmp_path: Path, old, new, says):
    course, _ = init_course(tmp_path / "cv")
    settings = course.root / "course.toml"
    settings.write_text(settings.read_text().replace(old, new))
    with pytest.raises(CourseError, match=says) as error:
        load_course(course.root)
    assert "course.toml" in str(error.value)


def test_a_folder_without_settings_says_how_to_make_it(tmp_path: Path):
    with pytest.raises(CourseError, match="dlcv course init"):
        load_course(tmp_path)


def test_a_course_in_build_is_refused(demo):
    with pytest.raises(CourseError, match="make clean"):
        init_course(paths.build() / "cv")


def test_make_clean_removes_build_and_leaves_course_folders_alone(demo, tmp_path: Path):
    """`make clean` in a checkout with one course inside it and one outside."""
    checkout = tmp_path / "checkout"
    (checkout / "build" / "packs").mkdir(parents=True)
    shutil.copy(paths.CHECKOUT / "Makefile", checkout)
    inside, _ = init_course(checkout / "cv-2026")
    outside, _ = init_course(tmp_path / "cv-2027")
    files = {
        path: path.read_bytes() for course in (inside, outside) for path in course.root.rglob("*") if path.is_file()
    }
    subprocess.run(["make", "clean"], cwd=checkout, check=True, capture_output=True)
    assert not (checkout / "build").exists()
    assert {
        path: path.read_bytes() for course in (inside, outside) for path in course.root.rglob("*") if path.is_file()
    } == files
    assert (inside.root / "submitted").is_dir()
