"""Notebooks of students' habits, for the corpus test: the released one, filled in, and changed in one way each.

Most must be as right in grading as they are in a live kernel. Where the two differ, `differs` says why, and `says` is
what the verdict must tell.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from honest_forms import BLUR, HONEST, SHARP, Notebook, cell, fill, solution

Change = Callable[[Notebook], Any]


@dataclass(frozen=True)
class Habit:
    """One notebook."""

    make: Callable[[Notebook], bytes]
    differs: str = ""  # why grading and kernel give other verdicts
    says: str = ""  # what a verdict that is not OK must tell


HABITS: dict[str, Habit] = {f"fairness: {name}": Habit(make) for name, make in HONEST.items()}


def habit(name: str, *, differs: str = "", says: str = "") -> Callable[[Change], Change]:
    """Register a function that changes a filled notebook."""

    def register(change: Change) -> Change:
        def make(release: Notebook) -> bytes:
            nb = fill(release)
            change(nb)
            return json.dumps(nb).encode()

        HABITS[name] = Habit(make, differs, says)
        return change

    return register


def written(
    name: str, blur: str = BLUR, *, above: str = "", below: str = "", between: str = "", sharp: str = SHARP,
    differs: str = "", says: str = "",
) -> None:  # fmt: skip
    """Register a notebook with this solution cell, and cells above it, between it and its check, and at the end."""

    @habit(name, differs=differs, says=says)
    def _(nb: Notebook) -> None:
        mine, sharpened = solution(nb, "box_blur"), solution(nb, "unsharp")
        mine["source"], sharpened["source"] = blur, sharp
        at = nb["cells"].index(mine)
        if between:
            nb["cells"].insert(at + 1, cell(between))
        if above:
            nb["cells"].insert(at, cell(above))
        if below:
            nb["cells"].append(cell(below))


def windows(body: str, head: str = "def box_blur(x, k):") -> str:
    """Return a right solution whose last line is `body`, with `w` all windows of `x`."""
    fits = "    if k > min(x.shape):\n        raise ValueError('too large')\n"
    return f"{head}\n{fits}    w = x.unfold(0, k, 1).unfold(1, k, 1)\n    {body}\n"


MEAN = windows("return w.mean((2, 3))")
AXES = windows("return w.mean(AXES)")
CALL = windows("return average(w)")
AVERAGE = "def average(w):\n    return w.mean((2, 3))\n"
WRONG = "def average(w):\n    return w.sum((2, 3))\n"
TRAINING = (
    "net = nn.Linear(4, 4)\nopt = torch.optim.SGD(net.parameters(), lr=0.1)\nlosses = []\nfor epoch in range(3):\n"
    "    opt.zero_grad()\n    loss = net(torch.ones(2, 4)).square().mean()\n    loss.backward()\n    opt.step()\n"
    "    losses.append(loss.item())\ntorch.save({'model': net.state_dict(), 'losses': losses}, 'net.pt')"
)

# what comes later: names of the solution cell win
written(
    "training and a checkpoint later",
    MEAN,
    below=TRAINING,
    above="torch.backends.cudnn.deterministic = True\ntorch.backends.cudnn.benchmark = False",
)
written("the name assigned later", MEAN, below="box_blur = nn.AvgPool2d(3)")
written("the name imported later", MEAN, below="from torch.nn.functional import avg_pool2d as box_blur")
written("the name deleted later", MEAN, below="del box_blur")
written("the name of a loop later", MEAN, below="for box_blur in (1, 2):\n    pass")
written(
    "a star import later",
    "def fold(w):\n    return w.mean((2, 3))\n\n\n" + windows("return fold(w)"),
    below="from torch.nn.functional import *",
)
written(
    "a helper of the cell defined again later", AVERAGE + "\n\n" + CALL, below="def average(a, b):\n    return a + b"
)
written("a helper defined again later", CALL, above=AVERAGE, below="def average(a, b):\n    return a + b")
written("a constant used again later", AXES, above="AXES = (2, 3)", below="AXES = 'x y'")
written("a constant of a loop later", AXES, above="AXES = (2, 3)", below="for AXES in range(3):\n    print(AXES)")
written("a module's name used for a number later", MEAN, below="F = 96485\ntorch = None")
written(
    "a module's function replaced later",
    windows("return F.avg_pool2d(x[None, None], k, stride=1)[0, 0]"),
    below="F.avg_pool2d = None",
)
written(
    "a default that is kept",
    windows("return w.mean(axes)", "def box_blur(x, k, axes=AXES):"),
    above="AXES = (2, 3)",
    below="AXES = 7",
)
written("a helper that is right only at the end", CALL, above=WRONG, below=AVERAGE)
written("right only in a cell at the end", BLUR.replace("k**2", "k"), below=BLUR)
written("a helper below the check", CALL, below=AVERAGE)
written(
    "methods given to a class at the end",
    windows("return Blur()(w)"),
    above="class Blur:\n    pass",
    below="def call(self, w):\n    return w.mean((2, 3))\n\n\nBlur.__call__ = call",
)
written(
    "methods given to a class before the check",
    "class Blur:\n    pass\n\n\n" + windows("return Blur()(w)"),
    between="def call(self, w):\n    return w.mean((2, 3))\n\n\nBlur.__call__ = call",
)
written("two definitions in one cell", BLUR.replace("k**2", "k") + BLUR)
written("the old version under if False", BLUR, between="if False:\n    def box_blur(x, k):\n        return x")

# what IPython accepts
written("an indented cell", "".join(f"    {line}\n" for line in BLUR.strip("\n").split("\n")))
written(
    "prompts of a terminal",
    "".join(f"{'>>> ' if line[:1] not in ('', ' ') else '... '}{line}\n" for line in MEAN.strip("\n").split("\n")),
)
written(
    "prompts of IPython", "In [3]: import math\n   ...: \n   ...: " + "\n   ...: ".join(MEAN.strip("\n").split("\n"))
)
written("display inside", windows("display(k)\n    return w.mean((2, 3))"))
written("the shell asked inside", windows("get_ipython().run_line_magic('pwd', '')\n    return w.mean((2, 3))"))
written("a magic inside a function", windows("%pwd\n    return w.mean((2, 3))"))
written("a shell line and help above", MEAN, above="!true\nAXES = (2, 3)\nfiles = !ls\nlen?\n?len")
written("a captured cell", "%%capture\n" + MEAN)
written("a timed line that binds", AXES, above="%time AXES = (2, 3)")
written("a main guard", AXES, above="if __name__ == '__main__':\n    AXES = (2, 3)\n    print('ready')")
written(
    "top-level await",
    AXES,
    above="import asyncio\n\n\nasync def load():\n    await asyncio.sleep(0)\n    return (2, 3)\n\n\n"
    "AXES = await load()",
)
written("a function called __main__", AXES, above="def main():\n    global AXES\n    AXES = (2, 3)\n\n\nmain()")
written("an answer under %%timeit", "%%timeit\npass\n" + MEAN, differs="what %%timeit defines is lost in a kernel")
written("an answer under %%memit", "%%memit\n" + MEAN, differs="a kernel without memory_profiler refuses the cell")
written("an answer under %%writefile", "%%writefile mine.py\n" + MEAN, says="begins with %%writefile")
written("an answer under %%bash", "%%bash\n" + MEAN, says="begins with %%bash")

# annotations are what they are in a kernel
CHECKED = (
    "import functools, inspect\n\n\ndef checked(function):\n"
    "    names = list(inspect.signature(function).parameters)\n\n"
    "    @functools.wraps(function)\n    def wrapped(*args, **kwargs):\n        for name, value in zip(names, args):\n"
    "            wanted = function.__annotations__.get(name)\n"
    "            if wanted is not None and not isinstance(value, wanted):\n"
    "                raise TypeError(f'{name} must be {wanted}')\n        return function(*args, **kwargs)\n\n"
    "    return wrapped"
)
written(
    "a decorator that reads annotations",
    "@checked\n" + windows("return w.mean((2, 3))", "def box_blur(x: torch.Tensor, k: int):"),
    above=CHECKED,
)
written(
    "postponed annotations",
    "from __future__ import annotations\n\n\n"
    + windows("return w.mean((2, 3))", "def box_blur(x: Later, k: int) -> Later:"),
)
written(
    "postponed annotations of an earlier cell",
    windows("return w.mean((2, 3))", "def box_blur(x: Later, k: int):"),
    above="from __future__ import annotations",
)
written(
    "type hints asked for",
    windows(
        "from typing import get_type_hints\n    assert get_type_hints(box_blur)['k'] is int\n    return w.mean((2, 3))",
        "def box_blur(x: torch.Tensor, k: int):",
    ),
)

# corners of the language
written(
    "a conditional definition",
    CALL,
    above=f"if torch.__version__ > '1':\n    {AVERAGE.strip().replace(chr(10), chr(10) + '    ')}\n"
    "else:\n    average = None",
)
written(
    "a star import above",
    windows("return avg_pool2d(x[None, None], k, stride=1)[0, 0]"),
    above="from torch.nn.functional import *",
)
written(
    "a method given to Tensor", windows("return w.averaged()"), above="torch.Tensor.averaged = lambda w: w.mean((2, 3))"
)
written(
    "a method given to Tensor by setattr",
    windows("return w.averaged2()"),
    above="setattr(torch.Tensor, 'averaged2', lambda w: w.mean((2, 3)))",
)
written("a function given to a module", windows("return F.average(w)"), above=AVERAGE + "\n\nF.average = average")
written("a name given to builtins", CALL, above="import builtins\nbuiltins.average = lambda w: w.mean((2, 3))")
written("a builtin hidden and freed", MEAN, above="min = 3\nprint(min)\ndel min")
written("a builtin hidden", windows("return sum([w.mean((2, 3))])"), above="sum = 0\nfor n in range(4):\n    sum += n")
written(
    "an attribute of a function",
    windows("box_blur.calls += 1\n    return w.mean((2, 3))"),
    between="box_blur.calls = 0",
)
written(
    "closures over a loop's variable",
    windows("return w.mean(AXES[0]()).mean(AXES[1]())"),
    above="AXES = []\nfor axis in (2, 2):\n    AXES.append(lambda axis=axis: axis)",
)
written(
    "closures that look the variable up late",
    windows("return w.mean(LATE[0]()).mean(LATE[1]())"),
    above="LATE = [lambda: axis for _ in range(2)]\nfor axis in (5, 2):\n    pass",
    below="for axis in range(9):\n    pass",
)
written(
    "nonlocal",
    windows(
        "total = 0\n\n    def add(part):\n        nonlocal total\n        total = total + part\n\n"
        "    for u in range(k):\n        for v in range(k):\n            add(w[..., u, v])\n    return total / k**2"
    ),
)
written(
    "a decorator with arguments",
    "@named('blur')\n" + MEAN,
    above="def named(word):\n    def dress(f):\n        f.word = word\n        return f\n\n    return dress",
)
written(
    "functools.cache",
    windows("return F.conv2d(x[None, None], kernel(k, x.dtype))[0, 0]"),
    above="import functools\n\n\n@functools.cache\ndef kernel(k, dtype):\n"
    "    return torch.ones(1, 1, k, k, dtype=dtype) / k**2",
)
written(
    "a dataclass with fields",
    windows("return w.mean(Setting().axes)"),
    above="from dataclasses import dataclass, field\n\n\n"
    "@dataclass(frozen=True)\nclass Setting:\n    axes: tuple[int, int] = field(default=(2, 3))",
)
written(
    "a NamedTuple, an Enum and a Protocol",
    windows("return w.mean((Axis.ROWS.value, Pair(3, 0).a))"),
    above="from enum import Enum\nfrom typing import NamedTuple, Protocol\n\n\n"
    "class Pair(NamedTuple):\n    a: int\n    b: int\n\n\n"
    "class Axis(Enum):\n    ROWS = 2\n\n\nclass Blurs(Protocol):\n    def __call__(self, x): ...",
)
written(
    "a Generic and a copy of an object",
    windows("import copy\n    return copy.deepcopy(Box((2, 3))).apply(w)"),
    above="from typing import Generic, TypeVar\n\nT = TypeVar('T')\n\n\n"
    "class Box(Generic[T]):\n    def __init__(self, axes: T):\n"
    "        self.axes = axes\n\n    def apply(self, w):\n        return w.mean(self.axes)",
)
written(
    "pickling an own class",
    windows("import pickle\n    return w.mean(pickle.loads(pickle.dumps(Axes())).both)"),
    above="class Axes:\n    def __init__(self):\n        self.both = (2, 3)",
)
written(
    "match at the top",
    AXES,
    above="match torch.__version__.split('.'):\n    case [major, *rest]:\n        AXES = (2, 3)\n"
    "    case _:\n        AXES = None",
)
written("a walrus at the top", AXES, above="if (first := 2) > 1:\n    AXES = (first, 3)")
written(
    "a walrus in a comprehension", windows("return w.mean((last, 2))"), above="squares = [last := n for n in (1, 3)]"
)
written(
    "doctests",
    windows("return w.mean((2, 3))").replace(
        "k):\n", "k):\n    '''Blur.\n\n    >>> box_blur(torch.ones(2, 2), 2)\n    tensor([[1.]])\n    '''\n", 1
    ),
    below="import doctest\ndoctest.testmod()",
)
written(
    "a definition in a loop",
    CALL,
    above="for axes in ((0, 1), (2, 3)):\n    def average(w, axes=axes):\n        return w.mean(axes)",
)
written(
    "a while loop that fills",
    windows("return w.mean(tuple(TABLE))"),
    above="TABLE = []\nn = 2\nwhile len(TABLE) < 2:\n    TABLE.append(n)\n    n += 1",
)
written(
    "a loop that ends early",
    windows("return w.mean(tuple(TABLE))"),
    above="TABLE = []\nfor n in range(100):\n    if n < 2:\n"
    "        continue\n    if n > 3:\n        break\n    TABLE.append(n)\n    print(n)",
)
written(
    "a try that decides", AXES, above="try:\n    {}['missing']\n    AXES = 'wrong'\nexcept KeyError:\n    AXES = (2, 3)"
)
written("a with that binds", AXES, above="with torch.no_grad() as nothing:\n    AXES = (2, 3)\n    print(AXES)")
written(
    "a comprehension that fills",
    windows("return w.mean(tuple(TABLE))"),
    above="TABLE = []\n[TABLE.append(n) for n in (2, 3)]",
)
written(
    "a table that loses",
    windows("return w.mean(tuple(TABLE))"),
    above="TABLE = [2, 3, 9]\nlast = TABLE.pop()\nTABLE.sort()",
)
written(
    "changed in place by functions",
    windows("return w.mean(tuple(TABLE)) * ONE"),
    above="import heapq\nTABLE = [3]\nheapq.heappush(TABLE, 2)\nONE = torch.zeros(1)\nnn.init.ones_(ONE)\nONE[0] *= 1",
)
written(
    "a table filled by init()",
    windows("return w.mean(TABLE)"),
    above="def init():\n    global TABLE\n    TABLE = (2, 3)\n\n\ninit()",
)
written(
    "a table filled by an argument",
    windows("return w.mean(tuple(TABLE))"),
    above="TABLE = []\n\n\ndef collect(into):\n    into.extend([2, 3])\n\n\ncollect(TABLE)",
    differs="calls are not run",
    says="`collect(TABLE)` in cell 9 was not run",
)
written(
    "a table made by globals()",
    windows("return w.mean(TABLE)"),
    above="globals().update(TABLE=(2, 3))",
    differs="calls are not run",
    says="`globals().update(TABLE=(2, 3))` in cell 9 was not run",
)
written(
    "a table made by exec",
    windows("return w.mean(TABLE)"),
    above="exec('TABLE = (2, 3)')",
    differs="calls are not run",
    says="in cell 9 was not run: put its result into a constant",
)
written(
    "a helper in a file",
    CALL,
    above="%%writefile mine.py\n" + AVERAGE,
    between="from mine import *",
    differs="files beside the notebook are not graded",
    says="a statement of your code was skipped, it raised ModuleNotFoundError: No module named 'mine'",
)
written(
    "a helper in a script that is run",
    CALL,
    above=f"with open('mine2.py', 'w') as sink:\n    sink.write({AVERAGE!r})",
    between="%run mine2.py",
    differs="files beside the notebook are not graded",
    says="`%run mine2.py` in cell 11 was not run: files beside the notebook are not graded",
)
written("a default dtype", BLUR.replace(", dtype=x.dtype", ""), above="torch.set_default_dtype(torch.float64)")
written(
    "a generator object of random numbers",
    windows("torch.rand(2, generator=GENERATOR)\n    return w.mean((2, 3))"),
    above="GENERATOR = torch.Generator().manual_seed(0)\nGENERATOR.manual_seed(1)",
)
written(
    "an object that is called",
    "class Blur:\n    def __call__(self, x, k):\n        if k > min(x.shape):\n"
    "            raise ValueError\n        return x.unfold(0, k, 1).unfold(1, k, 1).mean((2, 3))\n\n\n"
    "box_blur = Blur()",
)
written(
    "a static method",
    "class Tools:\n    @staticmethod\n"
    + "".join(f"    {line}\n" for line in MEAN.strip().split("\n"))
    + "\n\nbox_blur = Tools.box_blur",
)
written("wrapped after the definition", MEAN + "\n\nbox_blur = torch.no_grad()(box_blur)")
written("compiled", "@torch.compile(backend='eager')\n" + MEAN)
written("a try above that stops halfway", AXES, above="AXES = (2, 3)\nraise RuntimeError('stop here')")
written("his own tests below", MEAN, between="assert box_blur(torch.ones(3, 3), 2).shape == (2, 2)\nprint('ok')")
written("old code in a text", '"""\ndef box_blur(x, k):\n    return x\n"""\n\n\n' + MEAN)

# what is wrong in a kernel, too
written("an exception with letters of its own", windows("raise ValueError('\U0001f525 not this way')"))
written(
    "torch's own NotImplementedError",
    windows("F.pad(torch.zeros(4, 4), (1, 1, 1, 1), mode='reflect')"),
    says="in the line `F.pad(torch.zeros(4, 4), (1, 1, 1, 1), mode='reflect')`",
)
written(
    "an error inside a library",
    windows("return torch.zeros(2, 3) @ torch.zeros(2, 3)"),
    says="in the line `return torch.zeros(2, 3) @ torch.zeros(2, 3)`",
)
written("on a GPU", windows("return w.cuda().mean((2, 3)).cpu()"), says="there is no GPU in the grader")
written("a name that nobody defines", windows("return wmean(w)"))
written(
    "another name",
    MEAN.replace("box_blur", "box_average"),
    says="defines `box_average`, and the exercise asks for `box_blur`",
)
written(
    "a syntax error",
    MEAN + "\nreturn = 3\n",
    differs="a kernel only knows that the name is missing",
    says="syntax error in line 7, `return = 3`: invalid syntax (read with Python",
)
written(
    "syntax of a newer Python",
    windows("sizes = {'k': k}\n    print(f'{sizes['k']}')\n    return w.mean((2, 3))"),
    differs="" if sys.version_info >= (3, 12) else "a kernel only knows that the name is missing",
    says="" if sys.version_info >= (3, 12) else "(read with Python 3.11)",
)
written(
    "syntax of a newer Python",
    windows("sizes = {'k': k}\n    print(f'{sizes['k']}')\n    return w.mean((2, 3))"),
    differs="" if sys.version_info >= (3, 12) else "a kernel only knows that the name is missing",
    says="" if sys.version_info >= (3, 12) else "(read with Python 3.11)",
)
written(
    "a decorator below",
    "@later\n" + MEAN,
    below="def later(f):\n    return f",
    differs="a kernel only knows that the name is missing",
    says="NameError: name 'later' is not defined",
)


@habit("a Markdown cell", says="cell 9, which should define `box_blur`, is a Markdown cell")
def _markdown(nb: Notebook) -> None:
    mine = solution(nb, "box_blur")
    mine["cell_type"] = "markdown"
    del mine["outputs"], mine["execution_count"]


@habit("cells in another order than run")
def _reordered(nb: Notebook) -> None:
    at = nb["cells"].index(solution(nb, "unsharp"))
    nb["cells"].insert(1, nb["cells"].pop(at))


@habit("everything in one cell at the end")
def _together(nb: Notebook) -> None:
    for name in ("box_blur", "unsharp"):
        solution(nb, name)["source"] = "# below"
    nb["cells"].append(cell(BLUR + "\n" + SHARP))


@habit("the check called twice")
def _twice(nb: Notebook) -> None:
    nb["cells"].append(cell("check('box_blur')\nreport = check('unsharp')"))


@habit("a copy of the solution cell with an experiment, below")
def _copied(nb: Notebook) -> None:
    mine = solution(nb, "box_blur")
    tried = copy.deepcopy(mine) | {"metadata": {}, "source": "def box_blur(x, k):\n    return x  # only to see it"}
    nb["cells"].append(tried)


@habit("the solution cell deleted and written anew")
def _anew(nb: Notebook) -> None:
    mine = solution(nb, "box_blur")
    nb["cells"][nb["cells"].index(mine)] = cell(BLUR)


@habit("nothing done yet")
def _untouched(nb: Notebook) -> None:
    for name in ("box_blur", "unsharp"):
        head = solution(nb, name)["source"].strip().split("\n")[0]
        solution(nb, name)["source"] = f"{head}\n    raise NotImplementedError"
