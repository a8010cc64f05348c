"""The catalogue, its mirrors, Hugging Face, buckets and local files."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from faults import Faults, file, sha256

from workbench import errors
from workbench.models import catalog, fetch, lock
from workbench.models.address import tell
from workbench.models.hub import ModelHub
from workbench.models.transfer import git_oid
from workbench.preprocessing.pipeline import Pipeline
from workbench.preprocessing.presets import NAMES

SHARED = Path(os.environ.get("WORKBENCH_SHARED") or Path(__file__).parents[3] / "shared")
ZOO = SHARED / "zoo_catalog.json"
PICTURE = {"model_type": "classification", "input_shape": [1, 3, 8, 8], "preprocessing": "imagenet"}
needs_shared = pytest.mark.skipif(not ZOO.is_file(), reason=f"acceptance: nothing below {SHARED}")
every = pytest.mark.parametrize("entry", catalog.entries().values(), ids=lambda e: e.id)


@pytest.fixture
def hub(tmp_path):
    return ModelHub(model_dir=tmp_path / "shelf")


@pytest.fixture
def server(monkeypatch):
    made = Faults()
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    monkeypatch.setattr(fetch, "PAUSE_S", 0.01)
    monkeypatch.setattr(fetch, "TRIES", 1)
    yield made
    made.stop()


@pytest.fixture
def model(make_classifier, tmp_path):
    return make_classifier(tmp_path / "made.onnx", classes=3).read_bytes()


# ── what it says ──────────────────────────────────────────────────────────────────────────────


def test_the_catalogue_has_every_kind_of_model_and_resnet_first():
    found = list(catalog.entries().values())
    assert len(found) >= 25
    assert found[0].id == "resnet18-v2-7"
    assert {e.task for e in found} == {"classification", "detection", "segmentation", "text"}
    assert len({e.sha256 for e in found}) == len(found)


@every
def test_an_entry_is_whole(entry):
    assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
    assert entry.size_bytes > 1000
    assert entry.licence in ("Apache-2.0", "MIT", "BSD-3-Clause")
    assert all(s.startswith(("hf://", "https://")) for s in entry.sources)
    assert len(entry.sources) >= 2
    assert tell(entry.id).name == entry.id
    assert entry.readme.startswith("validated/")
    if entry.task == "classification":
        assert entry.labels is not None
        recipe = entry.metadata["preprocessing"]
        assert recipe in NAMES if isinstance(recipe, str) else Pipeline.from_recipe(recipe)
        assert {"input_shape", "color_format", "activation"} <= set(entry.metadata)
    assert entry.labels or entry.task != "classification"
    assert json.loads(json.dumps(entry.described()))["sha256"] == entry.sha256


def test_labels_have_a_hash_of_their_own_or_are_written_out():
    for entry in catalog.entries().values():
        if entry.labels is not None:
            assert entry.labels.names or re.fullmatch(r"[0-9a-f]{64}", entry.labels.sha256)


@pytest.mark.acceptance
@needs_shared
@every
def test_an_entry_says_what_the_zoo_says(entry):
    known = {m["name"]: m for m in json.loads(ZOO.read_text("utf-8"))["models"]}[entry.id]
    assert (entry.sha256, entry.size_bytes) == (known["sha256"], known["size"])
    top1 = (known["published_accuracy"] or {}).get("top1")
    assert entry.accuracy.get("top1") == (None if top1 is None else pytest.approx(top1 / 100))


def test_a_synset_file_is_read():
    labels = catalog.Labels(form="synset")
    assert labels.read(b"n01 tench, Tinca\nn02 goldfish\n", "it") == ("tench, Tinca", "goldfish")
    with pytest.raises(errors.LabelsError):
        labels.read(b"\xff\xfe", "it")


# ── mirrors ───────────────────────────────────────────────────────────────────────────────────


def small(monkeypatch, model: bytes, labels: bytes = b"n1 cat\nn2 dog\nn3 crane\n", **changes):
    """Put a small model in the place of the catalogue's first."""
    from dataclasses import replace

    first = catalog.entries()["resnet18-v2-7"]
    told = catalog.Labels(
        sources=("https://127.0.0.1:1/synset.txt",), sha256=sha256(labels), form="synset",
        size_bytes=len(labels),
    )  # fmt: skip
    metadata = {**first.metadata, "input_shape": [1, 3, 8, 8]}
    entry = replace(
        first, sha256=sha256(model), size_bytes=len(model), labels=told, metadata=metadata,
        sources=("https://127.0.0.1:1/resnet18-v2-7.onnx",), **changes,
    )  # fmt: skip
    monkeypatch.setattr(catalog, "entries", lambda: {entry.id: entry})
    return entry


