"""What the law defines: pure functions over the messages, without clock, randomness, network or database."""
