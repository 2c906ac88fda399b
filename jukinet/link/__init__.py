"""How changes travel up the tiers: sans-IO sender and receiver first, then their gRPC adapters."""