LABELS = b"n1 cat\nn2 dog\nn3 crane\n"


@pytest.mark.parametrize(
    "name", ["resnet18-v2-7.onnx", "resnet18-v2-7/model.onnx", "model.onnx", "other_name/m.onnx"]
)
def test_a_folder_is_a_mirror_however_it_names_the_file(hub, monkeypatch, tmp_path, model, name):
    small(monkeypatch, model)
    place = tmp_path / "mirror" / name
    place.parent.mkdir(parents=True)
    place.write_bytes(model)
    (tmp_path / "mirror" / "synset.txt").write_bytes(LABELS)
    monkeypatch.setenv("MIRRORS", str(tmp_path / "mirror"))
    handle = hub.pull("resnet18-v2-7", offline=True, progress=False)
    assert handle.labels == ("cat", "dog", "crane")
    assert handle.spec.licence == "Apache-2.0"
    assert handle.spec.preprocessing == "imagenet"
    entry = lock.read(hub.shelf.models)["resnet18-v2-7"]
    assert entry.source == "resnet18-v2-7"
    assert entry.model.sources[0] == str(place)
    assert hub.verify().ok


def test_a_mirror_may_be_an_argument(hub, monkeypatch, tmp_path, model):
    small(monkeypatch, model)
    (tmp_path / "model.onnx").write_bytes(model)
    (tmp_path / "synset.txt").write_bytes(LABELS)
    assert hub.pull("resnet18-v2-7", mirrors=tmp_path, offline=True, progress=False).labels
    with pytest.raises(errors.ConfigError, match=r"HF_ENDPOINT|hf_endpoint"):
        hub.pull("org/net", hf_endpoint="nonsense")


def test_a_server_is_a_mirror(hub, monkeypatch, server, model):
    small(monkeypatch, model)
    server.routes["/store/resnet18-v2-7.onnx"] = file(model)
    server.routes["/store/synset.txt"] = file(LABELS)
    monkeypatch.setenv("MIRRORS", f"{server.url}/store/")
    assert hub.pull("resnet18-v2-7", progress=False).labels == ("cat", "dog", "crane")


def test_a_mirror_with_another_file_is_passed_over(hub, monkeypatch, server, model, tmp_path):
    small(monkeypatch, model)
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "resnet18-v2-7.onnx").write_bytes(model[::-1])
    server.routes["/resnet18-v2-7.onnx"] = file(model)
    server.routes["/synset.txt"] = file(LABELS)
    monkeypatch.setenv("MIRRORS", f"{tmp_path / 'mirror'},{server.url}")
    assert hub.pull("resnet18-v2-7", progress=False).path.read_bytes() == model


def test_where_no_source_has_the_right_file_the_reasons_are_told(
    hub, monkeypatch, server, model, tmp_path
):
    small(monkeypatch, model)
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "resnet18-v2-7.onnx").write_bytes(model[::-1])
    monkeypatch.setenv("MIRRORS", f"{tmp_path / 'mirror'},{server.url}")
    with pytest.raises(errors.ChecksumError, match=r"Also tried: .*404.*loopback"):
        hub.pull("resnet18-v2-7", progress=False)


def test_labels_that_cannot_be_had_are_told_of(hub, monkeypatch, server, model):
    small(monkeypatch, model)
    server.routes["/resnet18-v2-7.onnx"] = file(model)
    monkeypatch.setenv("MIRRORS", server.url)
    with pytest.warns(errors.IncompletePullWarning, match="labels could not be had"):
        assert hub.pull("resnet18-v2-7", progress=False).labels is None


