import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jepa_ros.msg import Latent
from std_msgs.msg import Header

from jepa_common.latent_messages import (
    LatentKind,
    LatentRefusedError,
    latent_to_message,
    message_to_latent,
)

MODEL = "tiny@0123456789ab"
KIND = LatentKind(MODEL, tokens=3, dim=4)


def latent() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, 3, 4)).astype(np.float32)


def message(dtype: str = "float32") -> Latent:
    return latent_to_message(latent(), Header(frame_id="camera"), MODEL, dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 0.0), ("float16", 1e-3), ("bfloat16", 4e-3)])
def test_a_latent_survives_the_round_trip(dtype, tolerance):
    back = message_to_latent(message(dtype), KIND)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, latent(), rtol=tolerance)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False).filter(lambda v: abs(v) < 1e30))
def test_bfloat16_rounds_as_torch_does(value):
    import torch

    expected = torch.tensor(value, dtype=torch.float32).to(torch.bfloat16).float().item()
    sent = latent_to_message(np.full((1, 1, 1), value, np.float32), Header(), MODEL, "bfloat16")
    assert message_to_latent(sent).item() == expected


def test_header_and_model_are_carried():
    sent = message()
    assert sent.header.frame_id == "camera"
    assert sent.model == MODEL


def refused(sent: Latent) -> str:
    with pytest.raises(LatentRefusedError) as error:
        message_to_latent(sent, KIND)
    return str(error.value)


def test_another_models_latent_is_refused_with_both_names():
    sent = message()
    sent.model = "other@ffffffffffff"
    assert MODEL in refused(sent)
    assert "other@ffffffffffff" in refused(sent)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("dtype", "float64", "float64"),
        ("shape", [3, 4], "positive"),
        ("shape", [1, 0, 4], "positive"),
        ("shape", [1, 3, 5], "60 bytes"),
        ("shape", [1, 4, 3], "[frames, 3, 4]"),
        ("shape", [2**31, 2**31, 2**31], "more than"),
        ("data", array.array("B", bytes(47)), "got 47"),
        ("data", array.array("B"), "got 0"),
    ],
)
def test_an_inconsistent_message_is_refused(field, value, words):
    sent = message()
    setattr(sent, field, value)
    assert words in refused(sent)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_values_that_are_not_finite_are_refused(bad, dtype):
    values = latent()
    values[0, 1, 2] = bad
    assert "1 of 12" in refused(latent_to_message(values, Header(), MODEL, dtype))


def test_an_unknown_dtype_is_not_sent():
    with pytest.raises(ValueError, match="int8"):
        latent_to_message(latent(), Header(), MODEL, "int8")
