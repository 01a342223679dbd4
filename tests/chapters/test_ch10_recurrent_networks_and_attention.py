"""Chapter 10 against torch, official numbers and exact properties, and its pages against its own data.

Most functions have an oracle beside their exercise (tests/chapters/test_oracles.py); here are the others. The golden
files say which public code gave their numbers; where a convention differs, the conversion is stated.
"""

import itertools
import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from autograder.base import paths
from autograder.exercises.ch10_recurrent_networks_and_attention.lesson_1_gates import gru_cell__reset_first
from dlcv_lab import count_params, world
from solutions import ch10_recurrent_networks_and_attention as ours

SLUG = "ch10_recurrent_networks_and_attention"
EXACT = {"rtol": 1e-9, "atol": 1e-11}


def golden(name):
    """Return the inputs and the outputs of one golden file."""
    found = json.loads((paths.root() / "tests" / "golden" / f"attention_{name}.json").read_text(encoding="utf-8"))
    return tuple(
        {
            k: torch.tensor(v["values"], dtype=getattr(torch, v["dtype"])).reshape(v["shape"])
            for k, v in found[side].items()
        }
        for side in ("inputs", "outputs")
    )


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def close(mine, theirs, **kwargs):
    torch.testing.assert_close(mine, theirs, **(EXACT | kwargs))


def vanilla(D=5, E=3, scale=0.8):
    return [scale * draw(D, E, seed=1), scale * draw(D, D, seed=2), draw(D, seed=3), draw(D, seed=4)]


@pytest.mark.method("ch10/bahdanau_attention")
def test_attention_equals_public_code_forward_and_gradient():
    given, wanted = golden("bahdanau")
    s = given["query"][:, 0].clone().requires_grad_()
    mask = given["mask"][:, 0] > 0
    context, alpha = ours.additive_attention(s, given["keys"], given["W_query"], given["W_key"], given["v"][0], mask)
    close(alpha, wanted["alphas"][:, 0])
    close(context, wanted["context"][:, 0])
    (slope,) = torch.autograd.grad(context.square().sum() / 2, s)
    close(slope, wanted["grad_of_half_squared_norm_of_context_wrt_query"][:, 0])
    assert (alpha[~mask] == 0).all()


@pytest.mark.method("ch10/video_prediction")
def test_conv_lstm_equals_public_code_over_two_steps():
    given, wanted = golden("convlstm")
    x = given["x"].clone().requires_grad_()
    h, c = ours.conv_lstm_step(x, given["h"], given["c"], given["weight"], given["bias"])
    close(h, wanted["h_next"])
    close(c, wanted["c_next"])
    (slope,) = torch.autograd.grad((h + c).sum(), x, retain_graph=True)
    close(slope, wanted["grad_of_sum_h_plus_c_wrt_x"])
    close(ours.conv_lstm_step(x, h, c, given["weight"], given["bias"])[0], wanted["h_after_second_step_same_x"])


@pytest.mark.method("ch10/video_prediction")
def test_a_conv_lstm_moves_with_its_picture_away_from_the_border():
    x, h, c = draw(1, 2, 11, 11), draw(1, 3, 11, 11, seed=1), draw(1, 3, 11, 11, seed=2)
    W, b = draw(12, 5, 3, 3, seed=3), draw(12, seed=4)
    moved = ours.conv_lstm_step(*(t.roll((1, 2), (2, 3)) for t in (x, h, c)), W, b)[0]
    close(moved[..., 3:-1, 4:-1], ours.conv_lstm_step(x, h, c, W, b)[0].roll((1, 2), (2, 3))[..., 3:-1, 4:-1])


@pytest.mark.method("ch10/sequence_task_types")
def test_guessing_costs_log_k_in_every_task_and_padding_has_no_gradient():
    for K in (2, 10):
        for mask in (torch.eye(4).bool(), torch.ones(4, 4).bool(), torch.ones(4, 4).tril().bool()):
            loss = ours.masked_cross_entropy(torch.zeros(4, 4, K).double(), torch.ones(4, 4).long(), mask)
            assert loss.item() == pytest.approx(math.log(K), abs=1e-12)
    logits = draw(2, 3, 4).requires_grad_()
    mask = torch.tensor([[True, False, False], [True, True, False]])
    ours.masked_cross_entropy(logits, torch.zeros(2, 3).long(), mask).backward()
    assert (logits.grad[~mask] == 0).all()
    assert (logits.grad[mask] != 0).all()
    nothing = draw(2, 3, 4).requires_grad_()
    ours.masked_cross_entropy(nothing, torch.zeros(2, 3).long(), mask & False).backward()
    assert (nothing.grad == 0).all()


