"""Every domain error has one AWS error that the operation's model declares, or is named here as internal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.in_process import ScriptedEngine, code_of, service_in

import countenance.assembly  # noqa: F401 -- loads every module a call can reach
from countenance.accounts import AccessKeyNotFound, AccountError, AccountNotFound, PartyError
from countenance.errors import Error
from countenance.gallery import (
    CollectionExists,
    CollectionNotFound,
    FacesWithoutCrops,
    GalleryError,
    ModelMismatch,
    NotAsAnArchiveHasIt,
    PartUnavailable,
    ReferenceNotFound,
    ShareError,
    TagLimitExceeded,
    TemplateCorrupt,
    TokenInUse,
    TooManyFaces,
    TooManyUsers,
    UserExists,
    UserNotFound,
)
from countenance.gallery.asking import NotAnswered
from countenance.gallery.inspection import IndexBusy
from countenance.gallery.segment_format import SegmentFileUnusable
from countenance.gallery.shelves import TooOldError
from countenance.ledger.copies import RecoveryFailed
from countenance.ledger.counting import StatementError
from countenance.ledger.entry import NotRecordable
from countenance.ledger.exchange import Unreachable
from countenance.ledger.expiry import FloorNotReached
from countenance.ledger.history import LedgerError, LogBehind
from countenance.ledger.keys import LogKeyError
from countenance.ledger.metering import MeteringError
from countenance.ledger.periods import PeriodError
from countenance.ledger.retention import HoldInForce, NoSuchHold
from countenance.ledger.storage import LogDamaged
from countenance.ledger.timestamp import NotStamped
from countenance.ledger.witness import WitnessStateError
from countenance.ledger.witness_client import WitnessRefused, WitnessUnavailable
from countenance.operations import OPERATIONS
from countenance.operations.administration import AdministrationError
from countenance.operations.archive import ArchiveError
from countenance.operations.faults import (
    FAULTS,
    LimitReached,
    NoFaceInComparison,
    NoFaceInImage,
    NotOneOfTwo,
    ResourceNotFound,
    fault_for,
)
from countenance.operations.lists import StandingError
from countenance.operations.migration import NotMigrated
from countenance.operations.pagination import InvalidCursor
from countenance.operations.persons import NotErased
from countenance.operations.progress import BeingErased
from countenance.operations.proofrequests import TooManyProofs
from countenance.operations.quotas import QuotaError
from countenance.operators import OperatorError, ProposalError, SessionError
from countenance.policy.cases import CasesError
from countenance.policy.engine import Undecided
from countenance.policy.policyset import PolicyError
from countenance.policy.purposes import PurposeError
from countenance.recognition import (
    Busy,
    ImageTooLarge,
    ImageTooSmall,
    ImageUnreadable,
    ModelPackError,
    RecognitionError,
)
from countenance.samples import SampleCorrupt, SampleError, SampleNotFound, SampleNotKept
from countenance.sources import ObjectNotAvailable, ObjectTooLarge, SourceBusy, SourceError, SourceUnavailable
from countenance.standing.documents import DocumentMissing
from countenance.standing.lists import ListError
from countenance.standing.matching import MatcherMissing
from countenance.standing.ownership import OwnershipError
from countenance.standing.places import PlacesError
from countenance.standing.rules import RuleError
from countenance.standing.runner import ScreeningFailed
from countenance.standing.snapshots import SnapshotMissing
from countenance.store import DatabaseBusy, DatabaseError, DecidedMeanwhile, FenceBroken, KeyringError
from countenance.store.failures import AfterCommitError
from countenance.store.ownership import FolderOwned, FolderUnusable
from countenance.wire import faults as wire_faults
from countenance.wire import model

INTERNAL: set[type[Error]] = {
    # Roots of the trees: nothing raises them as such, and a subclass nobody listed is a bug.
    RecognitionError,
    GalleryError,
    SourceError,
    AccountError,
    SampleError,
    # The server's own trouble: the operator reads about it in the log.
    DatabaseError,
    DecidedMeanwhile,
    FenceBroken,
    AfterCommitError,
    IndexBusy,
    SegmentFileUnusable,
    TooOldError,
    KeyringError,
    TemplateCorrupt,
    ModelPackError,
    FacesWithoutCrops,
    NotMigrated,
    SourceUnavailable,
    SampleNotKept,
    PartUnavailable,
    NotAnswered,
    # Raised at start-up, on the host or before an operation: no call gets that far with one.
    FolderOwned,
    FolderUnusable,
    ShareError,
    LedgerError,
    LogBehind,
    LogKeyError,
    RecoveryFailed,
    # What a call names is Unicode and small by the time it is recorded.
    NotRecordable,
    LogDamaged,
    FloorNotReached,
    HoldInForce,
    MeteringError,
    NoSuchHold,
    PeriodError,
    TooManyProofs,
    QuotaError,
    NotErased,
    NotStamped,
    Unreachable,
    SampleCorrupt,
    SampleNotFound,
    StatementError,
    WitnessRefused,
    WitnessStateError,
    WitnessUnavailable,
    AdministrationError,
    ArchiveError,
    NotAsAnArchiveHasIt,
    AccountNotFound,
    AccessKeyNotFound,
    PartyError,
    OperatorError,
    ProposalError,
    SessionError,
    PolicyError,
    PurposeError,
    CasesError,
    Undecided,
    DocumentMissing,
    ListError,
    MatcherMissing,
    OwnershipError,
    PlacesError,
    RuleError,
    ScreeningFailed,
    SnapshotMissing,
    StandingError,
}

FOLDERS = (
    "recognition",
    "gallery",
    "sources",
    "store",
    "operations",
    "accounts",
    "ledger",
    "samples",
    "operators",
    "policy",
    "standing",
)

IMAGES = {"CompareFaces", "DetectFaces", "IndexFaces", "SearchFacesByImage", "SearchUsersByImage"}
OF_USERS = {"AssociateFaces", "CreateUser", "DeleteUser", "DisassociateFaces"}
CHANGES = OF_USERS | {
    "CreateCollection",
    "DeleteCollection",
    "DeleteFaces",
    "IndexFaces",
    "TagResource",
    "UntagResource",
}
TAGS = {"ListTagsForResource", "TagResource", "UntagResource"}
IN_A_COLLECTION = set(OPERATIONS) - {"CompareFaces", "CreateCollection", "DetectFaces", "ListCollections"} - TAGS
PARAMS = {
    "CollectionId": "people",
    "UserId": "ann",
    "ResourceArn": "arn:aws:rekognition:eu-west-2:123456789012:collection/people",
}

RAISED_BY: dict[type[Error], set[str]] = {
    CollectionNotFound: IN_A_COLLECTION,
    CollectionExists: {"CreateCollection"},
    ResourceNotFound: TAGS,
    ReferenceNotFound: {"SearchFaces", "SearchUsers"},
    ModelMismatch: {
        "AssociateFaces",
        "IndexFaces",
        "SearchFaces",
        "SearchFacesByImage",
        "SearchUsers",
        "SearchUsersByImage",
    },
    TagLimitExceeded: {"CreateCollection", "TagResource"},
    UserNotFound: {"AssociateFaces", "DeleteUser", "DisassociateFaces", "ListFaces", "SearchUsers"},
    UserExists: {"CreateUser"},
    LimitReached: {"CreateCollection", "IndexFaces"},
    TooManyFaces: {"AssociateFaces"},
    TooManyUsers: {"CreateUser"},
    TokenInUse: OF_USERS,
    NotOneOfTwo: {"SearchUsers"},
    InvalidCursor: {"ListCollections", "ListFaces", "ListUsers"},
    NoFaceInImage: {"SearchFacesByImage"},
    NoFaceInComparison: {"CompareFaces"},
    ImageTooLarge: IMAGES,
    ImageTooSmall: IMAGES,
    ImageUnreadable: IMAGES,
    Busy: IMAGES,
    ObjectNotAvailable: IMAGES,
    ObjectTooLarge: IMAGES,
    SourceBusy: IMAGES,
    BeingErased: {"AssociateFaces", "CreateUser", "IndexFaces"},
    DatabaseBusy: CHANGES,
}
"""Which built operations can meet which error."""


def subclasses(kind: type[Error]) -> Iterator[type[Error]]:
    for one in kind.__subclasses__():
        yield one
        yield from subclasses(one)


def reachable() -> set[type[Error]]:
    """Every error class of the folders that a call goes through."""
    return {
        kind for kind in subclasses(Error) if kind.__module__.split(".")[1] in FOLDERS and "test" not in kind.__module__
    }


def test_every_error_is_mapped_or_internal_and_none_is_both() -> None:
    assert reachable() == set(FAULTS) | INTERNAL
    assert not set(FAULTS) & INTERNAL


@pytest.mark.parametrize("kind", sorted(INTERNAL, key=lambda kind: kind.__name__))
def test_an_internal_error_is_told_to_nobody(kind: type[Error]) -> None:
    error = kind.__new__(kind)
    Error.__init__(error, "what only the operator may read")
    assert fault_for(error, PARAMS) is None


def test_the_operations_of_every_mapped_error_are_listed() -> None:
    assert set(RAISED_BY) == set(FAULTS)
    assert set.union(*RAISED_BY.values()) == set(OPERATIONS)


@pytest.mark.parametrize(
    ("kind", "operation"),
    [(kind, operation) for kind, operations in RAISED_BY.items() for operation in sorted(operations)],
)
def test_the_code_is_declared_by_every_operation_that_can_raise_it(kind: type[Error], operation: str) -> None:
    error = kind.__new__(kind)
    Error.__init__(error, "shown to the caller", hint="shown to nobody")
    fault = fault_for(error, PARAMS)
    assert fault is not None
    assert wire_faults.require_declared(operation, fault) is fault
    assert fault.message
    assert "shown to nobody" not in fault.message
    assert fault.note is None


def test_a_text_names_only_parameters_that_every_such_call_has() -> None:
    for kind, (_, text) in FAULTS.items():
        for name in re.findall(r"{(\w*)}", text or ""):
            for operation in RAISED_BY[kind]:
                assert name in model.input_shape(operation).required, (kind, operation)


def test_a_parameter_is_quoted_as_it_is() -> None:
    fault = fault_for(CollectionNotFound("text"), {"CollectionId": "{ResourceArn}{0.__class__}%s"})
    assert fault is not None
    assert fault.message == "The collection id: {ResourceArn}{0.__class__}%s does not exist"


def test_a_subclass_is_answered_as_what_it_is_a_kind_of() -> None:
    class MissingForNow(CollectionNotFound):
        """A refinement that the table does not know."""

    fault = fault_for(MissingForNow("text"), PARAMS)
    assert fault is not None
    assert fault.code == "ResourceNotFoundException"


PATHS = re.compile(r"(^|[\s'\"(=:])(/|\./|~/|[A-Z]:\\)[\w.]+|\.py\b|\.db\b|\.key\b|buckets")


def test_the_fixed_texts_name_no_file() -> None:
    for _, text in FAULTS.values():
        assert text is None or not PATHS.search(text)


def test_what_a_caller_is_told_names_no_file(tmp_path: Path) -> None:
    """Every error whose own text is shown, provoked for real; and the ones that have to do with files."""
    engine = ScriptedEngine()
    faces, nothing = {"Bytes": b"faces: 1"}, {"Bytes": b"faces: 0"}
    face_id = "11111111-2222-5333-8444-555555555555"
    with service_in(tmp_path, engine) as house:
        house.ok("CreateCollection", {"CollectionId": "c"})
        house.ok("IndexFaces", {"CollectionId": "c", "Image": faces})
        told = {}
        for operation, params, code in (
            ("DescribeCollection", {"CollectionId": "none"}, "ResourceNotFoundException"),
            ("CreateCollection", {"CollectionId": "c"}, "ResourceAlreadyExistsException"),
            ("SearchFaces", {"CollectionId": "c", "FaceId": face_id}, "InvalidParameterException"),
            ("TagResource", {"ResourceArn": house.arn("c"), "Tags": {f"k{n}": "" for n in range(200)}}, "OK"),
            ("TagResource", {"ResourceArn": house.arn("c"), "Tags": {"more": ""}}, "ServiceQuotaExceededException"),
            ("UntagResource", {"ResourceArn": house.arn("none"), "TagKeys": ["x"]}, "ResourceNotFoundException"),
            ("ListFaces", {"CollectionId": "c", "UserId": "u"}, "ResourceNotFoundException"),
            ("ListCollections", {"NextToken": "x"}, "InvalidPaginationTokenException"),
            ("SearchFacesByImage", {"CollectionId": "c", "Image": nothing}, "InvalidParameterException"),
            ("CompareFaces", {"SourceImage": faces, "TargetImage": nothing}, "InvalidParameterException"),
            ("DetectFaces", {"Image": {"Bytes": b"x"}}, "InvalidImageFormatException"),
            ("DetectFaces", {"Image": {"S3Object": {"Bucket": "none", "Name": "x"}}}, "InvalidS3ObjectException"),
            ("DetectFaces", {"Image": {"S3Object": {"Bucket": "none", "Name": "../x"}}}, "InvalidS3ObjectException"),
        ):
            answer = house.call(operation, params)
            assert code_of(answer) == code, (operation, answer.body)
            if code != "OK":
                told[operation, code] = json.loads(answer.body)["message"]
        engine.model_version = "scripted-2"
        answer = house.call("IndexFaces", {"CollectionId": "c", "Image": {"Bytes": b"faces: 2"}})
        assert code_of(answer) == "InvalidParameterException"
        told["IndexFaces", "ModelMismatch"] = json.loads(answer.body)["message"]
    for which, text in told.items():
        assert not PATHS.search(text), (which, text)
        assert str(tmp_path) not in text
