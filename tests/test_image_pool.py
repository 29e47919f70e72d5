"""The pool of generated images against sequences worked out by hand."""

import pytest
import torch
from torch import Tensor

from gan_style.nn.image_pool import ImagePool


def picture(value: float) -> Tensor:
    return torch.full((1, 3, 2, 2), float(value))


def shown(pool: ImagePool, *values: float) -> list[float]:
    """What one query with a batch of plain pictures returns."""
    answer = pool.query(torch.cat([picture(value) for value in values]))
    assert answer.shape == (len(values), 3, 2, 2)
    return answer[:, 0, 0, 0].tolist()


def kept(pool: ImagePool) -> list[float]:
    return [float(image[0, 0, 0]) for image in pool.images]


@pytest.fixture
def force(monkeypatch):
    """Fix the pool's draws: the uniform numbers, and the slots of its exchanges."""

    def fix(uniform: list[float], slots: list[int]) -> None:
        numbers, places = iter(uniform), iter(slots)
        monkeypatch.setattr(torch, "rand", lambda *_: torch.tensor(next(numbers)))
        monkeypatch.setattr(torch, "randint", lambda *_: torch.tensor(next(places)))

    return fix


def test_a_full_pool_follows_its_draws(force):
    pool = ImagePool(2)
    assert shown(pool, 1) == [1]
    assert shown(pool, 2) == [2]
    assert kept(pool) == [1, 2]
    force(uniform=[0.51, 0.49, 0.9, 0.8], slots=[0, 1, 0])
    assert shown(pool, 3) == [1]  # 0.51: in exchange for slot 0
    assert kept(pool) == [3, 2]
    assert shown(pool, 4) == [4]  # 0.49: itself, and isn't kept
    assert kept(pool) == [3, 2]
    assert shown(pool, 5) == [2]
    assert shown(pool, 6) == [3]
    assert kept(pool) == [6, 5]


def test_images_of_a_batch_go_through_one_by_one(force):
    force(uniform=[0.9, 0.1, 0.9], slots=[0, 0])
    pool = ImagePool(1)
    # 1 fills the pool; 2 comes in for 1; 3 is passed on; 4 comes in for 2.
    assert shown(pool, 1, 2, 3, 4) == [1, 1, 3, 2]
    assert kept(pool) == [4]


def test_the_first_50_images_come_back_as_they_are():
    pool = ImagePool()
    torch.manual_seed(0)
    images = torch.rand(50, 3, 4, 4)
    answers = [pool.query(batch) for batch in images.split(7)]  # seven times 7 and then 1
    assert torch.equal(torch.cat(answers), images)
    assert torch.equal(torch.stack(pool.images), images)
    later = torch.cat([pool.query(torch.rand(1, 3, 4, 4)) for _ in range(20)])
    assert len(pool.images) == 50
    assert any((image == images).flatten(1).all(1).any() for image in later)


def test_half_of_the_answers_of_a_full_pool_are_new_and_every_slot_takes_part():
    pool = ImagePool(5)
    shown(pool, *range(5))
    torch.manual_seed(0)
    new = sum(shown(pool, value) == [value] for value in range(100, 500))
    assert 160 <= new <= 240  # 400 draws of 1/2: 200, and four standard deviations of 10
    assert min(kept(pool)) >= 100  # none of the first five is left


def test_draws_depend_on_the_global_seed_alone():
    def answers() -> list[float]:
        torch.manual_seed(3)
        return shown(ImagePool(2), *range(30))

    assert answers() == answers() != list(range(30))


def test_a_pool_of_size_0_passes_images_through_without_their_graph():
    pool = ImagePool(0)
    fresh = torch.rand(2, 3, 4, 4, requires_grad=True)
    answer = pool.query(fresh * 1)
    assert torch.equal(answer, fresh)
    assert not answer.requires_grad
    assert pool.images == []


def test_answers_and_stored_images_carry_no_graph():
    pool = ImagePool(1)
    weight = torch.ones((), requires_grad=True)
    for _ in range(8):  # some of these answers are old images
        assert not pool.query(weight * picture(1)).requires_grad
        assert not pool.images[0].requires_grad


def test_stored_images_share_no_memory_with_what_comes_and_goes(force):
    force(uniform=[0.9, 0.9], slots=[0, 0])
    pool = ImagePool(1)
    for value, expected in ((1, 1), (2, 1), (3, 2)):  # stored, then twice exchanged
        fresh = picture(value)
        answer = pool.query(fresh)
        assert torch.equal(answer, picture(expected))
        fresh.fill_(-1)
        answer.fill_(-2)
        assert kept(pool) == [value]


def test_a_restored_pool_goes_on_like_the_saved_one():
    pool = ImagePool(3)
    shown(pool, 1, 2, 3)
    state = pool.state_dict()
    other = ImagePool(3)
    other.load_state_dict(state)
    assert kept(other) == [1, 2, 3]
    torch.manual_seed(0)
    expected = shown(pool, *range(10, 20))
    assert expected != list(range(10, 20))
    assert kept(other) == [1, 2, 3]  # by itself
    torch.manual_seed(0)
    assert shown(other, *range(10, 20)) == expected
    other.load_state_dict(state)  # what was saved is as it was then
    assert kept(other) == [1, 2, 3]