@pytest.mark.method("ch10/sequence_task_types", "ch10/bahdanau_attention")
def test_half_precision_is_near_and_a_nan_is_not_hidden():
    logits, target, mask = draw(3, 4, 5, dtype=torch.float32), torch.arange(12).reshape(3, 4) % 5, torch.ones(3, 4) > 0
    whole = ours.masked_cross_entropy(logits, target, mask)
    shapes = ((2, 3), (2, 4, 5), (6, 3), (6, 5), (6,))
    parts = [draw(*shape, seed=n, dtype=torch.float32) for n, shape in enumerate(shapes)]
    context, _ = ours.additive_attention(*parts)
    for kind, off in ((torch.bfloat16, 5e-2), (torch.float16, 1e-2)):
        near = {"rtol": off, "atol": off}
        torch.testing.assert_close(ours.masked_cross_entropy(logits.to(kind), target, mask).float(), whole, **near)
        halves = ours.additive_attention(*(p.to(kind) for p in parts))
        torch.testing.assert_close(halves[0].float(), context, **near)
        assert halves[1].dtype == kind
    logits[1, 2, 3] = math.nan
    assert ours.masked_cross_entropy(logits, target, mask).isnan()
    parts[1][0, 1] = math.nan
    assert ours.additive_attention(*parts)[0][0].isnan().all()
    assert ours.additive_attention(*parts)[0][1].isfinite().all()


@pytest.mark.method("ch10/rnn")
def test_a_masked_network_equals_torch_on_packed_sequences():
    x, h0, weights = draw(4, 6, 3), draw(4, 5, seed=9), vanilla()
    lengths = torch.tensor([6, 1, 4, 3])
    mask = torch.arange(6) < lengths[:, None]
    rnn = nn.RNN(3, 5, batch_first=True).double()
    for name, value in zip(("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"), weights):
        getattr(rnn, name).data.copy_(value)
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    _, last = rnn(packed, h0[None])
    states = ours.rnn_forward(x, h0, *weights, mask)
    close(states[:, -1], last[0].detach())
    assert torch.equal(states[1, 0], states[1, 5])
    assert count_params(nn.RNN(10, 20)) == 640


@pytest.mark.method("ch10/rnn")
def test_no_step_and_no_sequence_are_no_trouble():
    weights = vanilla()
    assert ours.rnn_forward(draw(0, 4, 3), draw(0, 5), *weights).shape == (0, 4, 5)
    states = ours.rnn_forward(1e6 * draw(2, 3, 3), draw(2, 5), *weights)
    assert (states.abs() <= 1).all()
    broken = draw(2, 3, 3)
    broken[0, 1] = math.nan
    states = ours.rnn_forward(broken, draw(2, 5), *weights)
    assert states[0, 0].isfinite().all()
    assert states[0, 1:].isnan().all()
    assert states[1].isfinite().all()


@pytest.mark.method("ch10/bptt")
def test_the_way_back_is_the_product_of_jacobians_latest_first():
    x, h0, (W_ih, W_hh, b, _) = draw(1, 4, 3), draw(1, 5, seed=7), vanilla()
    hs = ours.rnn_forward(x, h0, W_ih, W_hh, b, 0 * b)
    product = torch.eye(5, dtype=torch.float64)
    for t in range(4):
        product = torch.diag(1 - hs[0, t] ** 2) @ W_hh @ product
    jacobian = torch.autograd.functional.jacobian(lambda h: ours.rnn_forward(x, h, W_ih, W_hh, b, 0 * b)[0, -1], h0)
    close(product, jacobian[:, 0])
    dhs = torch.zeros(1, 4, 5).double()
    dhs[0, -1] = draw(5, seed=8)
    close(ours.rnn_backward(x, h0, hs, dhs, W_ih, W_hh)[1][0], dhs[0, -1] @ product)


@pytest.mark.method("ch10/bptt")
def test_without_tanh_the_gradient_is_the_factor_to_the_power_of_the_steps():
    turn = torch.linalg.qr(draw(6, 6))[0]
    for factor, T in itertools.product((0.5, 1.0, 1.5), (1, 7, 20)):
        flat, dhs = torch.zeros(1, T, 6).double(), torch.zeros(1, T, 6).double()
        dhs[0, -1] = draw(6, seed=1)
        dh0 = ours.rnn_backward(flat, flat[:, 0], flat, dhs, turn, factor * turn)[1]
        close(dh0.norm() / dhs.norm(), torch.tensor(factor**T, dtype=torch.float64))


