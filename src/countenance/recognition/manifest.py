"""What the manifest of a model pack says: files, digests, licences, and how each file takes its input.

Knows JSON and its form; knows no folders, and does not know where weights are.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, Final

from countenance.recognition.faults import ModelPackError

DEFAULT_PACK: Final = "yunet-sface"
ROLES: Final = ("detector", "features", "landmarks", "attributes", "liveness")
"""What a file of somebody's own pack can be for; `features` is what others call the recogniser."""
KIND_OF_ROLE: Final = {"detector": "yunet", "features": "sface"}
"""What a file is whose manifest names no kind: such manifests were written when there were no others."""
LARGEST_FILE: Final = 2 << 30
"""Bytes: ONNX is protobuf, which ends at 2 GiB (protobuf documentation, "Proto Limits")."""
DIMENSIONS: Final = (8, 4096)
"""Numbers that features may have: published models have 128 to 1024."""

DYNAMIC: Final = -1
"""A dimension of a network's input that the runtime is told later."""

NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")

Role = str


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A zip file that brings several files of a pack."""

    name: str
    url: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One weights file of a pack, as the manifest describes it."""

    role: Role
    kind: str
    """Architecture, as `kinds` knows it: how its outputs are read."""
    name: str
    sha256: str
    """Lower-case hex; empty when nobody published it and nobody here pinned it."""
    bytes: int
    """0 when unknown."""
    licence: str
    source: str
    """The page that says what it is and under which licence."""
    url: str = ""
    """Where its bytes are."""
    archive: str = ""
    """Name of the pack's archive that has it."""
    distribution: str = ""
    distribution_version: str = ""
    input_shape: tuple[int, int, int] = (1, -1, -1)
    """N, H, W; -1 is any."""
    reverse_channels: bool = False
    """The model takes B, G, R."""
    mean: float = 0.0
    divisor: float = 1.0
    """The model takes (byte - mean) / divisor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPack:
    """A manifest read: what `models list` shows, and what `build_engine` needs."""

    name: str
    version: str
    title: str
    commercial_use: bool
    terms: str = ""
    """What the licences ask, in a sentence or two."""
    digests_from: str = ""
    """Who says that these are the digests."""
    dimension: int = 0
    """Numbers in the features; 0 when the pack makes none."""
    flip: bool = False
    centre: tuple[float, ...] = ()
    """The mean of many people's features of unit length, taken off before they are compared. Empty: nothing is."""
    calibration: str = ""
    """File beside the manifest; empty when nobody fitted one yet."""
    archives: tuple[Archive, ...] = ()
    shipped_calibration: str = ""
    """What is in that file: no member of a manifest."""
    files: tuple[ModelFile, ...]
    is_own: bool = False
    """Somebody's own, or with a digest that somebody here gave: its weights are named in the model version."""

    @property
    def model_version(self) -> str:
        """What collections are bound to: the version alone for the default pack, as it was before there were others."""
        if self.name == DEFAULT_PACK and not self.is_own:
            return self.version
        named = f"{self.name}-{self.version}"
        if not self.is_own:
            return named
        told = "\n".join(f"{each.role} {each.sha256}" for each in self.files)
        if self.centre:
            told += f"\ncentre {self.centre}"
        return f"{named}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"

    def calibration_text(self) -> str:
        """The calibration that came with the pack, as JSON text.

        Raises:
            ModelPackError: it came with none.
        """
        if not self.shipped_calibration:
            raise ModelPackError(f"the model pack {self.name} brings no calibration")
        return self.shipped_calibration

    def version_with(self, flip: bool | None) -> str:
        """The model version of templates; averaging with the mirror image makes others. None: the pack's default."""
        if flip is None or flip == self.flip:
            return self.model_version
        return self.model_version + ("-flip" if flip else "-noflip")

    def file(self, role: Role) -> ModelFile:
        """The one file that plays this role.

        Raises:
            ModelPackError: the pack has none.
        """
        found = [each for each in self.files if each.role == role]
        if len(found) != 1:
            raise ModelPackError(f"the model pack {self.name} has {len(found)} files for {role}")
        return found[0]


