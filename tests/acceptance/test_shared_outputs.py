"""Real models that others trained: each is loaded, described and run, and its stated output met.

They lie beside the project (see ``test_shared_models.py``). What their postprocessing needs is
written here from their ``info.json``: it is no part of the project.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import os
import re
import unicodedata
import warnings
import wave
from collections import Counter
from collections.abc import Iterator
from functools import cache
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image, ImageDraw

from workbench.errors import ExternalDataError, UnsupportedOperatorError
from workbench.models.hub import ModelHub

if TYPE_CHECKING:
    from workbench.models.model import Model

SHARED = Path(os.environ.get("WORKBENCH_SHARED") or Path(__file__).parents[3] / "shared")
IMAGES = SHARED / "images"
MODELS = tuple(sorted(path.parent.name for path in SHARED.glob("models/*/model.onnx")))
REFUSED = {
    "edge_missing_external_data": ExternalDataError,
    "edge_needs_ort_extensions": UnsupportedOperatorError,
}
LOADED = sorted(set(MODELS) - set(REFUSED))

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(not MODELS, reason=f"acceptance: no models below {SHARED}"),
    # no metadata lies beside them: what is guessed is a warning, and no concern here
    pytest.mark.filterwarnings("ignore::workbench.errors.InferredMetadataWarning"),
]


@pytest.fixture(scope="module")
def hub() -> Iterator[ModelHub]:
    made = ModelHub(max_models=2, graph_cache=False)
    yield made
    made.unload()


def folder(name: str) -> Path:
    return SHARED / "models" / name


def load(hub: ModelHub, name: str) -> Model:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return hub.load(folder(name) / "model.onnx")


def stated(name: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder(name) / "info.json").read_text("utf-8"))
    return told["verification"]


def feeds_of(model: Model) -> dict[str, np.ndarray]:
    """Return arrays that fit: dynamic axes as the model's own description has them."""
    if model.id == "silero_vad":
        return {"input": np.zeros((1, 576), np.float32),
                "state": np.zeros((2, 1, 128), np.float32),
                "sr": np.array(16000, np.int64)}  # fmt: skip
    if model.id == "ppocr_v2_text_direction_cls":
        return {"x": np.random.default_rng(0).standard_normal((1, 3, 48, 192), np.float32)}
    return model.sample_feeds()


