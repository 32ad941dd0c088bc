"""Re-creating the collections of a Rekognition account on this server: what is done, in which order, and what became of
every face.

Amazon gives out neither images nor vectors, so each face is enrolled anew from the image that it came from, and found
in it by its box. Knows both servers by their API alone; draws nothing and prints nothing. Nobody stays enrolled here
who was not there: faces of an image are detected first, and a larger face that has to be enrolled on the way to a
smaller one is deleted again before the image counts as done.
"""

from __future__ import annotations

import hashlib
import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Final

from countenance.biometrics import BoundingBox
from countenance.cli.amazon import Amazon
from countenance.cli.enrolment import OF_THE_FILE
from countenance.cli.import_journal import Journal, Key
from countenance.cli.local_image import LocalImageError
from countenance.cli.remote import Remote, RemoteError
from countenance.cli.source_images import Images, Naming
from countenance.errors import Error

LEAST_OVERLAP: Final = 0.3
"""Intersection over union from which on two boxes are of one face. Two detectors draw a face with more or less forehead
and chin: boxes of one face overlap by a half and more, those of neighbours hardly at all."""
FACES_AT_ONCE: Final = 100
"""Of AssociateFaces (API reference), and few enough for DeleteFaces."""
MOVED: Final = "moved"
TO_MOVE: Final = "to-move"
NO_IMAGE: Final = "no-image"
AMBIGUOUS: Final = "ambiguous"
UNUSABLE: Final = "unusable"
NOT_THERE: Final = "not-there"
REFUSED: Final = "refused"
_TOKENS: Final = uuid.UUID("5f0e0f3c-6f0b-5d8e-9d2a-3a0c7c2b9f41")


@dataclass(slots=True)
class Row:
    """What became of one face."""

    collection: str
    face_id: str
    external_image_id: str
    user_id: str
    image: str = ""
    state: str = ""
    new_face_id: str = ""
    reason: str = ""


@dataclass(slots=True)
class Told:
    """What became of one collection."""

    collection: str
    tags: int = 0
    faces: int = 0
    users: int = 0
    users_moved: int = 0
    users_incomplete: dict[str, str] = field(default_factory=dict)
    """User -> why."""
    faces_here: int | None = None
    users_here: int | None = None
    """As DescribeCollection counts them here at the end; None when nothing was written."""
    states: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Group:
    """The faces that one call of IndexFaces is for: of one image, under one ExternalImageId."""

    key: Key
    rows: tuple[Row, ...]
    boxes: tuple[BoundingBox, ...]


