"""The life of a call, as one ordered list of steps. Read this first.

`STEPS` is a literal: no plugins, no registration. Every door leads through here: the AWS endpoint through
`Pipeline.handle`, the admin socket and the command line through `Pipeline.administer`.

A step reads and fills in the `Call`; it ends the call by raising a `Fault` (what the client is told) or a
domain error (which `operations.faults` turns into one). Anything else is a bug: it is logged with its
request id and answered as InternalServerError without a word of its own.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from countenance.accounts import AccessKeyNotFound, Accounts
from countenance.errors import Error
from countenance.operations import OPERATIONS, Caller, Invocation, Service
from countenance.operations.administration import INSTRUCTIONS, AdministrationError, Instruction
from countenance.operations.compatibility import PAGE
from countenance.operations.faults import fault_for
from countenance.wire import constraints, faults, request, response, sigv4
from countenance.wire.faults import Fault
from countenance.wire.http import HttpRequest, HttpResponse

ALL_FACES_HEADER = "x-countenance-all-faces"
"""Extension: `true` makes SearchFacesByImage search every face of the image."""

INTERNAL_SERVER_ERROR = Fault("InternalServerError", "Internal server error", 500)
"""What a bug looks like from outside: Amazon's text and nothing of ours."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Call:
    """One request on its way through the steps."""

    http: HttpRequest
    request_id: str
    at: datetime
    operation: str = ""
    caller: Caller | None = None
    params: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)


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
    sigv4.verify(call.http, parsed, credentials.secret, call.at)
    key = credentials.key
    call.caller = Caller(key.account_id, key.access_key_id, key.purpose)


def name_operation(service: Service, call: Call) -> None:
    """Target header -> one of the operations of the service model."""
    call.operation = request.operation_of(call.http)


def decode(service: Service, call: Call) -> None:
    """Body -> parameters, by the operation's input shape."""
    call.params = request.decode(call.operation, call.http.body)


def constrain(service: Service, call: Call) -> None:
    """Every constraint of the service model, and the rules that no model states."""
    constraints.check(call.operation, call.params)


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
        ),
        call.params,
    )


STEPS: tuple[Callable[[Service, Call], None], ...] = (
    authenticate,
    name_operation,
    decode,
    constrain,
    operate,
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
        started = time.perf_counter()
        call = Call(http=http, request_id=request_id, at=self._clock())
        code = "OK"
        try:
            for step in STEPS:
                step(self._service, call)
            answer = response.encode(call.operation, call.result, request_id)
        except Exception as error:  # noqa: BLE001 -- the last line of defence: a bug must not reach the client
            fault = self._declared(self._fault(error, call), call)
            code = fault.code
            answer = faults.fault_response(fault, request_id)
        self._observe(
            Outcome(
                request_id=request_id,
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
        return administer(self._service.accounts, verb, params, self._clock())

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


def administer(accounts: Accounts, verb: str, params: dict[str, Any], at: datetime) -> dict[str, Any]:
    """Carries out one administrative verb on the host. Raises Error."""
    instruction = INSTRUCTIONS.get(verb)
    if instruction is None:
        raise AdministrationError(f"There is no administrative verb {verb[:40]!r}.")
    return instruction(Instruction(accounts=accounts, request_id=str(uuid.uuid4()), at=at), params)


def _header(http: HttpRequest, name: str) -> str:
    return next((value.strip().lower() for key, value in http.headers if key == name), "")
