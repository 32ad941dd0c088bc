"""That somebody accepts a licence before weights are fetched, imported or used that may not be used commercially."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from countenance.cli.output import talk

if TYPE_CHECKING:
    from countenance.recognition.manifest import ModelFile, ModelPack

F = TypeVar("F", bound=Callable[..., Any])


def licence_option(function: F) -> F:
    """`--accept-licence`: without it weights that are not for commercial use are left alone."""
    return click.option(
        "--accept-licence",
        "accepts",
        is_flag=True,
        help="Accept licences that do not allow commercial use; `models list` has them.",
    )(function)


def tell(pack: ModelPack) -> None:
    """Say under which licences a pack's files are."""
    for file in pack.files:
        talk(f"{file.name}: {file.licence}, {file.source}")
    if pack.terms:
        talk(pack.terms)


def must_accept(pack: ModelPack, *, accepts: bool) -> None:
    """Raises UsageError when a pack is not for commercial use and nobody accepted that."""
    if not pack.commercial_use and not accepts:
        tell(pack)
        raise click.UsageError(
            f"{pack.name} is not for commercial use. Repeat it with --accept-licence if yours is none."
        )


def refusing(packs: Iterable[ModelPack], *, accepts: bool) -> Callable[[ModelFile], None]:
    """What refuses a file that is in no pack for commercial use, unless that is accepted."""
    known = list(packs)

    def check(file: ModelFile) -> None:
        of = [pack for pack in known if any(each.sha256 == file.sha256 for each in pack.files)]
        if of and not any(pack.commercial_use for pack in of):
            must_accept(of[0], accepts=accepts)

    return check