def official(name: str, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the zoo's own input and output."""
    pair = []
    for kind in ("input", "output"):
        tensor = onnx.TensorProto()
        path = folder(name) / f"test_data_set_{number}" / f"{kind}_0.pb"
        tensor.ParseFromString(path.read_bytes())
        pair.append(numpy_helper.to_array(tensor))
    return pair[0], pair[1]


def only(answer: dict[str, Any]) -> Any:
    [value] = answer.values()
    return value


def test_every_model_is_loaded_or_refused_here() -> None:
    assert set(REFUSED) <= set(MODELS)
    assert len(LOADED) >= 14


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_loaded_is_refused_by_its_cause(hub: ModelHub, name: str) -> None:
    with pytest.raises(REFUSED[name]):
        load(hub, name)


@pytest.mark.parametrize("name", LOADED or ["none"])
def test_a_real_model_is_loaded_described_and_run_and_its_kept_graph_gives_the_same_bits(
    hub: ModelHub, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = load(hub, name)
    told = str(model)
    assert f"model {name}" in told
    for port in (*model.inputs, *model.outputs):
        assert port.describe() in told
    feeds = feeds_of(model)
    plain = model.run(feeds)
    assert list(plain) == [port.name for port in model.outputs]
    keeping = ModelHub(graph_cache=True)
    for kept in (False, True):
        again = load(keeping, name)
        assert again.session is not None
        assert again.session.kept == kept
        answer = again.run(feeds)
        for key, value in plain.items():
            if isinstance(value, np.ndarray):
                assert np.array_equal(answer[key], value, equal_nan=True), key
            else:
                assert answer[key] == value
        keeping.unload()


# ── official pairs ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [0, 1, 2])
def test_mnist_meets_the_official_pairs(hub: ModelHub, number: int) -> None:
    taken, given = official("mnist_8", number)
    assert np.abs(only(load(hub, "mnist_8").run(taken)) - given).max() <= 8e-3  # of up to 6574


def test_mnist_reaches_the_stated_accuracy(hub: ModelHub) -> None:
    def read(kind: str, skip: int) -> np.ndarray:
        packed = (IMAGES / "mnist" / f"t10k-{kind}-ubyte.gz").read_bytes()
        return np.frombuffer(gzip.decompress(packed), np.uint8, -1, skip)

    pictures = read("images-idx3", 16).reshape(-1, 1, 1, 28, 28)
    labels = read("labels-idx1", 8)
    model = load(hub, "mnist_8")
    said = [int(only(model.run(p.astype(np.float32))).argmax()) for p in pictures]
    right = float(np.mean(np.array(said) == labels))
    assert right == pytest.approx(stated("mnist_8")["accuracy_0_255"], abs=1e-3)


def test_super_resolution_meets_the_official_pair(hub: ModelHub) -> None:
    taken, given = official("super_resolution_10")
    assert np.abs(only(load(hub, "super_resolution_10").run(taken)) - given).max() <= 1e-5


def test_shufflenet_agrees_with_the_official_pair_as_far_as_is_stated(hub: ModelHub) -> None:
    taken, given = official("shufflenet_v2_12_int8")
    scores = only(load(hub, "shufflenet_v2_12_int8").run(taken))
    assert scores.argmax() == given.argmax() == 556
    assert np.abs(scores - given).max() <= 4.5  # the published output is off by 4.14, as stated


# ── classifiers ───────────────────────────────────────────────────────────────────────────────


def test_the_published_logit_is_met_by_the_right_preprocessing(hub: ModelHub) -> None:
    name = "mobilenetv2_torchvision_int8_static"
    model = load(hub, name)
    scores = only(model.run(model.preprocessing(IMAGES / "reference" / "countach.jpg")))[0]
    published = stated(name)["exact_published_reference"]["measured_logit"]
    assert int(scores.argmax()) == 817
    assert float(scores[817]) == pytest.approx(published, abs=0.1)  # one quantum is about 0.17


@pytest.mark.parametrize(
    "name",
    ["mobilenetv2_12_qdq", "shufflenet_v2_12_int8", "mobilenetv2_torchvision_int8_static"],
)
def test_a_sample_of_imagenet_is_classified_as_well_as_is_stated(hub: ModelHub, name: str) -> None:
    synsets = (IMAGES / "labels" / "imagenet_synset.txt").read_text("utf-8").split("\n")
    rank = {line.split()[0]: n for n, line in enumerate(x for x in synsets if x.strip())}
    model = load(hub, name)
    hits = [
        int(only(model.run(model.preprocessing(path))).argmax()) == rank[path.name.split("_")[0]]
        for path in sorted((IMAGES / "imagenet").glob("*.JPEG"))
    ]
    assert len(hits) >= 50
    spread = (stated(name)["top1"] * (1 - stated(name)["top1"]) / len(hits)) ** 0.5
    assert np.mean(hits) == pytest.approx(stated(name)["top1"], abs=3 * spread)


def test_cifar10_resnet_is_as_right_as_is_stated(hub: ModelHub) -> None:
    data = np.load(SHARED / "data" / "cifar10-jpeg.npz")
    content, offsets, labels = (data[f"test_{k}"] for k in ("bytes", "offsets", "labels"))
    model = load(hub, "cifar10_resnet_2b")
    mean, std = (np.float32(v) for v in ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)))
    hits = []
    for n in range(0, 10_000, 4):
        picture = Image.open(io.BytesIO(content[offsets[n] : offsets[n + 1]].tobytes()))
        image = (np.asarray(picture.convert("RGB"), np.float32) / 255 - mean) / std
        batch = np.ascontiguousarray(image.transpose(2, 0, 1)[None])
        hits.append(int(only(model.run(batch)).argmax()) == labels[n])
    assert np.mean(hits) == pytest.approx(stated("cifar10_resnet_2b")["accuracy"], abs=0.028)


