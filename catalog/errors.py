"""Every error that headrace raises on purpose.

HeadraceError                 one line for the user, exit code 1
├── ConfigError               a setting is wrong; names the file and the field
├── InputError                a file, folder or URL given by the user cannot be used
├── ModelUnavailable          a model's weights are not on this machine; says how to get them
├── PlanInfeasible            the cluster can never schedule what the settings ask for
├── StageStalled              a stage made no progress for longer than its limit
├── ReleaseBlocked            the human review does not allow a release yet
├── CommitConflict            another writer published meanwhile; the caller plans again
└── Corrupt                   stored data does not match its hash, schema or ledger
"""


class HeadraceError(Exception):
    """Base of all errors whose message is meant for the user."""


class ConfigError(HeadraceError):
    """A setting is missing, unknown or out of range."""


class InputError(HeadraceError):
    """A path or URL that the user gave cannot be read or written."""


class ModelUnavailable(HeadraceError):
    """No weights for a model; the message says what to install or where to put them."""


class PlanInfeasible(HeadraceError):
    """The resources asked for exceed what the machine or cluster has."""


class StageStalled(HeadraceError):
    """No part of a stage finished within its stall limit."""


class ReleaseBlocked(HeadraceError):
    """The review of the current documents does not reach what the settings ask for."""


class CommitConflict(HeadraceError):
    """An input was consumed by another writer between planning and committing."""


class Corrupt(HeadraceError):
    """Stored bytes contradict their hash, schema or the ledger."""


class WorkerLost(HeadraceError):
    """A worker process died in the middle of its work."""
