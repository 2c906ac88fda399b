"""What is on disk: SQLAlchemy Core tables, one writer per node, SQLite or PostgreSQL."""