def test_text_turned_around_is_seen(hub: ModelHub) -> None:
    with Image.open(IMAGES / "reference" / "ocr_receipt.jpg") as picture:
        upright = np.asarray(picture.convert("RGB"))[:, :, ::-1]
    dark = (upright.mean(axis=2) < 128).mean(axis=1)
    assert dark.max() > 0.02  # there is text
    lines = _text_lines(upright)
    assert len(lines) >= 5
    model = load(hub, "ppocr_v2_text_direction_cls")

    def turned(line: np.ndarray) -> float:
        return float(only(model.run({"x": _ocr_batch(line)}))[0, 1])

    right = [turned(line) < 0.5 for line in lines]
    wrong = [turned(line[::-1, ::-1]) > 0.5 for line in lines]
    assert np.mean(right + wrong) >= 0.8


def _text_lines(image: np.ndarray) -> list[np.ndarray]:
    """Cut the rows of a scanned page at the gaps between its lines."""
    grey = image.mean(axis=2)
    inked = (grey < 0.6 * np.median(grey)).mean(axis=1) > 0.02
    edges = np.flatnonzero(np.diff(np.r_[False, inked, False].astype(int)))
    lines = []
    for top, bottom in edges.reshape(-1, 2):
        if bottom - top < 12 or bottom - top > 80:
            continue
        ink = np.flatnonzero((grey[top:bottom] < 0.6 * np.median(grey)).any(axis=0))
        if ink.size and ink[-1] - ink[0] > 2 * (bottom - top):
            lines.append(image[max(0, top - 3) : bottom + 3, ink[0] : ink[-1] + 1])
    return lines


def _ocr_batch(line: np.ndarray) -> np.ndarray:
    """Height 48, width at most 192, padded with 0 on the right after normalising."""
    width = min(192, max(1, round(48 * line.shape[1] / line.shape[0])))
    small = Image.fromarray(np.ascontiguousarray(line)).resize(
        (width, 48), Image.Resampling.BILINEAR
    )
    made = np.zeros((1, 3, 48, 192), np.float32)
    made[0, :, :, :width] = (np.asarray(small, np.float32).transpose(2, 0, 1) / 255 - 0.5) / 0.5
    return made


# ── text and sound ────────────────────────────────────────────────────────────────────────────


@cache
def _tfidf() -> dict[str, Any]:
    told: dict[str, Any] = json.loads(
        (folder("spam_tfidf_logreg") / "tfidf_vocab.json").read_text()
    )
    return told


def tfidf(text: str) -> np.ndarray:
    """Weigh the words and pairs of words of a text, as info.json says."""
    told = _tfidf()
    plain = unicodedata.normalize("NFKD", text.lower())
    words = re.findall(r"\b\w\w+\b", "".join(c for c in plain if not unicodedata.combining(c)))
    terms = Counter([*words, *(f"{a} {b}" for a, b in itertools.pairwise(words))])
    row = np.zeros((1, len(told["idf"])), np.float32)
    for term, times in terms.items():
        if (at := told["vocabulary"].get(term)) is not None:
            row[0, at] = (1 + log(times)) * told["idf"][at]
    return row / (np.linalg.norm(row) or np.float32(1))


def test_spam_is_told_from_messages_as_well_as_is_stated(hub: ModelHub) -> None:
    with (folder("spam_tfidf_logreg") / "test.csv").open(encoding="utf-8", newline="") as source:
        rows = [r for r in csv.DictReader(source) if r["text"]]
    model = load(hub, "spam_tfidf_logreg")
    said, chances = [], []
    for row in rows:
        answer = model.run({"X": tfidf(row["text"])})
        said.append(int(answer["output_label"][0]))
        chances.append(answer["output_probability"][0])
    right = [a == int(row["label"]) for a, row in zip(said, rows, strict=True)]
    assert len(rows) == 775
    assert np.mean(right) == pytest.approx(stated("spam_tfidf_logreg")["accuracy_text"], abs=2e-3)
    assert all(max(c, key=c.get) == a for a, c in zip(said, chances, strict=True))


