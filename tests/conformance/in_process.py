"""The whole service in this process, without a network: real signatures, wire, pipeline and gallery.

The engine is whatever a test brings; `ScriptedEngine` sees in an image what its bytes say.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import botocore.session
import numpy as np
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from countenance.accounts import Accounts
from countenance.biometrics import (
    AgeRange,
    Attributes,
    BoundingBox,
    DetectedFace,
    EyeDirection,
    Judgement,
    Label,
    Landmark,
    Pose,
    Quality,
)
from countenance.gallery import SqliteGallery
from countenance.ledger import Acts, Ledger, Log, microseconds
from countenance.ledger.journal import Journal
from countenance.ledger.periods import Periods
from countenance.operations import Service
from countenance.operations.behind import Behind
from countenance.operations.governance import Governance
from countenance.operations.pagination import Cursors
from countenance.operations.render import LANDMARK_TYPES
from countenance.operations.standings import Standings
from countenance.operators import Act
from countenance.pipeline import Outcome, Pipeline
from countenance.recognition import Calibration, ImageUnreadable
from countenance.samples import Samples
from countenance.sources import FolderSource, GrantedSource
from countenance.standing import rules
from countenance.standing.documents import Documents
from countenance.standing.places import Places
from countenance.store import Database, Entry, Keyring, SqliteDatabase
from countenance.wire.http import HttpRequest, HttpResponse

URL = "http://127.0.0.1:8080/"
REGION = "eu-west-2"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@cache
def service_model() -> ServiceModel:
    """botocore's own reading; loading it takes a quarter of a second."""
    return botocore.session.get_session().get_service_model("rekognition")


def face_at(left: float, top: float, side: float) -> DetectedFace:
    """A face that every quality filter lets through."""
    kinds = ("eye_left", "eye_right", "nose", "mouth_left", "mouth_right")
    return DetectedFace(
        box=BoundingBox(left, top, side, side),
        detection_confidence=99.5,
        landmarks=tuple(Landmark(kind, left + side / 2, top + side / 2) for kind in kinds),
        pose=Pose(1.0, -2.0, 3.0),
        quality=Quality(60.0, 80.0),
        pixel_box=(round(left * 1000), round(top * 1000), round(side * 1000), round(side * 1000)),
    )


@dataclass(frozen=True, slots=True)
class ScriptedAnalysis:
    width: int
    height: int
    sha256: bytes
    faces: tuple[DetectedFace, ...]


def _now() -> datetime:
    return datetime.now(UTC)


SCRIPTED: dict[str, Any] = {
    "age_range": AgeRange(31, 47),
    "gender": Label("female", 97.5),
    "emotions": (Label("calm", 80.0), Label("happy", 20.0)),
    "smile": Judgement(False, 71.0),
    "eyes_open": Judgement(True, 99.0),
    "mouth_open": Judgement(False, 88.0),
    "eye_direction": EyeDirection(-3.5, 1.25, 90.0),
    "landmarks": tuple(Landmark(kind, 0.5, 0.25) for kind in list(LANDMARK_TYPES)[5:]),
}
"""What `ScriptedEngine` estimates of every face."""


