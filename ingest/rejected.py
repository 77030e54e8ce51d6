"""A payload that becomes no document."""

from catalog.schema import Reason


class Rejected(Exception):
    """Why a payload was turned away, and what to tell the user."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)  # both, so that it survives pickling
        self.reason = reason
        self.detail = detail