@pytest.fixture
def unnamed(hub, monkeypatch, tmp_path, model):
    """Pull a model from a mirror without labels; return the mirror."""
    small(monkeypatch, model)
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "resnet18-v2-7.onnx").write_bytes(model)
    monkeypatch.setenv("MIRRORS", str(mirror))
    with pytest.warns(errors.IncompletePullWarning, match=r"as synset\.txt.*Pulling it again"):
        assert hub.pull("resnet18-v2-7", offline=True, progress=False).labels is None
    return mirror


@pytest.mark.parametrize("how", ["pull", "replace", "update"])
def test_labels_that_could_not_be_had_are_fetched_later(hub, unnamed, how):
    before = (hub.shelf.models / "resnet18-v2-7.onnx").stat().st_ino
    if how == "update":
        assert [n.outcome for n in hub.update(dry_run=True, offline=True).news] == ["incomplete"]
        told = hub.update(offline=True, progress=False)
        assert told.done == ()
        assert "could not be had" in told.news[0].reason
    else:
        with pytest.warns(errors.IncompletePullWarning, match="labels could not be had"):
            hub.pull("resnet18-v2-7", offline=True, progress=False)
    (unnamed / "synset.txt").write_bytes(LABELS)
    if how == "update":
        assert hub.update(offline=True, progress=False).done == ("resnet18-v2-7",)
    else:
        hub.pull("resnet18-v2-7", replace=how == "replace", offline=True, progress=False)
    assert hub.load("resnet18-v2-7").labels == ("cat", "dog", "crane")
    assert hub.verify().ok
    assert (hub.shelf.models / "resnet18-v2-7.onnx").stat().st_ino == before
    assert [n.outcome for n in hub.update(dry_run=True, offline=True).news] == ["same"]


def test_labels_that_somebody_gave_are_enough(hub, unnamed):
    path = hub.shelf.models / "metadata" / "resnet18-v2-7.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "labels": ["x", "y", "z"]}))
    assert hub.pull("resnet18-v2-7", offline=True, progress=False).labels == ("x", "y", "z")
    assert [n.outcome for n in hub.update(dry_run=True, offline=True).news] == ["same"]


def test_a_lock_is_restored_but_for_the_labels_that_nobody_has(hub, unnamed, tmp_path, model):
    (unnamed / "synset.txt").write_bytes(LABELS)
    hub.pull("resnet18-v2-7", offline=True, progress=False)
    (unnamed / "synset.txt").unlink()
    other = tmp_path / "other"
    other.mkdir()
    (other / "models.lock").write_bytes((hub.shelf.models / "models.lock").read_bytes())
    theirs = ModelHub(model_dir=other)
    with pytest.raises(errors.WorkbenchError) as caught:
        theirs.pull_locked(offline=True, progress=False)
    assert "labels/resnet18-v2-7_labels.json" in caught.value.hint
    assert "synset.txt" in caught.value.hint
    assert "2 fetched" in caught.value.hint
    assert (other / "resnet18-v2-7.onnx").read_bytes() == model
    (unnamed / "synset.txt").write_bytes(LABELS)
    assert theirs.pull_locked(offline=True, progress=False).fetched == (
        "labels/resnet18-v2-7_labels.json",
    )
    assert theirs.load("resnet18-v2-7").labels == ("cat", "dog", "crane")


def test_labels_that_are_wrong_are_refused(hub, monkeypatch, server, model):
    small(monkeypatch, model)
    server.routes["/resnet18-v2-7.onnx"] = file(model)
    server.routes["/synset.txt"] = file(LABELS.replace(b"dog", b"cow"))
    monkeypatch.setenv("MIRRORS", server.url)
    with pytest.raises(errors.ChecksumError):
        hub.pull("resnet18-v2-7", progress=False)
    assert list(hub.shelf.models.iterdir()) == []


def test_a_name_that_is_not_in_the_catalogue_suggests_one(hub):
    with pytest.raises(errors.UnknownModelError, match="resnet18-v2-7"):
        hub.pull("resnet18-v2")


