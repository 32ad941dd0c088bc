"""Forms of identifiers in maps: what the Public Suffix List's own tests say, and names that have to meet."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import pytest
from countenance_audit import forms, identifiers
from hypothesis import given
from hypothesis import strategies as st

PUBLISHED = [  # https://github.com/publicsuffix/list/blob/main/tests/test_psl.txt (public domain)
    ("www.example.com", "example.com"),
    ("a.b.example.example", "example.example"),
    ("domain.biz", "domain.biz"),
    ("a.b.domain.biz", "domain.biz"),
    ("b.example.uk.com", "example.uk.com"),
    ("test.ac", "test.ac"),
    ("a.b.c.mm", "b.c.mm"),
    ("www.test.jp", "test.jp"),
    ("www.test.ac.jp", "test.ac.jp"),
    ("www.test.kyoto.jp", "test.kyoto.jp"),
    ("a.b.ide.kyoto.jp", "b.ide.kyoto.jp"),
    ("a.b.c.kobe.jp", "b.c.kobe.jp"),
    ("www.city.kobe.jp", "city.kobe.jp"),
    ("www.test.k12.ak.us", "test.k12.ak.us"),
    ("www.xn--85x722f.com.cn", "xn--85x722f.com.cn"),
    ("shishi.xn--fiqs8s", "shishi.xn--fiqs8s"),
]


@pytest.mark.parametrize(("host", "registered"), PUBLISHED)
def test_the_list_s_own_cases(host: str, registered: str) -> None:
    assert forms.of("domain", host) == (registered,)
    assert forms.registrable(registered) == registered


@pytest.mark.parametrize("suffix", ["co.uk", "c.mm", "ide.kyoto.jp", "github.io"])
def test_a_suffix_alone_is_itself(suffix: str) -> None:
    assert forms.of("domain", suffix) == (suffix,)


@pytest.mark.parametrize(
    ("one", "another"),
    [
        ("VisionLabs B.V.", "VISIONLABS  bv"),
        ("VisionLabs B.V.", "Vision Labs B. V."),
        ("VisionLabs B.V.", "VisionLabs"),
        ("Ångström Aktiengesellschaft", "Angstrom Aktiengesellschaft"),
        ("Société Générale S.A.", "SOCIETE GENERALE"),
        ("ООО «Рога и копыта»", "Рога и копыта ООО"),
    ],
)
def test_spellings_that_meet(one: str, another: str) -> None:
    assert set(forms.of("name", identifiers.normal("name", one))) & set(
        forms.of("name", identifiers.normal("name", another))
    )


@pytest.mark.parametrize(
    ("one", "another"), [("Acme Ltd", "Acme Services Ltd"), ("Coop", "Op"), ("SE", "SA"), ("As Built Ltd", "Built Ltd")]
)
def test_names_that_do_not_meet(one: str, another: str) -> None:
    assert not set(forms.of("name", one)) & set(forms.of("name", another))


@given(st.text(min_size=1, max_size=40))
def test_a_name_always_has_a_form_and_forms_of_a_form_are_itself(raw: str) -> None:
    try:
        value = identifiers.normal("name", raw)
    except identifiers.Malformed:
        return
    found = forms.of("name", value)
    assert found
    assert all(found)
    assert identifiers.folded(value) == identifiers.folded(identifiers.normal("name", value))


def test_the_version_of_unicode_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a later Python: characters of Unicode 15 that it knows there, and that are none here."""
    starts, ends = identifiers._unassigned()
    assert all(end < start for end, start in zip(ends, starts[1:], strict=False))
    assert all(first < second for first, second in pairwise(starts))
    for character in (0x10EFD, 0x1E4D0, 0x11F02, 0x378, 0x10FFFF):  # 15.0, 15.0, 15.0, never, never
        assert identifiers._is_unassigned(character)
    for character in (0x41, 0x1E2C0, 0x10F70, 0x9FFF, 0xE000):  # the last ones: 14.0, 14.0, 14.0, private use
        assert not identifiers._is_unassigned(character)
    later = "\U00011f02"  # a letter of Unicode 15.0

    class Later:
        """Its tables would drop a letter that this version does not have."""

        @staticmethod
        def normalize(form: str, text: str) -> str:
            return unicodedata.normalize(form, text.replace(later, ""))

        @staticmethod
        def category(character: str) -> str:
            return "Mn" if character == later else unicodedata.category(character)

    before = identifiers.folded(f"Caf{later}\u00e9 B.V.")
    monkeypatch.setattr(identifiers, "unicodedata", Later)
    assert identifiers.folded(f"Caf{later}\u00e9 B.V.") == before == f"caf{later}e bv"
