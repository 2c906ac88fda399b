"""Tables of the center's lists of persons whose later changes (異動情報) are told; empty at every other tier."""

from sqlalchemy import BigInteger, Column, Index, Integer, SmallInteger, String, Table, UniqueConstraint

from jukinet.store.schema import ROW_ID, metadata

watch_lists = Table(
    "watch_lists",
    metadata,
    Column("list_id", String(36), primary_key=True, comment="UUID, chosen by the agency"),
    Column("agency", String(255), nullable=False, comment="SPIFFE ID"),
    Column("purpose", String(32), nullable=False, comment="row and item of the statute table"),
    Column("fields", String(16), nullable=False, comment="numbers of the IdentityFields, sorted"),
    Column("expires_on", String(10), nullable=False, comment="YYYY-MM-DD in Japan, the last day"),
    Column("acknowledged", BigInteger, nullable=False, comment="position that the agency has on disk"),
    Column(
        "told", BigInteger, nullable=False, server_default="0", comment="position up to which it may have been told"
    ),
)

watched = Table(
    "watched",
    metadata,
    Column("number", ROW_ID, primary_key=True, autoincrement=True),
    Column("list_id", String(36), nullable=False),
    Column("resident_code", String(11), nullable=False, comment="the present one"),
    Column("method", SmallInteger, nullable=False, comment="jukinet.inquiry.v1.InquiryMethod"),
    Column("since", BigInteger, nullable=False, comment="position of the history when it began"),
    UniqueConstraint("list_id", "resident_code", name="watched_once"),
    Index("watched_by_code", "resident_code"),
)

watch_events = Table(
    "watch_events",
    metadata,
    Column("list_id", String(36), primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False, comment="of the history"),
    Column("number", BigInteger, nullable=False, comment="of the person on the list"),
)

watch_mark = Table(
    "watch_mark",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, comment="always 1"),
    Column("position", BigInteger, nullable=False, comment="up to which the history was looked through"),
)
