"""What cannot be is refused, with a sentence that says what to do."""

import pytest
import torch

from dlcv_lab import world


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: world.sample(3, 0, colours=("mauve",)), "'mauve' is no colour of the world; it knows: red"),
        (lambda: world.sample(3, 0, shapes=("blob",)), "no shape"),
        (lambda: world.sample(3, 0, styles=("cubist",)), "no style"),
        (lambda: world.sample(3, 0, shapes=()), "At least one shape"),
        (lambda: world.sample(-1, 0), "number of scenes"),
        (lambda: world.sample(2.5, 0), "number of scenes"),
        (lambda: world.sample(3, 0, objects=5), "0 to 4 objects"),
        (lambda: world.sample(3, 0, objects=(3, 1)), "0 to 4 objects"),
        (lambda: world.sample(3, 0, objects=4, sizes=("big",)), "do not fit; allow small ones"),
        (lambda: world.sample(3, 0, objects=4, sizes=(0.4, 0.5)), "do not fit apart"),
        (lambda: world.sample(3, 0, sizes=(-0.1, 0.2)), "above 0 and at most 0.5"),
        (lambda: world.sample(3, 0, sizes=(0.3, 0.2)), "small to large"),
        (lambda: world.sample(3, 0, position="corner"), "position is"),
        (lambda: world.sample(3, 0, objects=2, position="centre"), "position is"),
        (lambda: world.sample(3, 0, rotation="spin"), "rotation is one of"),
        (lambda: world.sample(3, 0, overlap=2.0), "overlap is a share"),
        (lambda: world.sample(3, 0, shape_weights=(1, 2)), "shape_weights needs 8"),
        (lambda: world.sample(3, 0, shapes=("star", "ring"), shape_weights=(0, 0)), "positive sum"),
        (lambda: world.sample(3, 0, objects=3, shapes=("star",), colours=("red",), distinct=True), "only 1 kinds"),
        (lambda: world.sample(3, "zero"), "torch.Generator or an int seed"),
        (lambda: world.make({"size": -0.2}), "above 0 and at most 0.5"),
        (lambda: world.make({"size": 0.9}), "above 0 and at most 0.5"),
        (lambda: world.make({"colour": "mauve"}), "no colour"),
        (lambda: world.make({"hue": 3}), "no 'hue'"),
        (lambda: world.make({"x": float("nan")}), "finite"),
        (lambda: world.make(*[{}] * 5), "at most 4"),
        (lambda: world.make({}).replace(tint=1), "no field 'tint'"),
        (lambda: world.cat([]), "at least one batch"),
        (lambda: world.render(world.make({}), 4), "8 to 512"),
        (lambda: world.render(world.make({}), 32.0), "8 to 512"),
        (lambda: world.stylise(torch.zeros(3, 32, 32), "sketch"), r"\[N, 3, S, S\]"),
        (lambda: world.stylise(torch.zeros(1, 3, 32, 32), "cubist"), "no style"),
        (lambda: world.stylise(torch.zeros(1, 3, 32, 32), 99), "labels run from"),
        (lambda: world.caption(world.make({}), 4), "level 1, 2 or 3"),
        (lambda: world.ask(2, 0, ("why",)), "no kind of question"),
        (lambda: world.ask(2, 0, prior=1.5), "from 0 to 1"),
        (lambda: world.ask(2, 0, objects=1), "at least two objects"),
        (lambda: world.refer(world.make({}).plain()[0], 3, 0), "no object in slot 3"),
        (lambda: world.refer(world.make({}).plain()[0], 0, 0, ("shout",)), "no kind of expression"),
        (lambda: world.resolve("the square", world.make({}).plain()[0]), "points at 0 objects"),
        (lambda: world.swap_caption(world.make({}).plain()[0], "mirror", 0), "no kind of swap"),
        (lambda: world.instructions(world.make({}), 0, ("poem",)), "no kind of instruction"),
        (lambda: world.instructions(world.make(), 0), "at least one object"),
        (lambda: world.dialogs(world.make(), 0), "at least one object"),
        (lambda: world.dialogs(world.make({}), 0, candidates=1000), "candidates"),
        (lambda: world.disjoint_classes("shape", 8), "can be held out"),
        (lambda: world.disjoint_classes("flavour"), "no kind 'flavour'"),
        (lambda: world.unseen_combinations(60), "can be held out"),
        (lambda: world.domain("mars", 2, 0), "no domain"),
        (lambda: world.tasks(2, 0, ("juggling",)), "no task"),
        (lambda: world.episode(0, ways=99), "ways"),
        (lambda: world.episode(0, ways=2, names=("dax", "dax")), "different names"),
        (lambda: world.creature(9), "creatures 0 to 3"),
        (lambda: world.degrade(torch.zeros(1, 3, 8, 8), "rust"), "Damage is"),
        (lambda: world.icons(2, 0, position="left"), "centre"),
        (lambda: world.sample_faces(2, 0, emotions=("boredom",)), "no emotion"),
        (lambda: world.sample_faces(2, 0, skins=("plaid",)), "no skin"),
        (lambda: world.sample_faces(2, 0, sizes=(0.4, 0.9)), "radius"),
        (lambda: world.render_faces(world.sample_faces(2, 0), 32, onto=torch.zeros(1, 3, 32, 32)), "drawn onto"),
        (lambda: world.sample_clips(2, 0, motions=("fly",)), "no motion"),
        (lambda: world.sample_clips(2, 0, directions=("north",)), "no direction"),
        (lambda: world.frames(world.sample_clips(2, 0), 1), "at least two frames"),
        (lambda: world.sample_clips(2, 0).of(world.make({})), "cannot be given"),
        (lambda: world.write(torch.zeros(3, 32, 32), "12", 30, 0), "leaves the picture"),
        (lambda: world.glyph_mask("x"), "Only digits"),
        (lambda: world.multi_label(world.make({}), "mood"), "Multi-labels"),
        (lambda: world.nonce_words(10_000, 0), "made-up words"),
        (lambda: world.read(torch.zeros(1, 3, 40, 40)), "multiple of 32"),
        (lambda: world.read(torch.zeros(1, 3, 32, 32) - 1), r"in \[0, 1\]"),
        (lambda: world.read(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)), "floating-point"),
        (lambda: world.obeys(torch.zeros(2, 3, 32, 32), ["a red circle."]), "cannot be compared"),
    ],
)
def test_the_impossible_is_a_clear_error(call, message):
    with pytest.raises(world.WorldError, match=message):
        call()


