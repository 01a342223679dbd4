"""`import dlcv_lab` is light, and its names lead where they should."""

import subprocess
import sys

import pytest

import dlcv_lab

HEAVY = ("matplotlib", "ipywidgets", "sklearn", "skimage", "IPython", "tqdm", "torchvision", "PIL", "scipy")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_core_names_load_nothing_heavy_on_top_of_torch():
    code = (
        "import sys, torch; before = set(sys.modules); "
        "from dlcv_lab import count_params, data, device, fit, interact, seed, show, start, colour; "
        f"print([m for m in {HEAVY!r} if m in sys.modules and m not in before])"
    )
    assert run(code).strip() == "[]"


def test_importing_the_package_does_not_import_torch():
    assert run("import sys, dlcv_lab; print('torch' in sys.modules)").strip() == "False"


def test_functions_survive_the_import_of_every_module():
    """A module of the same name would take the place of the function on the package."""
    code = (
        "import importlib, pkgutil, dlcv_lab\n"
        "for m in pkgutil.iter_modules(dlcv_lab.__path__):\n"
        "    if not m.ispkg and m.name != '__main__': importlib.import_module('dlcv_lab.' + m.name)\n"
        "print([n for n in dlcv_lab._HOMES if not callable(getattr(dlcv_lab, n))])"
    )
    assert run(code).strip() == "[]"


def test_every_name_on_offer_has_a_home():
    for name in set(dlcv_lab._HOMES) & set(dlcv_lab.__all__):
        assert getattr(dlcv_lab, name) is not None


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'shwo'"):
        _ = dlcv_lab.shwo
