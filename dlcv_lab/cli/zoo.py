"""`dlcv zoo`: list, show, verify, train and export the tiny pretrained models and the checkpoints of chapters."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from dlcv_lab import zoo
from dlcv_lab.cli.frame import DONE, FINDINGS, console, fail, write_json
from dlcv_lab.zoo import cards, catalogue

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of a table.")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1 or mps; by default the best there is.")]

app = typer.Typer(help="Tiny pretrained models in the real libraries' formats.", no_args_is_help=True)


@contextmanager
def _told() -> Iterator[None]:
    """Turn what the zoo raises into one line and exit code 2."""
    try:
        yield
    except (zoo.ZooError, ValueError) as error:
        fail(str(error))


@app.command(name="list")
def list_(as_json: Json = False) -> None:
    """List the models and the checkpoints of chapters: what they are, how large, how good.

    Example: [bold]dlcv zoo list[/bold]
    """
    rows = [_row(model) for model in catalogue.MODELS.values()] + [_checkpoint(name) for name in zoo.checkpoints()]
    if as_json:
        write_json(rows)
        return
    shown = Table(title="The zoo", title_justify="left")
    for heading in ("name", "what it is", "parameters", "MB", "figures", 'with scale="full"'):
        shown.add_column(heading, overflow="fold", no_wrap=heading == "name")
    for row in rows:
        figures = ", ".join(f"{name} {value:g}" for name, value in row["metrics"].items()) or row["trouble"]
        shown.add_row(row["name"], row["what"], f"{row['parameters']:,}", f"{row['bytes'] / 1e6:.1f}", figures,
                      row["full"])  # fmt: skip
    console.print(shown)


def _row(model: catalogue.Model) -> dict[str, Any]:
    row: dict[str, Any] = {"name": model.name, "what": model.what, "gives": model.gives, "full": model.full,
                           "extra": model.extra, "parameters": 0, "bytes": 0, "metrics": {}, "trouble": ""}  # fmt: skip
    try:
        card = zoo.card(model.name)
    except zoo.DamagedWeightsError:
        return row | {"trouble": "no weights in this package"}
    size = sum((model.folder / name).stat().st_size for name in card.files if (model.folder / name).is_file())
    return row | {"parameters": card.parameters, "bytes": size, "metrics": card.metrics}


def _checkpoint(name: str) -> dict[str, Any]:
    card, folder = zoo.card(name), zoo.folder(name)
    return {"name": name, "what": "a checkpoint of a chapter", "gives": card.made_of, "full": "", "extra": "",
            "parameters": card.parameters, "bytes": sum((folder / file).stat().st_size for file in card.files),
            "metrics": card.metrics, "trouble": ""}  # fmt: skip


@app.command()
def show(name: Annotated[str, typer.Argument(help="A model: clip.")], as_json: Json = False) -> None:
    """Show a model's card: data, steps, seed, time, figures, limits, files.

    Example: [bold]dlcv zoo show clip[/bold]
    """
    with _told():
        card = zoo.card(name)
        model = None if name in zoo.checkpoints() and not catalogue.FINDERS else catalogue.find(name)
    if as_json:
        write_json(asdict(card))
        return
    gives = "zoo.checkpoint gives" if name in zoo.checkpoints() else "zoo.load gives"
    lines = {
        "what": model.what if model else "a checkpoint of a chapter", gives: card.made_of,
        'scale="full"': model.full if model else "",
        "parameters": f"{card.parameters:,}", "data": card.data,
        "training": f"{card.steps} steps, seed {card.seed}, {card.seconds:g} s on {card.device}",
        "made with": ", ".join(f"{library} {version}" for library, version in card.libraries.items()),
        "licence": card.licence, "limits": card.limits, "folder": str(zoo.folder(name)),
    }  # fmt: skip
    shown = Table(title=name, title_justify="left", show_header=False)
    shown.add_column(no_wrap=True)
    shown.add_column(overflow="fold")
    for key, text in lines.items():
        if text:
            shown.add_row(key, text)
    shown.add_section()
    for figure, value in card.metrics.items():
        shown.add_row(figure, f"{value:g}  {model.figures.get(figure, '') if model else ''}")
    console.print(shown)


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Models; all of them if none is named.")] = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> int:
    """Measure models again and compare with their cards. Exit code 1 if a figure or a file is off.

    Examples: [bold]dlcv zoo verify[/bold]   [bold]dlcv zoo verify clip gpt --json[/bold]
    """
    rows: list[dict[str, Any]] = []
    for name in names or (*zoo.names(), *zoo.checkpoints()):
        began = time.perf_counter()
        trouble: str = ""
        found: list[zoo.Comparison] = []
        with _told(), console.status(f"{name}: measuring"):
            try:
                found = zoo.verify(name, device=device)
            except zoo.DamagedWeightsError as error:
                trouble = str(error)
        rows.append({"name": name, "figures": [asdict(each) | {"ok": each.ok, "short": each.short} for each in found],
                     "trouble": trouble, "seconds": round(time.perf_counter() - began, 1),
                     "ok": not trouble and all(each.ok for each in found)})  # fmt: skip
    if as_json:
        write_json(rows)
    else:
        _print_verified(rows)
    return DONE if all(row["ok"] for row in rows) else FINDINGS


def _print_verified(rows: list[dict[str, Any]]) -> None:
    shown = Table(title="Measured now, beside the cards", title_justify="left")
    for heading in ("model", "figure", "card", "measured", "allowed", ""):
        shown.add_column(heading, overflow="fold")
    for row in rows:
        for each in row["figures"]:
            verdict = "[green]ok[/green]" if each["ok"] else "[red]OFF[/red]"
            short = f" (below its aim of {each['aim']:g})" if each["short"] else ""
            shown.add_row(row["name"], each["figure"], f"{each['said']:.3f}", f"{each['measured']:.3f}",
                          f"{each['allowed']:g}", verdict + short)  # fmt: skip
        if not row["figures"] and not row["trouble"]:
            shown.add_row(row["name"], "files", "", "", "", "[green]whole[/green] (figures: in a checkout)")
        if row["trouble"]:
            shown.add_row(row["name"], "", "", "", "", f"[red]{row['trouble']}[/red]")
        shown.add_section()
    console.print(shown)
    seconds = sum(row["seconds"] for row in rows)
    off = sum(not row["ok"] for row in rows)
    console.print(f"{len(rows)} models in {seconds:.0f} s, {off or 'none'} off", highlight=False)


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="A model: clip; or a chapter's checkpoint: ch04/simclr.")],
    to: Annotated[
        Path | None, typer.Option("--to", help="Folder to make. Without: ./zoo/NAME; a checkpoint's in the package.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Steps; as the shipped model without.")] = None,
    device: Device = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a broken-off training stopped.")] = False,
    begin: Annotated[Path | None, typer.Option("--begin", help="Folder of an earlier model to improve.")] = None,
) -> None:
    """Train a model, measure it and write its card. Load it with zoo.load(NAME, folder=...).

    A chapter's checkpoint goes to where the package looks for it, and needs a checkout with the chapters.

    Examples: [bold]dlcv zoo train vit[/bold]   [bold]dlcv zoo train clip --resume[/bold]   [bold]dlcv zoo train
    ch04/simclr[/bold]   [bold]dlcv zoo train vit --begin zoo/vit --to zoo/vit2 --steps 2000[/bold]
    """
    with _told():
        model = catalogue.find(name)
        catalogue.require(model)
        chapter = "/" in name
        folder = to or (model.folder if chapter else Path("zoo") / name)
        if folder.exists() and not (folder / cards.NAME).is_file() and any(folder.iterdir()):
            fail(f"{folder} holds something else than a model of the zoo: name another folder with --to")
        from dlcv_lab.devices import device as known
        from dlcv_lab.zoo import training

        options = catalogue.Options(steps, str(known(device or None)), resume, begin=begin)
        card = training.make(model, folder, options)
    for figure, value in card.metrics.items():
        console.print(f"{figure}: {value:g}  {model.figures.get(figure, '')}", highlight=False)
    call = f'zoo.checkpoint("{name}"' if chapter else f'zoo.load("{name}"'
    where = "" if chapter and to is None else f', folder="{folder}"'
    console.print(f"{call}{where}) loads it", highlight=False, markup=False)


@app.command()
def export(
    name: Annotated[str, typer.Argument(help="sd, clip, or reader: the network of world.read.")],
    to: Annotated[Path | None, typer.Option("--to", help="Folder to make. Without: ./onnx/NAME.")] = None,
    as_json: Json = False,
) -> None:
    """Write a model as ONNX files for programs without torch, compared with torch before they are kept.

    Example: [bold]dlcv zoo export sd --to onnx/sd[/bold]
    """
    from dlcv_lab.zoo import exporting

    with _told(), console.status(f"{name}: exporting"):
        made = exporting.export(name, to or Path("onnx") / name)
    if as_json:
        write_json(asdict(made) | {"folder": str(made.folder)})
        return
    shown = Table(title=f"{name} in {made.folder}", title_justify="left")
    for heading in ("file", "MB", "largest difference from torch"):
        shown.add_column(heading)
    for part in made.parts:
        shown.add_row(part.file, f"{part.size / 1e6:.2f}", f"{part.difference:.1e}")
    console.print(shown)
    console.print(f"{made.seconds:.0f} s; {exporting.CONSTANTS} has what else one needs", highlight=False)
