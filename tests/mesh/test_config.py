"""A node's configuration: complete for its role, typed, and free of what nobody knows."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet.mesh import config_file
from jukinet.mesh.config import ConfigError, NodeConfig
from jukinet.mesh.config_file import load_config, render_markdown
from jukinet.mesh.identity import Identity
from jukinet.mesh.limits import Limits

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
TLS = '[tls]\ncertificate = "node.pem"\nkey = "node.key"\nnodes_ca = "/etc/ca.pem"\nagencies_ca = "agencies.pem"\n'
COMMON = 'listen = "127.0.0.1:0"\ndatabase = "sqlite:///node.sqlite"\n'
DIALS = 'upstream = "center.example:8443"\n'
NODES = {
    "municipality": f'role = "municipality"\nname = "131016"\n{COMMON}{DIALS}{TLS}[sealing]\nkey = "seal.key"\n',
    "prefecture": f'role = "prefecture"\nname = "130001"\n{COMMON}{DIALS}{TLS}[sealing]\npublic_keys = "seals"\n',
    "center": f'role = "center"\n{COMMON}{TLS}[sealing]\npublic_keys = "seals"\n'
    '[center]\ngateway_keys = "gateways"\nfreshness_key = "f.key"\ntoken_key = "token"\nagencies = "agencies.toml"\n'
    'body_keys = "body-keys.db"\n',
    "gateway": f'role = "gateway"\nname = "east"\n{COMMON}{DIALS}{TLS}'
    '[gateway]\nticket_key = "t.key"\nledger_key = "l.key"\nagencies = "agencies.toml"\ntoken_key = "token"\n'
    'witnesses = "witnesses.toml"\n',
    "witness": f'role = "witness"\nname = "one"\n{COMMON}{TLS}[witness]\nkey = "c.key"\nledgers = "ledgers"\n',
    "disclosure": f'role = "disclosure"\n{COMMON}{DIALS}{TLS}'
    '[disclosure]\ntoken_key = "token"\nlog_key = "l.key"\nledgers = "ledgers.toml"\ncounters = "counters"\n'
    'agencies = "agencies.toml"\n',
}
every_role = pytest.mark.parametrize("role", NODES)


def load(directory: Path, text: str, **environ: str) -> NodeConfig:
    path = directory / "node.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, environ)


@every_role
def test_a_complete_configuration_is_read(role: str, tmp_path: Path) -> None:
    node = load(tmp_path, NODES[role])
    assert node.identity == Identity(node.role, node.name)
    assert node.tls.certificate == tmp_path / "node.pem"
    assert node.tls.nodes_ca == Path("/etc/ca.pem")
    assert node.tls.operators_ca is None
    assert node.upstream == (None if role in ("center", "witness") else "center.example:8443")
    assert node.limits.message_bytes == (262144 if role == "gateway" else 1048576)
    assert node.limits.credit_batches == 32


@every_role
def test_every_line_that_a_role_needs_is_missed_by_its_name(role: str, tmp_path: Path) -> None:
    lines = NODES[role].splitlines()
    section = ""
    for number, line in enumerate(lines):
        if line.startswith("["):
            section = line.strip("[]") + "."
            continue
        name = f"{section}{line.split(' ')[0]}"
        if name == "tls.agencies_ca" and role != "gateway":
            continue
        with pytest.raises(ConfigError, match=rf"{name} is (missing|needed)"):
            load(tmp_path, "\n".join(lines[:number] + lines[number + 1 :]))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("listen =", "listem ="), "unknown key listem; the nearest that exists is listen"),
        (("[sealing]\nkey", "[sealing]\nkeys"), "unknown key sealing.keys; the nearest that exists is sealing.key"),
        (("[sealing]", "[seal]"), "unknown key seal; the nearest that exists is"),
        (('"131016"', "131016"), "name has the wrong type; write a text"),
        (('"131016"', '"131017"'), "name is not that of a municipality"),
        (('"municipality"', '"mayor"'), "role is needed and is one of municipality, prefecture, center, gateway"),
        (('"127.0.0.1:0"', '"127.0.0.1"'), "listen is not of the form host:port"),
        (('"center.example:8443"', '"http://center:1"'), "upstream is not of the form host:port"),
        (('"seal.key"', '"seal.key"\npublic_keys = "x"'), "sealing.public_keys does not belong to a municipality"),
        (('"seal.key"', '""'), "sealing.key has the wrong type; write a path"),
        (('"seal.key"', '"k"\n[limits]\nmessage_bytes = "big"'), "limits.message_bytes has the wrong type"),
        (('"seal.key"', '"k"\n[limits]\nmessage_bytes = true'), "limits.message_bytes has the wrong type"),
        (('"seal.key"', '"k"\n[limits]\nmessage_bytes = 1.5'), "limits.message_bytes has the wrong type"),
        (('"seal.key"', '"k"\n[limits]\nmessage_bytes = -1'), "a whole number, not negative"),
        (
            ('"seal.key"', '"k"\n[limits]\ndrain_seconds = "x"'),
            "limits.drain_seconds has the wrong type; write a number",
        ),
        (("[tls]", "[[tls]]"), "unknown key tls"),
        (("role =", "role"), "TOMLDecodeError"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_named(change: tuple[str, str], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as wrong:
        load(tmp_path, NODES["municipality"].replace(*change))
    assert complaint in str(wrong.value)


def test_all_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as wrong:
        load(tmp_path, 'role = "center"\nlisten = 1\nupstream = "a:1"\n')
    for name in ("listen", "upstream", "database", "tls.key", "center.token_key"):
        assert f"- {name} " in str(wrong.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load_config(tmp_path / "none.toml", {})


def test_the_environment_wins_and_counts_as_the_file_does(tmp_path: Path) -> None:
    node = load(
        tmp_path,
        NODES["municipality"].replace('role = "municipality"\n', ""),
        JUKINET_ROLE="municipality",
        JUKINET_LISTEN="[::1]:8443",
        JUKINET_TLS_OPERATORS_CA="operators.pem",
        JUKINET_LIMITS_MESSAGE_BYTES="2048",
        JUKINET_LIMITS_DRAIN_SECONDS="0.5",
        PATH="/bin",
    )
    assert (node.role, node.listen) == ("municipality", "[::1]:8443")
    assert node.tls.operators_ca == tmp_path / "operators.pem"
    assert (node.limits.message_bytes, node.limits.drain_seconds) == (2048, 0.5)


def test_the_process_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUKINET_LISTEN", "127.0.0.1:1")
    path = tmp_path / "node.toml"
    path.write_text(NODES["center"], encoding="utf-8")
    assert load_config(path).listen == "127.0.0.1:1"


@pytest.mark.parametrize("name", ["JUKINET_LISTEM", "JUKINET_TLS", "JUKINET_LIMITS_MESSAGEBYTES", "JUKINET_"])
def test_an_unknown_variable_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"unknown key {name}; the nearest that exists is JUKINET_"):
        load(tmp_path, NODES["municipality"], **{name: "1"})


@given(
    st.dictionaries(
        st.sampled_from(["role", "name", "tls", "limits", "x"]),
        st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=3),
        max_size=4,
    )
)
def test_nothing_but_a_config_error_comes_out_of_a_wrong_table(table: dict[str, Any]) -> None:
    problems: list[str] = []
    given_keys = dict(config_file._from_file(table, problems))
    values = {key: config_file._typed(key, value, Path(), problems) for key, value in given_keys.items()}
    assert [*problems, *config_file._misfits(values)]


def test_the_page_lists_every_key() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_markdown(), "write it anew with render_markdown()"
    for name in ("listen", "tls.key", "limits.disk_free_percent", "telemetry.metrics_listen"):
        assert f"| `{name}` | `JUKINET_{name.replace('.', '_').upper()}` |" in render_markdown()


def test_every_setting_has_its_reason_and_every_number_its_unit() -> None:
    for key, each in config_file._KEYS.items():
        assert each.setting.why, key
        assert each.setting.unit, key


def test_the_servers_options_follow_the_limits() -> None:
    options = dict(Limits(message_bytes=7, concurrent_streams=3, metadata_bytes=11).server_options())
    assert options["grpc.so_reuseport"] == 0
    assert options["grpc.max_concurrent_streams"] == 3
    assert options["grpc.max_receive_message_length"] == 7 + 65536
    assert options["grpc.max_metadata_size"] == 11
