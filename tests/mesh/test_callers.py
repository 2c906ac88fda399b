"""The table of callers: complete, default deny, and each relation as it is said."""

from typing import Any

import pytest
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from jukinet._pb.jukinet.admin.v1 import admin_pb2, freeze_pb2
from jukinet._pb.jukinet.body.v1 import body_pb2
from jukinet._pb.jukinet.consistency.v1 import consistency_pb2
from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2, record_pb2
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2
from jukinet._pb.jukinet.intake.v1 import intake_pb2
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet._pb.jukinet.link.v1 import link_pb2, snapshot_pb2
from jukinet._pb.jukinet.provision.v1 import correction_pb2, frozen_pb2, provision_pb2
from jukinet._pb.jukinet.recall.v1 import recall_pb2
from jukinet._pb.jukinet.statute.v1 import statute_pb2
from jukinet._pb.jukinet.watch.v1 import watch_pb2
from jukinet._pb.jukinet.witness.v1 import witness_pb2
from jukinet.mesh.callers import Callers, CallersError, network_callers, parse_callers
from jukinet.mesh.identity import Identity

CS, OTHER_CS = Identity("municipality", "131016"), Identity("municipality", "011002")
SYSTEM, OTHER_SYSTEM = Identity("municipal-system", "131016"), Identity("municipal-system", "131024")
TOKYO, HOKKAIDO = Identity("prefecture", "130001"), Identity("prefecture", "010006")
CENTER, GATEWAY, WITNESS = Identity("center"), Identity("gateway", "east"), Identity("witness", "one")
DISCLOSURE, COUNTER = Identity("disclosure"), Identity("counter", "131016")
AGENCY, PRIVATE, OPERATOR = Identity("agency", "a"), Identity("private", "p"), Identity("operator", "o")
EVERYBODY = (
    *(CS, OTHER_CS, SYSTEM, OTHER_SYSTEM, TOKYO, HOKKAIDO, CENTER),
    *(GATEWAY, WITNESS, DISCLOSURE, COUNTER, AGENCY, PRIVATE, OPERATOR),
)

FILES = (
    admin_pb2,
    body_pb2,
    consistency_pb2,
    correction_pb2,
    disclosure_pb2,
    inquiry_pb2,
    intake_pb2,
    freeze_pb2,
    frozen_pb2,
    ledger_pb2,
    link_pb2,
    provision_pb2,
    recall_pb2,
    record_pb2,
    snapshot_pb2,
    statute_pb2,
    watch_pb2,
    witness_pb2,
    health_pb2,
    reflection_pb2,
)


