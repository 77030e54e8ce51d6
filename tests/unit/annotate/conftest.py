"""One English pipeline for all tests of this package."""

import pytest
from spacy.language import Language

from annotate.annotator import Annotator
from annotate.nlp import load_nlp
from annotate.settings import AnnotationSchema
from catalog.models import Weights, resolve


@pytest.fixture(scope="session")
def weights() -> Weights:
    found = resolve("spacy", "en_core_web_sm")
    if found.path is None:
        pytest.skip("needs the extra offline-models")
    return found


@pytest.fixture(scope="session")
def nlp(weights: Weights) -> Language:
    return load_nlp(weights)


@pytest.fixture(scope="session")
def annotator(weights: Weights) -> Annotator:
    return Annotator(AnnotationSchema(), {"en": weights})
