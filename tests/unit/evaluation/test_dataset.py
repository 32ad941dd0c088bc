"""The forms of a data set, and what is wrong with one, by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from countenance.evaluation.dataset import FOLDER, LABELS, PAIRS, SEARCHES, DatasetError, load


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("ann-1.jpg", "ann-2.jpg", "ben-1.jpg", "ben-2.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def table(folder: Path, text: str, *, encoding: str = "utf-8") -> Path:
    path = folder / "set.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_a_folder_per_person(tmp_path: Path) -> None:
    for name in ("ben/2.jpg", "ann/1.PNG", "ann/0.jpg", "ann/notes.txt", ".hidden/1.jpg", "empty/readme"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "loose.jpg").write_bytes(b"x")
    found = load(tmp_path)
    assert found.form == FOLDER
    assert found.images == ("ann/0.jpg", "ann/1.PNG", "ben/2.jpg")
    assert found.subjects == ("ann", "ben")
    assert found.subject_of.tolist() == [0, 0, 1]
    assert found.path(2) == tmp_path / "ben/2.jpg"


def test_an_empty_folder_and_a_root_for_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no folders with images"):
        load(tmp_path)
    with pytest.raises(DatasetError, match="has its images in itself"):
        load(tmp_path, tmp_path)


def test_listed_comparisons(folder: Path) -> None:
    text = "a,b,same\nann-1.jpg,ann-2.jpg,1\nann-1.jpg,ben-1.jpg,FALSE\nben-1.jpg,ann-1.jpg,0\n"
    found = load(table(folder, text))
    assert found.form == PAIRS
    assert found.images == ("ann-1.jpg", "ann-2.jpg", "ben-1.jpg")
    assert list(zip(found.first.tolist(), found.second.tolist(), found.same.tolist(), strict=True)) == [
        (0, 1, True),
        (0, 2, False),
    ]
    assert found.repeated == 1
    assert not found.knows_subjects


def test_listed_comparisons_with_identities_and_groups(folder: Path) -> None:
    text = (
        "a,b,same,identity_a,identity_b,light,sex_a,sex_b\n"
        "ann-1.jpg,ann-2.jpg,true,ann,ann,day,f,f\n"
        "ann-1.jpg,ben-1.jpg,false,ann,ben,night,f,m\n"
    )
    found = load(table(folder, text))
    assert found.knows_subjects
    assert found.subject_of.tolist() == [0, 0, 1]
    assert found.pair_groups == {"sex": (("f", "f"), ("f", "m")), "light": (("day", "day"), ("night", "night"))}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_labels_with_groups_and_paths_below_another_folder(folder: Path, encoding: str) -> None:
    (folder / "lists").mkdir()
    text = "image,identity,sex\nann-1.jpg,Änn,f\nann-2.jpg,Änn,f\n\nben-1.jpg,ben,\nben-1.jpg,ben,\n"
    found = load(table(folder / "lists", text, encoding=encoding), folder)
    assert found.form == LABELS
    assert found.subjects == ("Änn", "ben")
    assert found.groups == {"sex": ("f", "")}
    assert found.repeated == 1


def test_gallery_and_probes(folder: Path) -> None:
    text = f"identity,image,role\nann,ann-1.jpg,gallery\nann,{folder}/ann-2.jpg,probe\nben,ben-1.jpg,probe\n"
    found = load(table(folder, text))
    assert found.form == SEARCHES
    assert found.in_gallery is not None
    assert found.in_gallery.tolist() == [True, False, False]
    assert found.path(1) == folder / "ann-2.jpg"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: the columns are nothing"),
        ("image,person\nann-1.jpg,ann\n", "line 1: the columns are image, person"),
        ("a,b\nann-1.jpg,ann-2.jpg\n", "line 1: the columns are a, b"),
        ("image,identity,a,b,same\n", "line 1: the columns are image, identity, a, b, same"),
        ("image,identity,\nann-1.jpg,ann,\n", "line 1: a column has no name"),
        ("image,identity,sex,sex\n", "line 1: there are two columns sex"),
        ("image,identity\n", "no rows"),
        ("image,identity\nann-1.jpg,ann\nann-2.jpg\n", "line 3: 1 cells, and the header has 2"),
        ("image,identity\nann-1.jpg,\n", "line 2: identity is empty"),
        ("image,identity\n,ann\n", "line 2: image is empty"),
        ("image,identity\nann-1.jpg,ann\nann-1.jpg,ben\n", "line 3: ann-1.jpg is of ben here and of ann in line 2"),
        (
            "image,identity,sex\nann-1.jpg,ann,f\nann-2.jpg,ann,m\n",
            "line 3: sex of ann is m here and f in line 2",
        ),
        ("image,identity\nann-1.jpg,ann\ncat.jpg,cat\ndog.jpg,dog\n", r"line 3: there is no file .*cat\.jpg; 1 more"),
        ("image,identity,role\nann-1.jpg,ann,probe\nann-2.jpg,ann,query\n", "line 3: role is 'query'"),
        ("image,identity,role\nann-1.jpg,ann,probe\nann-1.jpg,ann,gallery\n", "line 3: ann-1.jpg is a probe and in"),
        ("image,identity,role\nann-1.jpg,ann,probe\n", "every image is a probe"),
        ("a,b,same\nann-1.jpg,ann-2.jpg,yes\n", "line 2: same is 'yes'"),
        ("a,b,same\nann-1.jpg,ann-1.jpg,1\n", "line 2: ann-1.jpg is compared with itself"),
        ("a,b,same\nann-1.jpg,ann-2.jpg,1\nann-2.jpg,ann-1.jpg,0\n", "line 3: line 2 says the opposite"),
        ("a,b,same,sex_a\nann-1.jpg,ann-2.jpg,1,f\n", "line 1: there is a column sex_a and no column sex_b"),
        ("a,b,same,sex,sex_a,sex_b\n", "line 1: sex is a column of the comparison and of its sides"),
        (
            "a,b,same,identity_a,identity_b\nann-1.jpg,ann-2.jpg,1,ann,ben\n",
            "line 2: same is 1, and the identities say otherwise",
        ),
        (
            "a,b,same,sex_a,sex_b\nann-1.jpg,ann-2.jpg,1,f,f\nann-1.jpg,ben-1.jpg,0,m,m\n",
            "line 3: sex of ann-1.jpg is m here and f in line 2",
        ),
        ('image,identity\n"ann-1.jpg,ann\n', "line 2: unexpected end of data"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(folder: Path, text: str, told: str) -> None:
    path = table(folder, text)
    with pytest.raises(DatasetError, match=told) as caught:
        load(path)
    assert str(path) in caught.value.message


def test_two_spellings_of_a_path_are_one_image(folder: Path) -> None:
    found = load(table(folder, "image,identity\nann-1.jpg,ann\n./ann-1.jpg,ann\n.//ben-1.jpg,ben\n"))
    assert found.images == ("ann-1.jpg", ".//ben-1.jpg")
    assert found.repeated == 1
    with pytest.raises(DatasetError, match="is compared with itself"):
        load(table(folder, "a,b,same\nann-1.jpg,./ann-1.jpg,1\n"))


def test_another_encoding_is_refused(folder: Path) -> None:
    path = table(folder, "image,identity\nann-1.jpg,Änn\n", encoding="latin-1")
    with pytest.raises(DatasetError, match="is not UTF-8"):
        load(path)


def test_the_digest_is_of_names_and_place(folder: Path) -> None:
    one = load(table(folder, "image,identity\nann-1.jpg,ann\nben-1.jpg,ben\n"))
    same = load(table(folder, "image,identity,sex\nann-1.jpg,eve,f\nben-1.jpg,ben,m\n"))
    other = load(table(folder, "image,identity\nann-2.jpg,ann\nben-1.jpg,ben\n"))
    assert one.digest == same.digest
    assert one.digest != other.digest
