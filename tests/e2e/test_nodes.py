"""Two nodes and a database serve one journey, call by call at another of them; a third joins, one leaves."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from countenance_audit.receipt import parse as parse_receipt

from tests.e2e.conftest import People, Server, start
from tests.faults.nodes import RECEIPT, Fleet, client_of, command
from tests.postgres import Cluster


class Alternating:
    """A client whose every call goes to the next node."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._turn = itertools.count()
        self.receipts: list[str] = []
        self.by_node: dict[str, int] = {}

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**params: Any) -> Any:
            nodes = [each for each in self._fleet.nodes if each.process.poll() is None]
            node = nodes[next(self._turn) % len(nodes)]
            answer = getattr(client_of(node, self._fleet.credentials), operation)(**params)
            self.receipts.append(answer["ResponseMetadata"]["HTTPHeaders"][RECEIPT])
            self.by_node[node.endpoint] = self.by_node.get(node.endpoint, 0) + 1
            return answer

        return call


@pytest.fixture
def fleet(cluster: Cluster, tmp_path: Path, postgres_url: str) -> Iterator[Fleet]:
    made = Fleet(tmp_path, postgres_url)
    made.join()
    made.join()
    yield made
    made.stop()


def photo(path: Path) -> dict[str, bytes]:
    return {"Bytes": path.read_bytes()}


def test_the_journey_goes_over_all_nodes(fleet: Fleet, people: People) -> None:
    either = Alternating(fleet)
    ann, ben, *others = list(people.values())[:4]
    assert either.create_collection(CollectionId="people")["StatusCode"] == 200
    assert either.list_collections()["CollectionIds"] == ["people"]
    faces: dict[str, str] = {}
    for path, name in [(ann[0], "ann"), (ann[1], "ann"), (ben[0], "ben"), *((each[0], "other") for each in others)]:
        record = either.index_faces(CollectionId="people", Image=photo(path), ExternalImageId=name, MaxFaces=1)
        faces[record["FaceRecords"][0]["Face"]["FaceId"]] = name
        # at once at the other node, and at the one that enrolled it
        for _ in range(2):
            found = either.search_faces_by_image(CollectionId="people", Image=photo(path))["FaceMatches"]
            assert found[0]["Face"]["FaceId"] == record["FaceRecords"][0]["Face"]["FaceId"]
    best = either.search_faces_by_image(CollectionId="people", Image=photo(ann[2]))["FaceMatches"]
    assert {each["Face"]["ExternalImageId"] for each in best} == {"ann"}

    # a page's token that one node gave is good at the other
    first = either.list_faces(CollectionId="people", MaxResults=2)
    rest = either.list_faces(CollectionId="people", MaxResults=100, NextToken=first["NextToken"])
    assert {each["FaceId"] for each in first["Faces"] + rest["Faces"]} == set(faces)

    of_ann = [face for face, name in faces.items() if name == "ann"]
    either.create_user(CollectionId="people", UserId="ann")
    assert len(either.associate_faces(CollectionId="people", UserId="ann", FaceIds=of_ann)["AssociatedFaces"]) == 2
    user = either.search_users_by_image(CollectionId="people", Image=photo(ann[3]))["UserMatches"]
    assert user[0]["User"]["UserId"] == "ann"

    gone = [face for face, name in faces.items() if name == "other"][:1]
    assert either.delete_faces(CollectionId="people", FaceIds=gone)["DeletedFaces"] == gone
    for _ in range(2):
        found = either.search_faces_by_image(CollectionId="people", Image=photo(others[0][0]))["FaceMatches"]
        assert gone[0] not in {each["Face"]["FaceId"] for each in found}
    arn = either.describe_collection(CollectionId="people")["CollectionARN"]
    either.tag_resource(ResourceArn=arn, Tags={"site": "gate"})
    assert either.list_tags_for_resource(ResourceArn=arn)["Tags"] == {"site": "gate"}

    # keys: made at one, good at the other at once; revoked at the other, refused at the first at once
    a, b = fleet.nodes
    account = json.loads(command(a, "account", "list", "--json").stdout)["accounts"][0]["account_id"]
    made = json.loads(command(a, "key", "create", account, "--json").stdout)
    credentials = made["access_key_id"], made["secret_access_key"]
    assert client_of(b, credentials).list_collections()["CollectionIds"] == ["people"]
    assert client_of(a, credentials).list_collections()["CollectionIds"] == ["people"]
    assert command(b, "key", "revoke", credentials[0], "--yes").returncode == 0
    for node in (a, b):
        with pytest.raises(ClientError, match="UnrecognizedClientException"):
            client_of(node, credentials).list_collections()

    # a third joins while the others work
    stopping, failures = threading.Event(), []

    def work() -> None:
        while not stopping.is_set():
            try:
                either.search_faces(CollectionId="people", FaceId=of_ann[1], MaxFaces=5)
            except ClientError as failure:
                failures.append(failure)

    worker = threading.Thread(target=work)
    worker.start()
    third = fleet.join()
    found = client_of(third, fleet.credentials).search_faces_by_image(CollectionId="people", Image=photo(ben[1]))
    assert found["FaceMatches"][0]["Face"]["ExternalImageId"] == "ben"
    stopping.set()
    worker.join()
    assert failures == []

    # and the first leaves
    assert a.stop() == 0
    more = either.index_faces(CollectionId="people", Image=photo(ben[2]), ExternalImageId="ben", MaxFaces=1)
    assert len(more["FaceRecords"]) == 1
    found = either.search_faces_by_image(CollectionId="people", Image=photo(ben[2]))["FaceMatches"]
    assert found[0]["Face"]["FaceId"] == more["FaceRecords"][0]["Face"]["FaceId"]
    either.delete_collection(CollectionId="people")
    for _ in range(2):
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            either.describe_collection(CollectionId="people")

    assert len(either.by_node) == 3
    assert min(either.by_node.values()) >= 2
    indices = [parse_receipt(each).index for each in either.receipts]
    assert len(set(indices)) == len(indices)
    assert command(b, "ledger", "fsck").returncode == 0


def test_nodes_that_start_at_once_on_an_empty_database_make_one_log_and_one_owner(
    tmp_path: Path, postgres_url: str, cluster: Cluster
) -> None:
    key = tmp_path / "master.key"
    key.touch(mode=0o600)
    key.write_bytes(bytes(range(32)))
    environ = {"COUNTENANCE_DATABASE": postgres_url, "COUNTENANCE_MASTER_KEY_FILE": str(key)}
    started: list[Server] = []

    def begin(at: int) -> None:
        started.append(start(tmp_path / f"node{at}", environ=environ))

    threads = [threading.Thread(target=begin, args=(at,)) for at in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    try:
        assert len(started) == 2
        accounts = [json.loads(command(each, "account", "list", "--json").stdout)["accounts"] for each in started]
        assert len(accounts[0]) == 1
        assert accounts[0] == accounts[1]
        keys = json.loads(command(started[0], "key", "list", "--json").stdout)
        assert len(keys["keys"]) == 1
        with_credentials = [each for each in started if (each.data / "credentials").exists()]
        assert len(with_credentials) == 1
        credentials = with_credentials[0].credentials
        for each in started:
            assert each.client(credentials).list_collections()["CollectionIds"] == []
        said = [command(each, "ledger", "key").stdout for each in started]
        assert said[0] == said[1]
        assert command(started[0], "ledger", "fsck").returncode == 0
    finally:
        for each in started:
            each.stop()