def parse(text: str, *, is_own: bool) -> ModelPack:
    """A manifest from its JSON.

    Args:
        is_own: somebody here wrote it, so everything in it is looked at.

    Raises:
        ModelPackError: it is no manifest.
    """
    try:
        raw = json.loads(text)
        files = tuple(_file(each) for each in raw.pop("files"))
        archives = tuple(Archive(**each) for each in raw.pop("archives", ()))
        raw["calibration"] = raw.get("calibration") or ""
        raw["centre"] = tuple(raw.get("centre") or ())
        if "shipped_calibration" in raw or "is_own" in raw:
            raise ValueError("it says what is no member of a manifest")
        pack = ModelPack(**raw, files=files, archives=archives, is_own=is_own)
        if is_own:
            _check(pack)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelPackError(
            f"the manifest cannot be used: {str(error)[:200] or type(error).__name__}",
            hint="docs/guides/model-packs.md has the form of one",
        ) from None
    return pack


def _file(raw: dict[str, Any]) -> ModelFile:
    given = {"kind": KIND_OF_ROLE.get(raw["role"], ""), **raw}
    given |= {"sha256": raw.get("sha256") or "", "bytes": raw.get("bytes") or 0}
    if "input_shape" in raw:
        given["input_shape"] = tuple(raw["input_shape"])
    return ModelFile(**given)


def _check(pack: ModelPack) -> None:
    """Raises ValueError for what somebody's own manifest may not say."""

    def demand(holds: bool, problem: str) -> None:
        if not holds:
            raise ValueError(problem)

    def is_whole(value: object, low: int, high: int) -> bool:
        return type(value) is int and low <= value <= high

    demand(isinstance(pack.name, str) and NAME.fullmatch(pack.name) is not None, "its name is none")
    demand(isinstance(pack.version, str) and _VERSION.fullmatch(pack.version) is not None, "its version is none")
    said = (pack.title, pack.terms, pack.digests_from)
    demand(all(isinstance(each, str) for each in said), "title, terms and digests_from are text")
    demand(
        isinstance(pack.commercial_use, bool) and isinstance(pack.flip, bool),
        "commercial_use and flip are true or false",
    )
    demand(pack.dimension == 0 or is_whole(pack.dimension, *DIMENSIONS), "its dimension is none")
    is_centre = all(type(each) in (int, float) and abs(each) < 1 for each in pack.centre)
    demand(
        not pack.centre or (is_centre and len(pack.centre) == pack.dimension),
        "its centre is not as many numbers below 1 as its features have",
    )
    demand(
        not pack.calibration or _FILE.fullmatch(pack.calibration) is not None, "its calibration is no file beside it"
    )
    demand(len(pack.files) > 0, "it has no files")
    demand(len({file.name for file in pack.files}) == len(pack.files), "two of its files have one name")
    names = {each.name for each in pack.archives}
    for each in pack.archives:
        demand(_FILE.fullmatch(each.name) is not None, f"the archive {each.name!r} has no usable name")
        demand(DIGEST.fullmatch(each.sha256) is not None, f"{each.name} has no SHA-256")
        demand(is_whole(each.bytes, 1, LARGEST_FILE), f"{each.name} has no size")
    for file in pack.files:
        demand(_FILE.fullmatch(file.name) is not None, f"the file {file.name!r} has no usable name")
        demand(file.role in ROLES, f"{file.name} is for {file.role!r}, which nothing is")
        demand(not file.sha256 or DIGEST.fullmatch(file.sha256) is not None, f"{file.name} has no SHA-256")
        demand(is_whole(file.bytes, 0, LARGEST_FILE), f"{file.name} has no size")
        demand(not file.archive or file.archive in names, f"{file.name} is in an archive that is not named")
        demand(
            len(file.input_shape) == 3 and all(is_whole(side, -1, 4096) and side for side in file.input_shape),
            f"{file.name} has no input_shape of N, H, W",
        )
        demand(isinstance(file.reverse_channels, bool), f"{file.name}: reverse_channels is true or false")
        demand(
            all(type(number) in (int, float) for number in (file.mean, file.divisor)) and 0 < abs(file.divisor) < 1e6,
            f"{file.name}: mean and divisor are numbers, and nothing is divided by 0",
        )
