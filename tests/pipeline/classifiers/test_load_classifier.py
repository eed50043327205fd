"""Every kind of classifier file, and one sentence for each that cannot be used."""

import os
import pickle
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.classifiers import LoadedClassifier, load_classifier
from pipeline.classifiers.architectures import build_network
from pipeline.classifiers.loading import _load, absolute_spec
from pipeline.classifiers.manifest import read_classifier, write_classifier
from pipeline.errors import ManifestError, PipelineError, WeightsError

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(autouse=True)
def forget() -> None:
    _load.cache_clear()


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_network("vgg5", 5, 32, width=4, input_size=16).eval()


@pytest.fixture
def manifest(tmp_path: Path, network: torch.nn.Module) -> Path:
    write_classifier(
        tmp_path, "mine", network, architecture="vgg5", num_classes=5, resolution=32, width=4, input_size=16
    )
    return tmp_path / "mine.toml"


def without_digest(manifest: Path) -> str:
    """A manifest as a user would write it."""
    first, _, rest = manifest.read_text().partition("\n")
    assert first.startswith("digest = ")
    return rest


def test_a_damaged_manifest_is_told(manifest: Path) -> None:
    whole = manifest.read_bytes()
    for place in range(len(whole)):
        manifest.write_bytes(bytes([*whole[:place], whole[place] ^ 4, *whole[place + 1 :]]))
        with pytest.raises(ManifestError):
            read_classifier(str(manifest), 10, 32)
        manifest.write_bytes(whole[:place])
        with pytest.raises(ManifestError):
            read_classifier(str(manifest), 10, 32)


def check(loaded: LoadedClassifier, expected: torch.Tensor) -> None:
    """It gives these logits, is frozen, and still hands gradients to its images."""
    assert not any(p.requires_grad for p in loaded.network.parameters())
    assert not loaded.network.training or type(loaded.network).__name__ == "Program"
    images = IMAGES.clone().requires_grad_()
    logits = loaded.network(images)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(logits.sum(), images)
    assert gradient.abs().sum() > 0


def test_a_manifest_round_trip(manifest: Path, network: torch.nn.Module) -> None:
    loaded = load_classifier(str(manifest), 5, 32)
    check(loaded, network(IMAGES).detach())
    assert (loaded.name, loaded.num_classes) == ("mine", 5)
    assert load_classifier(str(manifest), 5, 32) is loaded


def test_the_same_weights_in_another_network_are_another_classifier(manifest: Path) -> None:
    before = load_classifier(str(manifest), 5, 32).sha256
    manifest.write_text(without_digest(manifest).replace("input_size = 16", "input_size = 24"))
    assert load_classifier(str(manifest), 5, 32).sha256 != before


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("a/b.toml", "{here}/a/b.toml"),
        ("mod.sub:make@w/x.safetensors", "mod.sub:make@{here}/w/x.safetensors"),
        ("timm:resnet18@/x.safetensors", "timm:resnet18@/x.safetensors"),
        ("trusted:p.pt2", "trusted:{here}/p.pt2"),
        ("/v1:0/m@x/a b.toml", "/v1:0/m@x/a b.toml"),
        ("mod.sub:make@v1@0/x.safetensors", "mod.sub:make@{here}/v1@0/x.safetensors"),
        ("timm:vit_tiny.augreg", "timm:vit_tiny.augreg"),
        ("", ""),
        ("nonsense", "nonsense"),
    ],
)
def test_workers_elsewhere_find_the_file_of_a_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_spec(spec) == expected.format(here=tmp_path)


def test_what_has_changed_is_read_anew(manifest: Path, network: torch.nn.Module) -> None:
    before = load_classifier(str(manifest), 5, 32)
    with torch.no_grad():
        next(network.parameters()).mul_(2)
    write_classifier(manifest.parent, "mine", network, architecture="vgg5", num_classes=5, resolution=32, width=4,
                     input_size=16)  # fmt: skip
    os.utime(manifest, ns=(1, 1))
    after = load_classifier(str(manifest), 5, 32)
    assert after.sha256 != before.sha256
    check(after, network(IMAGES).detach())


