"""What proves that nothing is lost: the hub driven with cheap stages, killed, starved and raced, and then looked over.

The tests and `headrace scoreboard` run the same drivers. A figure counts failed assertions, so none of this can be run
with `python -O`.
"""

from catalog.errors import InputError


class MeansMissing(InputError):
    """What a figure needs is not here: a program, a right, the source checkout."""
