"""The project's own trace console: takes spans over OTLP, keeps them, shows one change or inquiry across all nodes."""