def test_labels_of_another_kind_are_refused(manifest: Path, network: torch.nn.Module) -> None:
    names = tuple("abcde")
    load_classifier(str(manifest), names, 32)  # it does not say which classes
    write_classifier(manifest.parent, "named", network, architecture="vgg5", num_classes=5, resolution=32, width=4,
                     input_size=16, classes=names)  # fmt: skip
    path = str(manifest.with_name("named.toml"))
    assert load_classifier(path, names, 32).classes == names
    with pytest.raises(PipelineError, match=r"'named' tells a, b, c … apart, and the classes .* are v, w, x …"):
        load_classifier(path, tuple("vwxyz"), 32)


@pytest.mark.parametrize(
    ("classes", "resolution", "error", "words"),
    [
        (10, 32, PipelineError, "tells 5 classes apart, and the dataset has 10"),
        (5, 64, ManifestError, "is for images of 32x32, and these are 64x64"),
    ],
)
def test_a_manifest_for_something_else(
    manifest: Path, classes: int, resolution: int, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        load_classifier(str(manifest), classes, resolution)


@pytest.mark.parametrize(
    ("old", "new", "error", "words"),
    [
        ('sha256 = "', 'sha256 = "0', ManifestError, "key 'sha256'"),
        ("width = 4", "width = 5", WeightsError, "does not fit the network: size mismatch"),
        ("width = 4", "widht = 4", ManifestError, "did you mean 'width'"),
        ('"vgg5"', '"vgg6"', ManifestError, "no classifier architecture 'vgg6'"),
        ("mine.safetensors", "yours.safetensors", WeightsError, "no weights at"),
    ],
)
def test_a_wrong_manifest(manifest: Path, old: str, new: str, error: type[Exception], words: str) -> None:
    text = without_digest(manifest)
    assert old in text
    manifest.write_text(text.replace(old, new, 1))
    with pytest.raises(error, match=words):
        load_classifier(str(manifest), 5, 32)


def test_weights_that_were_exchanged(manifest: Path) -> None:
    save_file({"x": torch.zeros(1)}, manifest.with_suffix(".safetensors"))
    with pytest.raises(WeightsError, match="is not the declared file"):
        load_classifier(str(manifest), 5, 32)


def test_your_own_factory(tmp_path: Path, network: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_nets.py").write_text(
        "import torch\n"
        "from pipeline.classifiers.architectures import build_network\n"
        "def small(num_classes):\n    return build_network('vgg5', num_classes, 32, width=4, input_size=16)\n"
        "def fixed():\n    return small(5)\n"
        "def nothing(num_classes):\n    return num_classes\n"
        "def flat(num_classes):\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, num_classes))\n"
    )
    weights = tmp_path / "own.safetensors"
    save_file(network.state_dict(), weights)
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    loaded = load_classifier("own_nets:small@own.safetensors", 5, 32)
    check(loaded, network(IMAGES).detach())
    assert loaded.name == "small"
    assert sys.path == path
    flat = tmp_path / "flat.safetensors"
    save_file({"1.weight": torch.zeros(5, 768), "1.bias": torch.zeros(5)}, flat)
    for spec, words in {
        "own_nets:fixed@own.safetensors": r"called as fixed\(num_classes=5\)",
        "own_nets:nothing@own.safetensors": "must give a torch.nn.Module",
        "own_nets:absent@own.safetensors": "cannot be imported",
        "no_such_nets:small@own.safetensors": "put the folder with no_such_nets on PYTHONPATH",
        "own_nets:small@flat.safetensors": "does not fit the network",
        "own_nets:small@absent.safetensors": "no weights at",
        "own_nets:flat@flat.safetensors": "takes no images of 32x32",
        "own_nets:small@own.pth": "can run code",
        "own_nets:small": "put its weights behind it",
    }.items():
        with pytest.raises(PipelineError, match=words):
            load_classifier(spec, 5, 32)


def test_an_exported_program_only_where_trusted(tmp_path: Path, network: torch.nn.Module) -> None:
    path = tmp_path / "net.pt2"
    batch = torch.export.Dim("batch", min=1, max=512)
    torch.export.save(torch.export.export(network, (IMAGES,), dynamic_shapes=({0: batch},)), path)
    with pytest.raises(PipelineError, match="can run code while it is loaded"):
        load_classifier(str(path), 5, 32)
    check(load_classifier(f"trusted:{path}", 5, 32), network(IMAGES).detach())
    with pytest.raises(PipelineError, match="tells 5 classes"):
        load_classifier(f"trusted:{path}", 6, 32)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsError, match="is not a program"):
        load_classifier(f"trusted:{path}", 4, 32)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pkl", ".safetensors", ".pt2", ".toml"])
