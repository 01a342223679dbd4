"""The student's package of the workbook "Deep Learning for Computer Vision".

Nothing is imported before it is used: `import dlcv_lab` costs next to nothing, and `from dlcv_lab import show` loads
the pictures but not the widgets. Every name below is documented where it lives.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlcv_lab import checking as checking
    from dlcv_lab import data as data
    from dlcv_lab import touch as touch
    from dlcv_lab import world as world
    from dlcv_lab import zoo as zoo
    from dlcv_lab.checking.verbs import check as check
    from dlcv_lab.checking.verbs import foreseen as foreseen
    from dlcv_lab.checking.verbs import hint as hint
    from dlcv_lab.checking.verbs import needs as needs
    from dlcv_lab.checking.verbs import predict as predict
    from dlcv_lab.checking.verbs import reveal as reveal
    from dlcv_lab.checking.verbs import show_solution as show_solution
    from dlcv_lab.checking.verbs import stuck as stuck
    from dlcv_lab.checking.verbs import submit as submit
    from dlcv_lab.counting import count_params as count_params
    from dlcv_lab.devices import device as device
    from dlcv_lab.devices import seed as seed
    from dlcv_lab.interaction import filmstrip_html as filmstrip_html
    from dlcv_lab.interaction import interact as interact
    from dlcv_lab.palette import colour as colour
    from dlcv_lab.pictures import show as show
    from dlcv_lab.set_up import start as start
    from dlcv_lab.training import History as History
    from dlcv_lab.training import accuracy as accuracy
    from dlcv_lab.training import fit as fit

__version__ = "0.1.0"

# name -> module that holds it; no module may carry the name of something that it exports here, because importing a
# submodule binds its name on the package
_HOMES = {
    "check": "checking.verbs",
    "foreseen": "checking.verbs",
    "hint": "checking.verbs",
    "needs": "checking.verbs",
    "predict": "checking.verbs",
    "reveal": "checking.verbs",
    "show_solution": "checking.verbs",
    "stuck": "checking.verbs",
    "submit": "checking.verbs",
    "start": "set_up",
    "count_params": "counting",
    "device": "devices",
    "seed": "devices",
    "filmstrip_html": "interaction",
    "interact": "interaction",
    "colour": "palette",
    "show": "pictures",
    "History": "training",
    "accuracy": "training",
    "fit": "training",
}
_SUBMODULES = ("checking", "data", "touch", "world", "zoo")

__all__ = ["__version__", *sorted([*_HOMES, *_SUBMODULES])]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"dlcv_lab.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    if name in _SUBMODULES:
        return importlib.import_module(f"dlcv_lab.{name}")
    raise AttributeError(f"module 'dlcv_lab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
