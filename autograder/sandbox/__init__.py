"""The sandbox: student code in a process without network, files, secrets or privileges."""

from autograder.sandbox.levels import DEFAULT_MINIMUM, LEVELS, IsolationError, detect, require, require_device
from autograder.sandbox.runner import SandboxFault, SandboxRunner

__all__ = ["DEFAULT_MINIMUM", "LEVELS", "IsolationError", "SandboxFault", "SandboxRunner", "detect", "require",
           "require_device"]  # fmt: skip
