"""The disclosure node (開示): what a resident gets to see of the network, and what proves it."""
