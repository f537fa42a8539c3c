"""Everything the pack raises on purpose.

    SceneScopeError
    ├── InputError          a value given is wrong              (also a ValueError)
    │   ├── SelectionError  a selection names what is not there
    │   └── WordError       a word is not in the prompt
    ├── BudgetError         a plan needs more memory than allowed
    ├── RecordingError      nothing, or not what is needed, was recorded
    ├── FileError           a file is missing, broken, foreign or of another format
    └── HostError           the host, or the model it loaded, lacks what is needed

A message is a sentence that a person would say, after the node's name: what is wrong, what would be right, what to do
next.
"""


class SceneScopeError(Exception):
    """Base of all errors raised on purpose."""


class InputError(SceneScopeError, ValueError):
    """A value that was given is wrong."""


class SelectionError(InputError):
    """A selection names blocks, steps, heads or branches that are not there."""


class WordError(InputError):
    """A word that was asked for is not in the prompt."""


class BudgetError(SceneScopeError):
    """A plan needs more memory than the budget allows."""


class RecordingError(SceneScopeError):
    """Nothing was recorded, or not what the question needs."""


class FileError(SceneScopeError):
    """A file is missing, broken, foreign, or written in another format."""


class HostError(SceneScopeError):
    """The host, or the model that it loaded, lacks what is needed."""
