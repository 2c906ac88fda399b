"""Whether the signed file job of a batch (一括提供) may be carried out.

Rule: what was checked is what is asked. Both go by a copy without a name, so whoever writes to the job meanwhile has
nobody asked about whom the order does not name.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from jukinet.cli.inquire import operator_key_in
from jukinet.cli.output import Exit, Failure
from jukinet.ledger.verify.batch_job import LIFETIME, SKEW, Job, read_head, read_public_key, require_whole
from jukinet.ledger.verify.findings import Unsound
from jukinet.mesh.clock import now


@contextmanager
def copy_of(job: Path, out: Path) -> Iterator[BinaryIO]:
    """What a job holds at this moment, in a file that goes at the end and has no name.

    Args:
        job: the file.
        out: of the result, on whose disk the copy is.

    Raises:
        Failure: the job cannot be read, or nothing be written there.
    """
    with ExitStack() as opened:
        try:
            file = opened.enter_context(job.open("rb"))
            copy = opened.enter_context(TemporaryFile(dir=out.absolute().parent))
            shutil.copyfileobj(file, copy)
            copy.flush()
        except OSError as error:
            at_fault = job if str(error.filename) == str(job) else out
            raise Failure(f"{at_fault}: {error.strerror}.", Exit.USAGE) from None
        yield copy


def checked(path: Path, copy: BinaryIO, mesh: Path | None, ordered_by: Path | None) -> Job:
    """Makes sure that a job may be carried out now: who ordered it, that it is whole, and that the order is in force.

    Args:
        path: of the job, for the text of a failure.
        copy: what is in it.
        mesh: where the public key of who ordered is looked up.
        ordered_by: file of that key instead.

    Returns:
        Its head.

    Raises:
        Failure: it may not, or the key cannot be read.
    """
    try:
        copy.seek(0)
        job = read_head(copy)
        if ordered_by is None:
            if mesh is None:
                raise Failure("Without --mesh say --ordered-by FILE: the order is checked by that key.", Exit.USAGE)
            agency = job.order.agency.rpartition("/")[2]
            ordered_by = operator_key_in(mesh, agency, job.order.ordered_by).with_suffix(".pub")
        job.require_signed(read_public_key(ordered_by))
        require_whole(copy, job.order)
        if now() > job.order.ends:
            raise Unsound(f"it was ordered more than {LIFETIME.days} days ago")
        if now() < job.order.begins - SKEW:
            raise Unsound("it was ordered at a time that is still to come; set the clocks of both machines right")
    except Unsound as error:
        raise Failure(f"{path} is no job that may be carried out: {error}.") from None
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}.", Exit.USAGE) from None
    return job
