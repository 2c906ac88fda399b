"""A witness (立会人): cosigns the checkpoints of ledgers, and holds nothing else."""
