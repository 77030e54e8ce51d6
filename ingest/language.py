"""Which language a text is in: what its letters say, and for short texts what its page declares."""

from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

SAMPLE = 1000  # characters; more take time and do not change the answer
SHORT = 80  # characters under which a page's own declaration outweighs the classifier
SURE = 0.8
UNSURE = 0.1  # of a short text: below it most guesses at English of 10 to 20 letters were wrong; no label is better


def identify(text: str, declared: str | None = None) -> tuple[str | None, float]:
    """Return the ISO 639-1 language of a text and its probability; None where its letters do not tell.

    A declared language wins over an unsure classification, or over any of a text under 80 characters. Of a mixed text
    it is the language that most of its letters are in, a Chinese character counting as a word does.
    """
    sample = text[:SAMPLE]
    if not any(char.isalpha() for char in sample):
        return declared, 0.0
    language, score = _identifier().classify(sample)
    score = float(score)
    if declared is not None and declared != language and (score < SURE or len(sample) < SHORT):
        return declared, 1.0 - score
    if declared is None and score < UNSURE and len(sample) < SHORT:
        return None, score
    return str(language), score


@cache
def _identifier() -> LanguageIdentifier:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([label for label in identifier.labels if len(label) == 2])
    return identifier
