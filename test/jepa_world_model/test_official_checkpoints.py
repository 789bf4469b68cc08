"""Released files are read whatever their layout; files that do not fit are refused with a message that helps."""

from __future__ import annotations

import json
import pickle
from argparse import Namespace
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file, save_file

from jepa_world_model.action_predictor import ActionConditionedPredictor, ActionPredictorConfig
from jepa_world_model.checkpoint_errors import CheckpointError
from jepa_world_model.convert import ConvertConfig, convert
from jepa_world_model.official_checkpoints import (
    NetworkShapes,
    load_encoder,
    load_predictor,
    official_version,
    open_official,
)
from jepa_world_model.registry import OFFICIAL_MODELS, OfficialModel
from jepa_world_model.vision_transformer import EncoderConfig, VisionTransformer

TINY = NetworkShapes(
    EncoderConfig(image_size=32, num_frames=4, embed_dim=24, depth=2, num_heads=2),
    ActionPredictorConfig(image_size=32, embed_dim=24, predictor_dim=16, depth=2, num_heads=2),
)


def official_file(path, **parts):
    """An official file of tiny networks; `parts` replaces or adds top-level entries."""
    torch.manual_seed(0)
    encoder = VisionTransformer(TINY.encoder).state_dict()
    predictor = ActionConditionedPredictor(TINY.action_predictor).state_dict()
    stored = {
        "encoder": {f"module.backbone.{name}": torch.zeros_like(tensor) for name, tensor in encoder.items()},
        "target_encoder": {f"module.backbone.{name}": tensor for name, tensor in encoder.items()},
        "predictor": {f"module.{name}": tensor for name, tensor in predictor.items()},
        "opt": {"state": {0: torch.ones(3)}},
        "epoch": 7,
    }
    torch.save(stored | parts, path)
    return path


def without(path, part, name):
    """The file without one tensor."""
    stored = torch.load(path, weights_only=True)
    del stored[part][name]
    torch.save(stored, path)
    return path


@pytest.fixture
def official(tmp_path):
    return official_file(tmp_path / "tiny.pt")


@pytest.fixture
def shapes_file(tmp_path):
    path = tmp_path / "tiny.json"
    values = {"encoder": asdict(TINY.encoder), "action_predictor": asdict(TINY.action_predictor)}
    path.write_text(json.dumps(values))
    return path


def test_the_averaged_encoder_is_preferred(official):
    encoder = load_encoder(official, shapes=TINY)
    assert encoder.blocks[0].attn.qkv.weight.abs().sum() > 0


def test_a_released_model_can_be_named_as_encoders_of_other_kinds_are(official, monkeypatch):
    model = OfficialModel("tiny", TINY.encoder, action_predictor=TINY.action_predictor)
    monkeypatch.setitem(OFFICIAL_MODELS, "tiny", model)
    encoder = load_encoder(f"vjepa:tiny@{official}")
    for name, tensor in load_encoder(official, shapes=TINY).state_dict().items():
        assert torch.equal(encoder.state_dict()[name], tensor)


def test_without_an_averaged_encoder_the_trained_one_is_taken(tmp_path):
    path = official_file(tmp_path / "tiny.pt", target_encoder=None)
    assert load_encoder(path, shapes=TINY).blocks[0].attn.qkv.weight.abs().sum() == 0


def test_a_stale_position_table_is_left_out_and_named(official):
    stored = torch.load(official, weights_only=True)
    stored["target_encoder"]["module.backbone.pos_embed"] = torch.zeros(1, 8, 24)
    torch.save(stored, official)
    checkpoint = open_official(official, shapes=TINY)
    assert "target_encoder.pos_embed" in checkpoint.weights.left_out
    assert checkpoint.load("encoder") is not None