def rpcs_of_the_contract() -> set[str]:
    return {
        f"/{service.full_name}/{method.name}"
        for file in FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


def test_every_rpc_has_a_line_and_every_line_an_rpc() -> None:
    assert set(network_callers().rules) == rpcs_of_the_contract()


# The whole right to call, once more and in another form: (RPC, node) -> who gets through.
ALLOWED: dict[tuple[str, Identity], set[Identity]] = {
    ("intake.v1.IntakeService/SubmitChange", CS): {SYSTEM},
    ("intake.v1.IntakeService/SubmitChanges", CS): {SYSTEM},
    ("intake.v1.IntakeService/SubmitChange", TOKYO): set(),
    ("link.v1.LinkService/Stream", TOKYO): {CS},
    ("link.v1.LinkService/Pull", TOKYO): {CS},
    ("link.v1.LinkService/Stream", HOKKAIDO): {OTHER_CS},
    ("link.v1.LinkService/Stream", CENTER): {TOKYO, HOKKAIDO},
    ("link.v1.LinkService/Pull", CENTER): {TOKYO, HOKKAIDO},
    ("link.v1.SnapshotService/GetStanding", TOKYO): {CS},
    ("link.v1.SnapshotService/GetStanding", CENTER): {TOKYO, HOKKAIDO},
    ("link.v1.SnapshotService/GetStanding", CS): set(),
    ("link.v1.SnapshotService/OfferSnapshot", TOKYO): {CS},
    ("link.v1.SnapshotService/OfferSnapshot", CENTER): {TOKYO, HOKKAIDO},
    ("link.v1.SnapshotService/OfferSnapshot", CS): set(),
    ("link.v1.SnapshotService/PutChunk", TOKYO): {CS},
    ("link.v1.SnapshotService/PutChunk", CENTER): {TOKYO, HOKKAIDO},
    ("link.v1.SnapshotService/PutChunk", CS): set(),
    ("link.v1.SnapshotService/InstallSnapshot", TOKYO): {CS},
    ("link.v1.SnapshotService/InstallSnapshot", CENTER): {TOKYO, HOKKAIDO},
    ("link.v1.SnapshotService/InstallSnapshot", CS): set(),
    ("link.v1.SnapshotService/ResumeStream", TOKYO): {CS},
    ("link.v1.SnapshotService/ResumeStream", CENTER): {TOKYO, HOKKAIDO},
    ("link.v1.SnapshotService/ResumeStream", CS): set(),
    ("link.v1.SnapshotService/DepositManifest", TOKYO): {CS},
    ("link.v1.SnapshotService/DepositManifest", CENTER): set(),
    ("link.v1.LinkService/Stream", CS): set(),
    ("link.v1.LinkService/Stream", GATEWAY): set(),
    ("inquiry.v1.InquiryService/Inquire", GATEWAY): {AGENCY, PRIVATE},
    ("inquiry.v1.InquiryService/VerifyIdentity", GATEWAY): {AGENCY, PRIVATE},
    ("inquiry.v1.InquiryService/InquireBatch", GATEWAY): {AGENCY, PRIVATE},
    ("watch.v1.WatchService/Watch", GATEWAY): {AGENCY, PRIVATE},
    ("watch.v1.WatchService/EndWatch", GATEWAY): {AGENCY, PRIVATE},
    ("watch.v1.WatchService/WatchChanges", GATEWAY): {AGENCY, PRIVATE},
    ("recall.v1.RecallService/TellRecalls", GATEWAY): {AGENCY, PRIVATE},
    ("recall.v1.RecallService/ListUnacknowledged", GATEWAY): {OPERATOR},
    ("provision.v1.ProvisionService/Provide", CENTER): {GATEWAY},
    ("provision.v1.ChangeProvisionService/KeepWatch", CENTER): {GATEWAY},
    ("provision.v1.ChangeProvisionService/EndWatch", CENTER): {GATEWAY},
    ("provision.v1.ChangeProvisionService/TellChanges", CENTER): {GATEWAY},
    ("provision.v1.CorrectionService/ListCorrections", CENTER): {GATEWAY},
    ("provision.v1.FrozenService/DeclareFrozen", CENTER): {GATEWAY},
    ("consistency.v1.ConsistencyService/ListPlaces", CS): {OPERATOR},
    ("consistency.v1.ConsistencyService/ListPlaces", TOKYO): {OPERATOR},
    ("consistency.v1.ConsistencyService/ListPlaces", CENTER): {OPERATOR},
    ("consistency.v1.ConsistencyService/GetDigest", CS): {OPERATOR},
    ("consistency.v1.ConsistencyService/GetDigest", TOKYO): {OPERATOR},
    ("consistency.v1.ConsistencyService/GetDigest", CENTER): {OPERATOR},
    ("consistency.v1.ConsistencyService/ListRows", CS): {OPERATOR},
    ("consistency.v1.ConsistencyService/ListRows", TOKYO): {OPERATOR},
    ("consistency.v1.ConsistencyService/ListRows", CENTER): {OPERATOR},
    ("statute.v1.StatuteService/ProposeEdition", GATEWAY): {OPERATOR},
    ("statute.v1.StatuteService/ProposeEdition", CENTER): {OPERATOR},
    ("statute.v1.StatuteService/ApproveEdition", GATEWAY): {OPERATOR},
    ("statute.v1.StatuteService/ApproveEdition", CENTER): {OPERATOR},
    ("statute.v1.StatuteService/ListEditions", GATEWAY): {OPERATOR},
    ("statute.v1.StatuteService/ListEditions", CENTER): {OPERATOR},
    ("ledger.v1.LedgerService/GetCheckpoint", GATEWAY): {OPERATOR, DISCLOSURE},
    ("ledger.v1.LedgerService/GetConsistencyProof", GATEWAY): {OPERATOR, DISCLOSURE},
    ("ledger.v1.LedgerService/ListEntries", GATEWAY): {OPERATOR, DISCLOSURE},
    ("disclosure.v1.DisclosureService/FindUsage", DISCLOSURE): {COUNTER},
    ("disclosure.v1.DisclosureService/RequestRecord", DISCLOSURE): {COUNTER},
    ("disclosure.v1.DisclosureService/ExtendRequest", DISCLOSURE): {COUNTER},
    ("disclosure.v1.DisclosureService/AnswerRequest", DISCLOSURE): {COUNTER},
    ("disclosure.v1.DisclosureService/RequestCorrection", DISCLOSURE): {COUNTER},
    ("disclosure.v1.DisclosureService/InvestigateCorrection", DISCLOSURE): {COUNTER},
    ("disclosure.v1.DisclosureService/AnswerCorrection", DISCLOSURE): {COUNTER},
    ("disclosure.v1.DisclosureService/CloseRequest", DISCLOSURE): {COUNTER},
    ("disclosure.v1.DisclosureService/ListRequests", DISCLOSURE): {COUNTER},
    ("disclosure.v1.RecordService/GetRecord", CENTER): {DISCLOSURE},
    ("body.v1.BodyService/TakeBody", GATEWAY): {OPERATOR},
    ("body.v1.BodyKeyService/OpenBody", CENTER): {OPERATOR},
    ("body.v1.BodyKeyService/DestroyKey", CENTER): {OPERATOR},
    ("witness.v1.WitnessService/AddCheckpoint", WITNESS): {GATEWAY},
    ("witness.v1.WitnessService/GetLatest", WITNESS): {GATEWAY, OPERATOR},
    ("admin.v1.AdminService/GetStatus", WITNESS): {OPERATOR},
    ("admin.v1.AdminService/GetStatus", CS): {OPERATOR},
    ("admin.v1.AdminService/ListParked", CENTER): {OPERATOR},
    ("admin.v1.AdminService/ReleaseHeld", TOKYO): {OPERATOR},
    ("admin.v1.AdminService/ReleaseHeld", CENTER): {OPERATOR},
    ("admin.v1.FreezeService/ListFrozen", GATEWAY): {OPERATOR},
    ("admin.v1.FreezeService/ReleaseOperator", GATEWAY): {OPERATOR},
    ("admin.v1.FreezeService/ForgetFrozen", CENTER): {OPERATOR},
}


@pytest.mark.parametrize(("rpc", "node"), ALLOWED, ids=str)
def test_nobody_gets_through_but_who_should(rpc: str, node: Identity) -> None:
    table = network_callers()
    through = {caller for caller in EVERYBODY if table.allows(f"/jukinet.{rpc}", caller, node)}
    assert through == ALLOWED[rpc, node]


def test_everybody_asks_for_health_and_only_operators_for_more() -> None:
    table = network_callers()
    for caller in EVERYBODY:
        assert table.allows("/grpc.health.v1.Health/Check", caller, CS)
        is_operator = caller == OPERATOR
        assert table.allows("/grpc.health.v1.Health/Watch", caller, CS) == is_operator
        assert table.allows("/grpc.health.v1.Health/List", caller, CS) == is_operator
        reflection = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        assert table.allows(reflection, caller, CS) == is_operator


@pytest.mark.parametrize("rpc", ["", "/", "/jukinet.intake.v1.IntakeService/", "/jukinet.intake.v1.IntakeService/X"])
def test_an_unknown_rpc_has_no_callers(rpc: str) -> None:
    assert not any(network_callers().allows(rpc, caller, CS) for caller in EVERYBODY)


def test_only_streams_may_stay_open_without_a_deadline() -> None:
    pool = descriptor_pool.Default()
    for rpc in network_callers().without_deadline:
        service, method = rpc.removeprefix("/").split("/")
        assert pool.FindServiceByName(service).FindMethodByName(method).server_streaming


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[callers]\n"/a/B" = ["mayor"]', "'mayor' is no caller"),
        ('[callers]\n"/a/B" = ["gateway:friend"]', "'gateway:friend' is no caller"),
        ('[callers]\n"/a/B" = ["gateway:"]', "'gateway:' is no caller"),
        ('[callers]\n"/a/B" = [""]', "'' is no caller"),
        ('[callers]\n[caller]\n"/a/B" = ["gateway"]', "no other"),
        ('[callers]\n[without_deadline]\nrpcs = ["/a/B"]', "/a/B, which has no callers"),
    ],
)
def test_a_table_that_does_not_hold_says_why(text: str, complaint: str) -> None:
    with pytest.raises(CallersError, match=complaint):
        parse_callers(text)


def test_a_line_without_callers_lets_nobody_through() -> None:
    table: Callers = parse_callers('[callers]\n"/a/B" = []')
    assert not any(table.allows("/a/B", caller, node) for caller in EVERYBODY for node in EVERYBODY)
    table.require_lines(["/a/B"])


def test_missing_lines_are_named() -> None:
    with pytest.raises(CallersError) as missing:
        parse_callers('[callers]\n"/a/B" = []').require_lines(["/a/C", "/a/B", "/a/A"])
    assert "/a/A, /a/C" in str(missing.value)


def test_own_and_child_mean_nothing_between_other_kinds() -> None:
    table = parse_callers(
        '[callers]\n"/a/Own" = ["municipal-system:own"]\n"/a/Child" = ["gateway:child", "agency:own"]'
    )
    pairs: Any = [(caller, node) for caller in EVERYBODY for node in EVERYBODY]
    assert [pair for pair in pairs if table.allows("/a/Own", *pair)] == [(SYSTEM, CS)]
    assert not any(table.allows("/a/Child", *pair) for pair in pairs)
