"""`jukinet operator`: what an operator of an agency (操作者) does with his key."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from jukinet.cli.inquire import AgencyId, OperatorKey, operator_key_in
from jukinet.cli.layout import Mesh
from jukinet.cli.options import Certificate, MeshDirectory
from jukinet.cli.output import Exit, Failure, failures_told, show

if TYPE_CHECKING:
    from jukinet.purpose.operator_proof import Question

app = typer.Typer(no_args_is_help=True, help="An operator of an agency (操作者): his key and his signature.")

_QUESTIONS: Final = {
    "subject": "InquireRequest",
    "four_items": "VerifyIdentityRequest",
    "subjects": "InquireBatchRequest",
    "order": "WatchRequest",
    "list_id": "EndWatchRequest",
    "place": "WatchChangesRequest",
    "acknowledged": "TellRecallsRequest",
}


@app.command("key")
def make_key(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where NAME.key is to lie; readable for you alone.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the files, such as the operator's id.")],
) -> None:
    """Make an operator's key; prints what the agency directory has to say of it.

    Example: jukinet operator key ~/keys op-7
    """
    with failures_told():
        from jukinet.mesh.pki import create_signing_key, load_public_key
        from jukinet.purpose.operator_keys import format_operators

        if (directory / f"{name}.key").exists():
            raise Failure(f"{directory / name}.key exists and is left alone.", Exit.REFUSED)
        _, public = create_signing_key(directory, name)
        ((_, text),) = format_operators({name: load_public_key(public)})
        show(f'"{name}" = "{text}"')


@app.command("sign")
def sign(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Request as JSON of the contract; - = standard input.")],
    mesh: MeshDirectory = None,
    agency: AgencyId = None,
    certificate: Certificate = None,
    operator_key: OperatorKey = None,
) -> None:
    """Sign a question for any gRPC client: prints it with the operator's proof, to be asked within five minutes.

    The proof holds with this certificate of the agency and for this question alone; whatever is changed afterwards is
    refused. The kind of question follows from its fields; one of a context alone asks for recalls.

    Example: jukinet operator sign question.json --mesh mesh --agency pension-service
    """
    with failures_told():
        from google.protobuf import json_format

        from jukinet.cli.operator_key import Signing

        question = _question(file)
        if mesh is not None:
            found = Mesh.open(mesh)
            certificate = certificate or found.client(found.agency(agency or "")).certificate
        if certificate is None:
            raise Failure("Say --mesh and --agency, or --certificate and --operator-key.", Exit.USAGE)
        key = operator_key or operator_key_in(mesh, agency, question.context.operator)
        signed = Signing.of(certificate, key)(question)
        show(json_format.MessageToJson(signed, preserving_proto_field_name=True, ensure_ascii=False))


def _question(file: Path) -> "Question":
    import json

    from google.protobuf import json_format

    from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2
    from jukinet._pb.jukinet.recall.v1 import recall_pb2
    from jukinet._pb.jukinet.watch.v1 import watch_pb2

    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        content = json.loads(text)
        (kind,) = [name for field, name in _QUESTIONS.items() if field in content or _camel(field) in content] or (
            ["TellRecallsRequest"] if set(content) == {"context"} else []  # whoever asks first acknowledges nothing
        )
        file_of_kind = next(each for each in (inquiry_pb2, watch_pb2, recall_pb2) if hasattr(each, kind))
        question: Question = getattr(file_of_kind, kind)()
        # From the text: of a key that stands twice `content` has the last, and nobody would know which one was signed.
        return json_format.Parse(text, question)
    # The errors' own texts quote what stands in the file.
    except (OSError, ValueError, TypeError, json_format.ParseError) as error:
        raise Failure(f"{file} holds no question as JSON ({type(error).__name__}).", Exit.USAGE) from None


def _camel(field: str) -> str:
    first, *more = field.split("_")
    return first + "".join(word.capitalize() for word in more)
