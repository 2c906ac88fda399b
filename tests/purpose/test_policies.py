"""Policies that do not fit keep the node from starting."""

from importlib import resources

import pytest

from jukinet.purpose.decision import PolicyError, check_policies


def shipped(name: str) -> str:
    return resources.files("jukinet.purpose").joinpath(name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("principal.kind ==", "principal.knd =="),
        ("resource.table == 1", 'resource.table == "1"'),
        ("context.day", "context.date"),
        ("permit (principal", "permt (principal"),
        ('@id("juki-30-38-private-ban")', '@id("juki-30-38-privat-ban")'),
        ('@id("juki-30-38-private-ban")', ""),
        ('@id("juki-30-10")', '@id("juki-30-9")'),
        ("\nforbid (principal", "\npermit (principal"),
    ],
)
def test_policy_with_a_typo_keeps_the_node_from_starting(old: str, new: str) -> None:
    policies = shipped("policies.cedar")
    assert old in policies
    with pytest.raises(PolicyError):
        check_policies(policies.replace(old, new, 1), shipped("schema.cedarschema"))


def test_policy_that_is_missing_or_doubled_keeps_the_node_from_starting() -> None:
    policies, schema = shipped("policies.cedar"), shipped("schema.cedarschema")
    check_policies(policies, schema)
    ban = policies[policies.index('@id("juki-30-38-private-ban")') : policies.index("// The listing of the agency")]
    with pytest.raises(PolicyError, match="juki-30-38-private-ban"):
        check_policies(policies.replace(ban, ""), schema)
    with pytest.raises(PolicyError, match="twice"):
        check_policies(policies + ban, schema)


def test_every_forbid_is_written_unless() -> None:
    for policy in shipped("policies.cedar").split("@id(")[1:]:
        code = "\n".join(line for line in policy.splitlines() if not line.startswith("//"))
        assert ("forbid" in code) == ("unless" in code)
        assert ("permit" in code) == ("\nwhen" in code)
