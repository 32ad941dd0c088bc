"""A model pack's networks, opened by the runtime in use: one picture at a time, or several calls' in one inference.

Knows packs, sessions and in which sizes each network works; knows no faces. What is read out of a network is in
`detector` and `extractor`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from countenance.recognition import batching, kinds, modelpack
from countenance.recognition.closeup import CLOSEUP
from countenance.recognition.detector import CANVASES, Detector
from countenance.recognition.extractor import BATCH_SIZES, Extractor, batch_shapes
from countenance.recognition.manifest import DYNAMIC, ModelPack
from countenance.recognition.session import CUDA, Gpu, Session, open_session

CANVASES_AT_ONCE: Final = (1, 2, 4, 8)
"""Pictures of several calls in one look of the detector. Fewer than crops: filling up from 9 to 16 large canvases would
be work for seven pictures that nobody sent."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How networks are opened.

    Args:
        runtime: what `session.choose` returned.
        lanes: inferences at once.
        threads: threads inside one inference.
        is_batching: several calls' pictures and crops in one inference.
        gpu: which one, for `cuda`.
        models_dir: where imported weights lie and folded graphs are kept.
    """

    runtime: str
    lanes: int
    threads: int
    is_batching: bool
    gpu: Gpu | None
    models_dir: Path

    @property
    def runners(self) -> int:
        """Inferences at once behind a batching session. A session on the GPU computes in one stream: a second one would
        wait inside, where it gathers no company."""
        return 1 if self.runtime == CUDA else self.lanes

    def session(self, graph: bytes, shapes: Sequence[tuple[int, int, int]], *, bfloat16: bool) -> Session:
        """See `open_session`."""
        return open_session(
            graph,
            runtime=self.runtime,
            shapes=shapes,
            lanes=self.lanes,
            threads=self.threads,
            bfloat16=bfloat16,
            gpu=self.gpu,
        )


def detector(pack: ModelPack, opening: Opening) -> Detector:
    """The pack's detector. Raises ModelPackError."""
    file = pack.file("detector")

    def opened() -> Session:
        if opening.is_batching:
            freed = replace(file, input_shape=(DYNAMIC, *file.input_shape[1:]))
            joint = batching.batching(
                partial(
                    opening.session,
                    modelpack.folded(freed, opening.models_dir),
                    [(size, *canvas) for canvas in CANVASES for size in CANVASES_AT_ONCE],
                    bfloat16=False,
                ),
                height=CLOSEUP[0],
                width=CLOSEUP[1],
                sizes=CANVASES_AT_ONCE,
                runners=opening.runners,
            )
            if joint is not None:
                return joint
        graph = modelpack.folded(file, opening.models_dir)
        return opening.session(graph, [(1, *canvas) for canvas in CANVASES], bfloat16=False)

    return kinds.make_detector(pack, opened)


def extractor(pack: ModelPack, opening: Opening, *, flip: bool) -> Extractor:
    """What makes the pack's features. Raises ModelPackError."""
    file = pack.file("features")

    def opened(batches: tuple[int, ...]) -> Session:
        if len(batches) == 1:
            alone = replace(file, input_shape=(1, *file.input_shape[1:]))
            return opening.session(modelpack.folded(alone, opening.models_dir), batch_shapes(batches), bfloat16=True)
        graph = modelpack.folded(file, opening.models_dir)
        if opening.is_batching:
            session = opening.session(graph, batch_shapes(batching.SIZES), bfloat16=True)
            return batching.BatchingSession(session, runners=opening.runners)
        return opening.session(graph, batch_shapes(batches), bfloat16=True)

    # A batching session fills up to a size by itself: crops that come together stay together.
    batches = tuple(range(1, batching.SIZES[-1] + 1)) if opening.is_batching else BATCH_SIZES
    return kinds.make_extractor(pack, opened, flip=flip, batches=batches)
