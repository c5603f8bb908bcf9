"""The command line: ``arcformer simulate | show | train | evaluate | predict | presets | models | tasks | doctor``.

A verb is a module that reads its options and calls the library. Results go to stdout; progress, notes and errors go to
stderr. Nothing heavy is imported before a verb runs, so that help comes at once.
"""

from arcformer.cli.entry import main

__all__ = ["main"]
