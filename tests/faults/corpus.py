"""The corpus: hostile requests of every kind in turn, from a seed. The same seed gives the same requests."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from ..conftest import REPOSITORY
from . import hostile_images
from .hostile_requests import COLLECTION, FAMILIES, VALIDATION, Material, Request, dumped, in_bytes

FACES = Path(os.environ.get("COUNTENANCE_TEST_DATA", REPOSITORY.parent / "shared" / "data")) / "faces"


def photo(folder: str) -> bytes | None:
    """A photograph with a face when there is measuring data, so that every stage is passed; noise serves without."""
    found = next(iter(sorted((FACES / folder / "images").rglob("*.jpg"))), None)
    return found.read_bytes() if found else None


@cache
def material(arn: str, picture_file: bytes | None = None) -> Material:
    """With a photograph's file its face is in the pictures too; without one they show noise."""
    if picture_file is None:
        picture = hostile_images.noise(7)
    else:
        picture = Image.open(io.BytesIO(picture_file)).convert("RGB")
        picture.thumbnail((240, 240))
    return Material(hostile_images.sane(picture), hostile_images.bombs(), arn)


def pictures(rng: random.Random, of: Material) -> Request:
    kind = rng.choice(sorted(of.files))
    data = hostile_images.damaged(rng, of.files[kind])
    operation = rng.choice(("DetectFaces", "DetectFaces", "IndexFaces", "SearchFacesByImage", "CompareFaces"))
    params: dict[str, Any] = {"Image": in_bytes(data)}
    if operation == "CompareFaces":
        params = {"SourceImage": in_bytes(of.files["jpeg"]), "TargetImage": in_bytes(data), "SimilarityThreshold": 0}
    elif operation != "DetectFaces":
        params |= {"CollectionId": COLLECTION, "QualityFilter": "NONE"}
    return Request(f"picture {kind}", operation, dumped(params))


PICTURES_A_ROUND = 9
"""Of thirty requests in a row, nine carry a broken picture: decoders are the largest body of foreign code here."""


def bomb_requests(of: Material, max_blob_bytes: int = 5_242_880) -> Iterator[Request]:
    """Every bomb once; those too large for Image.Bytes are refused for their size."""
    for bomb in of.bombs:
        codes = (
            bomb.codes
            if len(bomb.data) <= max_blob_bytes
            else VALIDATION | frozenset({"RequestEntityTooLargeException"})
        )
        yield Request(f"bomb {bomb.name}", "DetectFaces", dumped({"Image": in_bytes(bomb.data)}), codes=codes)


def requests(seed: int, count: int, of: Material) -> Iterator[Request]:
    """`count` requests, every family in turn."""
    rng = random.Random(seed)
    round_ = [*FAMILIES, *[pictures] * PICTURES_A_ROUND]
    for number in range(count):
        yield round_[number % len(round_)](rng, of)


def plain_search(of: Material) -> Request:
    """A call in order that reads the store and works for some milliseconds."""
    params = {"CollectionId": COLLECTION, "Image": in_bytes(of.files["jpeg"])}
    known = frozenset({"OK", "InvalidParameterException"})  # the latter when the picture is noise
    return Request("plain", "SearchFacesByImage", dumped(params), codes=known)


def plain_detection(of: Material) -> Request:
    """A call in order that needs no collection."""
    params = {"Image": in_bytes(of.files["jpeg"])}
    return Request("plain", "DetectFaces", dumped(params), codes=frozenset({"OK"}))