class ScriptedEngine:
    """`b"faces: N"` shows N faces; `b"raise"` raises what `error` holds; anything else cannot be read."""

    model_version = "scripted-1"
    dimension = 8
    calibration = Calibration((-1.0, 1.0), (0.0, 100.0))

    def __init__(self) -> None:
        self.attributes = frozenset(SCRIPTED)
        self.estimated: list[frozenset[str]] = []
        """What it was told to estimate, call by call."""
        self.error: Exception = RuntimeError("an engine with /a/secret/path in its text")

    def analyse(self, image: bytes, *, max_faces: int = 100) -> ScriptedAnalysis:
        if image == b"raise":
            raise self.error
        word, _, count = image.partition(b": ")
        if word != b"faces":
            raise ImageUnreadable("The image is not in an accepted format.")
        faces = [face_at(0.02 * number, 0.02 * number, 0.5 / (number + 1)) for number in range(int(count))]
        return ScriptedAnalysis(1000, 1000, hashlib.sha256(image).digest(), tuple(faces[:max_faces]))

    def estimate(
        self, analysis: ScriptedAnalysis, faces: Sequence[DetectedFace], wanted: Collection[str]
    ) -> list[Attributes]:
        self.estimated.append(frozenset(wanted))
        return [Attributes(**{name: value for name, value in SCRIPTED.items() if name in wanted}) for _ in faces]

    def extract(self, analysis: ScriptedAnalysis, faces: Sequence[DetectedFace]) -> np.ndarray:
        rows = np.zeros((len(faces), self.dimension), np.float32)
        for row, face in zip(rows, faces, strict=True):
            row[face.pixel_box[0] // 20 % self.dimension] = 1.0
        return rows


class InProcess:
    """One service with one account and a client that signs as boto3 does."""

    def __init__(
        self,
        service: Service,
        database: Database,
        now: Callable[[], datetime] = _now,
        beside: InProcess | None = None,
    ) -> None:
        self.service, self.database, self.now = service, database, now
        self.outcomes: list[Outcome] = []
        self.pipeline = Pipeline(service, observe=self.outcomes.append, clock=now)
        at = now()
        self.model = service_model()
        self.request_id = "00000000-0000-4000-8000-000000000000"
        """Of every call; a test that wants to tell them apart sets it in between."""
        self.peer = ""
        """Address that calls come from."""
        if beside is not None:
            self.account, self.credentials = beside.account, beside.credentials
            return
        self.account = service.accounts.create_account("tests", owner=True, request_id="r", at=at)
        issued = service.accounts.create_key(self.account.account_id, purpose="tests", request_id="r", at=at)
        self.credentials = (issued.key.access_key_id, issued.secret)

    def decided(self, kind: str, account: str, details: dict[str, int | str]) -> Act:
        """Something that two operators decide."""
        governance = self.service.governance
        for handle in ("ann", "bea"):
            if handle not in governance.office.state.operators:
                governance.office.create(handle, ["admin"], by="host", reason="tests", request_id=str(uuid.uuid4()))
        made = governance.office.propose(kind, account, details, by="ann", reason="tests", request_id=str(uuid.uuid4()))
        return governance.approve(made.id, by="bea", request_id=str(uuid.uuid4()))

    def clear(self, account: str, *, standing: str = "cleared", sector: str = "retail", end_users: str = "") -> None:
        """Two operators set an account's standing."""
        self.decided(
            "account.standing", account, {"standing": standing, "sector": sector, "end_user_sectors": end_users}
        )

    def arn(self, collection: str) -> str:
        return f"arn:aws:rekognition:{REGION}:{self.account.account_id}:collection/{collection}"

    def send(self, operation: str, body: bytes, more: dict[str, str] | None = None) -> HttpResponse:
        """The answer to a signed body."""
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"RekognitionService.{operation}"}
        request = AWSRequest("POST", URL, data=body, headers={**headers, **(more or {})})
        with patch("botocore.auth.get_current_datetime", return_value=self.now().replace(tzinfo=None)):
            SigV4Auth(Credentials(*self.credentials), "rekognition", REGION).add_auth(request)
        lines = [(name.lower(), value) for name, value in request.headers.items()]
        lines.append(("host", urlsplit(URL).netloc))
        http = HttpRequest("POST", "/", "", tuple(lines), body, self.now(), self.peer)
        return self.pipeline.handle(http, self.request_id)

    def call(self, operation: str, params: dict[str, Any], more: dict[str, str] | None = None) -> HttpResponse:
        """The answer to parameters as botocore serialises them; it validates nothing first."""
        serializer = create_serializer("json", include_validation=False)
        body = serializer.serialize_to_request(params, self.model.operation_model(operation))["body"]
        return self.send(operation, body, more)

    def parsed(self, operation: str, answer: HttpResponse) -> dict[str, Any]:
        """What botocore hands to its user."""
        received = {"status_code": answer.status, "headers": dict(answer.headers), "body": answer.body}
        shape = self.model.operation_model(operation).output_shape
        result: dict[str, Any] = create_parser("json").parse(received, shape)
        return result

    def ok(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        """The parsed answer of a call that has to succeed."""
        answer = self.call(operation, params)
        assert answer.status == 200, answer.body
        return self.parsed(operation, answer)

    def entries(self) -> list[Entry]:
        """The effects in the log, without the entries of the account's own making."""
        log = self.pipeline._service.ledger.log
        return [
            Entry(
                operation=said["operation"],
                account_id=said["account"],
                access_key_id=said["access_key"],
                request_id=said["request_id"],
                at=EPOCH + timedelta(microseconds=said["time"]),
                details=said["details"],
            )
            for _, opening in log.storage.openings(0, log.size)
            if (said := opening.accounting)["kind"] == "effect"
        ]


def code_of(answer: HttpResponse) -> str:
    return "OK" if answer.status == 200 else str(json.loads(answer.body)["__type"])


@contextmanager
def service_in(
    folder: Path,
    engine: Any,
    *,
    samples: bool = False,
    screens: bool = False,
    match: Any = None,
    places: Places | None = None,
    now: Callable[[], datetime] = _now,
    admits: Callable[[str, str], bool] = lambda account, operation: True,
    most: Callable[[str, str], int | None] = lambda account, what: None,
    is_shared: bool = False,
    beside: InProcess | None = None,
) -> Iterator[InProcess]:
    """A service with its store in `folder` whose engine is `engine`; with `samples`, those of matches are kept; with
    `screens`, nobody is cleared without having been screened, by `match` if it is given, and by the program's rules.
    `now` is the time for all of it. With `is_shared`, others may be over the same folder, as in other processes;
    `beside` is one whose account and key are used."""

    def now_us() -> int:
        return microseconds(now())

    keyring = Keyring.open(folder / "master.key", create=True)
    database = SqliteDatabase(folder / "countenance.db", is_shared=is_shared)
    gallery = None
    try:
        log = Log(database, keyring, folder, origin="log.example/test", now_us=now_us)
        ledger = Ledger(log, periods=Periods(log, database, keyring))
        accounts = Accounts(database, keyring, Acts(ledger.log.storage).granted)
        gallery = SqliteGallery(database, keyring)
        (folder / "buckets").mkdir(mode=0o700, exist_ok=True)
        source = GrantedSource(FolderSource(folder / "buckets", max_bytes=15 << 20), accounts.may_read_bucket)
        cursors = Cursors(keyring.derive("pagination"))
        journal = Journal(ledger.log)
        standings = Standings(
            Documents(database),
            journal,
            accounts,
            folder,
            gates=screens,
            match=match,
            rules=rules.built_in() if screens else (),
            calls=ledger.log.storage.entries.answered,
            now_us=now_us,
        )
        assert ledger.periods is not None
        behind = Behind(accounts, standings)
        ledger.periods.asking(behind, behind.refresh)
        service = Service(
            engine=engine,
            gallery=gallery,
            accounts=accounts,
            source=source,
            cursors=cursors,
            ledger=ledger,
            database=database,
            samples=Samples(database, keyring, folder, keeps=samples, max_bytes=1 << 20),
            governance=Governance(database, keyring, journal, accounts, standings=standings, now_us=now_us),
            region=REGION,
            places=places or Places(),
            admits=admits,
            most=most,
        )
        database.begin_following()
        yield InProcess(service, database, now, *([beside] if beside else []))
    finally:
        if gallery is not None:
            gallery.close()
        database.close()
