"""What an import leaves in the weights folder, and what it refuses to replace."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.errors import CheckpointError, ManifestError, PipelineError, WeightsError
from pipeline.files import sha256_file
from pipeline.generators import load_generator, open_generator
from pipeline.generators.checkpoints import import_checkpoint
from pipeline.generators.checkpoints.importing import parse_layers
from pipeline.generators.loading import forget_generators
from pipeline.generators.stylegan2 import StyleGAN2
from pipeline.manifest import weights_folder
from tests.pipeline.generators import tiny_states
from tests.pipeline.generators.checkpoints.made import as_tf_stylegan1, nvidia_pickle, parity, tf_pickle

FAMILIES = ["stylegan1", "stylegan2", "stylegan3", "biggan", "biggan_deep", "progan", "dcgan"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ONMANIFOLD_WEIGHTS", str(tmp_path / "weights"))
    forget_generators()
    return tmp_path / "weights"


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    return nvidia_pickle(tmp_path / "network-snapshot.pkl", parity("dev-stylegan2ada-32")[0], 256)


def test_an_import_is_ready_to_use(snapshot: Path, folder: Path) -> None:
    imported = import_checkpoint(snapshot, "mine")
    manifest = imported.manifest
    assert (manifest.family, manifest.resolution, manifest.num_ws, manifest.conv_clamp) == ("stylegan2", 32, 8, 256)
    assert manifest.fine_layers == (6, 7)
    assert (manifest.source_file, manifest.source_format) == (snapshot.name, "StyleGAN2-ADA pickle")
    assert manifest.source_sha256 == sha256_file(snapshot)
    assert sorted(path.name for path in folder.iterdir()) == ["mine.png", "mine.safetensors", "mine.toml"]
    loaded, (_, io) = open_generator("mine"), parity("dev-stylegan2ada-32")
    assert (loaded.fine_layers, loaded.sha256) == ((6, 7), sha256_file(folder / "mine.safetensors"))
    assert (loaded.network.synthesize(io["wplus"]) - io["image_const"]).abs().max() <= 1e-4
    pixels = np.asarray(Image.open(folder / "mine.png"))
    assert pixels.shape == (128, 128, 3)
    assert not np.array_equal(pixels[:32, :32], pixels[:32, 32:64])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_imports_and_renders_the_same(tmp_path: Path, family: str) -> None:
    state = getattr(tiny_states, family)()
    torch.save(state, tmp_path / "x.pth")
    imported = import_checkpoint(tmp_path / "x.pth", family)
    assert imported.manifest.family == family.replace("_", "-")
    network = load_generator(family)
    direct = type(network).from_state_dict(state)
    z, c = torch.randn(2, network.z_dim), torch.eye(network.c_dim)[:2] if network.c_dim else None
    imported_images, direct_images = (net.synthesize(net.map(z, c)) for net in (network, direct))
    torch.testing.assert_close(imported_images, direct_images, atol=1e-4, rtol=1e-4)
    assert max(imported.manifest.fine_layers) == network.num_ws - 1


def test_the_same_file_again_changes_nothing(snapshot: Path, folder: Path) -> None:
    assert not import_checkpoint(snapshot, "mine").repeated
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert import_checkpoint(snapshot, "mine").repeated
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize("lost", ["mine.safetensors", "mine.png"])
def test_a_damaged_import_is_made_again(snapshot: Path, folder: Path, lost: str) -> None:
    import_checkpoint(snapshot, "mine")
    whole = (folder / lost).read_bytes()
    (folder / lost).write_bytes(whole[:-1]) if lost.endswith("safetensors") else (folder / lost).unlink()
    assert not import_checkpoint(snapshot, "mine").repeated
    assert (folder / lost).read_bytes() == whole


def test_another_file_needs_force(snapshot: Path, tmp_path: Path, folder: Path) -> None:
    import_checkpoint(snapshot, "mine")
    other = nvidia_pickle(tmp_path / "other.pkl", parity("dev-stylegan2ada-16-cond")[0], None)
    with pytest.raises(ManifestError, match="--force replaces it"):
        import_checkpoint(other, "mine")
    with pytest.raises(ManifestError, match="--force replaces it"):
        import_checkpoint(snapshot, "mine", fine_layers=(7,))
    assert load_generator("mine").resolution == 32
    assert import_checkpoint(other, "mine", force=True).manifest.conv_clamp is None
    assert load_generator("mine").resolution == 16


def test_a_failed_import_leaves_nothing(tmp_path: Path, folder: Path) -> None:
    state = parity("dev-stylegan2ada-32")[0]
    del state["synthesis.b8.conv1.bias"]
    with pytest.raises(WeightsError, match=r"x\.pkl .StyleGAN2-ADA pickle.*synthesis\.b8\.conv1\.bias"):
        import_checkpoint(nvidia_pickle(tmp_path / "x.pkl", state, 256), "mine")
    assert not folder.exists()


def test_weights_that_render_no_image_are_refused(tmp_path: Path, folder: Path) -> None:
    state = parity("dev-stylegan2ada-32")[0]
    state["synthesis.b8.conv1.bias"] = state["synthesis.b8.conv1.bias"] * float("nan")
    with pytest.raises(WeightsError, match="not finite"):
        import_checkpoint(nvidia_pickle(tmp_path / "x.pkl", state, None), "mine")
    assert not (folder / "mine.toml").exists()


def test_what_is_declared_must_fit(snapshot: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ManifestError, match=r"is a stylegan2 network .*, but 'celebahq-1024' is declared as stylegan1"
    ):
        import_checkpoint(snapshot, "celebahq-1024")
    with pytest.raises(WeightsError, match="renders 32x32, but the manifest 'ffhq-1024' says 1024"):
        import_checkpoint(snapshot, "ffhq-1024")
    with pytest.raises(ManifestError, match="comes with its weights"):
        import_checkpoint(snapshot, "color-digits")
    with pytest.raises(ManifestError, match="a name has letters"):
        import_checkpoint(snapshot, "../mine")
    with pytest.raises(ManifestError, match="must name layers from 0 to 7"):
        import_checkpoint(snapshot, "mine", fine_layers=(8,))
    with pytest.raises(CheckpointError, match="no file at"):
        import_checkpoint(tmp_path / "nowhere.pkl", "mine")


@pytest.fixture
def declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shipped manifest that waits for an import, and the file to import."""
    (tmp_path / "generators").mkdir()
    (tmp_path / "generators" / "small.toml").write_text(
        'name = "small"\nfamily = "stylegan1"\nresolution = 32\nfine_layers = [5, 6, 7]\nlicence = "CC BY-NC 4.0"\n'
        'source_file = "karras.pkl"\nsource_url = "https://example.org"\nhomepage = "https://example.org/page"\n'
    )
    monkeypatch.setattr("pipeline.manifest.MANIFESTS", tmp_path)
    monkeypatch.setattr("pipeline.generators.checkpoints.importing.MANIFESTS", tmp_path)
    return tf_pickle(tmp_path / "karras.pkl", as_tf_stylegan1(parity("dev-stylegan1-32")[0]))


