"""Signatures: what botocore signs is accepted, and every other request is refused with AWS's own code."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countenance.wire import sigv4
from countenance.wire.faults import Fault, require_declared
from countenance.wire.http import HttpRequest

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
    "Access Key and signing method. Consult the service documentation for details."
)

Signer = Callable[..., HttpRequest]


def accept(request: HttpRequest, *, secret: str = SECRET, later: timedelta = timedelta()) -> sigv4.ParsedSignature:
    parsed = sigv4.parse(request)
    sigv4.verify(request, parsed, secret, datetime.now(UTC) + later)
    return parsed


def refuse(request: HttpRequest, *, secret: str = SECRET, later: timedelta = timedelta()) -> Fault:
    with pytest.raises(Fault) as caught:
        accept(request, secret=secret, later=later)
    return require_declared(None, caught.value)


def with_header(request: HttpRequest, name: str, value: str | None) -> HttpRequest:
    kept = tuple((key, old) for key, old in request.headers if key != name)
    return replace(request, headers=kept if value is None else (*kept, (name, value)))


def with_authorization(request: HttpRequest, change: Callable[[str], str]) -> HttpRequest:
    value = request.header("authorization")
    assert value is not None
    return with_header(request, "authorization", change(value))


def test_header_signature_names_who_signed_what(signed: Signer) -> None:
    parsed = accept(signed(region="eu-west-2"))
    assert parsed.access_key_id == "AKIDEXAMPLE"
    assert (parsed.region, parsed.service, parsed.presigned) == ("eu-west-2", "rekognition", False)
    assert {"host", "x-amz-date", "x-amz-target", "content-type"} <= set(parsed.signed_headers)
    assert parsed.date == parsed.signed_at.strftime("%Y%m%d")


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-2", "cn-north-1", "anything-7"])
def test_any_region_is_accepted(signed: Signer, region: str) -> None:
    assert accept(signed(region=region)).region == region


def test_presigned_signature(signed: Signer) -> None:
    request = signed(expires=60)
    assert request.header("authorization") is None
    parsed = accept(request)
    assert (parsed.presigned, parsed.expires_s) == (True, 60)


def test_presigned_post_covers_the_body(signed: Signer) -> None:
    fault = refuse(replace(signed(expires=60), body=b'{"CollectionId":"others"}'))
    assert (fault.code, fault.message) == ("InvalidSignatureException", MISMATCH)


@pytest.mark.parametrize("body", [b"", b"{}", bytes(range(256)) * 500])
def test_any_body_can_be_signed(signed: Signer, body: bytes) -> None:
    accept(signed(body))


@pytest.mark.parametrize("expires", [None, 60])
def test_wrong_secret(signed: Signer, expires: int | None) -> None:
    fault = refuse(signed(expires=expires), secret=SECRET[:-1] + "Z")
    assert (fault.code, fault.status, fault.message) == ("InvalidSignatureException", 400, MISMATCH)


def test_tampered_body(signed: Signer) -> None:
    fault = refuse(replace(signed(), body=b'{"CollectionId":"others"}'))
    assert (fault.code, fault.message) == ("InvalidSignatureException", MISMATCH)


@pytest.mark.parametrize("name", ["x-amz-target", "content-type", "host"])
def test_tampered_header(signed: Signer, name: str) -> None:
    assert refuse(with_header(signed(), name, "RekognitionService.DeleteFaces")).message == MISMATCH


@pytest.mark.parametrize("change", [{"method": "PUT"}, {"path": "/other"}, {"query": "a=b"}])
def test_tampered_request_line(signed: Signer, change: dict[str, str]) -> None:
    assert refuse(replace(signed(), **change)).message == MISMATCH


def test_a_changed_host_is_told_to_the_log_and_not_to_the_client(signed: Signer) -> None:
    fault = refuse(with_header(signed(), "host", "faces.example.org"))
    assert fault.message == MISMATCH
    assert fault.note is not None
    assert "faces.example.org" in fault.note
    assert "proxy" in fault.note
    assert SECRET not in fault.note


def test_a_signed_header_that_got_lost_is_told_to_the_log(signed: Signer) -> None:
    fault = refuse(with_header(signed(headers={"X-Extra": "1"}), "x-extra", None))
    assert fault.message == MISMATCH
    assert fault.note is not None
    assert "absent: 'x-extra'" in fault.note


def test_missing_signature(signed: Signer) -> None:
    fault = refuse(with_header(signed(), "authorization", None))
    assert (fault.code, fault.status) == ("MissingAuthenticationTokenException", 400)
    assert fault.message == "Missing Authentication Token"


def test_both_forms_at_once(signed: Signer) -> None:
    request = replace(signed(), query=signed(expires=60).query)
    fault = refuse(request)
    assert fault.code == "InvalidSignatureException"
    assert fault.message == ("Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.")


def test_two_authorization_headers(signed: Signer) -> None:
    request = signed()
    twice = replace(request, headers=(*request.headers, ("authorization", "AWS4-HMAC-SHA256 Credential=x")))
    assert refuse(twice).code == "IncompleteSignatureException"


def test_every_missing_part_of_the_header_is_listed(signed: Signer) -> None:
    request = with_header(with_header(signed(), "authorization", "AWS4-HMAC-SHA256 "), "x-amz-date", None)
    fault = refuse(request)
    digest = "(Hashed with SHA-256 and encoded with Base64) Authorization="
    assert fault.code == "IncompleteSignatureException"
    assert fault.message.startswith(
        "Authorization header requires 'Credential' parameter. "
        "Authorization header requires 'Signature' parameter. "
        "Authorization header requires 'SignedHeaders' parameter. "
        "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. " + digest
    )


def test_the_authorization_header_is_not_quoted_back(signed: Signer) -> None:
    request = with_authorization(signed(), lambda value: value.replace("Signature=", "Sig="))
    parsed = request.header("authorization")
    assert parsed is not None
    assert parsed.rpartition("=")[2] not in refuse(request).message


@pytest.mark.parametrize("name", ["Credential", "Signature", "SignedHeaders"])
def test_missing_part_of_the_header(signed: Signer, name: str) -> None:
    fault = refuse(with_authorization(signed(), lambda value: value.replace(f"{name}=", "Other=")))
    assert fault.code == "IncompleteSignatureException"
    assert fault.message.startswith(f"Authorization header requires '{name}' parameter. ")


def test_a_part_without_an_equal_sign(signed: Signer) -> None:
    fault = refuse(with_authorization(signed(), lambda value: value.replace("Credential=", "Credential")))
    assert fault.code == "IncompleteSignatureException"
    assert "not a valid key=value pair (missing equal-sign) in Authorization header" in fault.message


def test_a_part_given_twice(signed: Signer) -> None:
    fault = refuse(with_authorization(signed(), lambda value: value + ", Signature=00"))
    assert fault.code == "IncompleteSignatureException"


@pytest.mark.parametrize("separator", [",", " ", ", ", " ,  "])
def test_parts_may_be_separated_by_commas_or_spaces(signed: Signer, separator: str) -> None:
    accept(with_authorization(signed(), lambda value: value.replace(", ", separator)))


@pytest.mark.parametrize("name", ["Algorithm", "Credential", "Signature", "SignedHeaders", "Date"])
def test_missing_query_parameter(signed: Signer, name: str) -> None:
    request = signed(expires=60)
    kept = "&".join(part for part in request.query.split("&") if not part.startswith(f"X-Amz-{name}="))
    fault = refuse(replace(request, query=kept))
    if name == "Algorithm":
        assert fault.code == "MissingAuthenticationTokenException"
    else:
        assert fault.code == "IncompleteSignatureException"
        assert fault.message == (
            f"AWS query-string parameters must include 'X-Amz-{name}'. Re-examine the query-string parameters."
        )


def test_repeated_query_parameter(signed: Signer) -> None:
    request = signed(expires=60)
    fault = refuse(replace(request, query=request.query + "&X-Amz-Expires=604800"))
    assert fault.code == "IncompleteSignatureException"


@pytest.mark.parametrize(
    ("offset", "accepted"),
    [(-299, True), (-302, False), (299, True), (302, False), (86_400, False), (-86_400, False)],
)
def test_clock_skew_is_five_minutes(signed: Signer, offset: int, accepted: bool) -> None:
    request = signed()
    if accepted:
        accept(request, later=timedelta(seconds=offset))
    else:
        assert refuse(request, later=timedelta(seconds=offset)).code == "InvalidSignatureException"


def test_expired_and_future_texts(signed: Signer) -> None:
    request = signed()
    parsed = sigv4.parse(request)
    at = parsed.signed_at.strftime("%Y%m%dT%H%M%SZ")
    now = parsed.signed_at + timedelta(minutes=10)
    with pytest.raises(Fault) as late:
        sigv4.verify(request, parsed, SECRET, now)
    limit = (now - timedelta(minutes=5)).strftime("%Y%m%dT%H%M%SZ")
    assert late.value.message == (
        f"Signature expired: {at} is now earlier than {limit} ({now.strftime('%Y%m%dT%H%M%SZ')} - 5 min.)"
    )
    now = parsed.signed_at - timedelta(minutes=10)
    with pytest.raises(Fault) as early:
        sigv4.verify(request, parsed, SECRET, now)
    limit = (now + timedelta(minutes=5)).strftime("%Y%m%dT%H%M%SZ")
    assert early.value.message == (
        f"Signature not yet current: {at} is still later than {limit} ({now.strftime('%Y%m%dT%H%M%SZ')} + 5 min.)"
    )


def test_presigned_life(signed: Signer) -> None:
    request = signed(expires=3600)
    accept(request, later=timedelta(seconds=3590))
    fault = refuse(request, later=timedelta(seconds=3610))
    assert fault.code == "InvalidSignatureException"
    assert fault.message.startswith("Signature expired: ")
    assert fault.message.endswith("- 60 min.)")
    short = signed(expires=45)
    assert refuse(short, later=timedelta(seconds=60)).message.endswith("- 45 sec.)")
    assert refuse(short, later=timedelta(seconds=-400)).message.startswith("Signature not yet current: ")


@pytest.mark.parametrize("expires", ["0", "604801", "-1", "1e3", "", "٣", "999999999999"])
def test_presigned_life_is_at_most_a_week(signed: Signer, expires: str) -> None:
    request = signed(expires=604_800)
    accept(request, later=timedelta(days=6, hours=23))
    query = request.query.replace("X-Amz-Expires=604800", f"X-Amz-Expires={expires}")
    assert refuse(replace(request, query=query)).code == "IncompleteSignatureException"


def test_a_longer_life_than_was_signed_is_a_mismatch(signed: Signer) -> None:
    request = signed(expires=60)
    query = request.query.replace("X-Amz-Expires=60", "X-Amz-Expires=600")
    assert refuse(replace(request, query=query)).message == MISMATCH


@pytest.mark.parametrize(
    "date", ["201", "2015-08-30T12:36:00Z", "20150830T1236000Z", "20151330T123600Z", "2015083 T12360 Z", "é"]
)
def test_malformed_date(signed: Signer, date: str) -> None:
    fault = refuse(with_header(signed(), "x-amz-date", date))
    assert fault.code == "IncompleteSignatureException"
    assert fault.message == (
        f"Date must be in ISO-8601 'basic format'. Got '{date}'. See http://en.wikipedia.org/wiki/ISO_8601"
    )


def test_two_dates(signed: Signer) -> None:
    request = signed()
    date = request.header("x-amz-date")
    assert date is not None
    twice = replace(request, headers=(*request.headers, ("x-amz-date", date)))
    assert refuse(twice).code == "IncompleteSignatureException"


def test_scope_of_another_service(signed: Signer) -> None:
    fault = refuse(signed(service="s3"))
    assert fault.code == "InvalidSignatureException"
    assert fault.message == "Credential should be scoped to correct service: 'rekognition'."


def test_every_problem_of_the_scope_is_listed(signed: Signer) -> None:
    request = signed()
    parsed = sigv4.parse(request)
    scope = f"{parsed.date}/eu-west-2/rekognition/aws4_request"
    fault = refuse(with_authorization(request, lambda value: value.replace(scope, "20010101/!/s3/aws3")))
    at = parsed.signed_at.strftime("%Y%m%dT%H%M%SZ")
    assert fault.code == "InvalidSignatureException"
    assert fault.message == (
        "Credential should be scoped to a valid region, not '!'. "
        "Credential should be scoped to correct service: 'rekognition'. "
        "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws3'. "
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
        f"'20010101' != '{parsed.date}', from '{at}'."
    )


@pytest.mark.parametrize("credential", ["a", "a/b/c/d", "a/b/c/d/e/f", "/////"])
def test_malformed_credential(signed: Signer, credential: str) -> None:
    request = signed()
    whole = sigv4.parse(request)
    scope = f"AKIDEXAMPLE/{whole.date}/eu-west-2/rekognition/aws4_request"
    fault = refuse(with_authorization(request, lambda value: value.replace(scope, credential)))
    assert fault.code == "IncompleteSignatureException"
    assert fault.message == (
        "Credential must have exactly 5 slash-delimited elements, "
        f"e.g. keyid/date/region/service/term, got '{credential}'"
    )


@pytest.mark.parametrize("algorithm", ["AWS4-HMAC-SHA25", "AWS4-ECDSA-P256-SHA256", "AWS4"])
def test_other_algorithms(signed: Signer, algorithm: str) -> None:
    fault = refuse(with_authorization(signed(), lambda value: value.replace("AWS4-HMAC-SHA256", algorithm)))
    assert fault.code == "IncompleteSignatureException"
    assert fault.message == f"Unsupported AWS 'algorithm': '{algorithm}' (only AWS4-HMAC-SHA256 for now). "


def signed_headers(change: Callable[[list[str]], list[str]]) -> Callable[[str], str]:
    def rewrite(value: str) -> str:
        before, _, rest = value.partition("SignedHeaders=")
        names, comma, after = rest.partition(",")
        return f"{before}SignedHeaders={';'.join(change(names.split(';')))}{comma}{after}"

    return rewrite


def test_host_has_to_be_signed(signed: Signer) -> None:
    rewrite = signed_headers(lambda names: [name for name in names if name != "host"])
    fault = refuse(with_authorization(signed(), rewrite))
    assert fault.code == "InvalidSignatureException"
    assert fault.message == "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."


@pytest.mark.parametrize("name", ["x-amz-target", "x-amz-anything", "x-countenance-all-faces"])
def test_headers_that_change_the_meaning_have_to_be_signed(signed: Signer, name: str) -> None:
    request = signed(headers={name: "true"})
    accept(request)
    rewrite = signed_headers(lambda names: [other for other in names if other != name])
    fault = refuse(with_authorization(request, rewrite))
    assert fault.code == "InvalidSignatureException"
    assert fault.message == f"'{name}' must be a 'SignedHeader' in the AWS Authorization."


def test_headers_that_proxies_add_need_no_signature(signed: Signer) -> None:
    request = signed()
    added = (("x-amzn-trace-id", "Root=1"), ("x-amz-cf-id", "x"), ("x-forwarded-for", "10.0.0.1"))
    accept(replace(request, headers=(*request.headers, *added)))


def test_a_second_value_of_a_signed_header_is_a_mismatch(signed: Signer) -> None:
    request = signed()
    more = (("x-amz-target", "RekognitionService.DeleteFaces"),)
    assert refuse(replace(request, headers=(*request.headers, *more))).message == MISMATCH


def test_signed_headers_listed_twice(signed: Signer) -> None:
    fault = refuse(with_authorization(signed(), signed_headers(lambda names: [*names, "host"])))
    assert fault.code == "IncompleteSignatureException"


def test_the_list_of_signed_headers_may_be_in_any_order_and_case(signed: Signer) -> None:
    rewrite = signed_headers(lambda names: [name.title() for name in reversed(names)])
    accept(with_authorization(signed(), rewrite))


def test_content_hash_may_come_along_when_it_is_right(signed: Signer) -> None:
    body = b'{"CollectionId":"people"}'
    accept(signed(body, headers={"X-Amz-Content-SHA256": hashlib.sha256(body).hexdigest()}))


@pytest.mark.parametrize(
    "claim",
    [
        "UNSIGNED-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        hashlib.sha256(b"other").hexdigest(),
        "",
    ],
)
def test_the_hash_has_to_be_the_one_of_the_body(signed: Signer, claim: str) -> None:
    # Signed correctly over the claim itself: only the comparison with the body can refuse it.
    fault = refuse(signed(headers={"X-Amz-Content-SHA256": claim}))
    assert (fault.code, fault.message) == ("InvalidSignatureException", MISMATCH)
    assert fault.note is not None
    assert fault.note.startswith(f"x-amz-content-sha256 is {claim!r}, the body has ")


@pytest.mark.parametrize("expires", [None, 60])
def test_a_session_token_is_explained(signed: Signer, expires: int | None) -> None:
    fault = refuse(signed(token="FwoGZXIvYXdzEXAMPLE", expires=expires))
    assert (fault.code, fault.status) == ("UnrecognizedClientException", 400)
    assert "this looks like an AWS session key; unset AWS_SESSION_TOKEN" in fault.message


def test_unknown_key() -> None:
    fault = require_declared(None, sigv4.unrecognized_client())
    assert (fault.code, fault.status) == ("UnrecognizedClientException", 400)
    assert fault.message == "The security token included in the request is invalid."


def http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("20150830T123600Z", datetime(2015, 8, 30, 12, 36, tzinfo=UTC)),
        ("Sun, 30 Aug 2015 12:36:00 GMT", datetime(2015, 8, 30, 12, 36, tzinfo=UTC)),
        ("Sun, 30 Aug 2015 12:36:00 -0000", datetime(2015, 8, 30, 12, 36, tzinfo=UTC)),
        ("Sun, 30 Aug 2015 14:36:00 +0200", datetime(2015, 8, 30, 12, 36, tzinfo=UTC)),
    ],
)
def test_the_date_header_serves_when_there_is_no_amz_date(
    date: str, expected: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    request = HttpRequest(
        "POST",
        "/",
        "",
        (
            ("host", "example.org"),
            ("date", date),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AK/20150830/eu-west-2/rekognition/aws4_request, "
                "SignedHeaders=date;host, Signature=00",
            ),
        ),
        b"",
        datetime(2015, 8, 30, tzinfo=timezone(timedelta(hours=2))),
    )
    try:
        assert sigv4.parse(request).signed_at == expected
    finally:
        monkeypatch.undo()
        time.tzset()


def judge(request: HttpRequest) -> None:
    parsed = sigv4.parse(request)
    sigv4.verify(request, parsed, SECRET, datetime(2015, 8, 30, 12, 36, tzinfo=UTC))


TEXT = st.text(st.characters(max_codepoint=255), max_size=80)


@given(
    authorization=st.one_of(
        TEXT,
        st.lists(
            st.sampled_from(
                [
                    "AWS4-HMAC-SHA256",
                    "Credential=",
                    "a/20150830/x/rekognition/aws4_request",
                    "SignedHeaders=",
                    "host",
                    "Signature=",
                    "=",
                    " ",
                    ",",
                    ";",
                    "é",
                    "\x00",
                    "//",
                ]
            ),
            max_size=14,
        ).map("".join),
    ),
    date=st.one_of(TEXT, st.just("20150830T123600Z")),
    query=TEXT,
    name=st.sampled_from(["x-amz-date", "date"]),
)
def test_nothing_but_a_fault_comes_out(authorization: str, date: str, query: str, name: str) -> None:
    headers = (("host", "h"), ("authorization", authorization), (name, date))
    request = HttpRequest("POST", "/", query, headers, b"", datetime(2015, 8, 30, tzinfo=UTC))
    with pytest.raises(Fault) as caught:
        judge(request)
    require_declared(None, caught.value)


@given(
    st.dictionaries(
        st.sampled_from(["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"]),
        st.one_of(TEXT, st.sampled_from(["AWS4-HMAC-SHA256", "20150830T123600Z", "host", "60"])),
    )
)
def test_nothing_but_a_fault_comes_out_of_a_query(parameters: dict[str, str]) -> None:
    query = "&".join(f"X-Amz-{name}={value}" for name, value in parameters.items())
    request = HttpRequest("POST", "/", query, (("host", "h"),), b"", datetime(2015, 8, 30, tzinfo=UTC))
    with pytest.raises(Fault) as caught:
        judge(request)
    require_declared(None, caught.value)
