"""The rows that the register's tables keep: a message as it is, and beside it what makes it found."""

from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet._pb.jukinet.register.v1.identity_pb2 import Resident
from jukinet.domain.arrival import Arrival
from jukinet.store.checksum import checksum_of
from jukinet.store.search_keys import keys_of


def columns_of(row: Resident) -> dict[str, object]:
    """The columns of a row of `residents`."""
    record, message = row.record, row.SerializeToString()
    born, when = record.birth_date, row.effective_date
    return {
        "resident_code": record.resident_code,
        "version": row.version,
        "status": row.status,
        "holder": row.holder,
        "effective_date": f"{when.year:04}-{when.month:02}-{when.day:02}",
        "birth_date": f"{born.year:04}-{born.month:02}-{born.day:02}",
        "sex": record.sex,
        **keys_of(record),
        "individual_number": record.individual_number,
        "resident": message,
        "checksum": checksum_of(message),
    }


def history_row(arrival: Arrival, now_us: int) -> dict[str, object]:
    """A row of `history`: a change that was applied."""
    return {
        "resident_code": arrival.change.record.resident_code,
        "version": arrival.change.version,
        **_sealed(arrival),
        "applied_at": now_us,
    }


def parked_row(arrival: Arrival, reason: "ErrorReason.ValueType", now_us: int) -> dict[str, object]:
    """A row of `parked`: a change that is kept and not applied."""
    return {
        "resident_code": arrival.awaited_code,
        "version": arrival.change.version,
        **_sealed(arrival),
        "reason": reason,
        "parked_at": now_us,
    }


def _sealed(arrival: Arrival) -> dict[str, object]:
    return {
        "municipality": arrival.municipality,
        "epoch": arrival.epoch,
        "sequence": arrival.sequence,
        "change": arrival.payload,
    }