def speech(model: Model, sound: np.ndarray) -> list[float]:
    """Return the probability of speech in each frame of 512 samples; the state is fed back."""
    state, context = np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32)
    found = []
    for at in range(0, len(sound) - 511, 512):
        frame = np.concatenate([context, sound[at : at + 512]])
        answer = model.run({"input": frame[None], "state": state, "sr": np.array(16000, np.int64)})
        state, context = answer["stateN"], frame[-64:]
        found.append(float(answer["output"][0, 0]))
    return found


def test_speech_is_heard_in_the_stated_share_of_a_recording(hub: ModelHub) -> None:
    with wave.open(str(IMAGES / "audio" / "silero_test.wav")) as source:
        assert (source.getframerate(), source.getnchannels(), source.getsampwidth()) == (
            16000,
            1,
            2,
        )
        sound = np.frombuffer(source.readframes(source.getnframes()), np.int16) / np.float32(32768)
    model = load(hub, "silero_vad")
    heard = speech(model, sound)
    assert np.mean([p > 0.5 for p in heard]) == pytest.approx(0.774, abs=0.005)
    assert max(speech(model, np.zeros(16000, np.float32))) <= 0.01
    noise = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    assert max(speech(model, 0.1 * noise)) <= 0.1


# ── pictures to pictures and boxes ────────────────────────────────────────────────────────────


def linear(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize as OpenCV's INTER_LINEAR does: two pixels a side, however much smaller it gets."""
    across, down = picture.width / size[0], picture.height / size[1]
    how = (across, 0, 0, 0, down, 0)
    return picture.transform(size, Image.Transform.AFFINE, how, Image.Resampling.BILINEAR)


def squashed(path: Path, size: tuple[int, int], *, bgr: bool) -> np.ndarray:
    """Return (H, W, 3) float32, 0 to 255; ``size`` is width, height."""
    with Image.open(path) as picture:
        made = np.asarray(linear(picture.convert("RGB"), size), np.float32)
    return made[:, :, ::-1] if bgr else made


def test_the_road_is_the_stated_share_of_its_picture(hub: ModelHub) -> None:
    path = IMAGES / "reference" / "road.png"
    image = squashed(path, (896, 512), bgr=True)
    scores = only(load(hub, "road_segmentation_adas_0001").run(np.ascontiguousarray(image[None])))
    shares = np.bincount(scores[0].argmax(axis=-1).ravel(), minlength=4) / (512 * 896)
    assert float(shares[1]) == pytest.approx(0.245, abs=0.01)


@pytest.mark.parametrize("name", ["000000085329", "000000233771"])
def test_people_are_masked_as_well_as_is_stated(hub: ModelHub, name: str) -> None:
    path = IMAGES / "coco_val" / f"{name}.jpg"
    told = json.loads((IMAGES / "coco_val" / "instances_val2017_24.json").read_text("utf-8"))
    with Image.open(path) as picture:
        size = picture.size
    truth = Image.new("1", size)
    for a in told["annotations"]:
        if a["image_id"] == int(name) and a["category_id"] == 1:
            for polygon in a["segmentation"]:
                ImageDraw.Draw(truth).polygon(polygon, fill=1)
    image = squashed(path, (256, 256), bgr=False) / np.float32(255)
    mask = only(load(hub, "selfie_segmentation").run(image[None]))[0, :, :, 0]
    seen = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.BILINEAR)) > 0.5
    person = np.asarray(truth)
    overlap = (seen & person).sum() / (seen | person).sum()
    assert overlap == pytest.approx(stated("selfie_segmentation")["IoU"][name], abs=0.03)


