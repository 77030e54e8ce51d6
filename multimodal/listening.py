"""The worker of transcribe: loads the models once, then turns parts into rows."""

from collections.abc import Collection
from typing import TYPE_CHECKING

import pyarrow as pa

from catalog.errors import Corrupt
from catalog.models import Weights
from catalog.schema import Reason
from catalog.settings import Resources
from multimodal.audio import AudioDecoder, Samples
from multimodal.backends import choose_backend
from multimodal.decode import Reject
from multimodal.parts import Row, Tables, as_tables, device_name, no_model, num_threads, read_medium, rejected
from multimodal.recordings import Origin, Result, transcribe_rows
from multimodal.settings import TranscribeSettings

if TYPE_CHECKING:
    from multimodal.transcriber import Transcriber


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
        self._warehouse = warehouse
        self._origin = Origin(choose_backend(settings, weights), weights.name, weights.revision)
        self._decode = AudioDecoder(num_threads(resources), settings.max_seconds, settings.decode_seconds)
        self._transcribe: Transcriber | None = None
        if weights.path:
            from multimodal.speech import load_transcriber

            self._transcribe = load_transcriber(weights, settings, device_name(resources), num_threads(resources))

    def __call__(self, part: pa.Table) -> Tables:
        """Transcribe one part."""
        rows = part.to_pylist()
        if self._transcribe is None:
            return as_tables("transcribe", [{"rejects": [no_model(row, self._weights) for row in rows]}])
        media = [row | {"media_id": row["record_id"]} for row in rows]
        results = transcribe_rows(media, self._transcribe, self._origin, self._open, self._kinds)
        heard = [item for item in results if isinstance(item, Result)]
        turned_away = [rejected(row, item) for row, item in zip(rows, results, strict=True) if isinstance(item, Reject)]
        tables = {
            "transcripts": [item.transcript for item in heard],
            "audio_states": [item.states for item in heard if item.states],
            "rejects": turned_away,
        }
        return as_tables("transcribe", [tables])

    def _open(self, row: Row) -> Samples | Reject:
        try:
            payload = read_medium(self._warehouse, row, self._settings.max_bytes)
        except Corrupt as error:
            return Reject(Reason.MISSING_PAYLOAD, str(error))
        return self._decode(payload)