def test_a_generator_of_another_device_is_refused():
    class Elsewhere(torch.Generator):
        @property
        def device(self):
            return torch.device("cuda")

    with pytest.raises(world.WorldError, match="CPU generator"):
        world.sample(2, Elsewhere())


def test_an_unknown_name_points_to_the_docs():
    with pytest.raises(AttributeError, match=r"docs/world\.md"):
        _ = world.teapot


def test_nothing_at_all_is_fine():
    scene = world.sample(0, 0, objects=(1, 3))
    assert len(scene) == 0
    assert world.render(scene).shape == (0, 3, 32, 32)
    assert world.caption(scene) == []
    assert world.object_masks(scene).shape == (0, 3, 32, 32)
    assert world.render_faces(world.sample_faces(0, 0)).shape == (0, 3, 32, 32)
    assert world.statements(0, 0).text == ()
    assert len(world.ask(0, 0)) == 0


def test_every_public_name_can_be_had_and_is_documented():
    for name in world.__all__:
        value = getattr(world, name)
        if callable(value):
            assert value.__doc__, name


def test_functions_win_over_modules_of_the_same_name():
    import importlib
    import pkgutil

    modules = {m.name for m in pkgutil.iter_modules(world.__path__)}
    assert not modules & set(world.__all__)
    importlib.import_module("dlcv_lab.world.rendering")
    assert callable(world.render)
