"""What a node needs to find that its database was put back, and to give its senders their own segments back.

Message ids (電文番号) are kept as digests from here on: a sealed segment brings them back after a restore in that form.
"""

import hashlib
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "r0003"
down_revision = "r0002"

_COMMENT = "SHA-256 of the 電文番号, hexadecimal"


def upgrade() -> None:
    """Adds the table of the boot id and the index of the log; digests the message ids."""
    op.create_table(
        "boot",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, comment="always 1"),
        sa.Column("boot_id", sa.String(length=32), nullable=False, comment="as in the file outside the database"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("outbox_by_source", "outbox", ["source", "source_sequence"], unique=False)
    bind = op.get_bind()
    if bind.dialect.name == "postgresql":
        op.execute("UPDATE intake_messages SET message_id = encode(sha256(convert_to(message_id, 'UTF8')), 'hex')")
        op.alter_column("intake_messages", "message_id", existing_type=sa.String(length=64), comment=_COMMENT)
    else:
        driver: Any = bind.connection.driver_connection
        driver.create_function("sha256_hex", 1, lambda text: hashlib.sha256(text.encode()).hexdigest())
        op.execute("UPDATE intake_messages SET message_id = sha256_hex(message_id)")
