"""The life of a call, as one ordered list of steps. Read this first.

`STEPS` is a literal: no plugins, no registration. Every door leads through here: the AWS endpoint through
`Pipeline.handle`, the admin socket and the command line through `Pipeline.administer`.

No answer and no effect without a leaf: an effect commits together with its entry, and `Pipeline.handle` records every
call of a known key, with the hash of the answer, before it gives the answer away. If the ledger cannot be written, the
caller gets InternalServerError and no result.

A step reads and fills in the `Call`; it ends the call by raising a `Fault` (what the client is told) or a
domain error (which `operations.faults` turns into one). Anything else is a bug: it is logged with its
request id and answered as InternalServerError without a word of its own.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from countenance.accounts import AccessKeyNotFound, Accounts
from countenance.errors import Error
from countenance.gallery import Gallery
from countenance.ledger import Ledger, Opaque, accounting, microseconds, person
from countenance.ledger.showing import Shown, shown
from countenance.operations import OPERATIONS, Caller, Invocation, Service, entrusted
from countenance.operations.administration import INSTRUCTIONS
from countenance.operations.compatibility import PAGE
from countenance.operations.context import Trace
from countenance.operations.faults import fault_for
from countenance.operations.governance import Asking, Governance
from countenance.operations.instruction import AdministrationError, Instruction
from countenance.operations.samples import KEPT
from countenance.operators.state import HOST
from countenance.policy import Decision, Request
from countenance.policy.message import told
from countenance.policy.request import to_json
from countenance.recognition import Engine
from countenance.samples import Kept, Samples
from countenance.store import Database
from countenance.wire import constraints, faults, request, response, sigv4
from countenance.wire.faults import Fault
from countenance.wire.http import HttpRequest, HttpResponse

ALL_FACES_HEADER = "x-countenance-all-faces"
"""Extension: `true` makes SearchFacesByImage search every face of the image."""

RECEIPT_HEADER = "x-countenance-receipt"
"""The signed promise that this call is in the log; docs/reference/leaf.md has its format."""
REVIEW_HEADER = "x-countenance-review"
"""How many people have to look at the matches, each for themselves, before anything is done about them."""
GET_RECEIPT = "GetReceipt"
"""What `GET /receipts/ID` is called in the ledger; no operation of Amazon's."""
THROTTLED = "ThrottlingException"
"""Folded into one entry a second, or a caller could grow the log by being refused."""

TOO_FAST: Final = "Slow down; sudden increase in rate of requests."
"""Amazon's text; SDKs wait and try again."""
INTERNAL_SERVER_ERROR = Fault("InternalServerError", "Internal server error", 500)
"""What a bug looks like from outside: Amazon's text and nothing of ours."""

DENIED: Final = "AccessDeniedException"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Call:
    """One request on its way through the steps."""

    http: HttpRequest
    request_id: str
    at: datetime
    operation: str = ""
    caller: Caller | None = None
    body_sha256: str = ""
    """Of the request's body, in hexadecimal, once the signature over it was verified."""
    params: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    trace: Trace = field(default_factory=Trace)
    decided: tuple[Decision, Request] | None = None
    """What the policies said, and what they were asked."""
    reviewers: int = 0
    """How many people the policies want to look at the matches."""
    kept: Kept | None = None
    """The image of a match, sealed and on the disk; it is kept for good in the transaction of the call's entry."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended, for metrics and the request log; holds nothing of what was in it."""

    request_id: str
    operation: str
    """A name of the service model, or empty when the call did not get that far."""
    account_id: str
    code: str
    """"OK" or the code of the fault."""
    status: int
    seconds: float


def authenticate(service: Service, call: Call) -> None:
    """Signature -> access key -> account and the purpose that the key was issued for."""
    parsed = sigv4.parse(call.http)
    try:
        credentials = service.accounts.credentials(parsed.access_key_id)
    except AccessKeyNotFound:
        raise sigv4.unrecognized_client() from None
    call.body_sha256 = sigv4.verify(call.http, parsed, credentials.secret, call.at)
    key = credentials.key
    call.caller = Caller(
        key.account_id,
        key.access_key_id,
        key.purpose,
        key.holder,
        credentials.party,
        credentials.jurisdiction,
        credentials.is_owner,
        credentials.declaration,
    )