def test_no_file_runs_code(tmp_path: Path, suffix: str) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "owned"),)

    path = tmp_path / f"net{suffix}"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Hostile()))
    for spec in (str(path), f"timm:resnet10t@{path}", f"torch.nn:Identity@{path}"):
        with pytest.raises(PipelineError):
            load_classifier(spec, 5, 32)
    assert not (tmp_path / "owned").exists()


def test_timm(tmp_path: Path) -> None:
    from pipeline.classifiers.outside import import_torchvision

    import_torchvision()
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=5).eval()
    weights = tmp_path / "net.safetensors"
    save_file(network.state_dict(), weights)
    mean, std = (torch.tensor(network.pretrained_cfg[key])[:, None, None] for key in ("mean", "std"))
    loaded = load_classifier(f"timm:test_resnet@{weights}", 5, 32)
    check(loaded, network(((IMAGES + 1) / 2 - mean) / std).detach())
    with pytest.raises(PipelineError, match="timm has no network 'resnet10000'"):
        load_classifier(f"timm:resnet10000@{weights}", 5, 32)


def test_timm_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "net.safetensors")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(PipelineError, match="pip install timm"):
        load_classifier(f"timm:test_resnet@{tmp_path / 'net.safetensors'}", 5, 32)


def test_a_factory_that_imports_torchvision_beside_another_build_of_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "with_torchvision.py").write_text(
        "import torchvision\nfrom torch import nn\n"
        "def make(num_classes):\n    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    weight = torch.randn(5, 3 * 32 * 32, generator=torch.Generator().manual_seed(0)) / 55
    save_file({"1.weight": weight, "1.bias": torch.arange(5.0)}, tmp_path / "w.safetensors")
    loaded = load_classifier(f"with_torchvision:make@{tmp_path / 'w.safetensors'}", 5, 32)
    check(loaded, IMAGES.flatten(1) @ weight.T + torch.arange(5.0))


def test_a_factory_whose_module_raises_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_nets.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(str(tmp_path))
    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(PipelineError, match="broken_nets raises RuntimeError: operator torchvision::nms"):
        load_classifier(f"broken_nets:make@{tmp_path / 'w.safetensors'}", 5, 32)


def test_a_torchvision_of_another_version_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('made for another torch')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    save_file({"x": torch.zeros(1)}, tmp_path / "net.safetensors")
    with pytest.raises(
        PipelineError, match=r"beside torch .*made for another torch.*pip install .* torch torchvision"
    ):
        load_classifier(f"timm:test_resnet@{tmp_path / 'net.safetensors'}", 5, 32)
    sys.modules.pop("torchvision._meta_registrations", None)


def test_no_classifier_at_all(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="`pipeline evaluate` trains one"):
        load_classifier("vgg5", 5, 32)
    with pytest.raises(ManifestError, match="BUILD/evaluate/classifiers"):
        load_classifier(str(tmp_path / "none.toml"), 5, 32)