@pytest.mark.method("ch10/bptt")
def test_clipping_is_torchs_up_to_its_small_constant():
    for scale, most in ((3.0, 1.0), (0.01, 1.0), (50.0, 0.2)):
        grads = [scale * draw(3, 4), scale * draw(5, seed=1)]
        leaves = [nn.Parameter(g.clone()) for g in grads]
        for leaf, g in zip(leaves, grads):
            leaf.grad = g.clone()
        norm = nn.utils.clip_grad_norm_(leaves, most)
        mine, old = ours.clip_gradients(grads, most)
        close(old, norm)
        for g, leaf in zip(mine, leaves):
            close(g, leaf.grad, rtol=2e-5)  # torch divides by norm + 1e-6
    zero, norm = ours.clip_gradients([torch.zeros(3)], 1.0)
    assert norm == 0
    assert (zero[0] == 0).all()


@pytest.mark.method("ch10/lstm")
def test_an_open_forget_gate_keeps_the_memory_for_any_time():
    D = 4
    bias = torch.cat([torch.full((D,), v) for v in (-1e3, 1e3, 0.0, 0.0)]).double()
    zero = torch.zeros(4 * D, 3).double(), torch.zeros(4 * D, D).double()
    h, first = torch.zeros(2, D).double(), draw(2, D)
    c = first
    for t in range(1000):
        h, c = ours.lstm_cell(draw(2, 3, seed=t % 5), h, c, *zero, bias, 0 * bias)
    assert torch.equal(c, first)
    assert [count_params(cell(10, 20)) for cell in (nn.RNNCell, nn.GRUCell, nn.LSTMCell)] == [640, 1920, 2560]


@pytest.mark.method("ch10/gru")
def test_z_keeps_and_resetting_before_the_matrix_is_another_cell_unless_r_is_one():
    x, h = draw(3, 4), draw(3, 5, seed=1)
    W_ih, W_hh, b = draw(15, 4, seed=2), draw(15, 5, seed=3), draw(15, seed=4)
    keep = b.clone()
    keep[5:10] = 1e3
    close(ours.gru_cell(x, h, W_ih, W_hh, keep, b), h)
    assert (gru_cell__reset_first(x, h, W_ih, W_hh, b, b) - ours.gru_cell(x, h, W_ih, W_hh, b, b)).abs().max() > 1e-3
    open_reset = b.clone()
    open_reset[:5] = 1e3
    close(
        gru_cell__reset_first(x, h, W_ih, W_hh, open_reset, b),
        ours.gru_cell(x, h, W_ih, W_hh, open_reset, b),
    )


@pytest.mark.method("ch10/seq2seq")
def test_a_teacher_forced_decoder_knows_nothing_of_later_words():
    torch.manual_seed(0)
    net = ours.Translator(attend=True).double()
    source, target = ours.draw_sentences(4, 0, (3, 3))
    before = net(source, ours.shift_right(target, ours.BOS))[0]
    changed = target.clone()
    changed[:, 6:] = 5
    after = net(source, ours.shift_right(changed, ours.BOS))[0]
    assert torch.equal(before[:, :7], after[:, :7])
    assert not torch.equal(before[:, 7:], after[:, 7:])


@pytest.mark.method("ch10/seq2seq")
def test_what_was_said_reproduces_itself_and_padding_changes_nothing():
    torch.manual_seed(1)
    net = ours.Translator(attend=True).double()
    source, _ = ours.draw_sentences(5, 3, (2, 2))
    said = ours.greedy_decode(net.decoder.step, net.encode(source), 5, 9)
    again = net(source, ours.shift_right(said, ours.BOS))[0].argmax(2)
    spoken = (said == ours.EOS).cumsum(1) - (said == ours.EOS).long() == 0
    assert torch.equal(again[spoken], said[spoken])
    longer = F.pad(source, (0, 5))
    close(net(longer, said)[0], net(source, said)[0])


