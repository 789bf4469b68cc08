import numpy as np
import pytest

from jepa_world_model.latent_store import LatentStore, StoredLatent, UnknownStampError


def entry(stamp: int, value: float = 0.0) -> StoredLatent:
    return StoredLatent(stamp, np.full((2, 3), value, np.float32))


def test_the_entry_that_came_first_makes_room():
    store = LatentStore(capacity=2)
    for stamp in (5, 3, 9):
        store.add(entry(stamp))
    assert len(store) == 2
    assert store.get(3).stamp == 3
    with pytest.raises(UnknownStampError):
        store.get(5)


def test_an_entry_of_the_same_stamp_is_replaced():
    store = LatentStore(capacity=2)
    store.add(entry(1, 1.0))
    store.add(entry(1, 2.0))
    assert len(store) == 1
    assert store.get(1).latent[0, 0] == 2.0


def test_an_unknown_stamp_is_told_what_is_held():
    store = LatentStore(capacity=4, name="goal latent")
    with pytest.raises(UnknownStampError, match="none has come yet"):
        store.get(7)
    store.add(entry(1_500_000_000))
    store.add(entry(2_000_000_001))
    with pytest.raises(UnknownStampError) as error:
        store.get(7)
    assert error.value.store == "goal latent"
    assert str(error.value) == (
        "goal latent: there is none of stamp 0.000000007; the 2 held came with stamps 1.500000000 to 2.000000001"
    )
