"""`countenance collection`: the collections of the calling account, by CreateCollection and its siblings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from countenance.cli.operators import ask
from countenance.cli.options import PERCENTAGE, data_option, example, json_option, yes_option
from countenance.cli.output import columns, emit, talk
from countenance.cli.remote import Remote, RemoteError, open_remote, remote_options

MATCHES_OF_A_FACE = 100
"""Faces told for each face: whoever is there more often is told of by the others, too."""
ATTEMPTS = 8
"""Of one search: whoever is throttled waits."""
AT_ONCE = 1_000
LIST_PAGE = 4_096
"""Largest page of ListFaces (service model, PageSize)."""
FALSE_MATCH_RATES = ((99.0, 1e-5), (80.0, 1e-4))
"""What a Similarity stands for (docs/accuracy.md), the strictest first."""


@click.group(short_help="Make, list, delete collections.", epilog=example("countenance collection list"))
def collection() -> None:
    """Collections: sets of enrolled faces that are searched together."""


@collection.command("create", epilog=example("countenance collection create staff"))
@click.argument("collection_id", metavar="ID")
@remote_options
@json_option
def collection_create(
    collection_id: str, data_dir: Path | None, endpoint_url: str | None, region: str | None, as_json: bool
) -> None:
    """Make an empty collection."""
    remote = open_remote(data_dir, endpoint_url, region)
    answer = remote.call("create_collection", CollectionId=collection_id)
    emit(answer, [answer["CollectionArn"]], as_json=as_json)


@collection.command("list", epilog=example("countenance collection list --json"))
@remote_options
@json_option
def collection_list(data_dir: Path | None, endpoint_url: str | None, region: str | None, as_json: bool) -> None:
    """Print the account's collections."""
    remote = open_remote(data_dir, endpoint_url, region)
    found = [{"CollectionId": name, **remote.call("describe_collection", CollectionId=name)} for name in _names(remote)]
    rows = (
        [each["CollectionId"], each["FaceCount"], each["FaceModelVersion"], each["CreationTimestamp"].isoformat()]
        for each in found
    )
    head = ["COLLECTION", "FACES", "MODEL", "CREATED"]
    emit({"Collections": found}, columns(head, rows), as_json=as_json)


@collection.command("delete", epilog=example("countenance collection delete staff --yes"))
@click.argument("collection_id", metavar="ID")
@yes_option
@remote_options
@json_option
def collection_delete(
    collection_id: str, data_dir: Path | None, endpoint_url: str | None, region: str | None, as_json: bool
) -> None:
    """Delete a collection with every face in it."""
    remote = open_remote(data_dir, endpoint_url, region)
    answer = remote.call("delete_collection", CollectionId=collection_id)
    emit(answer, [f"{collection_id} is deleted"], as_json=as_json)


@collection.command("migrate", epilog=example("countenance collection migrate staff --yes"))
@click.argument("collection_id", metavar="ID")
@click.option("--account", "account_id", metavar="ACCOUNT", help="Whose it is; the operator's own if not given.")
@click.option("--erase-rest", is_flag=True, help="Erase faces of which no crop was kept. Without, they stop it.")
@yes_option
@data_option
@json_option
def collection_migrate(
    collection_id: str, account_id: str | None, erase_rest: bool, data_dir: Path | None, as_json: bool
) -> None:
    """Make the features of a collection's faces anew with the model in use, from crops that were kept.

    Works for faces that were indexed with the setting keep_crops on. FaceIds, ExternalImageIds and users stay. The
    collection is what it was until all is done; stopped halfway, it is still, and the next try goes on from there.
    """
    said = {"collection_id": collection_id, "erases_rest": erase_rest}
    answer = ask(data_dir, "collection.migrate", **said, **({} if account_id is None else {"account_id": account_id}))
    told = f"{answer['references']} faces of {collection_id} are of the model {answer['to']} now"
    emit(answer, [f"{told}, {answer['erased']} are erased" if answer["erased"] else told], as_json=as_json)