def test_converting_and_loading_again_gives_the_same_outputs(official, shapes_file, tmp_path):
    target = tmp_path / "tiny.safetensors"
    report = convert(ConvertConfig(official, target, config=shapes_file))
    clip, actions, states = torch.randn(1, 3, 2, 32, 32), torch.randn(1, 1, 7), torch.randn(1, 1, 7)
    tokens = load_encoder(official, shapes=TINY)(clip)
    assert torch.equal(load_encoder(target)(clip), tokens)
    expected = load_predictor(official, shapes=TINY)(tokens, actions, states)
    assert torch.equal(load_predictor(target)(tokens, actions, states), expected)
    assert {"opt", "epoch", "encoder"} <= set(report.left_out)
    assert json.loads((tmp_path / "index.json").read_text())["tiny.safetensors"]["version"] == report.card.version


def test_converting_to_bfloat16_halves_the_file(official, shapes_file, tmp_path):
    full, half = tmp_path / "full.safetensors", tmp_path / "half.safetensors"
    convert(ConvertConfig(official, full, config=shapes_file))
    convert(ConvertConfig(official, half, config=shapes_file, dtype="bfloat16"))
    assert half.stat().st_size < 0.65 * full.stat().st_size


@pytest.mark.parametrize("name", ["vjepa2_hd32", "vjepa2_ac", "vjepa2_1_ema_encoder", "vjepa2_1_target_encoder"])
def test_golden_files_convert(load_golden, tmp_path, name):
    golden = load_golden(name)
    config = tmp_path / "shapes.json"
    values = {key: part for key, part in asdict(golden.shapes).items() if part}
    config.write_text(json.dumps(values))
    target = tmp_path / f"{name}.safetensors"
    convert(ConvertConfig(golden.checkpoint, target, config=config))
    stored = open_official(golden.checkpoint, shapes=golden.shapes).load("encoder").state_dict()
    for key, tensor in load_encoder(target).state_dict().items():
        assert torch.equal(tensor, stored[key])


def hugging_face_folder(folder, encoder, **extra):
    """The encoder in the layout of a Hugging Face VJEPA2Model, with its configuration."""
    tensors = {}
    for name, tensor in encoder.state_dict().items():
        name = name.replace("patch_embed.", "embeddings.patch_embeddings.").replace("blocks.", "layer.")
        name = name.replace("attn.", "attention.")
        if name.startswith("norm."):
            name = f"layer{name}"
        if ".qkv." not in name:
            tensors[f"encoder.{name}"] = tensor.clone()
            continue
        for part, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
            tensors[f"encoder.{name.replace('.qkv.', f'.{part}.')}"] = piece.clone()
    config = encoder.config
    folder.mkdir()
    save_file(tensors | extra, folder / "model.safetensors", metadata={"format": "pt"})
    settings = {
        "crop_size": config.image_size,
        "patch_size": config.patch_size,
        "tubelet_size": config.tubelet_size,
        "frames_per_clip": config.num_frames,
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "mlp_ratio": 4,
    }
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


@torch.no_grad()  # attention that keeps what gradients need may round in another way
def assert_same_tokens(encoder, *paths):
    clip = torch.randn(1, 3, 4, 32, 32)
    for path in paths:
        assert torch.equal(load_encoder(path)(clip), encoder(clip))


def test_a_hugging_face_folder_gives_the_same_encoder(tmp_path):
    encoder = VisionTransformer(TINY.encoder).eval()
    folder = hugging_face_folder(tmp_path / "hf", encoder)
    assert_same_tokens(encoder, folder, folder / "model.safetensors")


def test_a_hugging_face_folder_converts(tmp_path):
    encoder = VisionTransformer(TINY.encoder).eval()
    folder = hugging_face_folder(tmp_path / "hf", encoder, **{"predictor.proj.bias": torch.zeros(3)})
    report = convert(ConvertConfig(folder, tmp_path / "hf.safetensors"))
    assert report.left_out == ("predictor.proj.bias",)
    loaded = load_encoder(tmp_path / "hf.safetensors")
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    # Sums are rounded by where in the mapped file a tensor lies.
    clip = torch.randn(1, 3, 4, 32, 32)
    torch.testing.assert_close(loaded(clip), encoder(clip), atol=1e-5, rtol=1e-5)


