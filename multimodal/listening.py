"""The worker of transcribe: loads the models once, then turns parts into rows."""

from collections.abc import Collection
from functools import partial

import pyarrow as pa

from catalog.models import Weights
from catalog.settings import Resources
from multimodal.backends import choose_backend
from multimodal.decode import Reject
from multimodal.parts import Tables, as_tables, device_name, no_model, num_threads, read_medium, rejected
from multimodal.recordings import Origin, transcribe_rows
from multimodal.settings import TranscribeSettings


class Listener:
    """Recordings in (plans.ROWS), transcripts out; without weights, `no_model` rejects that say what to do."""

    def __init__(
        self,
        settings: TranscribeSettings,
        weights: Weights,
        warehouse: str,
        resources: Resources,
        kinds: Collection[str] = (),
    ) -> None:
        self._settings = settings
        self._kinds = kinds
        self._weights = weights
        self._read = partial(read_medium, warehouse)
        self._origin = Origin(choose_backend(settings, weights), weights.name, weights.revision)
        self._transcribers = []
        if weights.path:
            from multimodal.speech import load_transcribers

            self._transcribers = load_transcribers(weights, settings, device_name(resources), num_threads(resources))

    def __call__(self, part: pa.Table) -> Tables:
        """Transcribe one part."""
        rows = part.to_pylist()
        if not self._transcribers:
            return as_tables("transcribe", [{"rejects": [no_model(row, self._weights) for row in rows]}])
        media = [row | {"media_id": row["record_id"]} for row in rows]
        results = transcribe_rows(media, self._transcribers, self._settings, self._origin, self._read, self._kinds)
        both = list(zip(rows, results, strict=True))
        transcripts = [result for _, result in both if not isinstance(result, Reject)]
        turned_away = [rejected(row, result) for row, result in both if isinstance(result, Reject)]
        return as_tables("transcribe", [{"transcripts": transcripts, "rejects": turned_away}])
