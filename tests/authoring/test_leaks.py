"""The leak test finds what it is there for, under any name, and says nothing about what students see anyway."""

import json
import zipfile
from dataclasses import replace

import pytest

from autograder.base import paths
from autograder.chapter import rows
from autograder.release import assemble, leaks, nbgrader_release, packing
from autograder.release.judged_cases import public_pack
from dlcv_lab.checking.wire import decode_pack, encode_pack

BODY = "\n".join(
    [
        "def somewhere(picture, k):",
        "    # another comment",
        "    H, W = picture.shape",
        "    y = torch.zeros(H - k + 1,  W - k + 1, dtype=x.dtype)  # rewritten white space",
        "    for u in range(k):",
        "        for v in range(k):",
        "            pass",
    ]
)


def found(place, row, **options):
    return {(leak.place, leak.what) for leak in leaks.find_leaks([place], [row], **options)}


@pytest.fixture
def place(tmp_path):
    """A folder that goes out to students."""
    (tmp_path / "outgoing").mkdir()
    return tmp_path / "outgoing"


def test_tokens_are_pythons():
    assert leaks.tokens('x**2 != f\'a b\' # c\n"""d\ne"""') == ["x", "**", "2", "!=", "f'a b'", '"""d\ne"""']


def test_an_untouched_release_holds_nothing(demo, place):
    assemble.assemble(demo, packs=False)
    nbgrader_release.generate(paths.source(demo.slug), demo.slug, place)
    assert found(place, demo) == set()


def test_the_source_notebook_holds_the_solutions(demo):
    assemble.assemble(demo, packs=False)
    whats = {what for _, what in found(paths.source(demo.slug), demo)}
    assert whats == {"the solution of box_blur", "the solution of unsharp"}


@pytest.mark.parametrize("name", ["helper.py", "notes.md", "inner.json", "wheel.whl"])
def test_a_solution_body_is_found_in_any_file(demo, place, name):
    path = place / name
    if name.endswith(".json"):
        path.write_text(json.dumps({"outputs": [{"text": BODY.splitlines(keepends=True)}]}))
    elif name.endswith(".whl"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("dlcv_lab/world/tools.py", BODY)
    else:
        path.write_text(BODY)
    assert {what for _, what in found(place, demo)} == {"the solution of box_blur"}


def test_case_generators_and_variants_are_found(demo, place):
    (place / "a.py").write_text((paths.exercises() / "ch99_demo.py").read_text())
    whats = {what for _, what in found(place, demo)}
    assert "the case generator of box_blur" in whats
    assert "the variant unfolded of box_blur" in whats
    assert "the variant weighted of unsharp" in whats


def test_a_slip_is_found_as_the_solution_that_it_is_made_of(demo, place):
    (place / "a.py").write_text(demo.exercise_by_name["box_blur"].misconceptions[0].source())
    assert {what for _, what in found(place, demo)} == {"the solution of box_blur"}


# stand-ins that share code with a solution, and why; whoever adds one gives the reason
OBJECTIVE = "the solution is a call of the library's loss itself: F.binary_cross_entropy_with_logits"
REASONS = {
    "ch02.loss_surface, stand-in for objective": OBJECTIVE,
    "ch02.train_neuron, stand-in for objective": OBJECTIVE,
    "ch02.choose_alpha, stand-in for objective": OBJECTIVE,
    "ch23.QLoRALinear, stand-in for nf4": "torch and peft have no 4-bit type, and bitsandbytes is no dependency",
}


def test_a_stand_in_wraps_a_library_or_has_a_reason():
    chapters = [rows.load_row(slug) for slug in sorted(rows.slugs())]
    found = {leak.place for leak in leaks.standin_leaks(chapters)}
    assert found <= set(REASONS), found - set(REASONS)


def test_a_stand_in_that_copies_a_solution_is_found(demo, monkeypatch):
    info = packing.info_of(demo, demo.exercise_by_name["unsharp"])
    monkeypatch.setattr(packing, "infos_of", lambda row: [replace(info, standins={"box_blur": BODY})])
    assert [leak.what for leak in leaks.standin_leaks([demo])] == ["the solution of box_blur"]


def test_stand_ins_travel_veiled_and_come_back_as_they_were(demo, place):
    pack = public_pack(demo.exercise_by_name["unsharp"], packing.info_of(demo, demo.exercise_by_name["unsharp"]))
    pack = replace(pack, info=replace(pack.info, standins={"box_blur": BODY}))
    raw = encode_pack(pack)
    assert b"white space" not in raw
    assert decode_pack(raw).info.standins == {"box_blur": BODY}
    (place / "unsharp.pack").write_bytes(raw)
    assert found(place, demo) == set()


def test_a_shown_function_a_stub_and_a_probe_are_no_leak(demo, place):
    info = packing.info_of(demo, demo.exercise_by_name["unsharp"])
    (place / "a.py").write_text("\n\n".join([demo.source("contrast"), info.stub, info.probe]))
    assert found(place, demo) == set()


def test_the_secret_is_found_in_every_form(demo, place):
    secret = b"0123456789abcdef0123456789abcdef"
    (place / "plain").write_bytes(b"x" + secret)
    (place / "hex").write_text(secret.hex())
    assert found(place, demo, secret=secret) == {("plain", "the course's secret"), ("hex", "the course's secret")}


def test_files_of_the_instructors_side_are_found(demo, place):
    with zipfile.ZipFile(place / "a.whl", "w") as archive:
        archive.writestr("solutions/__init__.py", "")
    assert found(place, demo) == {("a.whl!solutions/__init__.py", "a file of the instructor's side")}
