import math

import pytest
import torch
from scipy import stats

from unstir import noise
from unstir.noise import Stream, normal, permutation, philox, uniform


def index(n, first=0):
    return torch.arange(first, first + n)


@pytest.mark.parametrize(
    ("counter", "seed", "expected"),
    [
        ([0, 0, 0, 0], 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, 2**64 - 1, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            0x299F31D0A4093822,
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_philox_gives_the_known_answers_of_random123(counter, seed, expected):
    assert philox(torch.tensor(counter)[:, None], seed)[:, 0].tolist() == expected


def test_philox_computes_each_counter_on_its_own():
    counters = torch.arange(40).reshape(4, 10) * 0x01234567
    together = philox(counters, 5)
    for k in range(10):
        assert torch.equal(together[:, k : k + 1], philox(counters[:, k : k + 1], 5))


def test_the_address_of_a_number_is_fixed():
    # Published samples depend on this layout: block, index (two words), stream and step.
    sample, block = (5 << 32) + 7, 2
    u = uniform((12,), seed=2**40 + 3, index=torch.tensor([sample]), stream=Stream.TRAIN_TIME, step=9)
    words = philox(torch.tensor([[block], [7], [5], [4 * 2**24 + 9]]), 2**40 + 3)[:, 0]
    assert torch.equal(u[0, 4 * block : 4 * block + 4], (words.double() + 0.5) / 2.0**32)


def test_normal_numbers_are_box_and_muller_of_the_uniform_ones():
    address = {"seed": 1, "index": index(2), "stream": Stream.START}
    u = uniform((6,), **address)
    radius, angle = (-2 * u[:, 0::2].log()).sqrt(), 2 * math.pi * u[:, 1::2]
    z = normal((5,), **address, dtype=torch.float64)
    torch.testing.assert_close(z[:, 0::2], radius * angle.cos(), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(z[:, 1::2], (radius * angle.sin())[:, :2], rtol=1e-13, atol=1e-13)


def test_uniform_numbers_are_uniform():
    u = uniform((50,), seed=1, index=index(1000), stream=Stream.DATA)
    assert u.dtype == torch.float64
    assert float(u.min()) > 0.0
    assert float(u.max()) < 1.0
    assert stats.kstest(u.flatten().numpy(), "uniform").pvalue > 1e-3
    # Along one sample, across samples and across steps, too.
    assert stats.kstest(uniform((9999,), seed=2, index=index(1), stream=Stream.DATA)[0], "uniform")[1] > 1e-3
    assert stats.kstest(uniform((), seed=3, index=index(9999), stream=Stream.DATA), "uniform")[1] > 1e-3
    steps = [uniform((), seed=3, index=index(1), stream=Stream.STEP, step=k).item() for k in range(999)]
    assert stats.kstest(steps, "uniform").pvalue > 1e-3


def test_normal_numbers_are_normal_and_neighbours_are_uncorrelated():
    z = normal((51,), seed=4, index=index(1000), stream=Stream.START, dtype=torch.float64)
    assert stats.kstest(z.flatten().numpy(), "norm").pvalue > 1e-3
    assert stats.kstest((z**2).sum(1).numpy(), "chi2", args=(51,)).pvalue > 1e-3
    correlation = torch.corrcoef(z.T) - torch.eye(51)
    assert float(correlation.abs().max()) < 5.0 / math.sqrt(1000)
    across = torch.corrcoef(torch.stack([z[:-1].flatten(), z[1:].flatten()]))[0, 1]
    assert abs(float(across)) < 4.5 / math.sqrt(z.numel())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normal_numbers_stay_below_the_bound_of_32_bits(dtype):
    z = normal((100000,), seed=0, index=index(1), stream=Stream.START, dtype=dtype)
    assert z.dtype == dtype
    assert float(z.abs().max()) < math.sqrt(-2.0 * math.log(0.5 / 2**32))


@pytest.mark.parametrize("event", [(), (1,), (3,), (2, 3, 5)])
@pytest.mark.parametrize("draw", [uniform, normal])
def test_a_sample_is_the_same_in_any_batch(draw, event):
    whole = draw(event, seed=9, index=index(7), stream=Stream.STEP, step=3)
    assert whole.shape == (7, *event)
    for first, size in [(0, 1), (6, 1), (2, 4)]:
        part = draw(event, seed=9, index=index(size, first), stream=Stream.STEP, step=3)
        assert torch.equal(part, whole[first : first + size])
    shuffled = draw(event, seed=9, index=torch.tensor([5, 0, 3]), stream=Stream.STEP, step=3)
    assert torch.equal(shuffled, whole[[5, 0, 3]])


def test_an_event_of_nothing_and_a_batch_of_nothing_have_their_shapes():
    assert normal((0, 3), seed=0, index=index(2), stream=Stream.START).shape == (2, 0, 3)
    assert normal((3,), seed=0, index=index(0), stream=Stream.START).shape == (0, 3)


def test_every_part_of_the_address_changes_the_numbers():
    draws = [
        uniform((4,), seed=seed, index=torch.tensor([i]), stream=stream, step=step)
        for seed in (0, 1, 2**32, -1, 2**63)
        for i in (0, 1, 2**32, 2**40)
        for stream in Stream
        for step in (0, 1, 2**24 - 1)
    ]
    values = torch.cat(draws).flatten()
    assert len(values.unique()) == len(values)


def test_streams_and_steps_of_one_seed_are_uncorrelated():
    rows = [normal((20000,), seed=0, index=index(1), stream=stream)[0] for stream in Stream]
    rows += [normal((20000,), seed=0, index=index(1), stream=Stream.STEP, step=k)[0] for k in (1, 2, 3)]
    correlation = torch.corrcoef(torch.stack(rows)) - torch.eye(len(rows))
    assert float(correlation.abs().max()) < 4.5 / math.sqrt(20000)


def test_a_negative_seed_is_its_64_bits():
    a = uniform((4,), seed=-1, index=index(2), stream=Stream.START)
    assert torch.equal(a, uniform((4,), seed=2**64 - 1, index=index(2), stream=Stream.START))


def test_a_permutation_holds_every_number_once_and_is_fair():
    order = permutation(1000, seed=0, stream=Stream.SPLIT)
    assert torch.equal(order.sort().values, torch.arange(1000))
    assert torch.equal(order, permutation(1000, seed=0, stream=Stream.SPLIT))
    assert not torch.equal(order, permutation(1000, seed=0, stream=Stream.SPLIT, step=1))
    firsts = [permutation(5, seed=0, stream=Stream.SPLIT, step=k)[0].item() for k in range(1000)]
    assert stats.chisquare(torch.bincount(torch.tensor(firsts)).numpy()).pvalue > 1e-3


def test_the_global_generator_is_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    normal((5,), seed=0, index=index(3), stream=Stream.START)
    permutation(5, seed=0, stream=Stream.SPLIT)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(1)
    a = normal((5,), seed=0, index=index(3), stream=Stream.START)
    torch.manual_seed(2)
    assert torch.equal(a, normal((5,), seed=0, index=index(3), stream=Stream.START))


@pytest.mark.parametrize("step", [-1, 2**24])
def test_a_step_out_of_range_is_refused(step):
    with pytest.raises(ValueError, match="a random stream has steps 0 to 16777215"):
        uniform((1,), seed=0, index=index(1), stream=Stream.STEP, step=step)


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1])
def test_a_seed_of_more_than_64_bits_is_refused(seed):
    with pytest.raises(ValueError, match="at most 64 bits"):
        noise.normal((1,), seed=seed, index=index(1), stream=Stream.STEP)


def test_words_are_what_uniform_numbers_are_made_of_and_more_of_them_begin_alike():
    address = {"seed": 3, "index": index(4), "stream": Stream.JUMP, "step": 2}
    words = noise.words(11, **address)
    assert torch.equal(noise.words(5, **address), words[:, :5])
    assert torch.equal(uniform((11,), **address), (words.double() + 0.5) / 2.0**32)