def test_a_hugging_face_file_with_foreign_tensors_is_refused(tmp_path):
    encoder = VisionTransformer(TINY.encoder)
    folder = hugging_face_folder(tmp_path / "hf", encoder, **{"decoder.weight": torch.zeros(3)})
    with pytest.raises(CheckpointError, match=r"decoder\.weight"):
        load_encoder(folder)


WRAPPED = {
    "module.backbone.": "module.",
    "_orig_mod.module.backbone.": "_orig_mod.module.",
    "module._orig_mod.backbone.": "module._orig_mod.",
    "module.backbone._orig_mod.": "module._orig_mod.",
    "backbone.module.": "",
    "module.module.backbone.": "module.module.",
    "_fsdp_wrapped_module.module.backbone._orig_mod.": "_fsdp_wrapped_module.module.",
    "encoder.backbone.": "predictor.",
    "model.encoder.": "model.predictor.",
    "": "",
}


@pytest.mark.parametrize("encoder_prefix", WRAPPED)
def test_wrappers_are_stripped_in_any_order_and_number(official, tmp_path, encoder_prefix):
    stored = torch.load(official, weights_only=True)
    plain = {name.removeprefix("module.backbone."): tensor for name, tensor in stored["target_encoder"].items()}
    predictor = {name.removeprefix("module."): tensor for name, tensor in stored["predictor"].items()}
    path = official_file(
        tmp_path / "wrapped.pt",
        target_encoder={encoder_prefix + name: tensor for name, tensor in plain.items()},
        predictor={WRAPPED[encoder_prefix] + name: tensor for name, tensor in predictor.items()},
    )
    for load in (load_encoder, load_predictor):
        for expected, got in zip(
            load(official, shapes=TINY).parameters(), load(path, shapes=TINY).parameters(), strict=True
        ):
            assert torch.equal(expected, got)


def test_wrappers_of_single_blocks_are_stripped(official):
    stored = torch.load(official, weights_only=True)
    stored["target_encoder"] = {
        name.replace("blocks.0.", "blocks.0._orig_mod.").replace(
            "blocks.1.", "blocks.1._checkpoint_wrapped_module."
        ): tensor
        for name, tensor in stored["target_encoder"].items()
    }
    torch.save(stored, official)
    assert load_encoder(official, shapes=TINY).blocks[0].attn.qkv.weight.abs().sum() > 0


def test_the_same_parameter_under_two_wrappers_is_refused(official):
    stored = torch.load(official, weights_only=True)
    stored["target_encoder"]["_orig_mod.norm.bias"] = torch.zeros(24)
    torch.save(stored, official)
    with pytest.raises(
        CheckpointError, match=r"norm\.bias twice, as module\.backbone\.norm\.bias and as _orig_mod\.norm\.bias"
    ):
        load_encoder(official, shapes=TINY)


