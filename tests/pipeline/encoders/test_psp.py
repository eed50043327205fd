"""Encoders of pSp, e4e and ReStyle: imported, recomputed plainly, and refused where they do not fit."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from pipeline.encoders import build_encoder, encode, open_encoder, passes_of
from pipeline.encoders.checkpoints import KINDS, read_encoder_checkpoint
from pipeline.encoders.importing import ImportedEncoder, import_weights
from pipeline.errors import ManifestError, PipelineError
from pipeline.files import sha256_file
from pipeline.generators import StyleGAN2, open_generator
from pipeline.generators.checkpoints import import_checkpoint
from pipeline.generators.loading import forget_generators
from pipeline.store import read_rows
from tests.conftest import Tiny, run_pipeline
from tests.pipeline.encoders import made
from tests.pipeline.generators.checkpoints.made import as_rosinality

RESTYLE = [
    "BackboneEncoder",
    "ResNetGradualStyleEncoder",
    "ResNetProgressiveBackboneEncoder",
    "GradualStyleEncoder",
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ONMANIFOLD_WEIGHTS", str(tmp_path / "weights"))
    forget_generators()
    open_encoder.cache_clear()
    return tmp_path / "weights"


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def imported(path: Path, name: str = "mine", **options: Any) -> ImportedEncoder:
    done = import_weights(path, name, **options)
    assert isinstance(done, ImportedEncoder)
    return done


def widened(images: Tensor, height: int = 256) -> Tensor:
    """Images of 32 x 32 as the encoders see them, by PIL."""
    margin = 32 * (256 - height) // 512
    planes = [
        Image.fromarray(plane.numpy()).resize((256, height), Image.Resampling.BILINEAR)
        for plane in images[:, :, margin : 32 - margin].flatten(0, 1)
    ]
    return torch.from_numpy(np.stack(planes)).unflatten(0, images.shape[:2])


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_codes_are_those_of_the_file(tmp_path: Path, images: Tensor, kind: str) -> None:
    content = made.checkpoint(kind)
    done = imported(made.write(tmp_path / "x.pt", content))
    encoder = open_encoder("mine", "mine")
    assert (encoder.passes, done.generator, done.manifest.source_format) == (1, "mine", KINDS[kind].title)
    found = encode(encoder.network, open_generator("mine").network, images)
    expected = made.plain_codes(kind, made.encoder_state(kind, 3), widened(images)) + content["latent_avg"]
    assert expected.std(dim=0).mean() > 1e-3  # the images matter
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    one_for_all = kind in ("BackboneEncoderUsingLastLayerIntoW", "SingleStyleCodeEncoder")
    assert encoder.network.space == ("w" if one_for_all else "w+")


@pytest.mark.parametrize("height", [256, 192])
@pytest.mark.parametrize("kind", RESTYLE)
def test_restyle_looks_at_what_it_has_rendered(tmp_path: Path, images: Tensor, kind: str, height: int) -> None:
    dataset = "cars_encode" if height == 192 else "church_encode"
    content = made.checkpoint(kind, 6, dataset_type=dataset, n_iters_per_batch=3, start_from_latent_avg=False)
    done = imported(made.write(tmp_path / "x.pt", content))
    assert done.manifest.passes == 3
    assert done.manifest.source_format.startswith("ReStyle over ")
    encoder, network = open_encoder("mine", "mine"), open_generator("mine").network
    state, w = made.encoder_state(kind, 6), content["latent_avg"].expand(2, -1, -1)
    margin = 4 if height == 192 else 0
    for found in passes_of(encoder.network, network, images, encoder.passes):
        rendered = F.adaptive_avg_pool2d(network.synthesize(w)[:, :, margin : 32 - margin], (height, 256))
        w = w + made.plain_codes(kind, state, torch.cat([widened(images, height), rendered], dim=1))
        torch.testing.assert_close(found, w, rtol=1e-3, atol=1e-3)


def test_large_images_are_resized_as_pil_does(tmp_path: Path) -> None:
    imported(made.write(tmp_path / "x.pt", made.checkpoint("SingleStyleCodeEncoder")))
    encoder = open_encoder("mine", "mine").network
    plane = np.random.default_rng(0).random((640, 640), dtype=np.float32)
    expected = np.asarray(Image.fromarray(plane).resize((256, 256), Image.Resampling.BILINEAR))
    found = encoder.shrink_image(torch.from_numpy(plane)[None, None])[0, 0]  # type: ignore[operator]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_only_restyle_renders(tmp_path: Path, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    imported(made.write(tmp_path / "x.pt", made.checkpoint("Encoder4Editing")))
    encoder, network = open_encoder("mine", "mine").network, open_generator("mine").network
    monkeypatch.setattr(StyleGAN2, "synthesize", None)
    assert encode(encoder, network, images).shape == (2, 8, 8)


def without_mean(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key != "latent_avg"}


def test_where_codes_begin(tmp_path: Path) -> None:
    kind = "GradualStyleEncoder"
    mean = made.generator_state()["mapping.w_avg"]
    other = made.Draw(3).normal(made.LAYERS, made.W_DIM)
    plain, zeros = made.checkpoint(kind), torch.zeros(made.LAYERS, made.W_DIM)
    in_w = made.checkpoint(kind, learn_in_w=True) | {"latent_avg": mean[None]}
    within = without_mean(plain) | {"state_dict": plain["state_dict"] | {"latent_avg": mean}}
    cases = {
        "the mean": (plain, mean.expand(8, -1)),
        "one row": (in_w, mean.expand(8, -1)),
        "among the tensors": (within, mean.expand(8, -1)),
        "each layer its own": (plain | {"latent_avg": other}, other),
        "nothing": (without_mean(made.checkpoint(kind, start_from_latent_avg=False)), zeros),
        "nothing, though there is a mean": (made.checkpoint(kind, start_from_latent_avg=False), zeros),
        "options silent, a mean": (made.checkpoint(kind, start_from_latent_avg=None), mean.expand(8, -1)),
    }
    for title, (content, expected) in cases.items():
        read = read_encoder_checkpoint(made.write(tmp_path / "x.pt", content))
        assert read is not None
        torch.testing.assert_close(read.state["start_w"].expand(8, -1), expected, msg=title)
    done = imported(made.write(tmp_path / "x.pt", without_mean(plain)), "estimated")
    assert "it lacks latent_avg" in done.notes[0]
    start = open_encoder("estimated", done.generator).network.start(1)[0]
    estimated = read_encoder_checkpoint(tmp_path / "x.pt")
    assert estimated is not None
    assert estimated.generator is not None
    torch.testing.assert_close(start, estimated.generator.state["mapping.w_avg"].expand(8, -1))


def test_odd_things_among_the_options(tmp_path: Path) -> None:
    content = made.checkpoint("Encoder4Editing", 6, n_iters_per_batch=np.int64(2))
    content["opts"] = argparse.Namespace(
        **content["opts"], where=torch.device("cuda", 1), folder=Path("/x/y"), dtype=torch.float32, steps=[0, 2000],
        best=np.float64(0.25), nested=argparse.Namespace(a=1), size=torch.Size([1, 2]),
    )  # fmt: skip
    content |= {"optimizer": {"state": {0: {"step": 3, "exp_avg": torch.zeros(3)}}}, "global_step": 7}
    for name, options in {"new": {}, "old": {"_use_new_zipfile_serialization": False}}.items():
        assert imported(made.write(tmp_path / f"{name}.pt", content, **options), name).manifest.passes == 2


def test_tasks_that_are_no_inversion_are_told(tmp_path: Path) -> None:
    content = made.checkpoint("GradualStyleEncoder", dataset_type="ffhq_frontalize")
    done = imported(made.write(tmp_path / "x.pt", content))
    assert "frontal face" in done.summary()["notes"][0]


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["opts"].update(encoder_type="HyperEncoder"), "encoder_type is 'HyperEncoder': known are Grad"),
        (lambda c: c["opts"].update(encoder_type="SingleStyleCodeEncoder"), "'encoder.linear.weight' is missing"),
        (lambda c: c.pop("opts"), "'encoder_type'"),
        (lambda c: c["opts"].update(label_nc=19), "label_nc = 19"),
        (lambda c: c["opts"].update(label_nc="many"), "'label_nc' is no whole number"),
        (lambda c: c["opts"].update(input_nc=6), "input_nc = 6, but its first layer takes 3"),
        (lambda c: c["opts"].update(output_size=1024), "output_size stands for 18 layers of w+, but generator"),
        (lambda c: c["opts"].update(n_styles=18), "n_styles stands for 18"),
        (lambda c: c["state_dict"].pop("encoder.body.2.res_layer.3.weight"), "res_layer.3.weight"),
        (lambda c: c["state_dict"].pop("encoder.body.3.shortcut_layer.0.weight"), "shortcut_layer.0.weight"),
        (lambda c: c["state_dict"].update({"encoder.styles.8.linear.weight": torch.zeros(8, 8)}), "'styles.8'"),
        (lambda c: c["state_dict"].update({"encoder.more": torch.zeros(2)}), "unknown: 'head.more'"),
        (lambda c: c.update(latent_avg=torch.zeros(1, 2, 3)), "latent_avg is of shape [1, 2, 3]"),
        (lambda c: c.update(latent_avg=torch.zeros(5, 8) + torch.arange(5)[:, None]), "'start_w' is [5, 8]"),
        (lambda c: c["state_dict"]["encoder.input_layer.0.weight"].fill_(float("nan")), "not finite"),
        (lambda c: c["state_dict"].pop("decoder.input.input"), "the generator in it (decoder.*) cannot be read"),
        (
            lambda c: c.update(state_dict={k: v for k, v in c["state_dict"].items() if k.startswith("encoder")}),
            "encoder alone",
        ),
    ],
)  # fmt: skip
def test_refusals_are_one_sentence(tmp_path: Path, folder: Path, change: Change, words: str) -> None:
    content = made.checkpoint("GradualStyleEncoder")
    change(content)
    with pytest.raises(PipelineError) as refused:
        import_weights(made.write(tmp_path / "x.pt", content), "mine")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not list(folder.glob("encoders/*.toml"))


def test_encoders_of_other_inputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="have 19 channels"):
        import_weights(made.write(tmp_path / "x.pt", made.checkpoint("GradualStyleEncoder", 19)), "mine")


def test_passes_are_bounded(tmp_path: Path) -> None:
    content = made.checkpoint("BackboneEncoder", 6, n_iters_per_batch=10**6)
    with pytest.raises(PipelineError, match="n_iters_per_batch is 1000000"):
        import_weights(made.write(tmp_path / "x.pt", content), "mine")


def test_an_equal_generator_is_not_imported_again(tmp_path: Path, folder: Path) -> None:
    made.write(tmp_path / "generator.pt", as_rosinality(made.generator_state()))
    import_checkpoint(tmp_path / "generator.pt", "faces")
    first = imported(made.write(tmp_path / "e4e.pt", made.checkpoint("Encoder4Editing")), "e4e")
    second = imported(made.write(tmp_path / "psp.pt", made.checkpoint("GradualStyleEncoder")), "psp")
    assert (first.generator, second.generator, first.generator_format) == ("faces", "faces", "")
    assert sorted(path.name for path in folder.glob("*.toml")) == ["faces.toml"]
    assert sorted(path.name for path in folder.glob("encoders/*.toml")) == ["e4e.toml", "psp.toml"]
    assert open_encoder("psp", "faces").sha256 == sha256_file(folder / "encoders" / "psp.safetensors")


def test_repeated_and_replaced(tmp_path: Path, folder: Path) -> None:
    path = made.write(tmp_path / "x.pt", made.checkpoint("SingleStyleCodeEncoder"))
    first = imported(path)
    assert (first.repeated, first.generator_format) == (False, "rosinality StyleGAN2 in a checkpoint of e4e")
    assert open_generator("mine").manifest.source_format == first.generator_format
    again = imported(path)
    assert (again.repeated, again.manifest) == (True, first.manifest)
    (folder / "encoders" / "mine.safetensors").write_bytes(b"damaged")
    assert not imported(path).repeated
    (folder / "mine.safetensors").unlink()
    assert not imported(path).repeated
    assert imported(path).repeated
    other = made.write(tmp_path / "y.pt", made.checkpoint("Encoder4Editing"))
    with pytest.raises(ManifestError, match="--force replaces it"):
        import_weights(other, "mine")
    assert imported(other, force=True).manifest.settings == {"progressive": True}
    with pytest.raises(ManifestError, match="comes with its weights"):
        import_weights(other, "color-digits")


def test_encoder_and_generator_that_do_not_belong_together(tmp_path: Path) -> None:
    import_checkpoint(made.write(tmp_path / "own.pt", as_rosinality(made.generator_state())), "own")
    half = {key: value.half() for key, value in as_rosinality(made.generator_state())["g_ema"].items()}
    import_checkpoint(made.write(tmp_path / "half.pt", {"g_ema": half}), "half")
    import_checkpoint(made.write(tmp_path / "other.pt", as_rosinality(made.generator_state(seed=1))), "other")
    path = made.write(tmp_path / "e4e.pt", made.checkpoint("Encoder4Editing"))
    for name in ("own", "half"):
        assert imported(path, f"for-{name}", generator=name).generator == name
    with pytest.raises(PipelineError, match="'other' is not the one in it"):
        import_weights(path, "mine", generator="other")
    with pytest.raises(PipelineError, match="'color-digits' is 32x32, 8 layers of w\\+, w of 64"):
        import_weights(path, "mine", generator="color-digits")
    with pytest.raises(PipelineError, match="holds no encoder"):
        import_weights(tmp_path / "own.pt", "mine", generator="own")
    with pytest.raises(PipelineError, match=r"trained for another generator than 'other' .*--generator other"):
        open_encoder("for-own", "other")
    alone = made.checkpoint("Encoder4Editing")
    alone["state_dict"] = {k: v for k, v in alone["state_dict"].items() if k.startswith("encoder")}
    bare = made.write(tmp_path / "alone.pt", alone)
    assert imported(bare, "alone", generator="own").generator == "own"
    with pytest.raises(PipelineError, match="its w has 8 numbers, that of generator 'color-digits' 64"):
        import_weights(bare, "mine", generator="color-digits")


def test_a_file_cut_anywhere_is_refused(tmp_path: Path, folder: Path) -> None:
    for options in ({}, {"_use_new_zipfile_serialization": False}):
        whole = made.write(tmp_path / "x.pt", made.checkpoint("SingleStyleCodeEncoder"), **options).read_bytes()
        for share in np.linspace(0, 0.999, 12):
            (tmp_path / "cut.pt").write_bytes(whole[: int(share * len(whole))])
            with pytest.raises(PipelineError):
                import_weights(tmp_path / "cut.pt", "mine")
    assert not folder.exists()


def test_flipped_bytes_are_refused_or_harmless(tmp_path: Path) -> None:
    whole = made.write(tmp_path / "x.pt", made.checkpoint("GradualStyleEncoder")).read_bytes()
    end = whole.index(b"data/0")  # what comes before is the pickle, which the tensors follow
    rng, messages = np.random.default_rng(0), []
    for _ in range(30):
        flipped = bytearray(whole)
        flipped[rng.integers(end)] ^= 1 << rng.integers(8)
        (tmp_path / "flipped.pt").write_bytes(flipped)
        try:
            read = read_encoder_checkpoint(tmp_path / "flipped.pt")
            if read is not None:
                build_encoder("psp", read.state, made.LAYERS, read.settings)
        except PipelineError as error:
            messages.append(str(error))
    assert len(messages) > 3
    assert not any("\n" in message for message in messages)


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    content = made.checkpoint("GradualStyleEncoder")
    content["state_dict"]["encoder.latlayer1.bias"] = torch.zeros(8, dtype=torch.int32)
    with pytest.raises(PipelineError, match=r"'encoder\.latlayer1\.bias' holds whole numbers"):
        import_weights(made.write(tmp_path / "x.pt", content), "mine")


def test_empty_weights_take_no_memory(tmp_path: Path) -> None:
    content = made.checkpoint("SingleStyleCodeEncoder")
    for key, tensor in {
        "linear.weight": torch.zeros(2**30, 0),
        "body.0.res_layer.1.weight": torch.zeros(2**30, 0, 3, 3),
    }.items():
        changed = content | {"state_dict": content["state_dict"] | {f"encoder.{key}": tensor}}
        with pytest.raises(PipelineError):
            import_weights(made.write(tmp_path / "x.pt", changed), "mine")


def test_invert_begins_where_the_encoder_says(tmp_path: Path, tiny: Tiny, few_digits: Path) -> None:
    path = made.write(tmp_path / "restyle.pt", made.checkpoint("BackboneEncoder", 6, n_iters_per_batch=2))
    summary = run_pipeline("weights", "import", path, "--as", "mine", "--json").json
    assert (summary["kind"], summary["passes"], summary["generator"]) == ("encoder", 2, "mine")
    listed = [row for row in run_pipeline("weights", "list", "--json").json if row["name"] == "mine"]
    assert [(row["kind"], row["present"]) for row in listed] == [("generator", True), ("encoder", True)]
    assert "mine  (encoder of mine)" in run_pipeline("weights", "list").out
    assert run_pipeline("weights", "check", "mine").out == "mine: as declared\nmine (encoder): as declared\n"
    common = [
        "invert", "--dataset", str(few_digits), "--limit", "4", "--generator", "mine", "--encoder", "mine",
        "--perceptual", str(tiny.perceptual), "--chunk-size", "4", "--steps", "2", "--store-images",
        "--workers", "0",
    ]  # fmt: skip
    for method in ("encoder", "auto"):
        done = run_pipeline(*common, "--method", method, "--build", tmp_path / method)
        assert done.code == 0, done.err
    found = read_rows(tmp_path / "encoder" / "latents.zarr", ("w", "original", "psnr"), 0, 4)
    images = torch.from_numpy(found["original"]).permute(0, 3, 1, 2).float() / 127.5 - 1
    expected = encode(open_encoder("mine", "mine").network, open_generator("mine").network, images, passes=2)
    np.testing.assert_allclose(found["w"], expected.numpy(), rtol=1e-3, atol=1e-3)
    searched = read_rows(tmp_path / "auto" / "latents.zarr", ("psnr", "steps"), 0, 4)
    assert (searched["steps"] > 0).all()
    assert searched["psnr"].mean() > found["psnr"].mean()