def locate(service: Service, call: Call) -> None:
    """The country that the call came from: in its entry, and once on record when it does not fit the account."""
    caller, country = call.caller, service.places.country_of(call.http.peer) if call.http.peer else ""
    assert caller is not None  # authenticate ran: STEPS is a literal
    if country:
        call.trace.details["country"] = country
        service.governance.standings.called_from(caller.account_id, caller.declaration, country)


def name_operation(service: Service, call: Call) -> None:
    """Target header -> one of the operations of the service model."""
    call.operation = request.operation_of(call.http)


def admit(service: Service, call: Call) -> None:
    """Whether the account is within its quota; what is refused for it is not decoded."""
    assert call.caller is not None  # authenticate ran: STEPS is a literal
    if not service.admits(call.caller.account_id, call.operation):
        raise Fault(THROTTLED, TOO_FAST)


def decode(service: Service, call: Call) -> None:
    """Body -> parameters, by the operation's input shape."""
    call.params = request.decode(call.operation, call.http.body)


def constrain(service: Service, call: Call) -> None:
    """Every constraint of the service model, and the rules that no model states."""
    constraints.check(call.operation, call.params)


def permit(service: Service, call: Call) -> None:
    """Whether the policies in force allow the call, by who asks, what for and what with."""
    caller, moment = call.caller, service.governance.moment(microseconds(call.at))
    assert caller is not None  # authenticate ran: STEPS is a literal
    if call.operation not in OPERATIONS:
        return  # refused by name below, whoever asks
    who = Asking(
        caller.account_id, caller.purpose, caller.jurisdiction, is_owner=caller.is_owner, declaration=caller.declaration
    )
    headers = {ALL_FACES_HEADER: _header(call.http, ALL_FACES_HEADER)}
    request, awaited = service.governance.asked(service.gallery, who, call.operation, call.params, moment, headers)
    decision, engine = service.governance.decide(request, moment)
    call.decided = decision, request
    if decision.allowed:
        call.reviewers = engine.reviewers(decision)
        return
    if decision.reason:
        call.trace.details["undecided"] = 1  # why is in the server's log: entries are told to their callers
    approval = ""
    if awaited is not None and engine.can_be_approved(decision):
        approval = service.governance.await_approval(awaited)
    raise Fault(DENIED, told(decision, engine, reference=call.request_id, approval=approval))


def operate(service: Service, call: Call) -> None:
    """Runs the operation, or refuses by name one that this server does not have."""
    operation = OPERATIONS.get(call.operation)
    if operation is None:
        raise Fault(
            "UnknownOperationException",
            f"{call.operation} is not supported by this server; {PAGE} lists what is.",
        )
    assert call.caller is not None  # authenticate ran: STEPS is a literal
    call.result = operation(
        Invocation(
            service=service,
            caller=call.caller,
            operation=call.operation,
            request_id=call.request_id,
            at=call.at,
            search_all_faces=_header(call.http, ALL_FACES_HEADER) == "true",
            trace=call.trace,
        ),
        call.params,
    )


def mark_for_review(service: Service, call: Call) -> None:
    """What people have to look at before anything is done about it says so, in its entry and in the answer."""
    if call.reviewers and call.trace.details.get("matches"):
        call.trace.details["review"] = call.reviewers
    else:
        call.reviewers = 0  # nothing was found that anybody could act on


def keep_sample(service: Service, call: Call) -> None:
    """The image of a search that matched goes to the disk, sealed, if the settings say so: no answer without it."""
    image = call.trace.matched_image
    if service.samples.keeps and image is not None:
        assert call.caller is not None  # authenticate ran: STEPS is a literal
        account, digest = call.caller.account_id, call.trace.images[-1]
        call.kept = service.samples.keep(account, call.request_id, digest, image, at_us=microseconds(call.at))


STEPS: tuple[Callable[[Service, Call], None], ...] = (
    authenticate,
    locate,
    name_operation,
    admit,
    decode,
    constrain,
    permit,
    operate,
    mark_for_review,
    keep_sample,
)


