"""Measurements that take minutes are kept, so that the claims of a chapter can be measured one by one."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable

from autograder.base import cache, closure, paths

Figures = dict[str, float]


def kept(measure: Callable[..., Figures]) -> Callable[..., Figures]:
    """Keep what a function of a claims module returns, in the cache of the build.

    A result is found again for the same arguments (strings and numbers) while everything is the same that the function
    reaches: its code, that of the solutions and of dlcv_lab, weights of the zoo (autograder.base.closure).
    """

    @functools.wraps(measure)
    def from_cache(*arguments: str | float) -> Figures:
        reach = closure.of_names((measure.__module__, measure.__qualname__)).within("chapters", "solutions", "dlcv_lab")
        key = cache.digest(measure.__module__, measure.__qualname__, reach.key, json.dumps(arguments))
        place = paths.cache() / "claims" / f"{key}.json"
        if not place.exists():
            cache.write(place, json.dumps(measure(*arguments)).encode())
        found: Figures = json.loads(place.read_text(encoding="utf-8"))
        return found

    return from_cache
