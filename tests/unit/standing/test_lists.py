"""Publishers' lists: what is read from each form, and what is refused with a reason."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import json
import lzma
import re
import tracemalloc
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from countenance.standing.listed import Identifier, ListedEntity, Name, NameKind, Schema
from countenance.standing.lists import FORMS, ListError, compare, read, refuse_shrunk, sniffed
from countenance.standing.lists.countries import code_of

PRIMARY = (
    b'36,"AEROCARIBBEAN AIRLINES",-0- ,"CUBA",-0- ,-0- ,-0- ,-0- ,-0- ,-0- ,-0- ,-0- \r\n'
    b'77,"EXAMPLE TRADING LLC",-0- ,"IRAN] [SDGT",-0- ,-0- ,-0- ,-0- ,-0- ,-0- ,-0- ,"a.k.a. \'ET\'S\'; Tax ID No. '
    b'7707083893 (Russia); Registration Number 12-345 (Netherlands); Linked To: X."\r\n'
    b'99,"DOE, Jane Ann","individual","SDGT",-0- ,-0- ,-0- ,-0- ,-0- ,-0- ,-0- ,"DOB 07 Apr 1986; nationality Syria; '
    b'Passport N008 (Syria)."\r\n'
    b'123,"SEA STAR","vessel","IRAN",-0- ,-0- ,-0- ,-0- ,-0- ,-0- ,-0- ,"Vessel Registration Identification IMO '
    b'9187629."\r\n\x1a'
)
ALIASES = b'77,1,"aka","EX TRADING",-0- \r\n77,2,"fka","OLD EXAMPLE",-0- \r\n\x1a'
ADDRESSES = b'77,1,"Street 1","Moscow 101000","Russia",-0- \r\n77,2,-0- ,-0- ,"undetermined",-0- \r\n'
OFAC_XML = b"""<?xml version="1.0" standalone="yes"?>
<sdnList xmlns="http://tempuri.org/sdnList.xsd">
 <publshInformation><Publish_Date>03/10/2021</Publish_Date><Record_Count>1</Record_Count></publshInformation>
 <sdnEntry><uid>77</uid><lastName>EXAMPLE TRADING LLC</lastName><sdnType>Entity</sdnType>
  <programList><program>IRAN</program></programList>
  <idList><id><idType>Tax ID No.</idType><idNumber>7707083893</idNumber><idCountry>Russia</idCountry></id></idList>
  <akaList><aka><category>weak</category><lastName>ET</lastName></aka>
           <aka><category>strong</category><lastName>EX TRADING</lastName></aka></akaList>
  <addressList><address><city>Moscow</city><country>Russia</country></address></addressList></sdnEntry>
