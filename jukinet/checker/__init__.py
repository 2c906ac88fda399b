"""Judges what happened in a network from a history log, with rules of its own.

Rule: nothing here comes from the product. The rules of A1 to A11 are written a second time, from the law and the
protocol's text, so that one misunderstanding cannot hide in both. Only the standard library is imported.
"""

from jukinet.checker.judge import Judge, Violation, judge

__all__ = ["Judge", "Violation", "judge"]
