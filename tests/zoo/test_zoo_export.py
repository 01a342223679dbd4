"""Exported models compute what torch computes, are small, and say what a program without torch needs to know."""

from __future__ import annotations

import json

import onnx
import pytest
import torch
from torch import nn

from dlcv_lab import world, zoo
from dlcv_lab.cli import build_app
from dlcv_lab.cli.frame import run
from dlcv_lab.zoo import exporting


def network(module: nn.Module, *, editable: bool = False) -> exporting._Network:
    x = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    return exporting._Network(exporting._Call(module, nn.Module.__call__), {"x": x}, ("y",), ("x",), editable)


@pytest.fixture
def halves() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(8, 16).half().float()


@pytest.fixture
def only(monkeypatch):
    """Let the zoo have one export, of a given network."""

    def put(given: exporting._Network) -> None:
        monkeypatch.setattr(exporting, "MAKERS", {"tiny": lambda: ({"layer": given}, {"size": 8})})

    return put


def test_weights_of_half_precision_are_stored_so_and_others_are_not(halves):
    stored = {"FLOAT16": 0, "FLOAT": 0}
    for module in (halves, nn.Linear(8, 16)):
        model = onnx.load_from_string(exporting.to_onnx(network(module)))
        onnx.checker.check_model(model)
        for tensor in model.graph.initializer:
            stored[onnx.TensorProto.DataType.Name(tensor.data_type)] += 1
        assert not any(node.metadata_props for node in model.graph.node)
    assert stored == {"FLOAT16": 2, "FLOAT": 2}


def test_any_number_of_rows_is_taken_and_the_difference_is_that_of_torch(halves):
    given = network(halves)
    raw = exporting.to_onnx(given)
    assert exporting.difference(given, raw) < 1e-6
    other = network(nn.Linear(8, 16))
    assert exporting.difference(other, raw) > 0.1, "the file of another network is told apart"


def test_a_file_that_computes_something_else_is_not_kept(only, halves, tmp_path, monkeypatch):
    only(network(halves))
    monkeypatch.setattr(exporting, "to_onnx", lambda given, real=exporting.to_onnx: real(network(nn.Linear(8, 16))))
    with pytest.raises(exporting.ExportError, match="away from torch"):
        exporting.export("tiny", tmp_path / "tiny")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_else_is_left_alone(only, halves, tmp_path):
    only(network(halves))
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(exporting.ExportError, match="something else"):
        exporting.export("tiny", tmp_path)
    for _ in range(2):  # an earlier export is replaced
        made = exporting.export("tiny", tmp_path / "new")
    assert sorted(path.name for path in made.folder.iterdir()) == ["layer.onnx", "model.json"]
    assert json.loads((made.folder / "model.json").read_text()) == {"name": "tiny", "size": 8}


def test_a_weight_is_found_where_the_file_holds_it():
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn2 = nn.Module()
            self.attn2.to_k = nn.Linear(8, 16, bias=False).half().float()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.attn2.to_k(x)

    torch.manual_seed(0)
    given = network(nn.Sequential(Part()))
    raw = bytearray(exporting.to_onnx(given))
    ((name, (start, length, turned)),) = exporting.places(given.module, bytes(raw)).items()
    assert name == "0.attn2.to_k.weight"
    new = torch.randn(16, 8).half().float()
    raw[start : start + length] = (new.T if turned else new).half().contiguous().numpy().tobytes()
    given.module.inside[0].attn2.to_k.weight.data = new
    assert exporting.difference(given, bytes(raw)) < 1e-6


def test_names_and_libraries_that_are_missing_are_told(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["dlcv", "zoo", "export", "vit", "--to", str(tmp_path / "vit")])
    assert run(build_app()) == 2
    assert "there are sd, clip, reader" in " ".join(capsys.readouterr().err.split())
    monkeypatch.setattr(exporting, "NEEDS", ("onnx", "no_such_library"))
    with pytest.raises(zoo.MissingLibraryError, match=r'no_such_library.*pip install "dlcv-lab\[onnx\]"'):
        exporting.require()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "most"), [("sd", 2.8e6), ("clip", 0.8e6), ("reader", 1.2e6)])
def test_every_export_equals_torch_and_is_small(name, most, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["dlcv", "zoo", "export", name, "--to", str(tmp_path / name), "--json"])
    assert run(build_app()) == 0
    made = json.loads(capsys.readouterr().out)
    with capsys.disabled():
        told = ", ".join(
            f"{p['file']} {p['size'] / 1e6:.2f} MB, {p['difference']:.1e} from torch" for p in made["parts"]
        )
        print(f"\n{name} in {made['seconds']:.0f} s: {told}")
    assert max(part["difference"] for part in made["parts"]) < exporting.TOLERANCE
    assert sum(part["size"] for part in made["parts"]) < most
    told = json.loads((tmp_path / name / "model.json").read_text(encoding="utf-8"))
    if name == "sd":
        pipe = zoo.load("sd")
        assert told["tokens"]["words"][pipe.tokenizer.eos_token_id] == "<end>"
        assert torch.allclose(torch.tensor(told["schedule"]["kept"]), pipe.scheduler.alphas_cumprod, atol=1e-7)
        assert len(told["places"]) == 14, "keys and values of seven cross-attentions"


@pytest.mark.slow
def test_the_exported_reader_is_of_one_opinion_with_the_worlds(tmp_path):
    import onnxruntime

    folder = exporting.export("reader", tmp_path / "reader").folder
    session = onnxruntime.InferenceSession(folder / "reader.onnx", providers=["CPUExecutionProvider"])
    _, card = world.reader.load_reader()
    images = world.render(world.sample(256, 5, objects=(1, 3)))

    def exported(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        grid, scene = session.run(["grid", "scene"], {"pictures": pictures.numpy()})
        return torch.from_numpy(grid), torch.from_numpy(scene)

    mine = world.reader.interpret(exported, images, card["temperature"])
    wanted = world.read(images)
    same = [float((mine.labels[kind] == wanted.labels[kind]).float().mean()) for kind in ("shape", "colour")]
    print(f"\nshape and colour as the reader in single precision: {same[0]:.4f}, {same[1]:.4f}")
    assert min(same) > 0.995
