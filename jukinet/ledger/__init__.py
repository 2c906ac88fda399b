"""The transparency ledger (提供の記録): every answer and refusal, in a Merkle tree that cannot be rewritten unseen.

`verify/` checks an exported ledger and shares no code with the rest of this package.
"""
