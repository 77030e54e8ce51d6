"""Where spaCy finds the learned component: every pipeline imports this, so the network waits until one is made."""

from typing import TYPE_CHECKING

from spacy.language import Language

from annotate.nlp import LEARNED

if TYPE_CHECKING:
    from annotate.learned import Learned


@Language.factory(LEARNED)
def make_learned(nlp: Language, name: str) -> "Learned":
    """Make the component without its network; spaCy calls this, then `from_disk`."""
    from annotate.learned import Learned

    return Learned(name)