@pytest.mark.method("ch10/seq2seq")
def test_the_translator_is_torchs_gru_and_gru_cells():
    torch.manual_seed(2)
    net = ours.Translator(attend=False).double()
    source, target = ours.draw_sentences(1, 5, (2, 2))
    short = source[:, :8]
    states, last = net.rnn(net.embed(short))
    summary = torch.cat([states[:, -1, :32], states[:, 0, 32:]], dim=1)
    close(summary, torch.cat([*last], dim=1))
    decoder, s, read = net.decoder, net.decoder.first(summary).tanh(), ours.shift_right(target, 1)
    for place in range(8):
        s = decoder.cell(torch.cat([decoder.embed(read[:, place]), summary], 1), s)
        scores = decoder.out(torch.cat([s, summary], 1))
        close(net(short, read)[0][:, place], scores)
    extra = count_params(ours.Translator(attend=True)) - count_params(net)
    assert extra == 8256  # the lesson says so


@pytest.mark.method("ch10/bottleneck")
def test_weights_between_all_pairs_of_states():
    assert ours.connection_weights(50, 50, 1000, 1000) == {"dense": 2_500_000_000, "attention": 2_001_000}
    layers = [nn.Linear(3, 3, bias=False) for _ in range(4 * 5)]
    assert ours.connection_weights(4, 5, 3, 2)["dense"] == sum(map(count_params, layers))
    decoder = ours.Decoder(7, 64, attend=True)
    attention = sum(p.numel() for p in (decoder.W_s, decoder.W_h, decoder.v))
    assert ours.connection_weights(4, 5, 64, 64)["attention"] == attention


@pytest.mark.method("ch10/bahdanau_attention")
def test_attention_is_a_mean_without_scores_and_follows_its_places():
    s, h, W_s, W_h, v = draw(2, 3), draw(2, 6, 4, seed=1), draw(5, 3, seed=2), draw(5, 4, seed=3), draw(5, seed=4)
    mask = torch.tensor([[1, 1, 0, 1, 0, 0], [1] * 6]).bool()
    context, alpha = ours.additive_attention(s, h, W_s, W_h, 0 * v, mask)
    close(alpha, mask.double() / mask.sum(1, keepdim=True))
    close(context[1], h[1].mean(0))
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    context, alpha = ours.additive_attention(s, h, W_s, W_h, v, mask)
    moved, weights = ours.additive_attention(s, h[:, order], W_s, W_h, v, mask[:, order])
    close(moved, context)
    close(weights, alpha[:, order])
    one = torch.zeros(2, 6).bool()
    one[:, 4] = True
    context, alpha = ours.additive_attention(s, h, W_s, W_h, v, one)
    assert torch.equal(alpha, one.double())
    assert torch.equal(context, h[:, 4])


@pytest.mark.method("ch10/bahdanau_attention")
def test_a_row_without_places_is_zero_and_gives_no_nan_back():
    parts = [draw(2, 3), draw(2, 4, 5, seed=1), draw(6, 3, seed=2), draw(6, 5, seed=3), draw(6, seed=4)]
    leaves = [p.requires_grad_() for p in parts]
    mask = torch.tensor([[False] * 4, [True, False, True, False]])
    context, alpha = ours.additive_attention(*leaves, mask)
    assert (context[0] == 0).all()
    assert (alpha[0] == 0).all()
    close(alpha[1].sum(), torch.tensor(1.0).double())
    for slope in torch.autograd.grad(context.sum(), leaves):
        assert slope.isfinite().all()


@pytest.mark.method("ch10/image_captioning_rnn")
def test_even_attention_lies_on_a_thing_with_its_share_of_the_picture():
    masks = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)) < 0.3
    share, area = ours.attention_on(torch.full((3, 64), 1 / 64).double(), masks)
    close(share, area)
    close(area, masks.double().mean((1, 2)))
    everywhere, _ = ours.attention_on(draw(3, 64).softmax(1), masks | True)
    close(everywhere, torch.ones(3).double())


@pytest.mark.method("ch10/image_captioning_rnn")
def test_captions_are_true_and_name_the_first_thing_first():
    _, rows, scenes = ours.draw_captioned(60, 3)
    for row, scene, plain in zip(rows.tolist(), scenes.shape.tolist(), scenes.plain()):
        words = [ours.CAPTION_WORDS[k] for k in row if k > ours.EOS]
        assert world.is_true(" ".join(words) + ".", plain)
        assert words[2] == world.SHAPES[scene[0]]
        assert words[-1] == world.SHAPES[scene[1]]
        assert (words[0] == "an") == (words[1] == "orange")


