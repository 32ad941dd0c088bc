"""The tree of verbs: which there are, in the order of a newcomer's day. Knows no verb's work."""

from __future__ import annotations

import click

from countenance import __version__
from countenance.cli.administration import account, bucket, key
from countenance.cli.backup import backup
from countenance.cli.calibrate import calibrate
from countenance.cli.capacity import capacity
from countenance.cli.certificates import certificate, evidence, period
from countenance.cli.collection import collection
from countenance.cli.compare import compare
from countenance.cli.configuration import config
from countenance.cli.database import database
from countenance.cli.detect import detect
from countenance.cli.doctor import doctor
from countenance.cli.enrol import enrol
from countenance.cli.enrolled import consent, person, retention
from countenance.cli.evaluate import evaluate
from countenance.cli.import_rekognition import import_rekognition
from countenance.cli.ledger import ledger
from countenance.cli.models import models
from countenance.cli.moving import export, import_
from countenance.cli.operators import approval, login, logout, operator, proposal
from countenance.cli.options import Root, example
from countenance.cli.policy import policy, purpose
from countenance.cli.sample import sample
from countenance.cli.search import search
from countenance.cli.serve import serve
from countenance.cli.standing import case, lists, party
from countenance.cli.topology import topology
from countenance.cli.verifying import authorisation, review
from countenance.cli.witness import witness


@click.group(cls=Root, epilog=example("countenance serve"), context_settings={"max_content_width": 100})
@click.version_option(__version__, prog_name="countenance", message="%(prog)s %(version)s")
def main() -> None:
    """A face recognition server that speaks Amazon Rekognition's API, and its tools.

    Data goes to stdout, everything else to stderr. Every verb but serve takes --json. Exit status: 0 yes, 1 no, 2 wrong
    usage or settings, 3 could not decide, 130 stopped.
    """


for _command in (
    serve,
    detect,
    compare,
    enrol,
    search,
    collection,
    export,
    import_,
    import_rekognition,
    account,
    key,
    bucket,
    operator,
    login,
    logout,
    proposal,
    approval,
    review,
    authorisation,
    party,
    lists,
    case,
    policy,
    purpose,
    consent,
    retention,
    person,
    ledger,
    topology,
    period,
    certificate,
    evidence,
    backup,
    database,
    topology,
    sample,
    witness,
    models,
    evaluate,
    calibrate,
    config,
    capacity,
    doctor,
):
    main.add_command(_command)
collection.add_command(export)
collection.add_command(import_)
