"""Lay onnxruntime-web into the book: `npm pack onnxruntime-web@1.30.0 && python tools/vendor_onnxruntime.py *.tgz`.

A page opened as a file may not fetch, import or start a worker from files; it may only run scripts. So the compiled
runtime and its loader lie in book/_static/vendor/onnxruntime as a script that hands them over (runtime.js), beside the
library's own script. Licence and notices are those of the Python package onnxruntime, which is built from the same
sources; the npm package has none.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import tarfile
from pathlib import Path

from autograder.book.zoo_scripts import script
from dlcv_lab.files import write_whole

OUT = Path(__file__).resolve().parent.parent / "book" / "_static" / "vendor" / "onnxruntime"
NOTICES = ("LICENSE", "ThirdPartyNotices.txt")


def main(package: Path) -> None:
    """Write the files of one packed npm package."""
    with tarfile.open(package) as packed:

        def taken(name: str) -> bytes:
            found = packed.extractfile(f"package/{name}")
            if found is None:
                raise FileNotFoundError(name)
            return found.read()

        version = json.loads(taken("package.json"))["version"]
        library = taken("dist/ort.wasm.min.js").rsplit(b"//# sourceMappingURL", 1)[0]
        parts = {"wasm": taken("dist/ort-wasm-simd-threaded.wasm"), "mjs": taken("dist/ort-wasm-simd-threaded.mjs")}
    write_whole(OUT / "ort.wasm.min.js", library)
    write_whole(OUT / "runtime.js", script("onnxruntime", {"version": version}, parts))
    for path in importlib.metadata.files("onnxruntime") or ():
        if path.name in NOTICES:
            write_whole(OUT / path.name, Path(str(path.locate())).read_bytes())
    told = f"onnxruntime-web {version}, from the npm package of that name (MIT, see LICENSE)"
    write_whole(OUT / "VERSION", f"{told}; made by tools/{Path(__file__).name}.\n".encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