@pytest.mark.acceptance
@needs_shared
@pytest.mark.filterwarnings("ignore:Model .* was pulled")
@pytest.mark.parametrize(
    ("name", "folder"),
    [("mobilenetv2-12-qdq", "mobilenetv2_12_qdq"), ("mobilenetv2-12-qdq", ""),
     ("shufflenet-v2-12-int8", ""), ("mnist-8", ""), ("version-RFB-320", "")],
)  # fmt: skip
def test_a_real_model_is_pulled_by_its_name_from_a_folder(hub, monkeypatch, name, folder):
    monkeypatch.setenv("MIRRORS", str(SHARED / "models" / folder))
    handle = hub.pull(name, offline=True, progress=False)
    assert handle.graph.sha256 == catalog.entries()[name].sha256
    assert hub.load(name).state == "live"
    assert hub.verify().ok


@pytest.mark.acceptance
@needs_shared
def test_a_copy_under_the_catalogues_name_is_a_mirror_as_well(hub, monkeypatch, tmp_path):
    data = (SHARED / "models/mobilenetv2_12_qdq/model.onnx").read_bytes()
    (tmp_path / "mobilenetv2-12-qdq.onnx").write_bytes(data)
    synset = SHARED / "images/labels/imagenet_synset.txt"
    (tmp_path / "synset.txt").write_bytes(synset.read_bytes())
    monkeypatch.setenv("MIRRORS", str(tmp_path))
    handle = hub.pull("mobilenetv2-12-qdq", offline=True, progress=False)
    assert handle.labels[281] == "tabby, tabby cat"
    assert len(handle.labels) == 1000


# ── Hugging Face ──────────────────────────────────────────────────────────────────────────────


def repository(server: Faults, files: dict[str, bytes], shape: str = "info", **more):
    """Serve a repository as the Hub does."""
    siblings, tree = [], []
    for name, data in files.items():
        server.routes[f"/org/net/resolve/{'c' * 40}/{name}"] = file(data)
        server.routes[f"/org/net/resolve/main/{name}"] = file(data)
        big = name.endswith((".onnx", ".bin"))
        lfs = {"sha256": sha256(data), "size": len(data), "pointerSize": 133}
        oid = "a" * 40 if big else _oid(data)
        siblings.append(
            {"rfilename": name, "size": len(data), "blobId": oid} | ({"lfs": lfs} if big else {})
        )
        tree.append(
            {"type": "file", "path": name, "size": len(data), "oid": oid}
            | ({"lfs": {"oid": sha256(data), "size": len(data)}} if big else {})
        )
    info = {"id": "org/net", "sha": "c" * 40, "tags": ["license:mit"], "siblings": siblings, **more}
    if shape == "info":
        server.routes["/api/models/org/net"] = file(json.dumps(info).encode())
    else:
        server.routes["/api/models/org/net/tree/main"] = file(json.dumps(tree).encode())


def _oid(data: bytes) -> str:
    import hashlib

    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def test_the_hash_of_git_is_that_of_git(tmp_path):
    (tmp_path / "hello").write_bytes(b"hello world\n")
    # git hash-object of that file, as in the book Pro Git, "Git Objects"
    assert git_oid(tmp_path / "hello") == "3b18e512dba79e4c8300dd08aeb37f8e728b8dad"


CONFIG = json.dumps({"id2label": {"0": "cat", "1": "dog", "2": "cow"}}).encode()


@pytest.mark.parametrize("shape", ["info", "tree"])
@pytest.mark.parametrize("source", ["org/net", "hf://org/net", "hf://org/net/onnx/model.onnx"])
def test_a_repository_gives_its_model_with_all_that_belongs_to_it(
    hub, server, model, shape, source
):
    files = {"onnx/model.onnx": model, "config.json": CONFIG, "README.md": b"# net"}
    repository(server, files, shape)
    handle = hub.pull(source, metadata=PICTURE, progress=False)
    assert handle.id == "net"
    assert handle.labels == ("cat", "dog", "cow")
    assert (hub.shelf.models / "net/config.json").read_bytes() == CONFIG
    if shape == "info":
        assert handle.spec.licence == "mit"
        assert any("c" * 40 in r.target for r in server.asked)  # pinned to the commit
    assert hub.verify().ok


def test_the_variants_of_a_repository_are_listed(hub, server, model):
    repository(server, {"onnx/model.onnx": model, "onnx/model_int8.onnx": model})
    with pytest.raises(errors.DownloadError) as caught:
        hub.pull("org/net")
    assert "2 ONNX files" in str(caught.value)
    assert "hf://org/net/onnx/model_int8.onnx (" in str(caught.value)