@collection.command("forget-crops", epilog=example("countenance collection forget-crops staff --yes"))
@click.argument("collection_id", metavar="ID")
@click.option("--account", "account_id", metavar="ACCOUNT", help="Whose it is; the operator's own if not given.")
@yes_option
@data_option
@json_option
def collection_forget_crops(collection_id: str, account_id: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Erase the crops that were kept of a collection's faces. The faces stay, and cannot be migrated any more."""
    said = {"collection_id": collection_id}
    answer = ask(data_dir, "crops.erase", **said, **({} if account_id is None else {"account_id": account_id}))
    emit(answer, [f"{answer['crops']} crops are erased"], as_json=as_json)


@collection.command("describe", epilog=example("countenance collection describe staff"))
@click.argument("collection_id", metavar="ID")
@click.option("--account", "account_id", metavar="ACCOUNT", help="Whose it is; the operator's own if not given.")
@data_option
@json_option
def collection_describe(collection_id: str, account_id: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Print how a collection is searched: its index in memory and on disk.

    Without a running server nothing is in memory, and only what is on disk is told.
    """
    said = {"collection_id": collection_id}
    answer = ask(data_dir, "collection.describe", **said, **({} if account_id is None else {"account_id": account_id}))
    emit(answer, [f"{name:<10} {said}" for name, said in _described(answer)], as_json=as_json)


@collection.command("verify-index", epilog=example("countenance collection verify-index staff"))
@click.argument("collection_id", metavar="ID")
@click.option("--account", "account_id", metavar="ACCOUNT", help="Whose it is; the operator's own if not given.")
@data_option
@json_option
def collection_verify_index(collection_id: str, account_id: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Compare a collection's index with exact search over every stored row. Exit code 1 when they differ.

    Every FaceId is looked for, and some stored faces are searched with. It reads the whole collection: about half a
    minute for a million faces. Searches and changes go on meanwhile.
    """
    said = {"collection_id": collection_id}
    answer = ask(data_dir, "collection.verify", **said, **({} if account_id is None else {"account_id": account_id}))
    told = f"{answer['references']} faces, {answer['probes']} searches: "
    if answer["agrees"]:
        emit(answer, [f"{told}the index agrees with the database"], as_json=as_json)
        return
    found = f"{answer['missing']} missing, {answer['surplus']} too many, {answer['differing']} searches differ"
    emit(answer, [told + found, *answer["named"]], as_json=as_json)
    talk("Hint: restart the server, which loads the index anew; remove DIR/index first if the files are of it")
    raise SystemExit(1)


def _described(answer: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "faces", f"{answer['references']}, {answer['dimension']} features each, revision {answer['revision']}"
    if answer["tier"] is None:
        yield "in memory", "no"
    else:
        behind = answer["revision"] - answer["loaded_revision"]
        yield "in memory", f"{answer['tier']}, {answer['rows']} rows, {behind} changes behind"
        yield "segments", f"{answer['segments']}, {answer['tail']} rows beside, {answer['tombstones']} rows gone"
        yield "memory", f"{answer['memory_bytes'] / 1e6:.1f} MB"
    if answer["files_revision"] is None:
        yield "on disk", "no"
    else:
        behind = answer["revision"] - answer["files_revision"]
        yield "on disk", f"{answer['files']} files, {answer['disk_bytes'] / 1e6:.1f} MB, {behind} changes behind"


@collection.command("duplicates", epilog=example("countenance collection duplicates staff --threshold 99"))
@click.argument("collection_id", metavar="ID")
@click.option("--threshold", type=PERCENTAGE, default=99.0, show_default=True, help="Similarity from which on.")
@click.option(
    "--by-folder", is_flag=True, help="Ids that are equal up to the last colon are one person's, as `enrol` makes them."
)
@click.option("--jobs", type=click.IntRange(1, 64), default=4, show_default=True, help="Searches at the same time.")
@remote_options
@json_option
def collection_duplicates(
    collection_id: str,
    threshold: float,
    by_folder: bool,
    jobs: int,
    data_dir: Path | None,
    endpoint_url: str | None,
    region: str | None,
    as_json: bool,
) -> None:
    """Print faces that are alike and have different ExternalImageIds: one person enrolled twice, or a lookalike.

    Faces of one user, or without an ExternalImageId on both sides, are not told.
    Every face is searched for once, as any SearchFaces: each search is in the ledger, and is metered. That is a
    matter of minutes for 100,000 faces.
    """
    remote = open_remote(data_dir, endpoint_url, region, attempts=ATTEMPTS, connections=jobs)
    known = _faces(remote, collection_id)
    faces = list(known)
    best: dict[frozenset[str], float] = {}

    def search(face_id: str) -> list[tuple[str, float]]:
        try:
            answer = remote.call(
                "search_faces",
                CollectionId=collection_id,
                FaceId=face_id,
                FaceMatchThreshold=threshold,
                MaxFaces=MATCHES_OF_A_FACE,
            )
        except RemoteError as error:
            if error.code == "InvalidParameterException":
                return []  # deleted since it was listed
            raise
        return [(match["Face"]["FaceId"], match["Similarity"]) for match in answer["FaceMatches"]]

    with _progress(len(faces)) as advance, ThreadPoolExecutor(jobs) as pool:
        for start in range(0, len(faces), AT_ONCE):  # answers of so many faces are in memory at a time
            portion = faces[start : start + AT_ONCE]
            for face_id, matches in zip(portion, pool.map(search, portion), strict=True):
                for other, similarity in matches:
                    if other in known and _differ(known[face_id], known[other], by_folder=by_folder):
                        pair = frozenset((face_id, other))
                        best[pair] = max(best.get(pair, 0.0), similarity)
                advance()
    pairs: list[dict[str, Any]] = [
        {
            "Similarity": similarity,
            "Faces": [{"FaceId": each, "ExternalImageId": known[each].get("ExternalImageId")} for each in sorted(pair)],
        }
        for pair, similarity in sorted(best.items(), key=lambda one: (-one[1], sorted(one[0])))
    ]
    rows = (
        [
            f"{pair['Similarity']:.2f}",
            *(f"{each['ExternalImageId'] or '-'}  {each['FaceId']}" for each in pair["Faces"]),
        ]
        for pair in pairs
    )
    said = {"CollectionId": collection_id, "Threshold": threshold, "Faces": len(faces), "Pairs": pairs}
    emit(said, columns(["SIMILARITY", "ONE", "ANOTHER"], rows), as_json=as_json)
    if not as_json:
        talk(f"{len(pairs)} pairs among {len(faces)} faces. {_meaning(threshold, len(faces))}")


def _faces(remote: Remote, collection_id: str) -> dict[str, dict[str, Any]]:
    """What is told of each face by FaceId: its names, and nothing else of 100,000 of them."""
    faces: dict[str, dict[str, Any]] = {}
    page: dict[str, Any] = {}
    while True:
        answer = remote.call("list_faces", CollectionId=collection_id, MaxResults=LIST_PAGE, **page)
        for each in answer["Faces"]:
            faces[each["FaceId"]] = {name: each[name] for name in ("ExternalImageId", "UserId") if name in each}
        if not answer.get("NextToken"):
            return faces
        page = {"NextToken": answer["NextToken"]}


def _differ(one: dict[str, Any], other: dict[str, Any], *, by_folder: bool) -> bool:
    """Whether two faces that are alike are told to be two people's."""
    names = [each.get("ExternalImageId", "") for each in (one, other)]
    if by_folder:
        names = [name.rpartition(":")[0] or name for name in names]
    is_one_user = "UserId" in one and one["UserId"] == other.get("UserId")
    return names[0] != names[1] and not is_one_user


def _meaning(threshold: float, faces: int) -> str:
    """How many of the pairs are to be expected of strangers."""
    known = [rate for least, rate in FALSE_MATCH_RATES if threshold >= least]
    if not known:
        return f"Below {FALSE_MATCH_RATES[-1][0]:g} many strangers are alike."
    expected = faces * (faces - 1) / 2 * known[0]
    told = "fewer than 1" if expected < 1 else f"up to {expected:,.0f}"
    return f"At {threshold:g} about 1 in {1 / known[0]:,.0f} pairs of strangers is alike: {told} of them are expected."


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda: None
        return
    with Progress(TextColumn("searching"), BarColumn(), MofNCompleteColumn(), console=console, transient=True) as bar:
        task = bar.add_task("searching", total=total)
        yield lambda: bar.advance(task)


def _names(remote: Remote) -> list[str]:
    names: list[str] = []
    page: dict[str, Any] = {}
    while True:
        answer = remote.call("list_collections", **page)
        names += answer["CollectionIds"]
        if not answer.get("NextToken"):
            return names
        page = {"NextToken": answer["NextToken"]}