@dataclass(slots=True)
class Import:
    """One run.

    Args:
        advance: called for every face that is settled.
        least_overlap: see LEAST_OVERLAP.
    """

    amazon: Amazon
    remote: Remote
    images: Images
    naming: Naming
    journal: Journal | None
    jobs: int = 4
    least_overlap: float = LEAST_OVERLAP
    advance: Callable[[int], None] = lambda count: None
    rows: list[Row] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    _here: set[tuple[str, str]] = field(default_factory=set)
    _images_at_work: dict[bytes, threading.Lock] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def run(self, collection: str) -> None:
        """Moves one collection; without a journal, only looks at what could be moved.

        Raises:
            RemoteError: this server refuses whatever is sent.
            AmazonError: the other one does.
        """
        described = self.amazon.described(collection)
        tags = self.amazon.tags(described["CollectionARN"])
        told = Told(collection, len(tags))
        self.told.append(told)
        if self.journal is not None:
            self._make(collection, tags)
        rows, boxes, images = self._listed(collection)
        self.rows += rows
        told.faces = len(rows)
        users = list(self.amazon.users(collection))
        told.users = len(users)
        try:
            for group in self._enrolled(list(self._groups(rows, boxes, images))):
                self.advance(len(group.rows))
            if self.journal is not None:
                self._move_users(told, rows, users)
                here = self.remote.call("describe_collection", CollectionId=collection)
                told.faces_here, told.users_here = here["FaceCount"], here["UserCount"]
        finally:
            told.states = Counter(each.state or "not-tried" for each in rows)

    # -- collections

    def _make(self, collection: str, tags: Mapping[str, str]) -> None:
        assert self.journal is not None
        arn = self._arn(collection)
        if collection in self.journal.made:
            if arn != self.journal.made[collection]:
                raise Error(
                    f"The collection {collection} that this import made is not here any more.",
                    hint="the journal is of another server, or somebody deleted it: begin anew with another --journal",
                )
            return
        if arn is not None and collection not in self.journal.making:
            raise Error(
                f"There is a collection {collection} here already, and this import did not make it.",
                hint="an import puts nothing into collections of others: delete or export it, or leave it out",
            )
        if arn is None:
            self.journal.will_make(collection)
            self.remote.call("create_collection", CollectionId=collection, Tags=dict(tags))
            arn = self._arn(collection)
        self.journal.has_made(collection, str(arn))

    def _arn(self, collection: str) -> str | None:
        try:
            return str(self.remote.call("describe_collection", CollectionId=collection)["CollectionARN"])
        except RemoteError as error:
            if error.code == "ResourceNotFoundException":
                return None
            raise

    # -- faces

    def _listed(self, collection: str) -> tuple[list[Row], list[BoundingBox], list[tuple[str, list[str]]]]:
        """Faces with their boxes, and of each the ImageId and the names that its image may have."""
        rows, boxes, images = [], [], []
        for face in self.amazon.faces(collection):
            rows.append(Row(collection, face["FaceId"], face.get("ExternalImageId", ""), face.get("UserId", "")))
            box = face["BoundingBox"]
            boxes.append(BoundingBox(box["Left"], box["Top"], box["Width"], box["Height"]))
            images.append((face.get("ImageId", ""), list(self.naming.candidates(collection, face))))
        return rows, boxes, images

    def _groups(
        self, rows: Sequence[Row], boxes: Sequence[BoundingBox], images: Sequence[tuple[str, list[str]]]
    ) -> Iterator[_Group]:
        """Faces by image; those without one get their state here."""
        there: dict[str, bool] = {}
        found: dict[Key, list[int]] = {}
        for at, (row, (_, names)) in enumerate(zip(rows, images, strict=True)):
            for name in names:
                if name not in there:
                    there[name] = self.images.has(name)
                if there[name]:
                    row.image = name
                    found.setdefault((row.collection, name, row.external_image_id), []).append(at)
                    break
            else:
                if not self._is_moved(row):
                    row.state, row.reason = NO_IMAGE, f"looked for {', '.join(names) or 'nothing: no name fits it'}"
                self.advance(1)
        for key, members in found.items():
            if all([self._is_moved(rows[at]) for at in members]):  # noqa: C419 -- each of them gets its state
                self.advance(len(members))
                continue
            if len({images[at][0] for at in members}) > 1:
                # Boxes of several pictures would be looked for in one of them, and might even be found.
                for at in members:
                    rows[at].state = AMBIGUOUS
                    rows[at].reason = "faces of several images have this name: a table says which image is whose"
                self.advance(len(members))
                continue
            yield _Group(key, tuple(rows[at] for at in members), tuple(boxes[at] for at in members))

    def _enrolled(self, groups: Sequence[_Group]) -> Iterator[_Group]:
        """Groups as they are done, `jobs` at a time."""
        waiting = iter(groups)
        flying: dict[Future[None], _Group] = {}
        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                while True:
                    while len(flying) < self.jobs and (group := next(waiting, None)) is not None:
                        flying[pool.submit(self._enrol, group)] = group
                    if not flying:
                        return
                    for future in wait(flying, return_when=FIRST_COMPLETED).done:
                        group = flying.pop(future)
                        future.result()
                        yield group
            finally:
                for future in flying:
                    future.cancel()

    def _enrol(self, group: _Group) -> None:
        if self.journal is None:
            for row in group.rows:
                row.state = TO_MOVE
            return
        try:
            data = self.images.read(group.key[1])
            # Two files of the same bytes are one image here: what one of them keeps, the other must not take for a
            # stranger.
            with self._alone(hashlib.sha256(data).digest()):
                found = self._index(group, data)
                self._keep(group.key[0], found.values())
        except (LocalImageError, OSError) as error:
            self._settle(group, UNUSABLE, error.message if isinstance(error, Error) else str(error.strerror))
            return
        except RemoteError as error:
            if error.code not in OF_THE_FILE:
                raise
            self._settle(group, UNUSABLE, error.message)
            return
        if len(found) == len(group.rows):
            self.journal.has_enrolled(group.key, found)

    def _index(self, group: _Group, data: bytes) -> dict[str, str]:
        """Enrols the group's faces of an image; FaceId there -> FaceId here."""
        collection, _, external = group.key
        image = {"Bytes": data}
        detected = [_box(each) for each in self.remote.call("detect_faces", Image=image)["FaceDetails"]]
        places = matched(group.boxes, detected, self.least_overlap)
        if not places:
            self._settle(group, NOT_THERE, f"none of {len(detected)} faces of the image is where it was")
            return {}
        # Both operations have the largest face first: beyond the last that is wanted nothing is enrolled.
        more = {"ExternalImageId": external} if external else {}
        answer = self.remote.call(
            "index_faces",
            CollectionId=collection,
            Image=image,
            MaxFaces=max(places.values()) + 1,
            QualityFilter="NONE",
            **more,
        )
        records = [each["Face"] for each in answer["FaceRecords"]]
        mine = matched(group.boxes, [_box(each) for each in records], self.least_overlap)
        found: dict[str, str] = {}
        for at, row in enumerate(group.rows):
            if at in mine:
                row.state, row.new_face_id = MOVED, records[mine[at]]["FaceId"]
                found[row.face_id] = row.new_face_id
            else:
                row.state, row.reason = NOT_THERE, f"none of {len(detected)} faces of the image is where it was"
        strangers = [each["FaceId"] for at, each in enumerate(records) if at not in mine.values()]
        strangers = [each for each in strangers if not self._is_kept(collection, each)]
        for start in range(0, len(strangers), FACES_AT_ONCE):
            self.remote.call("delete_faces", CollectionId=collection, FaceIds=strangers[start : start + FACES_AT_ONCE])
        return found

    def _is_moved(self, row: Row) -> bool:
        """Whether an earlier run moved a face; then it says so."""
        known = self.journal and self.journal.faces.get((row.collection, row.face_id))
        if not known:
            return False
        row.state, row.new_face_id = MOVED, known
        self._keep(row.collection, [known])
        return True

    def _alone(self, digest: bytes) -> threading.Lock:
        with self._guard:
            return self._images_at_work.setdefault(digest, threading.Lock())

    def _keep(self, collection: str, face_ids: Iterable[str]) -> None:
        with self._guard:
            self._here |= {(collection, each) for each in face_ids}

    def _is_kept(self, collection: str, face_id: str) -> bool:
        """Whether somebody wants a face here, of this run or an earlier one."""
        with self._guard:
            return (collection, face_id) in self._here

    def _settle(self, group: _Group, state: str, reason: str) -> None:
        for row in group.rows:
            if not row.new_face_id:  # of an earlier run
                row.state, row.reason = state, reason

    # -- users

    def _move_users(self, told: Told, rows: Sequence[Row], users: Sequence[str]) -> None:
        assert self.journal is not None
        of_user: dict[str, list[Row]] = {}
        by_face = {row.face_id: row for row in rows}
        for row in rows:
            if row.user_id:
                of_user.setdefault(row.user_id, []).append(row)
        if users and not of_user:  # a listing that names no users: each is asked for
            for user in users:
                for face in self.amazon.faces(told.collection, user):
                    if (known := by_face.get(face["FaceId"])) is not None:
                        known.user_id = user
                        of_user.setdefault(user, []).append(known)
        for user in users:
            mine = of_user.get(user, [])
            if (told.collection, user) not in self.journal.users:
                missing = sum(not row.new_face_id for row in mine)
                why = self._user(told.collection, user, [row.new_face_id for row in mine if row.new_face_id])
                why = why or (f"{missing} of {len(mine)} faces are not here" if missing else "")
                if why:
                    told.users_incomplete[user] = why
                    continue
                self.journal.has_user(told.collection, user)
            told.users_moved += 1

    def _user(self, collection: str, user: str, face_ids: Sequence[str]) -> str:
        """Makes a user and puts its faces under it; why one of them is not, else ""."""
        try:
            self.remote.call(
                "create_user",
                CollectionId=collection,
                UserId=user,
                ClientRequestToken=self._token("create", collection, user),
            )
        except RemoteError as error:
            if error.code != "ConflictException":  # of an earlier run: the collection is this import's own
                raise
        refused: Counter[str] = Counter()
        for start in range(0, len(face_ids), FACES_AT_ONCE):
            portion = list(face_ids[start : start + FACES_AT_ONCE])
            answer = self.remote.call(
                "associate_faces",
                CollectionId=collection,
                UserId=user,
                FaceIds=portion,
                UserMatchThreshold=0,  # they were this user's already
                ClientRequestToken=self._token("associate", collection, user, *portion),
            )
            refused.update(reason for each in answer["UnsuccessfulFaceAssociations"] for reason in each["Reasons"])
        return ", ".join(f"{count} faces {reason}" for reason, count in sorted(refused.items()))

    def _token(self, *said: str) -> str:
        assert self.journal is not None
        return str(uuid.uuid5(_TOKENS, json.dumps([self.journal.id, *said])))


def matched(wanted: Sequence[BoundingBox], found: Sequence[BoundingBox], least: float) -> dict[int, int]:
    """Which of `found` each of `wanted` is, by overlap: the best pair first, each box once; positions."""
    pairs = sorted(
        (-overlap, at, place)
        for at, one in enumerate(wanted)
        for place, other in enumerate(found)
        if (overlap := one.iou(other)) >= least
    )
    chosen: dict[int, int] = {}
    taken: set[int] = set()
    for _, at, place in pairs:
        if at not in chosen and place not in taken:
            chosen[at] = place
            taken.add(place)
    return chosen


def _box(said: Mapping[str, Any]) -> BoundingBox:
    box = said["BoundingBox"]
    return BoundingBox(box["Left"], box["Top"], box["Width"], box["Height"])