def test_a_repository_without_a_model_says_so(hub, server):
    repository(server, {"README.md": b"x"})
    with pytest.raises(errors.DownloadError, match=r"no \.onnx file"):
        hub.pull("org/net")
    with pytest.raises(errors.DownloadError, match="no such file"):
        hub.pull("hf://org/net/other.onnx")
    with pytest.raises(errors.DownloadError, match="404"):
        hub.pull("org/nothing")


@pytest.mark.parametrize("name", ["onnx/model.onnx", "config.json"])
def test_a_file_that_is_not_the_one_the_hub_told_of_is_refused(hub, server, model, name):
    files = {"onnx/model.onnx": model, "config.json": CONFIG}
    repository(server, files)
    changed = files[name].replace(b"o", b"0")
    server.routes[f"/org/net/resolve/{'c' * 40}/{name}"] = file(changed)
    with pytest.raises(errors.ChecksumError):
        hub.pull("org/net", metadata=PICTURE, progress=False)
    assert list(hub.shelf.models.iterdir()) == []


def test_labels_of_another_head_are_not_used(hub, server, model):
    config = json.dumps({"id2label": {"0": "cat", "1": "dog"}}).encode()
    repository(server, {"model.onnx": model, "config.json": config})
    with pytest.warns(errors.IncompletePullWarning, match="config.json are not used"):
        assert hub.pull("org/net", metadata=PICTURE, progress=False).labels is None


@pytest.mark.parametrize("text", ["hf://org", "hf://", "hf://org/../x", "hf://org/net?x=1"])
def test_what_can_be_no_repository_is_refused(hub, text):
    with pytest.raises(errors.UrlRefusedError):
        hub.pull(text)


# ── buckets and disks ─────────────────────────────────────────────────────────────────────────


@pytest.fixture
def bucket(monkeypatch):
    """Put a bucket in memory in the place of s3."""
    import fsspec
    from fsspec.implementations.memory import MemoryFileSystem

    kept = fsspec.filesystem
    monkeypatch.setattr(
        fsspec, "filesystem", lambda name: kept("memory") if name == "s3" else kept(name)
    )
    yield MemoryFileSystem()
    MemoryFileSystem.store.clear()


def test_a_bucket_gives_its_model(hub, bucket, model):
    bucket.pipe("/lab/nets/tiny.onnx", model)
    handle = hub.pull("s3://lab/nets/tiny.onnx", metadata=PICTURE, progress=False)
    assert (handle.id, handle.path.read_bytes()) == ("tiny", model)
    with pytest.raises(errors.DownloadError, match="nothing at that address"):
        hub.pull("s3://lab/nets/other.onnx", progress=False)
    with pytest.raises(errors.DownloadTooLargeError):
        hub.pull("s3://lab/nets/tiny.onnx", id="b", progress=False, max_bytes=10)


@pytest.mark.parametrize("missing", ["fsspec", "s3fs"])
def test_without_the_extra_the_line_that_installs_it_is_told(hub, monkeypatch, missing):
    import sys

    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(errors.MissingExtraError, match=r"pip install 'onnx-workbench\[remote\]'"):
        hub.pull("s3://lab/tiny.onnx", progress=False)


def test_credentials_do_not_belong_in_a_bucket(hub):
    with pytest.raises(errors.UrlRefusedError) as caught:
        hub.pull("s3://key:SECRET@lab/tiny.onnx")
    assert "SECRET" not in str(caught.value)


def test_a_local_model_is_pulled_with_what_lies_beside_it(hub, tmp_path, model):
    place = tmp_path / "theirs"
    (place / "metadata").mkdir(parents=True)
    (place / "net.onnx").write_bytes(model)
    (place / "net_labels.json").write_text('["a", "b", "c"]')
    (place / "metadata" / "net.json").write_text(json.dumps({**PICTURE, "licence": "MIT"}))
    handle = hub.pull(place / "net.onnx", progress=False)
    assert handle.labels == ("a", "b", "c")
    assert lock.read(hub.shelf.models)["net"].licence == "MIT"
    assert handle.path.is_relative_to(hub.shelf.models)


