"""The generated package `jukinet._pb` holds the whole contract, and its rules are in force."""

import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import protovalidate
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message_factory import GetMessageClass

from jukinet import _pb
from jukinet._pb.jukinet.register.v1 import identity_pb2


def _modules() -> Iterator[ModuleType]:
    for module in pkgutil.walk_packages(_pb.__path__, "jukinet._pb."):
        if module.name.endswith("_pb2"):
            yield importlib.import_module(module.name)


def _with_nested(message: Descriptor) -> Iterator[Descriptor]:
    yield message
    for nested in message.nested_types:
        if not nested.GetOptions().map_entry:
            yield from _with_nested(nested)


MESSAGES = [
    message
    for module in _modules()
    if module.DESCRIPTOR.package.startswith("jukinet.")
    for top in module.DESCRIPTOR.message_types_by_name.values()
    for message in _with_nested(top)
]


def test_the_contract_is_there() -> None:
    assert "jukinet.register.v1.IdentityRecord" in {message.full_name for message in MESSAGES}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.full_name)
def test_the_rules_of_every_message_compile_and_evaluate(message: Descriptor) -> None:
    # A rule that cannot be compiled or evaluated raises here instead of at the first request in production.
    protovalidate.collect_violations(GetMessageClass(message)())


def test_a_rule_of_the_contract_is_enforced_and_named() -> None:
    rules = {
        violation.proto.rule_id: violation
        for violation in protovalidate.collect_violations(identity_pb2.IdentityRecord(resident_code="123"))
    }
    assert "string.pattern" in rules
    field = rules["string.pattern"].proto.field
    assert field is not None
    assert [element.field_name for element in field.elements] == ["resident_code"]


def test_a_refusal_does_not_repeat_the_value_that_it_refuses() -> None:
    with pytest.raises(protovalidate.ValidationError) as refusal:
        protovalidate.validate(identity_pb2.IdentityRecord(resident_code="9876543210x"))
    assert "9876543210" not in str(refusal.value)


def test_the_stubs_claim_no_package_beside_jukinet() -> None:
    code = (
        "import sys, jukinet._pb.jukinet.register.v1.change_pb2 as pb;"
        "assert 'buf' not in sys.modules and 'jukinet.register' not in sys.modules, 'generated imports escaped _pb'"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)