</sdnList>"""
UN_XML = b"""<?xml version="1.0"?><CONSOLIDATED_LIST dateGenerated="2026-02-27T00:00:09.554Z"><INDIVIDUALS><INDIVIDUAL>
 <DATAID>1</DATAID><FIRST_NAME>JANE</FIRST_NAME><SECOND_NAME>DOE</SECOND_NAME><UN_LIST_TYPE>DRC</UN_LIST_TYPE>
 <REFERENCE_NUMBER>CDi.001</REFERENCE_NUMBER><LISTED_ON>2012-12-31</LISTED_ON><NATIONALITY><VALUE>Rwanda</VALUE></NATIONALITY>
 <INDIVIDUAL_ALIAS><QUALITY>Low</QUALITY><ALIAS_NAME>JD</ALIAS_NAME></INDIVIDUAL_ALIAS>
 <INDIVIDUAL_DATE_OF_BIRTH><YEAR>1971</YEAR></INDIVIDUAL_DATE_OF_BIRTH></INDIVIDUAL></INDIVIDUALS></CONSOLIDATED_LIST>"""
EU_XML = b"""<?xml version="1.0"?>
<export xmlns="http://eu.europa.ec/fpi/fsd/export" generationDate="2021-03-02T16:28:05+01:00">
 <sanctionEntity euReferenceNumber="EU.1" logicalId="13"><regulation programme="IRQ" publicationDate="2003-07-08"/>
  <subjectType code="enterprise"/><nameAlias wholeName="Example Trading" strong="true"/>
  <nameAlias wholeName="ET" strong="false"/><address city="Baghdad" countryIso2Code="IQ" countryDescription="IRAQ"/>
  <identification identificationTypeCode="regnumber" number="12345" countryIso2Code="IQ"/></sanctionEntity>
 <sanctionEntity euReferenceNumber="EU.1" logicalId="13"><regulation programme="TAQA" publicationDate="2001-01-31"/>
  <subjectType code="enterprise"/><nameAlias wholeName="Example Trading" strong="true"/></sanctionEntity></export>"""
UK_HEAD = [
    "Last Updated", "Unique ID", "OFSI Group ID", "Name 6", "Name 1", "Name 2", "Name 3", "Name 4", "Name 5",
    "Name type", "Regime Name", "Designation Type", "Address Line 1", "Address Country", "D.O.B", "Nationality(/ies)",
    "Subsidiaries", "Parent company", "Business registration number (s)", "IMO number", "Date Designated",
    "Other Information",
]  # fmt: skip


def uk(rows: list[dict[str, str]], report: str = "Report Date: 22-Jul-2026") -> bytes:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([report])
    writer.writerow(UK_HEAD)
    writer.writerows([[row.get(name, "") for name in UK_HEAD] for row in rows])
    return out.getvalue().encode()


COMPANY = {
    "Unique ID": "RUS0001",
    "Name 6": "EXAMPLE TRADING LLC",
    "Name type": "Primary Name",
    "Regime Name": "Russia",
    "Designation Type": "Entity",
    "Address Line 1": "Street 1",
    "Address Country": "Russia",
    "Parent company": "BIG HOLDING PJSC",
    "Subsidiaries": "SMALL LLC",
    "Business registration number (s)": "1027700132195",
    "Date Designated": "19/05/2023",
}
FTM = b"\n".join(
    json.dumps(each).encode()
    for each in (
        {
            "id": "a",
            "schema": "Company",
            "properties": {"name": ["Example"], "topics": ["sanction"], "country": ["ru"]},
        },
        {"id": "b", "schema": "Company", "properties": {"name": ["Related"], "topics": ["sanction.linked"]}},
        {"id": "c", "schema": "Ownership", "properties": {"owner": ["a"], "asset": ["b"]}},
    )
)
ONE = {
    "ofac-csv": {"primary": PRIMARY, "aliases": ALIASES, "addresses": ADDRESSES},
    "ofac-xml": {"list": OFAC_XML},
    "un-xml": {"list": UN_XML},
    "eu-fsf-xml": {"list": EU_XML},
    "uk-csv": {"list": uk([COMPANY, {**COMPANY, "Name 6": "EX TRADING", "Name type": "Alias"}])},
    "ftm-json": {"list": FTM},
}


def entity(form: str, entry: str) -> ListedEntity:
    (found,) = (each for each in read(form, ONE[form], list_id="l").entities if each.entry_id == entry)
    return found


def test_ofac_csv_is_joined_from_its_three_files() -> None:
    assert [each.entry_id for each in read("ofac-csv", ONE["ofac-csv"]).entities] == ["36", "77", "99", "123"]
    company = entity("ofac-csv", "77")
    assert company.names == (
        Name("EXAMPLE TRADING LLC"),
        Name("EX TRADING", NameKind.ALIAS),
        Name("OLD EXAMPLE", NameKind.ALIAS),
        Name("ET'S", NameKind.WEAK),
    )
    assert company.identifiers == (
        Identifier("taxNumber", "7707083893", "ru"),
        Identifier("registrationNumber", "12-345", "nl"),
    )
    assert (company.countries, company.programmes) == (("ru",), ("IRAN", "SDGT"))
    assert company.addresses == ("Street 1, Moscow 101000, Russia", "undetermined")
    person = entity("ofac-csv", "99")
    assert (person.schema, person.names[0].text, person.birth_dates) == (Schema.PERSON, "Jane Ann DOE", ("1986",))
    assert person.countries == ("sy",)
    assert entity("ofac-csv", "123").identifiers == (Identifier("imoNumber", "9187629"),)


def test_the_other_forms() -> None:
    snapshot = read("ofac-xml", ONE["ofac-xml"])
    assert (snapshot.list_id, snapshot.report_date) == ("ofac-sdn", date(2021, 3, 10))
    assert [each.kind for each in snapshot.entities[0].names] == [NameKind.PRIMARY, NameKind.WEAK, NameKind.ALIAS]
    assert snapshot.entities[0].identifiers == (Identifier("taxNumber", "7707083893", "ru"),)
    (person,) = read("un-xml", ONE["un-xml"]).entities
    assert (person.entry_id, person.names[1], person.birth_dates) == ("CDi.001", Name("JD", NameKind.WEAK), ("1971",))
    assert (person.countries, person.listed_on) == (("rw",), "2012-12-31")
    (company,) = read("eu-fsf-xml", ONE["eu-fsf-xml"]).entities  # listed under two regimes
    assert (company.programmes, company.listed_on) == (("IRQ", "TAQA"), "2001-01-31")
    assert company.names == (Name("Example Trading"), Name("ET", NameKind.WEAK))
    (british,) = read("uk-csv", ONE["uk-csv"]).entities
    assert [each.text for each in british.names] == ["EXAMPLE TRADING LLC", "EX TRADING"]
    assert (british.parents, british.subsidiaries) == (("BIG HOLDING PJSC",), ("SMALL LLC",))
    assert (british.listed_on, british.countries) == ("2023-05-19", ("ru",))
    listed, related = read("ftm-json", ONE["ftm-json"], list_id="own").entities
    assert (listed.sanctioned, related.sanctioned, listed.countries) == (True, False, ("ru",))


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_told_by_its_content(form: str) -> None:
    assert sniffed(list(ONE[form].values()))[0] == form


@pytest.mark.parametrize("form", FORMS)
def test_half_a_file_is_refused(form: str) -> None:
    role = FORMS[form].roles[0]
    whole = ONE[form][role]
    for cut in (0, 1, len(whole) // 3, len(whole) * 2 // 3):
        if form == "ofac-csv" and whole[:cut].count(b"\n") == 1:
            continue  # whole rows: no mark says that there were more
        with pytest.raises(ListError):
            read(form, {**ONE[form], role: whole[:cut]}, list_id="l")


BOMB = b"""<?xml version="1.0"?><!DOCTYPE sdnList [<!ENTITY a "aaaaaaaaaa">""" + b"".join(
    b'<!ENTITY %c "%s">' % (98 + at, b"&%c;" % (97 + at) * 10) for at in range(9)
)
OUTSIDE = b'<?xml version="1.0"?><!DOCTYPE sdnList [<!ENTITY x SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("form", [form for form in FORMS if form.endswith("xml")])
@pytest.mark.parametrize("bomb", [BOMB + b"]>", OUTSIDE], ids=["entities in entities", "a file of the host"])
def test_a_document_type_is_refused_before_anything_grows(form: str, bomb: bytes) -> None:
    body = ONE[form]["list"].partition(b"?>")[2].replace(b"EXAMPLE TRADING LLC", b"&j;").replace(b"JANE", b"&j;")
    tracemalloc.start()
    with pytest.raises(ListError, match="document type"):
        read(form, {"list": bomb + body})
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_what_is_not_utf8_is_refused() -> None:
    rows = [{**COMPANY, "Name 6": "ÉXAMPLE"}]
    with pytest.raises(ListError, match="UTF-8"):
        read("uk-csv", {"list": uk(rows).decode().encode("latin-1")})
    with pytest.raises(ListError, match="UTF-16"):
        read("uk-csv", {"list": codecs.BOM_UTF16_LE + uk(rows).decode().encode("utf-16-le")})
    with pytest.raises(ListError, match="not well-formed"):
        read("un-xml", {"list": UN_XML.replace(b"JANE", "JÄNE".encode("latin-1"))})
    twice = [{**COMPANY, "Unique ID": f"R{at}", "Name 6": "ÉXAMPLE".encode().decode("latin-1")} for at in range(3)]
    with pytest.raises(ListError, match="decoded wrongly"):
        read("uk-csv", {"list": uk(twice)})
    assert read("uk-csv", {"list": codecs.BOM_UTF8 + uk(rows)}).entities[0].names[0].text == "ÉXAMPLE"


def test_days_and_months_that_were_swapped_are_noticed() -> None:
    swapped = [{**COMPANY, "Unique ID": f"R{at}", "Date Designated": f"05/{13 + at}/2023"} for at in range(10)]
    with pytest.raises(ListError, match="swapped"):
        read("uk-csv", {"list": uk(swapped)})
    few = [{**COMPANY, "Unique ID": f"R{at}"} for at in range(200)]
    few[0] = {**few[0], "D.O.B": "01/13/1970"}
    assert read("uk-csv", {"list": uk(few)}).entities[0].birth_dates == ("1970",)
    with pytest.raises(ListError, match="report date"):
        read("uk-csv", {"list": uk([COMPANY], "Report Date: 31/31/2026")})
    before, after = (
        read("uk-csv", {"list": uk([COMPANY], f"Report Date: {day}")}) for day in ("07-Dec-2025", "12-Jul-2025")
    )
    with pytest.raises(ListError, match="the one in force of 2025-12-07"):
        refuse_shrunk(before, after)


def test_a_list_that_lost_half_its_rows_is_refused() -> None:
    many = [{**COMPANY, "Unique ID": f"R{at}"} for at in range(10)]
    whole, half, most = (read("uk-csv", {"list": uk(many[:count])}) for count in (10, 4, 6))
    with pytest.raises(ListError, match="Of 10 entries, 6 are gone"):
        refuse_shrunk(whole, half)
    refuse_shrunk(whole, most)
    difference = compare(whole, most)
    assert (difference.added, difference.changed) == (frozenset(), frozenset())
    assert difference.removed == {"R6", "R7", "R8", "R9"}
    other = read("uk-csv", {"list": uk([{**many[0], "Name 6": "OTHER"}, {**COMPANY, "Unique ID": "N"}])})
    assert (compare(whole, other).changed, compare(whole, other).added) == ({"R0"}, {"N"})


@pytest.mark.parametrize(
    ("what", "more"),
    [("further names", {"Name 6": "EX TRADING", "Name type": "Alias"}), ("addresses", {"Address Line 1": "Street 2"})],
)
def test_a_list_that_lost_most_of_what_it_says_of_its_entries_is_refused(what: str, more: dict[str, str]) -> None:
    """OFAC has further names and addresses in files of their own: one may be cut off, or left out."""
    one = [{**COMPANY, "Unique ID": f"R{at}", "Address Line 1": ""} for at in range(10)]
    one = [{**each, "Address Country": ""} for each in one]
    two = [{**each, **more} for each in one]
    whole, bare, most = (read("uk-csv", {"list": uk([*one, *two[:count]])}) for count in (10, 4, 6))
    with pytest.raises(ListError, match=f"Of 10 {what} of entries that are still there, 6 are gone"):
        refuse_shrunk(whole, bare)
    refuse_shrunk(whole, most)
    refuse_shrunk(bare, whole)


@pytest.mark.parametrize(
    ("form", "files", "why"),
    [
        ("ofac-csv", {"primary": PRIMARY.replace(b'"individual"', b'"planet"')}, "type 'planet'"),
        ("ofac-csv", {"primary": PRIMARY + b"\n1,2,3\n"}, "3 columns"),
        ("ofac-csv", {"primary": PRIMARY[:-1] + PRIMARY}, "there twice"),
        ("ofac-csv", {"aliases": ALIASES}, "missing"),
        ("ofac-csv", {"primary": PRIMARY, "list": PRIMARY}, "has no file"),
        ("ofac-csv", {"primary": PRIMARY[:-1] + b'"unclosed'}, "line"),
        ("ofac-xml", {"list": OFAC_XML.replace(b"<Record_Count>1<", b"<Record_Count>2<")}, "says that it has 2"),
        ("ofac-xml", {"list": OFAC_XML.replace(b"03/10/2021", b"30/10/2021")}, "its date"),
        ("ofac-xml", {"list": UN_XML}, "not OFAC's"),
        ("un-xml", {"list": EU_XML}, "not the UN's"),
        ("eu-fsf-xml", {"list": UN_XML}, "not the EU's"),
        ("uk-csv", {"list": PRIMARY}, "first line"),
        ("uk-csv", {"list": uk([])}, "no entries"),
        ("uk-csv", {"list": uk([COMPANY]).replace(b"Unique ID", b"Unique")}, "no column"),
        ("uk-csv", {"list": uk([COMPANY, {**COMPANY, "Designation Type": "Individual"}])}, "types"),
        ("ftm-json", {"list": b'{"id": 1, "schema": "Company", "properties": {}}'}, "Line 1"),
        ("ftm-json", {"list": FTM + b"\n{"}, "Line 4"),
        ("ftm-json", {"list": b"[" * 100_000}, "Line 1"),
        ("nonsense", {"list": FTM}, "no form"),
    ],
)
def test_what_is_no_such_list_is_refused_with_a_reason(form: str, files: dict[str, bytes], why: str) -> None:
    with pytest.raises(ListError, match=re.escape(why)):
        read(form, files, list_id="l")


def test_an_own_list_needs_a_name() -> None:
    with pytest.raises(ListError, match="needs a name"):
        read("ftm-json", {"list": FTM})


@settings(max_examples=150)
@given(st.sampled_from(sorted(ONE)), st.data())
def test_a_spoilt_file_is_read_or_refused_and_nothing_else(form: str, data: st.DataObject) -> None:
    role = data.draw(st.sampled_from(sorted(ONE[form])))
    whole = bytearray(ONE[form][role])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole)))
        whole[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    for attempt in (
        lambda: read(form, {**ONE[form], role: bytes(whole)}, list_id="l"),
        lambda: sniffed([bytes(whole)]),
    ):
        with contextlib.suppress(ListError):
            attempt()


@pytest.mark.parametrize(
    ("name", "code"),
    [("Korea, North", "kp"), ("Democratic People's Republic of Korea", "kp"), ("Cote d Ivoire", "ci"), ("Russia", "ru"),
     ("RU", "ru"), ("Bahamas, The", "bs"), ("Türkiye", "tr"), ("undetermined", ""), ("", ""), ("xx", "")],
)  # fmt: skip
def test_countries_have_the_codes_of_their_names(name: str, code: str) -> None:
    assert code_of(name) == code


# -- the publishers' own


def lists_of(shared_data: Path) -> Path:
    folder = shared_data / "sanctions_lists"
    if not folder.is_dir():
        pytest.skip(f"no lists: {folder} is missing; set COUNTENANCE_TEST_DATA")
    return folder


def test_real_snapshots_are_read_whole(shared_data: Path) -> None:
    """Counted without the readers: rows with a number, and elements of the XML."""
    folder = lists_of(shared_data)
    primary = (folder / "ofac_sdn_2023-11.csv").read_bytes()
    files = {"primary": primary, "aliases": (folder / "ofac_alt_2025-12.csv").read_bytes()}
    new = read("ofac-csv", files | {"addresses": (folder / "ofac_add_2025-12.csv").read_bytes()})
    assert len(new.entities) == len(re.findall(rb"^\d+,", primary, re.MULTILINE)) == 11_443
    xml = lzma.decompress((folder / "ofac_sdn_2021-03-10.xml.xz").read_bytes())
    old = read("ofac-xml", {"list": xml})
    assert len(old.entities) == xml.count(b"<sdnEntry>") == 8_832
    assert sum(name.kind is NameKind.WEAK for each in old.entities for name in each.names) <= xml.count(b">weak<")
    assert len(compare(old, new).removed) == 585
    un = (folder / "un_consolidated_2026-02.xml").read_bytes()
    found = read("un-xml", {"list": un})
    assert len(found.entities) == un.count(b"<INDIVIDUAL>") + un.count(b"<ENTITY>") == 1_003
    eu = lzma.decompress((folder / "eu_fsf_2021-03-02.xml.xz").read_bytes())
    european = read("eu-fsf-xml", {"list": eu})
    assert len(european.entities) == len(set(re.findall(rb'<sanctionEntity [^>]*logicalId="(\d+)"', eu)))
    assert all(each.names for snapshot in (new, old, found, european) for each in snapshot.entities)
