"""The deterministic nation: the product's own code under faults, from one seed.

Sender, receiver, the transactions of intake and batches, register and journal are the product's; only sockets, tasks,
clock and disk are simulated. Whoever wants to know whether a promise holds reads `jukinet.checker`, not this.
"""