def test_a_declared_generator_says_how_to_get_its_weights(declared: Path) -> None:
    with pytest.raises(
        WeightsError,
        match=r"nothing is at .*small\.safetensors: download karras\.pkl from https://example\.org .see "
        r"https://example\.org/page; licence: CC BY-NC 4\.0.*`pipeline weights import karras\.pkl --as small`",
    ):
        open_generator("small")


def test_a_declared_generator_keeps_what_is_known_of_it(declared: Path) -> None:
    manifest = import_checkpoint(declared, "small").manifest
    assert (manifest.fine_layers, manifest.licence, manifest.num_ws) == ((5, 6, 7), "CC BY-NC 4.0", 8)
    assert open_generator("small").fine_layers == (5, 6, 7)


def test_weights_put_there_by_hand_are_found(declared: Path, folder: Path) -> None:
    import_checkpoint(declared, "small")
    (folder / "small.toml").unlink()
    assert open_generator("small").sha256 == sha256_file(folder / "small.safetensors")


@pytest.mark.slow
def test_a_large_pickle_needs_less_than_three_times_its_size(tmp_path: Path) -> None:
    channels = {r: min(32768 // r, 512) for r in (4 << i for i in range(9))}
    state = StyleGAN2(1024, channels).state_dict()
    # A snapshot holds a generator, a discriminator of the same size, and the averaged generator.
    path = nvidia_pickle(tmp_path / "large.pkl", state, 256, copies=3)
    script = (
        "import re, sys, pathlib; from pipeline.generators.checkpoints import import_checkpoint; "
        "import_checkpoint(pathlib.Path(sys.argv[1]), 'large'); "
        # Not ru_maxrss, in which a process begins with what its parent held when it was forked.
        "print(int(re.search(r'VmHWM:\\s+(\\d+) kB', pathlib.Path('/proc/self/status').read_text())[1]) * 1024)"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    peak, size = int(done.stdout), path.stat().st_size
    print(f"peak {peak / 2**20:.0f} MiB for a pickle of {size / 2**20:.0f} MiB: {peak / size:.2f} times its size")
    assert peak < 3 * size


def test_where_the_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONMANIFOLD_WEIGHTS")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights_folder() == tmp_path / ".local/share/onmanifold/weights"


@pytest.mark.parametrize(
    ("text", "layers"), [("8-10", (8, 9, 10)), ("5,7,9-10", (5, 7, 9, 10)), ("3", (3,)), ("4, 4,3-4", (3, 4))]
)
def test_layers_are_written_as_ranges(text: str, layers: tuple[int, ...]) -> None:
    assert parse_layers(text) == layers


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "9-8", "1..3", "1000"])
def test_other_layers_are_refused(text: str) -> None:
    with pytest.raises(PipelineError, match="--fine-layers"):
        parse_layers(text)
