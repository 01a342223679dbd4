"""The sentences of verdicts and diagnoses, by key. English is the fall-back; DLCV_LANG may name another language."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Sequence

from dlcv_lab.checking.model import Verdict

WORDS: dict[Verdict, str] = {
    Verdict.OK: "right",
    Verdict.PA: "partly right",
    Verdict.WA: "wrong answer",
    Verdict.RE: "raised an exception",
    Verdict.SG: "the process died",
    Verdict.TO: "out of time",
    Verdict.ML: "out of memory",
    Verdict.OL: "answer too large",
    Verdict.TY: "wrong type or shape",
    Verdict.FO: "forbidden operation",
    Verdict.NA: "not attempted yet",
    Verdict.UR: "notebook unreadable",
    Verdict.XX: "the grader's own fault",
}

ENGLISH: dict[str, str] = {
    "others": "The grader draws other, secret cases of the same kinds.",
    "hand_in": "What you hand in are the .ipynb files, the way your course asks for it.",
    **{f"verdict.{verdict}": words for verdict, words in WORDS.items()},
    "your_output": "your output",
    "in_every_wrong_case": "in every wrong case",
    # results
    "all_right": "All {count} cases are right.",
    "one_right": "The case is right.",
    "some_right": "{right} of {count} cases right.",
    "one_wrong": "The case is wrong.",
    "hints_over": "There are {count} hints, and this is the last. `stuck(\"{name}\")` writes a question for the forum.",
    "untouched": "Not attempted yet: its cell is as it was released.",
    "undefined_in_file": "Not attempted yet: no cell of the saved notebook defines {names}. Was its cell deleted?",
    "na.magic": "Not attempted yet: cell {cell} begins with {magic}, and nothing in such a cell counts. Take that line "
    "out, so that the cell defines {names}.",
    "na.kind": "Not attempted yet: cell {cell}, which should define {names}, is a {kind} cell. Turn it into a code "
    "cell (select it, Esc, Y) and run it.",
    "na.name": "Not attempted yet: cell {cell} defines `{near}`, and the exercise asks for {names}. Rename it.",
    "syntax": "Cell {cell} is no Python for the grader: {fault}.",
    "syntax_error": "syntax error in line {line}, `{text}`: {error} (read with {version})",
    "no_python": "it cannot be read as Python (with {version})",
    "left_out": "{statement} was not run: put its result into a constant.",
    "left_out_file": "{statement} was not run: files beside the notebook are not graded, so put the code into a cell.",
    "at_the_end": "judged as the notebook stands at its end, because there it earns more than at its check",
    "not_attempted": "Not attempted yet: NotImplementedError is still raised.",
    "undefined": "Not attempted yet: {names} is not defined here.",
    "standin": "right, given a working {names}",
    "standin_part": "partly right, given a working {names}",
    "standin_wrong": "judged with a working {names}",
    "uses_broken": "It uses {names}, which is not right yet: begin there.",
    "use_broken": "It uses {names}, which are not right yet: begin there.",
    "fault": "The grader could not judge this; it is not your fault and counts for nothing. {reason}",
    # one case
    "case.exact": "exact",
    "case.raised_as_expected": "raises {error}, as it should",
    "case.no_error": "{error} is expected and nothing was raised",
    "case.other_error": "raised {error}, expected is {expected}",
    "case.raised": "your code raised {error}",
    "case.gradient": "no gradient can be taken of your answer ({error})",
    "case.missing": "{message}",
    "case.not_attempted": "not attempted yet",
    "case.no_gpu": "your code asks for a GPU{where}; there is no GPU in the grader: take the device of the inputs, "
    "such as `x.device`",
    "case.signal": "the process died ({message})",
    "case.timeout": "no answer in time",
    "case.memory": "out of memory",
    "case.output": "the answer is too large to be sent",
    "case.type": "{message}",
    "case.mutated": "the value is right, but the input `{names}` was changed in place",
    "case.forbidden": "the forbidden {names} was used",
    "case.fault": "could not be judged",
    # diagnoses
    "two_mistakes": "Two mistakes at once. {first} And: {second}",
    "in_part": "{place}: {hint}",
    "at": "at {name}",
    "more": " and {count} more",
    "of_kind": "in the cases of the kind '{group}'",
    "near": "Your answers are exactly those that come when {clause}.",
    "or": ", or when ",
    "diagnosis.no_error": "A {error} should be raised {where}, and nothing was raised.",
    "diagnosis.detached": "The result is cut off from its inputs, so no gradient can flow back: `.item()`, "
    "`.detach()`, `.data`, `torch.tensor(...)`, numpy and `torch.no_grad` do that.",
    "diagnosis.nothing_to_go_back": "The line `{line}` asks for a gradient of something that no gradient goes back "
    "from: either its inputs came without `requires_grad` (then the formula is to be written by hand), or `.item()`, "
    "`.detach()`, `.data`, `torch.tensor(...)`, numpy or `torch.no_grad` cut it off.",
    "diagnosis.inplace_gradient": "A tensor that the gradient still needs is changed in place: write `x = x + y` "
    "instead of `x += y`, and fill new tensors instead of inputs.",
    "diagnosis.name_error": "A name is used that is defined neither in the cells that count nor in the set-up.",
    "diagnosis.overflow": "A Python number grows too large {where}: `math.exp` and `**` of floats raise an error where "
    "torch's functions give inf. Take torch's functions, and a form of the formula whose exponent is never large.",
    "diagnosis.values_and_places": "The line `{line}` goes on with a pair: `max(dim)`, `min`, `sort`, `topk` and "
    "`median` give values and places. Take `.values` (or `amax`, `amin`).",
    "diagnosis.one_truth": "The line `{line}` asks many numbers for one truth value: `if`, `and`, `or` and `not` "
    "decide once. For each number there are `torch.where`, `&`, `|`, `~`; for all together `.any()` and `.all()`.",
    "diagnosis.one_number": "The line `{line}` makes one Python number of a tensor that holds several: `.item()`, "
    "`float(...)` and `int(...)` need a single one.",
    "diagnosis.whole_numbers": "The line `{line}` computes with whole numbers where fractions come out: turn them into "
    "floats first, `.float()` or `.to(dtype)`.",
    "diagnosis.index_dtype": "The line `{line}` takes fractions (or small integers) as indices: make them int64 by "
    "`.long()`.",
    "diagnosis.views": "The line `{line}` views a tensor whose numbers do not lie in that order in memory: `reshape` "
    "copies where it must.",
    "diagnosis.no_axes_to_join": "The line `{line}` joins single numbers: `torch.cat` needs an axis to join along; "
    "`torch.stack` makes one.",
    "diagnosis.not_one_loss": "The line `{line}` goes back from many numbers: `backward()` needs a single one, such as "
    "their sum or mean.",
    "diagnosis.product_sizes": "In the line `{line}` the inner sizes of a matrix product differ: as many columns on "
    "the left as rows on the right. Is one of the two to be transposed, or flattened otherwise?",
    "diagnosis.sizes_meet": "In the line `{line}` two tensors meet whose axes do not fit: they are compared from the "
    "last axis on, and sizes must be equal or 1. Is an axis of length 1 missing, `[:, None]` or `keepdim=True`?",
    "diagnosis.signature": "In the line `{line}` a function is called with other arguments than it has {where}: "
    "compare the `def` with the one that was given.",
    "diagnosis.dtypes_meet": "The inputs are float64 {where}, and a tensor of yours is float32: `torch.zeros`, "
    "`torch.tensor` and the like make float32 unless told. Hand them `dtype=` of the input, or use `zeros_like`.",
    "diagnosis.part_missing": "A part is still to be written: NotImplementedError is raised {where}.",
    "diagnosis.none": "Your code returns None: is a `return` missing?",
    "diagnosis.none_inside": "The answer holds None at {path} {where}.",
    "diagnosis.no_gradient": "No gradient arrives at {path} of the answer {where}: the result does not depend on that "
    "input, or is cut off from it.",
    "diagnosis.mutated": "The values are right, but {names} is changed in place: work on a copy, the caller still "
    "needs the original.",
    "diagnosis.numpy": "You return a numpy array {where} and a torch tensor is expected.",
    "diagnosis.plain_number": "You return a plain Python number {where} and a tensor is expected; `.item()` and "
    "`float(...)` also cut the gradient.",
    "diagnosis.wrapped": "The right tensor stands inside a {kind} of one item: return the tensor itself.",
    "diagnosis.sequence": "You return a {kind} {where} and one tensor is expected.",
    "diagnosis.flag": "{name} is {mine} {where}; {right} is expected.",
    "diagnosis.nan": "NaN comes from 0 / 0, inf - inf, inf * 0, a mean of nothing, or a root or logarithm of "
    "a negative number. Look for one of them {where}.",
    "diagnosis.strange_input": "An input holds NaN or infinity {where}, and they got into your answer: 0 times either "
    "is NaN. Choose what counts (by an index, or `torch.where`) instead of multiplying by 0.",
    "diagnosis.infinite": "Infinity comes from a division by 0, the logarithm of 0, or an exponential of a large "
    "number. Look for one of them {where}.",
    "diagnosis.order": "{start}, the parts of your answer are right but in another order; expected is your {order}.",
    "diagnosis.order_named": "{start}, the parts of your answer are right but in another order: you return ({mine}), "
    "expected is ({right}).",
    "diagnosis.transposed": "{start}, your output is the transpose of the expected one.",
    "diagnosis.permuted": "{start}, the axes of your output are in another order: `.permute{order}` of it is right.",
    "diagnosis.reshaped": "{start}, your numbers are right and in the right order, but in another shape (such as "
    "{mine} where {right} is expected).",
    "diagnosis.sign": "{start}, your output has the opposite sign.",
    "diagnosis.flipped": "{start}, your output is the expected one reversed along axis {axes}.",
    "diagnosis.factor": "{start}, {what} times {factor} would be right.",
    "diagnosis.factors": "Your output is right up to a factor that changes from case to case: it must be multiplied by "
    "{factors}.",
    "diagnosis.offset": "{start}, {what} plus {offset} would be right.",
    "diagnosis.function": "{start}, {what} has to go through one more function: {function} of it would be right.",
    "diagnosis.input_returned": "{start}, {what} is the input `{name}`, unchanged.",
    "diagnosis.input_missing": "{start}, {what} {word} `{name}` would be right.",
    "diagnosis.signs": "The sizes of all numbers are right {where}, and {count} have the wrong sign.",
    "diagnosis.inverted": "0 and 1 are exchanged {where}: where 1 is expected you have 0, and the other way round.",
    "diagnosis.shuffled": "Your output holds the right numbers in another order {where}.",
    "diagnosis.offset_axis": "The difference is one and the same number for each index of axis {axis} {where}: what is "
    "added there is wrong.",
    "diagnosis.factor_axis": "Your output is right up to one factor for each index of axis {axis} {where}.",
    "diagnosis.zero_where_wrong": "Your output is 0 at each of the {count} numbers that are wrong {where}; the others "
    "are right.",
    "diagnosis.zero_wanted": "At each of the {count} numbers that are wrong {where}, 0 is expected; the others are "
    "right.",
    "diagnosis.one_index": "Only numbers at index {index} of axis {axis} (which has {size}) differ {where}.",
    "diagnosis.number_large": "Your number is too large by {by} {where}.",
    "diagnosis.number_small": "Your number is too small by {by} {where}.",
    "diagnosis.number_factor": "In every wrong case, your number times {factor} would be right.",
    "diagnosis.number_above": "Your number is too large in every one of the {cases} wrong cases.",
    "diagnosis.number_below": "Your number is too small in every one of the {cases} wrong cases.",
    "diagnosis.part_wrong": "Of the parts of your answer only {wrong} is wrong; {right} came out right in every case.",
    "diagnosis.parts_wrong": "Of the parts of your answer {wrong} are wrong; {right} came out right in every case.",
    "diagnosis.one_case": "Only the case '{case}' is wrong; all others are right.",
    "diagnosis.group": "Only cases of the kind '{group}' are wrong, {count} of {total} ({notes}); others are right.",
    "diagnosis.structure": "{start}, {text}.",
    "diagnosis.right_where": "It is right only where {condition}.",
    "diagnosis.wrong_where": "It is wrong only where {condition}.",
    "diagnosis.axes": "{place} {dims} {where}, shape {mine}; {want} expected, shape {right}.",
    "diagnosis.shape": "{place} shape {mine} {where}, expected {right}.",
    "diagnosis.too_short": "Your output is the expected one with its {end} missing {where}: {lengths}.",
    "diagnosis.too_long": "Your output holds the expected one and more at its {end} {where}: {lengths}.",
    "diagnosis.dtype": "{start}, {text}.",
    "diagnosis.precision": "The inputs are float64 {where} and your answer is computed in {dtype}: create new tensors "
    "with the dtype of the input.",
    "diagnosis.rounded": "Your numbers have the right first digits {where} and lose the others: something is computed "
    "in a coarser dtype, or a small number such as an eps is added or left out.",
    "diagnosis.zeros": "Your output is zero everywhere {where}.",
    "diagnosis.constant": "Your output is the same number everywhere {where}, and the expected one is not.",
    "diagnosis.shifted": "Your output is the expected one shifted by {steps} along axis {axis} {where}.",
    "diagnosis.border": "The inside of your output is right {where}; only numbers at the border of the last two axes "
    "differ.",
    "diagnosis.number": "Your number is {mine} {where}; {right} is expected.",
    "diagnosis.numbers": "{count} of {total} numbers differ {where}; the first is at index {index}: yours {mine}, "
    "expected {right}.",
}  # fmt: skip

LANGUAGES: dict[str, dict[str, str]] = {"en": ENGLISH}


def say(key: str, **parts: object) -> str:
    """Return the sentence of a key in the language of DLCV_LANG, filled in; in English where it has none."""
    chosen = LANGUAGES.get(os.environ.get("DLCV_LANG", "en"), ENGLISH)
    return chosen.get(key, ENGLISH[key]).format(**parts)


_CODE = re.compile(r"`([^`\n]+)`")


def as_html(text: str) -> str:
    """Return a sentence as HTML: escaped, and what stands between backticks as code."""
    return _CODE.sub(r"<code>\1</code>", html.escape(text))


def spoken(path: str, returns: Sequence[str] = ()) -> str:
    """Name a part of an answer as a student would: "['y']" is `y`, "[1]" is item 1, "[0]['w']" is `w` of item 0.

    `returns` are the names of the parts of a tuple: with ("dx", "dw"), "[1]" is `dw`.
    """
    if returns and (item := re.match(r"\[(\d+)\]", path)) and int(item[1]) < len(returns):
        path = f"['{returns[int(item[1])]}']" + path[item.end() :]
    keys = re.findall(r"\['([^']*)'\]|\[(\d+)\]", path)
    if not any(name for name, _ in keys):
        return f"item {keys[0][1]}" if len(keys) == 1 else path
    return " of ".join(f"`{name}`" if name else f"item {number}" for name, number in reversed(keys))


def input_name(path: str, names: frozenset[str] | None) -> str:
    """Name an input that a probe calls "tensors['x']" as the student's own code does: x.

    `names` are the parameters that the student knows; None: the path stays as it is.
    """
    known = [word for word in re.findall(r"\w+", path) if names is not None and word in names]
    return known[-1] if known else path