@pytest.fixture
def theirs(tmp_path, model):
    """Return the path of a model that lies in someone's folder."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "net.onnx").write_bytes(model)
    return tmp_path / "theirs" / "net.onnx"


def test_a_local_model_must_be_the_one_that_its_description_speaks_of(hub, theirs):
    described = {**PICTURE, "sha256": "0" * 64}
    theirs.with_suffix(".json").write_text(json.dumps(described))
    for act in (hub.handle, lambda path: hub.pull(path, progress=False)):
        with pytest.raises(errors.ChecksumError):
            act(theirs)
    assert "net" not in hub


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"model_type": "x", "model_type": "y"}',
                                  '{"sha256": 5}', '{"sha256": "abc"}'])  # fmt: skip
def test_a_description_beside_a_local_model_that_is_none_is_told(hub, theirs, text):
    theirs.with_suffix(".json").write_text(text)
    for act in (hub.handle, lambda path: hub.pull(path, progress=False)):
        with pytest.raises(errors.MetadataError):
            act(theirs)
    assert "net" not in hub


@pytest.mark.parametrize("spelt", ["other_labels.json", "other_labels", "other"])
@pytest.mark.parametrize("folder", ["", "labels"])
def test_labels_that_a_local_description_names_come_along(hub, theirs, spelt, folder):
    names = theirs.parent / folder / "other_labels.json"
    names.parent.mkdir(exist_ok=True)
    names.write_text('["a", "b", "c"]')
    theirs.with_suffix(".json").write_text(json.dumps({**PICTURE, "labels": spelt}))
    assert hub.handle(theirs).labels == ("a", "b", "c")
    assert hub.pull(theirs, progress=False).labels == ("a", "b", "c")
    (hub.shelf.models.parent / "data").mkdir(exist_ok=True)
    names.unlink()
    assert type(hub)(model_dir=hub.shelf.models).handle("net").labels == ("a", "b", "c")


def test_labels_that_nobody_has_are_sought_where_the_model_lies(hub, theirs):
    theirs.with_suffix(".json").write_text(json.dumps({**PICTURE, "labels": "other"}))
    with pytest.raises(errors.MissingFileError, match="other") as caught:
        hub.pull(theirs, progress=False)
    assert str(theirs.parent / "labels") in str(caught.value)
    assert "net.onnx" not in str(caught.value)


def test_labels_in_a_local_description_hold_before_a_file_beside_it(hub, theirs):
    theirs.with_name("net_labels.json").write_text('["a", "b", "c"]')
    theirs.with_suffix(".json").write_text(json.dumps({**PICTURE, "labels": ["x", "y", "z"]}))
    assert hub.handle(theirs).labels == hub.pull(theirs, progress=False).labels == ("x", "y", "z")


def test_a_description_that_is_given_by_its_path_brings_the_labels_that_it_names(
    hub, theirs, tmp_path
):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "other_labels.json").write_text('["a", "b", "c"]')
    given = tmp_path / "mine" / "about.json"
    given.write_text(json.dumps({**PICTURE, "labels": "other_labels.json"}))
    assert hub.pull(theirs, metadata=given, progress=False).labels == ("a", "b", "c")


def test_configurations_beside_a_local_model_come_along(hub, theirs):
    config = {"id2label": {"0": "a", "1": "b", "2": "c"}}
    theirs.with_name("config.json").write_text(json.dumps(config))
    theirs.with_suffix(".json").write_text(json.dumps(PICTURE))
    before = hub.handle(theirs)
    after = hub.pull(theirs, progress=False)
    assert before.labels == after.labels == ("a", "b", "c")
    assert {f.role for f in lock.read(hub.shelf.models)["net"].files} >= {"model", "config"}
    (hub.shelf.models / "net" / "config.json").unlink()
    hub.pull_locked(progress=False)
    assert hub.verify().ok


@pytest.mark.parametrize(
    ("text", "kind"),
    [("nowhere/x.onnx", errors.MissingFileError), ("ftp://a/x.onnx", errors.UrlRefusedError),
     ("gopher://x", errors.UrlRefusedError), ("", errors.ConfigError), (3, errors.ConfigError)],
)  # fmt: skip
def test_what_is_no_source_is_refused(hub, text, kind):
    with pytest.raises(kind):
        hub.pull(text)
