"""Vectors of the identifiers of parties."""

from __future__ import annotations

from countenance_audit import forms, identifiers
from vector_parts import Vector, bad, good


def identifier_vectors() -> list[Vector]:
    def of(scheme: str, name: str, raw: str) -> Vector:
        return good("identifier", f"{scheme}: {name}", scheme=scheme, raw=raw, value=identifiers.normal(scheme, raw))

    def no(scheme: str, why: str, raw: str) -> Vector:
        return bad("identifier", f"{scheme}: {why}", "Malformed", why, scheme=scheme, raw=raw)

    def folded(name: str, raw: str) -> Vector:
        return good("folded", f"name in a map: {name}", scheme="name", raw=raw, folded=identifiers.folded(raw))

    def spelt(name: str, raw: str) -> Vector:
        return good("forms", f"name: {name}", scheme="name", raw=raw, forms=list(forms.of("name", raw)))

    def registered(name: str, raw: str) -> Vector:
        return good("forms", f"domain: {name}", scheme="domain", raw=raw, forms=list(forms.of("domain", raw)))

    return [
        of("account", "12 digits", "012345678901"),
        no("account", "it has 11 digits", "12345678901"),
        no("account", "its digits are not ASCII", "\u0661" * 12),
        of("lei", "as it is written", "529900T8BM49AURSDO55"),
        of("lei", "lower case and spaces", " 5493 001k jtii gc8y 1r12 "),
        no("lei", "one digit is another", "529900T8BM49AURSDO56"),
        no("lei", "two characters are exchanged", "529900T8BM49AURSD5O5"),
        no("lei", "two neighbours are exchanged", "529900T8BM94AURSDO55"),
        no("lei", "it has 19 characters", "529900T8BM49AURSDO5"),
        no("lei", "a letter only looks like one of ASCII", "5493001KJT\u0131IGC8Y1R12"),
        no("lei", "it is empty", ""),
        of("reg", "a Dutch company", "NL-KVK:27124701"),
        of("reg", "a register by its GLEIF code", "ra000463:27124701"),
        no("reg", "a KVK number has 8 digits", "NL-KVK:2712470"),
        of("reg", "a British company without its leading zero", "gb-coh:3977902"),
        of("reg", "a Scottish company without its leading zeros", "RA000587:SC1234"),
        no("reg", "Companies House has 8 characters", "GB-COH:123456789"),
        of("reg", "a Russian company", "RU-OGRN: 1027700132195"),
        no("reg", "the last digit of an OGRN checks the others", "RU-OGRN:1027700132196"),
        of("reg", "a French company with spaces", "FR-SIREN:732 829 320"),
        no("reg", "the last digit of a SIREN checks the others", "FR-SIREN:732829321"),
        of("reg", "a register without a form of its own", "de-hrb:d2601v hrb 6684"),
        of("reg", "a register of GLEIF's list without a name here", "RA000242:HRB6684"),
        no("reg", "there is no register", "27124701"),
        no("reg", "the register has no country", "KVK:27124701"),
        no("reg", "there is no number", "DE-HRB:"),
        no("reg", "a character that no number has", "DE-HRB:12:34"),
        no("reg", "it is not ASCII", "DE-HRB:\u0661"),
        of("domain", "upper case and a final dot", "Example.ORG."),
        of("domain", "an A-label", "xn--mller-kva.example"),
        of("domain", "a label of 63 characters", "a" * 63 + ".example"),
        no("domain", "a U-label", "m\u00fcller.example"),
        no("domain", "a letter whose lower case is ASCII", "\u212a.example"),
        no("domain", "an A-label that does not decode", "xn--99999999.example"),
        no("domain", "an A-label for what is ASCII", "xn--abc-.example"),
        no("domain", "one label", "localhost"),
        no("domain", "an address", "192.0.2.1"),
        no("domain", "a label of 64 characters", "a" * 64 + ".example"),
        no("domain", "a label ends with a hyphen", "a-.example"),
        no("domain", "a label that is reserved", "ab--c.example"),
        no("domain", "an empty label", "a..example"),
        no("domain", "more than 253 characters", ".".join(["a" * 62] * 4 + ["ab"])),
        of("name", "Normalization Form C", "A\u030angstro\u0308m AB"),
        of("name", "spaces", "  Acme\t Holding \n B.V. "),
        no("name", "nothing but spaces", "  \t "),
        no("name", "more than 200 characters", "x" * 201),
        no("name", "a control character", "Acme\u0000"),
        no("vat", "an unknown scheme", "NL123"),
        folded("as it is written", "VisionLabs B.V."),
        folded("without case, points and double spaces", "VISIONLABS  BV"),
        folded("diacritics", "\u00c5ngstr\u00f6m & S\u00f8nner A/S"),
        folded("a ligature and full-width letters", "\ufb01rma \uff21\uff22"),
        folded("sharp s", "Stra\u00dfe GmbH"),
        folded("a final sigma", "\u039f\u0394\u039f\u03a3 \u0391\u0395"),
        folded("Cyrillic stays Cyrillic", "\u0422\u0435\u0432\u0438\u0430\u043d"),
        folded("nothing but marks stays as it is", "!!!"),
        folded("a character of a later Unicode stays as it is", "A\U0001e4d0\u0301 B.V."),
        spelt("with a legal form", "VisionLabs B.V."),
        spelt("with points and spaces in the legal form", "Vision Labs  B. V."),
        spelt("a legal form of several words", "Wisla Sp. z o.o."),
        spelt("a legal form in front", "OOO Roga i Kopyta"),
        spelt("a legal form in front, in Cyrillic", "\u041e\u041e\u041e \u0420\u043e\u0433\u0430"),
        spelt("a legal form alone is a name", "AG"),
        spelt("no legal form", "Ministry of Works"),
        registered("a host", "api.eu.example.co.uk"),
        registered("the registered part itself", "example.org"),
        registered("a suffix that no rule is about", "b.example.example"),
        registered("a wildcard", "a.b.c.mm"),
        registered("an exception", "www.city.kobe.jp"),
        registered("a suffix of somebody's customers", "a.foo.github.io"),
        registered("a suffix alone", "co.uk"),
        registered("an A-label", "www.xn--55qx5d.cn"),
        bad("folded", "name: nothing but spaces", "Malformed", "it is no name", scheme="name", raw="  "),
    ]