def shard(folder, count=3, name="model"):
    """Splits a folder's one file, with an index, as Hugging Face saves large models."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {}
    for number in range(count):
        file = f"{name}-{number + 1:05d}-of-{count:05d}.safetensors"
        part = {key: tensors[key] for key in sorted(tensors)[number::count]}
        save_file(part, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(part, file)
    (folder / f"{name}.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


@pytest.fixture
def encoder():
    torch.manual_seed(3)
    return VisionTransformer(TINY.encoder).eval()


@pytest.fixture
def sharded(tmp_path, encoder):
    return shard(hugging_face_folder(tmp_path / "hf", encoder))


def assert_same_encoder(path, encoder):
    loaded = load_encoder(path).state_dict()
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(loaded[name], tensor), name


def test_the_index_says_where_each_tensor_is(sharded, encoder):
    assert_same_encoder(sharded, encoder)
    wrong = {name: torch.full_like(tensor, 9.0) for name, tensor in load_file(next(sharded.glob("*-00001-*"))).items()}
    for surplus in (
        "zzz.safetensors",
        "model-00004-of-00004.safetensors",
        "model.fp32.safetensors",
        "model.safetensors",
    ):
        save_file(wrong, sharded / surplus)
    assert_same_encoder(sharded, encoder)
    # A tensor that the index places elsewhere does not count either.
    first, second, _ = sorted(sharded.glob("model-*-of-00003.safetensors"))
    save_file(load_file(second) | wrong, second)
    assert_same_encoder(sharded, encoder)
    assert_same_encoder(first, encoder)  # a part stands for the whole


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("with_index", [True, False])
def test_a_part_that_is_missing_is_named(sharded, number, with_index):
    name = f"model-0000{number}-of-00003.safetensors"
    (sharded / name).unlink()
    if not with_index:
        (sharded / "model.safetensors.index.json").unlink()
    for use in (load_encoder, official_version):
        with pytest.raises(CheckpointError, match=f"{name} is missing"):
            use(sharded)


def test_parts_without_an_index_are_read_when_all_are_there(sharded, encoder):
    (sharded / "model.safetensors.index.json").unlink()
    assert_same_encoder(sharded, encoder)


def test_of_several_files_the_usual_one_counts(tmp_path, encoder):
    folder = hugging_face_folder(tmp_path / "hf", encoder)
    save_file({"encoder.layernorm.bias": torch.ones(24)}, folder / "optimizer.safetensors")
    save_file({"encoder.layernorm.bias": torch.ones(24)}, folder / "a.safetensors")
    assert_same_encoder(folder, encoder)
    (folder / "model.safetensors").rename(folder / "renamed.safetensors")
    with pytest.raises(CheckpointError, match=r"several models, a\.safetensors, optimizer.*no index: name the file"):
        load_encoder(folder)
    assert_same_encoder(folder / "renamed.safetensors", encoder)


def test_an_index_of_another_model_is_refused(sharded):
    index = sharded / "model.safetensors.index.json"
    values = json.loads(index.read_text())
    values["weight_map"]["encoder.layernorm.extra"] = "model-00001-of-00003.safetensors"
    index.write_text(json.dumps(values))
    with pytest.raises(
        CheckpointError, match=r"names encoder\.layernorm\.extra in model-00001.*does not hold it \(1 of"
    ):
        load_encoder(sharded)
    for text, words in (("{}", "expected a weight_map"), ("[1]", "names with values"), (LFS, "a Git LFS pointer")):
        index.write_text(text)
        with pytest.raises(CheckpointError, match=words):
            load_encoder(sharded)
    index.write_text(json.dumps({"weight_map": {"encoder.layernorm.bias": "../elsewhere.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"files beside it, got \.\./elsewhere"):
        load_encoder(sharded)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "vjepa2.", "module._orig_mod.vjepa2.", "model."])
def test_wrappers_of_hugging_face_models_are_stripped(tmp_path, encoder, prefix):
    folder = hugging_face_folder(tmp_path / "hf", encoder)
    tensors = load_file(folder / "model.safetensors")
    save_file({prefix + name: tensor for name, tensor in tensors.items()}, folder / "model.safetensors")
    assert_same_encoder(folder, encoder)


def test_the_version_of_a_model_in_parts_depends_on_every_part(sharded):
    before = official_version(sharded)
    last = sorted(sharded.glob("model-*"))[2]
    save_file({name: tensor + 1 for name, tensor in load_file(last).items()}, last)
    assert official_version(sharded) != before


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 1234567\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LFS, r"a Git LFS pointer of 76 bytes, not the file.*`git lfs pull` fetches it \(1234567 bytes\)"),
        ("<!DOCTYPE html><html><head><title>404</title></head></html>", 'a web page of 59 bytes with the title "404"'),
        ("\ufeff  <html>", "a web page of"),
        ('<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a web page of"),
        ('{"error": "Repository not found"}', "a text file of 33 bytes that begins"),
        ("Entry not found", "a text file of 15 bytes that begins 'Entry not found'"),
    ],
)
@pytest.mark.parametrize("name", ["weights.pt", "weights.pth", "weights.safetensors", "folder/model.safetensors"])
def test_a_text_file_is_called_what_it_is(tmp_path, name, text, words):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    for source in {path, path.parent if name.startswith("folder") else path}:
        with pytest.raises(CheckpointError, match=words) as refusal:
            load_encoder(source)
        assert name.rpartition("/")[2] in str(refusal.value) and "run code" not in str(refusal.value)


def test_another_safetensors_file_is_refused(tmp_path):
    save_file({"conv1.weight": torch.zeros(3)}, tmp_path / "resnet.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"neither a VJEPA2Model nor a world model.*conv1.weight"):
        load_encoder(tmp_path / "resnet.safetensors")


@pytest.mark.parametrize("share", [0.3, 0.98])
def test_a_truncated_file_is_refused(official, share):
    data = official.read_bytes()
    official.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match=r"ends too early.*download it again"):
        load_encoder(official, shapes=TINY)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all"])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "notes.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"notes.pt"):
        load_encoder(path, shapes=TINY)


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("archive", [True, False])
def test_a_pickle_with_code_is_refused_and_its_code_does_not_run(tmp_path, archive):
    path, evidence = tmp_path / "evil.pt", tmp_path / "evidence"
    if archive:
        torch.save({"target_encoder": Touch(evidence)}, path)
    else:
        path.write_bytes(pickle.dumps({"target_encoder": Touch(evidence)}))
    with pytest.raises(CheckpointError, match="could run code; it was not opened"):
        load_encoder(path, shapes=TINY)
    assert not evidence.exists()


def bare(official, encoder_prefix, predictor_prefix):
    """All tensors of an official file in one dictionary."""
    stored = torch.load(official, weights_only=True)
    encoder = {
        encoder_prefix + name.removeprefix("module.backbone."): tensor
        for name, tensor in stored["target_encoder"].items()
    }
    predictor = {
        predictor_prefix + name.removeprefix("module."): tensor for name, tensor in stored["predictor"].items()
    }
    return encoder, predictor


@pytest.mark.parametrize("wrap", [dict, lambda all_: {"model": all_}, lambda all_: {"state_dict": {"module": all_}}])
@pytest.mark.parametrize("prefix", ["", "module.backbone.", "encoder.", "_orig_mod.target_encoder.module.backbone."])
def test_an_encoder_saved_alone_is_read(official, tmp_path, wrap, prefix):
    encoder, _ = bare(official, prefix, "")
    torch.save(wrap(encoder), tmp_path / "bare.pt")
    for expected, got in zip(
        load_encoder(official, shapes=TINY).parameters(),
        load_encoder(tmp_path / "bare.pt", shapes=TINY).parameters(),
        strict=True,
    ):
        assert torch.equal(expected, got)


def test_networks_in_one_dictionary_are_told_by_their_names(official, shapes_file, tmp_path):
    encoder, predictor = bare(official, "module.target_encoder.", "module.predictor.")
    trained = {name.replace("target_encoder", "encoder"): torch.zeros_like(value) for name, value in encoder.items()}
    torch.save({"model": trained | encoder | predictor, "epoch": 3}, tmp_path / "one.pt")
    report = convert(ConvertConfig(tmp_path / "one.pt", tmp_path / "one.safetensors", config=shapes_file))
    assert report.left_out == ("encoder", "epoch")
    for load in (load_encoder, load_predictor):
        for expected, got in zip(
            load(official, shapes=TINY).parameters(), load(tmp_path / "one.safetensors").parameters(), strict=True
        ):
            assert torch.equal(expected, got)


def test_what_torch_refused_to_make_is_named(tmp_path):
    torch.save({"target_encoder": {}, "args": Namespace(lr=1)}, tmp_path / "arguments.pt")
    with pytest.raises(CheckpointError, match=r"could run code.*it holds argparse\.Namespace"):
        load_encoder(tmp_path / "arguments.pt", shapes=TINY)


@pytest.mark.parametrize(
    "stored",
    [
        {"state_dict": {"conv1.weight": torch.zeros(3)}},
        {"model": {"patch_embed.proj.weight": torch.zeros(24, 3, 16, 16)}},
        {"predictor.action_encoder.weight": torch.zeros(3)},
        {"model": {"patch_embed.proj.weight": "text"}},
        torch.zeros(3),
    ],
)
def test_a_checkpoint_of_another_architecture_is_refused(tmp_path, stored):
    torch.save(stored, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="not an official V-JEPA 2 checkpoint: expected one of target_encoder"):
        load_encoder(tmp_path / "other.pt", shapes=TINY)


def test_a_missing_key_is_named(official):
    without(official, "target_encoder", "module.backbone.norm.bias")
    with pytest.raises(CheckpointError, match=r"norm.bias is missing"):
        load_encoder(official, shapes=TINY)


def test_converting_names_every_key_that_does_not_match(official, shapes_file, tmp_path):
    stored = torch.load(official, weights_only=True)
    encoder = stored["target_encoder"]
    encoder["module.backbone.extra.weight"] = torch.zeros(2)
    encoder["module.backbone.norm.bias"] = torch.zeros(5)
    del encoder["module.backbone.norm.weight"]
    torch.save(stored, official)
    with pytest.raises(CheckpointError) as refusal:
        convert(ConvertConfig(official, tmp_path / "tiny.safetensors", config=shapes_file))
    for words in ("norm.weight is missing", "extra.weight is unexpected", "norm.bias is [5] where [24] belongs"):
        assert words in str(refusal.value)
    assert not list(tmp_path.glob("*.safetensors*"))


def test_weights_that_are_not_finite_are_refused(official, shapes_file, tmp_path):
    stored = torch.load(official, weights_only=True)
    stored["predictor"]["module.predictor_proj.bias"][3] = float("nan")
    torch.save(stored, official)
    with pytest.raises(CheckpointError, match=r"predictor_proj.bias"):
        load_predictor(official, shapes=TINY)
    with pytest.raises(CheckpointError, match=r"predictor.predictor_proj.bias holds NaN"):
        convert(ConvertConfig(official, tmp_path / "tiny.safetensors", config=shapes_file))
    assert not (tmp_path / "tiny.safetensors").exists()


def test_a_shape_that_no_released_model_has_asks_for_the_configuration(official):
    with pytest.raises(CheckpointError, match=r"no released model.*--config"):
        load_encoder(official)


def test_weights_that_two_released_models_share_ask_for_the_name(tmp_path, monkeypatch):
    from jepa_world_model import official_checkpoints
    from jepa_world_model.registry import OfficialModel

    models = {name: OfficialModel(name, TINY.encoder, None, TINY.action_predictor) for name in ("small", "large")}
    monkeypatch.setattr(official_checkpoints, "OFFICIAL_MODELS", models)
    path = official_file(tmp_path / "renamed.pt")
    with pytest.raises(CheckpointError, match=r"any of small, large: say which one with --model"):
        load_encoder(path)


def test_a_released_model_is_recognised_by_its_tensors(tmp_path, monkeypatch):
    from jepa_world_model import official_checkpoints
    from jepa_world_model.registry import OfficialModel

    models = {"small": OfficialModel("small", TINY.encoder, None, TINY.action_predictor)}
    monkeypatch.setattr(official_checkpoints, "OFFICIAL_MODELS", models)
    assert load_predictor(official_file(tmp_path / "renamed.pt")).config == TINY.action_predictor


def test_an_encoder_without_a_predictor_says_so(official):
    stored = torch.load(official, weights_only=True)
    del stored["predictor"]
    torch.save(stored, official)
    with pytest.raises(CheckpointError, match=r"holds no action-conditioned predictor"):
        load_predictor(official, shapes=TINY)


@pytest.mark.parametrize(
    ("values", "words"),
    [({"predictor": {}}, 'no "encoder"'), ({"encoder": {"widht": 3}}, "EncoderConfig has no widht")],
)
def test_a_wrong_configuration_file_is_refused(tmp_path, values, words):
    path = tmp_path / "shapes.json"
    path.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=words):
        NetworkShapes.read(path)
