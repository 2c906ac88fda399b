"""The annotations that we compile are those that the installed engine understands."""

from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

from third_party.protovalidate import regenerate

MODULE = Path(regenerate.__file__).parent


def test_the_vendored_text_compiles_to_the_descriptor_of_the_installed_engine(tmp_path: Path) -> None:
    out = tmp_path / "set.binpb"
    well_known = Path(protoc.__file__).parent / "_proto"
    code = protoc.main(["protoc", f"-I{MODULE}", f"-I{well_known}", f"-o{out}", "buf/validate/validate.proto"])
    assert code == 0
    [compiled] = FileDescriptorSet.FromString(out.read_bytes()).file
    assert _named(compiled) == _named(regenerate.installed_descriptor())


def test_regenerating_changes_nothing_but_layout() -> None:
    text = regenerate.Writer(regenerate.installed_descriptor()).text()
    assert "".join(text.split()) == "".join(regenerate.TARGET.read_text("utf-8").split())


def _named(file: FileDescriptorProto) -> FileDescriptorProto:
    """Return the file as compared: protoc adds no source information here and file options are not vendored."""
    copy = FileDescriptorProto.FromString(file.SerializeToString())
    copy.ClearField("source_code_info")
    copy.ClearField("options")
    return copy
