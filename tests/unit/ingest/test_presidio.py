"""Presidio behind a setting: what it adds is masked in the guarded process."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from catalog.errors import ConfigError
from catalog.settings import Config
from ingest.preprocess import preprocess
from ingest.settings import IngestSettings


def test_it_masks_what_the_core_does_not_know(tmp_path: Path) -> None:
    pytest.importorskip("presidio_analyzer")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text(
        "The river rises in the hills. IBAN DE89370400440532013000, SSN 536-90-4399, me@example.org."
    )
    config = Config({"cleaning_rules": {"presidio_entities": ["IBAN_CODE", "US_SSN"]}})
    report = preprocess(tmp_path / "in", tmp_path / "out", config, clean=True, annotate=False)
    (text,) = pq.read_table(tmp_path / "out" / "documents.parquet")["text"].to_pylist()
    assert text == "The river rises in the hills. IBAN [IBAN_CODE], SSN [US_SSN], [EMAIL]."
    assert report["rule_hits"] == {"pii_email": 1, "pii_iban_code": 1, "pii_us_ssn": 1}


def test_without_presidio_the_setting_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.cleaning_settings.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'headrace\[pii\]'"):
        IngestSettings.parse({"cleaning_rules": {"presidio_entities": ["US_SSN"]}}, "f.yaml")
    assert IngestSettings.parse({"cleaning_rules": {}}, "f.yaml").cleaning_rules.presidio_entities == ()
