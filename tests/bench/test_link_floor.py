from pathlib import Path

from bench.link_floor import TIERS, LinkFloor
from bench.results import same_counts
from bench.workload import submissions
from jukinet._pb.jukinet.intake.v1.intake_pb2 import SubmitChangesRequest
from jukinet.mesh.pki import create_signing_key


def test_the_floor_brings_every_change_to_the_disk_of_all_three_tiers(tmp_path: Path) -> None:
    key, public = create_signing_key(tmp_path, "seal")
    keys = tmp_path / "seals"
    keys.mkdir()
    (keys / "131016.pub").write_bytes(public.read_bytes())
    requests = [SubmitChangesRequest(submission=each).SerializeToString() for each in submissions(700)]
    floor = LinkFloor(tmp_path / "floor", sealing_key=key, public_keys=keys)
    with floor:
        assert floor.run(requests[:600]) > 0
        assert floor.run(requests[600:]) > 0
    rows = floor.rows()
    assert len(rows) == len(TIERS)
    same_counts(rows, 700)
