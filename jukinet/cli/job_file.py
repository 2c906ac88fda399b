"""Writing the signed file job of a batch (一括提供); `jukinet/ledger/verify/batch_job.py` says what it looks like.

Rule: a job holds only persons whom a gateway takes, so each of them gets an answer in its place. A file with one wrong
line makes no job. The job appears whole or not at all, only its owner can read it, and it takes the place of no file.
"""

import base64
import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryFile
from typing import IO

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf import json_format

from jukinet.cli.output import Exit, Failure, tell
from jukinet.cli.reject_file import sync_folder
from jukinet.ledger.verify.batch_job import CONTEXT, FORMAT, Order, Person
from jukinet.ledger.verify.json_lines import spell

_WRONG_SHOWN = 20


def write_job(
    path: Path, order: Order, people: Iterable[tuple[int, Person | Failure]], key: Ed25519PrivateKey
) -> Order:
    """Writes a job.

    Args:
        path: of a new file.
        order: complete but for number and digest of the persons.
        people: who is asked about, of `read_subjects`, each with the line where he stands, or what is wrong there.
        key: of the operator who orders.

    Returns:
        The order as it was signed.

    Raises:
        Failure: somebody is not named as he must be, nobody is there, or the file cannot be written.
    """
    folder = path.absolute().parent
    try:
        with TemporaryFile(dir=folder) as persons, NamedTemporaryFile(dir=folder, prefix=".job-") as job:
            count, digest = _write_persons(persons, people)
            order = order._replace(persons=count, persons_sha256=digest)
            line = spell({"format": FORMAT, **order._asdict()}).encode()
            signature = base64.b64encode(key.sign(CONTEXT + line)).decode()
            job.write(line + b"\n" + spell({"signature": signature}).encode() + b"\n")
            persons.seek(0)
            shutil.copyfileobj(persons, job)
            job.flush()
            os.fsync(job.fileno())
            os.link(job.name, path)
        sync_folder(folder)
    except FileExistsError:
        raise Failure(f"{path} exists already and is left alone; name another file.", Exit.USAGE) from None
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}.", Exit.USAGE) from None
    return order


def _write_persons(file: IO[bytes], people: Iterable[tuple[int, Person | Failure]]) -> tuple[int, str]:
    """Gives number and digest of the persons; those who are not named as they must be are told."""
    digest, count, wrong = hashlib.sha256(), 0, 0
    for number, who in people:
        if isinstance(who, Failure):
            wrong += 1
            if wrong <= _WRONG_SHOWN:
                tell(f"line {number}: {who}")
            continue
        content = json_format.MessageToDict(who.subject, preserving_proto_field_name=True)
        if who.held:
            content["held"] = base64.b64encode(who.held).decode()
        line = f"{spell(content)}\n".encode()
        digest.update(line)
        file.write(line)
        count += 1
    if wrong:
        raise Failure(f"{wrong} lines name nobody in one of the ways of the contract; no job was made.")
    if not count:
        raise Failure("The file names nobody; no job was made.", Exit.USAGE)
    return count, digest.hexdigest()