class Pipeline:
    """Runs calls through the steps; safe to use from many threads.

    Args:
        service: the assembled server.
        observe: told how each call ended.
        clock: the time, aware UTC.
    """

    def __init__(
        self,
        service: Service,
        *,
        observe: Callable[[Outcome], None] = lambda outcome: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._service = service
        self._observe = observe
        self._clock = clock

    def handle(self, http: HttpRequest, request_id: str) -> HttpResponse:
        """Answers one signed request; never raises."""
        with self._service.governance.progress.call():
            return self._handled(http, request_id)

    def _handled(self, http: HttpRequest, request_id: str) -> HttpResponse:
        started = time.perf_counter()
        call = Call(http=http, request_id=request_id, at=self._clock())
        code = "OK"
        try:
            self._service.database.follow()
            for step in STEPS:
                step(self._service, call)
            answer = response.encode(call.operation, call.result, request_id)
        except Exception as error:  # noqa: BLE001 -- the last line of defence: a bug must not reach the client
            fault = self._declared(self._fault(error, call), call)
            code = fault.code
            answer = faults.fault_response(fault, request_id)
            self._drop_sample(call)
        return self._finished(call, code, answer, started)

    def receipt(self, http: HttpRequest, wanted: str, request_id: str) -> HttpResponse:
        """Answers `GET /receipts/ID`: what opens the leaves of one of the caller's own calls, and the proof that the
        call's leaf is in the latest checkpoint. Signed and recorded like any call; never raises."""
        started = time.perf_counter()
        call = Call(http=http, request_id=request_id, at=self._clock())
        code = "OK"
        try:
            self._service.database.follow()
            authenticate(self._service, call)
            answer = self._kept_receipt(call, wanted)
        except Exception as error:  # noqa: BLE001 -- as in `handle`
            fault = self._fault(error, call)
            code = fault.code
            answer = faults.fault_response(fault, request_id)
        call.operation = GET_RECEIPT
        return self._finished(call, code, answer, started)

    def _kept_receipt(self, call: Call, wanted: str) -> HttpResponse:
        assert call.caller is not None  # authenticated
        found = shown(self._service.ledger.log, wanted, call.caller.account_id)
        note, leaves = found if found is not None else (b"", [])
        of_call = [each for each in leaves if each.opening.accounting["kind"] == "call"]
        if not of_call:
            raise Fault("ResourceNotFoundException", "There is no receipt of this account with that id.")
        effects = [_told(each) for each in leaves if each is not of_call[-1]]
        reviews = [
            {"judgement": each.judgement, "at": each.at_us, "act": each.act}
            for each in self._service.governance.verifications(wanted)
        ]
        body = {**_told(of_call[-1]), "checkpoint": note.decode(), "effects": effects, "reviews": reviews}
        headers = (("content-type", "application/json"), ("x-amzn-requestid", call.request_id))
        return HttpResponse(200, headers, json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode())

    def _finished(self, call: Call, code: str, answer: HttpResponse, started: float) -> HttpResponse:
        """Records the call, tells the observer and gives the answer out."""
        try:
            answer = self._recorded(call, code, answer)
        except Exception as error:  # noqa: BLE001 -- no answer without a leaf: what was computed is not told
            _log.exception("request %s: not recorded, so not answered", call.request_id)
            self._drop_sample(call, error)
            code = INTERNAL_SERVER_ERROR.code
            answer = faults.fault_response(INTERNAL_SERVER_ERROR, call.request_id)
        self._observe(
            Outcome(
                request_id=call.request_id,
                operation=call.operation,
                account_id=call.caller.account_id if call.caller else "",
                code=code,
                status=answer.status,
                seconds=time.perf_counter() - started,
            )
        )
        return answer

    def administer(self, verb: str, params: dict[str, Any]) -> dict[str, Any]:
        """Carries out one administrative verb. Raises Error."""
        service = self._service
        return administer(
            service.accounts,
            service.ledger,
            service.database,
            service.samples,
            service.governance,
            verb,
            params,
            self._clock(),
            service.gallery,
            service.engine,
            service.engine.model_version,
        )

    def _recorded(self, call: Call, code: str, answer: HttpResponse) -> HttpResponse:
        """The answer with its receipt, once the call is in the log. Raises when it is not."""
        ledger, caller = self._service.ledger, call.caller
        if caller is None:
            ledger.count_unauthenticated(code)
            return answer
        if code == THROTTLED:
            ledger.fold_throttled(
                account=caller.account_id,
                access_key=caller.access_key_id,
                holder=caller.holder,
                party=caller.party,
                purpose=caller.purpose,
                operation=call.operation,
                at=call.at,
            )
            return answer
        trace = call.trace
        entry = Opaque(
            accounting(
                kind="call",
                time=microseconds(call.at),
                account=caller.account_id,
                access_key=caller.access_key_id,
                holder=caller.holder,
                party=caller.party,
                purpose=caller.purpose,
                operation=call.operation,
                request_id=call.request_id,
                code=code,
                status=answer.status,
                request=call.body_sha256,
                response=hashlib.sha256(answer.body).hexdigest(),
                reference_database=trace.reference_database,
                decision=_decision(call.decided),
                details=trace.details | ({"sample": KEPT} if call.kept is not None else {}),
            ),
            person(images=trace.images, face_ids=trace.face_ids, external_image_ids=trace.external_image_ids),
        )
        also = None if call.kept is None else partial(self._service.samples.insert, kept=call.kept)
        receipt = ledger.record(entry, also).receipt
        review = ((REVIEW_HEADER, str(call.reviewers)),) if "review" in trace.details else ()
        return replace(answer, headers=(*answer.headers, *review, (RECEIPT_HEADER, receipt)))

    def _drop_sample(self, call: Call, failure: BaseException | None = None) -> None:
        """Takes back a sample whose call is not answered, unless the failure left open whether it was recorded."""
        kept, call.kept = call.kept, None
        if kept is not None:
            self._service.samples.settle(kept, failure)

    def _fault(self, error: Exception, call: Call) -> Fault:
        if isinstance(error, Fault):
            if error.note:
                _log.warning("request %s: %s: %s", call.request_id, error.code, error.note)
            return error
        if isinstance(error, Error) and (fault := fault_for(error, call.params)) is not None:
            # What the client may not be told: which of several reasons it was.
            _log.warning(
                "request %s: %s: %s%s",
                call.request_id,
                fault.code,
                error.message,
                f" ({error.hint})" if error.hint else "",
            )
            return fault
        hint = getattr(error, "hint", None)
        _log.error(
            "request %s: %s failed%s",
            call.request_id,
            call.operation or "a call",
            f" (hint: {hint})" if hint else "",
            exc_info=error,
        )
        return INTERNAL_SERVER_ERROR

    def _declared(self, fault: Fault, call: Call) -> Fault:
        """The fault, unless the operation's model does not allow it: then that is the bug to report."""
        try:
            return faults.require_declared(call.operation or None, fault)
        except faults.WireBug:
            _log.exception("request %s: an undeclared fault", call.request_id)
            return INTERNAL_SERVER_ERROR


def administer(
    accounts: Accounts,
    ledger: Ledger,
    database: Database,
    samples: Samples,
    governance: Governance,
    verb: str,
    params: dict[str, Any],
    at: datetime,
    gallery: Gallery | None = None,
    engine: Engine | None = None,
    model_version: str = "",
) -> dict[str, Any]:
    """Carries out one administrative verb for the operator whose session comes with it, or the host. Raises Error."""
    instruction = INSTRUCTIONS.get(verb)
    if instruction is None:
        raise AdministrationError(f"There is no administrative verb {verb[:40]!r}.")
    request_id = str(uuid.uuid4())
    params = dict(params)
    token = params.pop("session_token", None)

    def carry_out() -> dict[str, Any]:
        by = HOST
        # While acts of operators are missing nobody is logged in, and everybody may look at what is missing.
        if token is not None and (governance.office.state.is_whole or verb not in entrusted.READS):
            operator = governance.office.who(str(token))
            entrusted.refuse(verb, operator)
            by = operator.handle
        on = Instruction(
            accounts=accounts,
            ledger=ledger,
            database=database,
            samples=samples,
            governance=governance,
            request_id=request_id,
            at=at,
            gallery=gallery,
            engine=engine,
            model_version=model_version,
            by=by,
        )
        return instruction(on, dict(params))

    database.follow()
    return database.again(carry_out)


def _decision(decided: tuple[Decision, Request] | None) -> dict[str, Any] | None:
    """As an entry has it: with all that the policies were told, so that they can be asked again."""
    if decided is None:
        return None
    decision, request = decided
    said = to_json(request)
    return {
        "allowed": decision.allowed,
        "policies": list(decision.policies),
        "policy_set": decision.policy_set,
        "request": {"action": said.pop("action"), "call": said.pop("call")},
        "entities": said,
    }


def _told(leaf: Shown) -> dict[str, Any]:
    proof = None if leaf.proof is None else [each.hex() for each in leaf.proof]
    return {"index": leaf.index, "opening": leaf.opening.to_json(), "proof": proof}


def _header(http: HttpRequest, name: str) -> str:
    return next((value.strip().lower() for key, value in http.headers if key == name), "")