@pytest.mark.method("ch10/action_recognition")
def test_padding_does_not_change_a_clip_and_its_order_does():
    torch.manual_seed(0)
    net, (video, label) = ours.VideoNet(6), ours.draw_actions(12, 0)
    full = torch.ones(12, 12).bool()
    scores = ours.classify_clips(net.cnn, net.rnn, net.head, video, full)
    longer = torch.cat([video, torch.rand(12, 5, 3, 16, 16)], dim=1)
    same = ours.classify_clips(net.cnn, net.rnn, net.head, longer, F.pad(full, (0, 5)))
    torch.testing.assert_close(scores, same)
    torch.testing.assert_close(scores, net(video)[:, -1])
    assert (ours.classify_clips(net.cnn, net.rnn, net.head, video.flip(1), full) - scores).abs().max() > 1e-4
    frames = net.cnn(video.flatten(0, 1)).unflatten(0, (12, 12))
    torch.testing.assert_close(frames.mean(1), frames.flip(1).mean(1))
    assert label.max() < len(ours.ACTIONS)


@pytest.mark.method("ch10/action_recognition")
def test_an_action_run_backwards_is_its_opposite():
    clips = world.sample_clips(40, 1, motions=("slide", "grow"), shrink=True)
    slides = clips.motion == world.words.label("motion", "slide")
    direction = torch.where(slides, (clips.direction + 2) % 4, clips.direction)
    other = world.Clips(clips.scene, clips.motion, direction, torch.where(slides, 1, -1) * clips.pace)
    frames = world.render_clips(other, 16, 12)
    torch.testing.assert_close(frames.flip(1), world.render_clips(clips, 16, 12), atol=2e-3, rtol=0)
    opposite = dict(zip(ours.ACTIONS, (ours.ACTIONS[k] for k in (2, 3, 0, 1, 5, 4))))
    assert world.clip_directions(other) == [opposite[word] for word in world.clip_directions(clips)]


@pytest.mark.method("ch10/video_indexing")
def test_borders_of_montages_are_those_that_the_labels_show():
    film = world.montage(5, 0)
    for motion, border in zip(film.motion, film.border):
        assert ours.boundary_f1(motion, motion, tol=0) == 1.0
        assert (motion.diff() != 0).nonzero()[:, 0].tolist() == (border.nonzero()[:, 0] - 1).tolist()
    both = ours.VideoNet(3, bidirectional=True)
    forward = nn.GRU(48, 48, batch_first=True)
    forward.load_state_dict({k: v for k, v in both.rnn.state_dict().items() if "reverse" not in k})
    x = draw(2, 5, 48, dtype=torch.float32)
    torch.testing.assert_close(both.rnn(x)[0][..., :48], forward(x)[0])


@pytest.mark.method("ch10/video_prediction")
def test_the_foreteller_reads_its_own_frames_and_sees_no_future():
    torch.manual_seed(0)
    net, films = ours.Foreteller(D=4, k=3), ours.draw_films(3, 0)
    three = net(films[:, :5], 3)
    assert three.shape == (3, 7, 1, 16, 16)
    torch.testing.assert_close(three[:, :5], net(films[:, :5], 1))
    fed = torch.cat([films[:, :5], three[:, 4:5]], dim=1)
    torch.testing.assert_close(three, net(fed, 2))
    changed = films.clone()
    changed[:, 3:] = 1 - changed[:, 3:]
    torch.testing.assert_close(net(changed[:, :5], 1)[:, :3], three[:, :3])
    assert set(films.unique().tolist()) == {0.0, 1.0}


@pytest.mark.method("ch10/seq2seq")
def test_the_words_of_the_page_are_those_of_the_reference():
    """The lesson gives the words in cells of its own: they must be what the checkpoints were trained on."""
    lesson = paths.root() / "chapters" / SLUG / "lesson_2.md"
    given = lesson.read_text(encoding="utf-8").split("```")
    space = {"world": world}
    for cell in given:
        body = cell.split("\n\n", 1)[-1]
        if body.lstrip().startswith(("PAD, BOS, EOS", "CAPTION_SHAPES")):
            exec(body, space)
    names = "PAD BOS EOS FRENCH FEMININE ENDINGS ENGLISH_WORDS FRENCH_WORDS CAPTION_WORDS"
    for name in names.split():
        assert space[name] == getattr(ours, name), name
    assert tuple(space["CAPTION_SHAPES"]) == tuple(ours.CAPTION_SHAPES)
    english, french = ours.translate(["green", "orange"], ["star", "heart"])
    assert " ".join(english) == "a green star and an orange heart"
    assert " ".join(french) == "une étoile verte et un cœur orange"