def apart(boxes: np.ndarray, scores: np.ndarray, most: float) -> list[int]:
    """Return the boxes (x1, y1, x2, y2) that overlap no better one by more than ``most``."""
    kept: list[int] = []
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    for n in np.argsort(-scores):
        corners = np.minimum(boxes[n, 2:], boxes[kept, 2:]) - np.maximum(
            boxes[n, :2], boxes[kept, :2]
        )
        common = np.prod(np.maximum(corners, 0), axis=1)
        if not (common / (area[n] + area[kept] - common) > most).any():
            kept.append(int(n))
    return kept


FACES = {"classic/zidane.jpg": 2, "faces/faces_10.jpg": 19, "faces/faces_11.jpg": 25}


@pytest.mark.parametrize("picture", FACES)
def test_ultraface_finds_the_stated_number_of_faces(hub: ModelHub, picture: str) -> None:
    image = squashed(IMAGES / picture, (320, 240), bgr=False)
    batch = np.ascontiguousarray(((image - 127) / 128).transpose(2, 0, 1)[None], np.float32)
    answer = load(hub, "ultraface_rfb_320").run(batch)
    sure = answer["scores"][0, :, 1] > 0.7
    found = apart(answer["boxes"][0][sure], answer["scores"][0, sure, 1], 0.3)
    assert len(found) == FACES[picture]


@pytest.mark.parametrize("picture", FACES)
def test_yunet_finds_the_stated_number_of_faces(hub: ModelHub, picture: str) -> None:
    with Image.open(IMAGES / picture) as opened:
        rgb = opened.convert("RGB")
    ratio = 320 / max(rgb.size)
    small = linear(rgb, (round(ratio * rgb.width), round(ratio * rgb.height)))
    batch = np.zeros((1, 3, 320, 320), np.float32)
    pixels = np.asarray(small, np.float32)[:, :, ::-1].transpose(2, 0, 1)
    batch[0, :, : pixels.shape[1], : pixels.shape[2]] = pixels
    answer = load(hub, "yunet_s_320").run(batch)
    boxes, scores = [], []
    for stride in (8, 16, 32):
        side = 320 // stride
        at = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)
        box = answer[f"bbox_{stride}"][0]
        middle, extent = (at + box[:, :2]) * stride, np.exp(box[:, 2:]) * stride
        boxes.append(np.concatenate([middle - extent / 2, middle + extent / 2], axis=1))
        scores.append(answer[f"cls_{stride}"][0, :, 0] * answer[f"obj_{stride}"][0, :, 0])
    every, score = np.concatenate(boxes), np.concatenate(scores)
    sure = score > 0.5
    found = apart(every[sure], score[sure], 0.45)
    assert len(found) == FACES[picture]


def test_fastestdet_sees_the_four_persons_of_its_authors_picture(hub: ModelHub) -> None:
    path = IMAGES / "reference" / "fastestdet_3.jpg"
    with Image.open(path) as opened:  # BOX is OpenCV's INTER_AREA
        squared = opened.convert("RGB").resize((352, 352), Image.Resampling.BOX)
    image = np.asarray(squared, np.float32)[:, :, ::-1] / np.float32(255)
    batch = np.ascontiguousarray(image.transpose(2, 0, 1)[None])
    out = only(load(hub, "fastestdet").run(batch))[0].reshape(85, -1)
    score = out[0] ** 0.6 * out[5:].max(axis=0) ** 0.4
    at = np.stack(np.meshgrid(np.arange(22), np.arange(22))).reshape(2, -1)
    middle = (at + np.tanh(out[1:3])) / 22
    extent = 1 / (1 + np.exp(-out[3:5]))
    boxes = np.concatenate([middle - extent / 2, middle + extent / 2]).T
    sure = score > 0.65
    kept = np.flatnonzero(sure)[apart(boxes[sure], score[sure], 0.45)]
    assert list(out[5:, kept].argmax(axis=0)) == [0] * 4  # persons
    assert sorted(score[kept]) == pytest.approx(sorted((0.902, 0.801, 0.785, 0.895)), abs=0.02)
