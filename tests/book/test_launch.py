"""Launch buttons: they open the release notebook where a course says, and nothing where it says nothing."""

from __future__ import annotations

import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from autograder.release import launch_buttons, repository_texts
from autograder.release.launch_buttons import LaunchError, Places
from dlcv_lab.checking.magics import without_magics

GITHUB = Places(repository="https://github.com/you/cv-student", hub="https://hub.example.org/")
SLUG = "ch03_convolutional_networks"


def test_without_a_repository_there_are_no_buttons():
    assert launch_buttons.addresses(Places(), SLUG, "lesson_1") == {}


def test_each_place_opens_the_release_notebook():
    assert launch_buttons.addresses(GITHUB, SLUG, "lesson_1") == {
        "Colab": f"https://colab.research.google.com/github/you/cv-student/blob/main/{SLUG}/lesson_1.ipynb",
        "Binder": f"https://mybinder.org/v2/gh/you/cv-student/main?urlpath=lab%2Ftree%2F{SLUG}%2Flesson_1.ipynb",
        "JupyterHub": (
            "https://hub.example.org/hub/user-redirect/git-pull?repo=https%3A%2F%2Fgithub.com%2Fyou%2Fcv-student"
            f"&branch=main&urlpath=lab%2Ftree%2Fcv-student%2F{SLUG}%2Flesson_1.ipynb"
        ),
    }


def test_buttons_lead_to_the_paths_of_the_student_repository():
    notebook = {"stem": "lesson_1", "title": "A", "exercises": [], "minutes": 1}
    contents = [{"chapter": "ch03", "slug": SLUG, "title": "B", "notebooks": [notebook]}]
    path = launch_buttons.addresses(GITHUB, SLUG, "lesson_1")["Colab"].split("/blob/main/")[1]
    assert f"]({path})" in repository_texts.texts(contents, "course", "1")["README.md"]


def test_another_host_has_no_colab():
    places = Places(repository="https://gitlab.example.org/group/cv")
    found = launch_buttons.addresses(places, SLUG, "lesson_1")
    assert list(found) == ["Binder"]
    assert "/v2/git/https%3A%2F%2Fgitlab.example.org%2Fgroup%2Fcv/main" in found["Binder"]
    assert places.raw_files == "https://gitlab.example.org/group/cv/-/raw/main"


def test_the_configuration_of_the_checkout_can_be_read_and_names_no_repository():
    assert launch_buttons.read() == Places()


def test_a_course_says_its_own(tmp_path):
    (tmp_path / "course.toml").write_text('[book]\nrepository = "https://github.com/a/b"\ncolab = false\n')
    assert launch_buttons.read(tmp_path) == Places(repository="https://github.com/a/b", colab=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('repo = "x"', "no setting 'repo'"),
        ('repository = "github.com/a/b"', "beginning with https://"),
        ('colab = "yes"', "true or false"),
        ("repository = [", "cannot be read"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, text, said):
    (tmp_path / "course.toml").write_text(f"[book]\n{text}\n")
    with pytest.raises(LaunchError, match=said):
        launch_buttons.read(tmp_path)


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "student"
    (folder / SLUG).mkdir(parents=True)
    setup = new_code_cell('from dlcv_lab import start\nstart("ch03")', id="setup")
    nbformat.write(new_notebook(cells=[new_markdown_cell("# A", id="a"), setup]), folder / SLUG / "lesson_1.ipynb")
    return folder


def cells(repository):
    return nbformat.read(repository / SLUG / "lesson_1.ipynb", as_version=4).cells


def test_the_first_cell_installs_what_is_missing(repository):
    launch_buttons.add_first_cells(repository, {SLUG: ()}, "wheels/dlcv_lab-1-py3-none-any.whl", GITHUB)
    first = cells(repository)[1]
    assert first.id == launch_buttons.FIRST_CELL
    assert len(first.source.split("\n")) <= 6
    assert '"wheels/dlcv_lab-1-py3-none-any.whl"' in first.source
    assert '"https://raw.githubusercontent.com/you/cv-student/main"' in first.source
    assert cells(repository)[2].id == "setup"


def test_without_a_repository_notebooks_stay_as_they_are(repository):
    before = (repository / SLUG / "lesson_1.ipynb").read_bytes()
    launch_buttons.add_first_cells(repository, {SLUG: ()}, "wheels/x.whl", Places())
    assert (repository / SLUG / "lesson_1.ipynb").read_bytes() == before


def run_first_cell(repository, tmp_path, *, there: bool, extras: tuple[str, ...] = ()) -> str:
    """Run the first cell in IPython where dlcv_lab is there or not, and return what pip was asked to install."""
    launch_buttons.add_first_cells(repository, {SLUG: extras}, "wheels/dlcv_lab-1.whl", GITHUB)
    script = tmp_path / "run.py"
    script.write_text(
        "import importlib.util, sys, types\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "sys.modules['google.colab'] = types.ModuleType('google.colab')\n"
        "shell = InteractiveShell.instance()\n"
        "shell.register_magic_function(lambda line: print('pip', line), 'line', 'pip')\n"
        f"importlib.util.find_spec = lambda name, *more: object() if {there} else None\n"
        f"shell.run_cell({cells(repository)[1].source!r}).raise_error()\n"
    )
    command = [sys.executable, str(script)]
    done = subprocess.run(command, cwd=repository / SLUG, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.slow
def test_on_colab_the_first_cell_asks_pip_for_the_course_s_own_wheel(repository, tmp_path):
    said = run_first_cell(repository, tmp_path, there=False)
    address = "https://raw.githubusercontent.com/you/cv-student/main/wheels/dlcv_lab-1.whl"
    assert said.strip() == f"pip install --quiet {address}"


@pytest.mark.slow
def test_the_extras_of_a_chapter_come_with_the_wheel(repository, tmp_path):
    said = run_first_cell(repository, tmp_path, there=False, extras=("diffusion", "vl"))
    assert said.strip().endswith('/wheels/dlcv_lab-1.whl "dlcv-lab[diffusion,vl]"')


@pytest.mark.slow
def test_on_a_hub_it_takes_the_wheel_of_the_pulled_repository(repository, tmp_path):
    (repository / "wheels").mkdir()
    (repository / "wheels" / "dlcv_lab-1.whl").touch()
    assert run_first_cell(repository, tmp_path, there=False).strip() == "pip install --quiet ../wheels/dlcv_lab-1.whl"


@pytest.mark.slow
def test_where_the_package_is_there_it_does_nothing(repository, tmp_path):
    assert run_first_cell(repository, tmp_path, there=True) == ""


def test_the_grader_can_read_the_first_cell(repository):
    launch_buttons.add_first_cells(repository, {SLUG: ()}, "wheels/x.whl", GITHUB)
    compile(without_magics(cells(repository)[1].source), "cell", "exec")
